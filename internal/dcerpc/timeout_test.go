package dcerpc

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// lived returns how long it takes until the server closes the connection. What
// it sends before is discarded.
func (p *peer) lived(since time.Time) time.Duration {
	io.Copy(io.Discard, p.Conn)
	return time.Since(since)
}

const host = "192.0.2.1"

// A connection that does not authenticate lives for HandshakeTimeout, whatever
// else it does.
func TestHandshakeTimeout(t *testing.T) {
	for name, busy := range map[string]func(p *peer) error{
		"silent": func(*peer) error { return io.EOF },
		"byte by byte": func(p *peer) error {
			time.Sleep(time.Second)
			_, err := p.Write([]byte{5})
			return err
		},
		"calling": func(p *peer) error {
			if p.id == 0 {
				p.bind(pres(0, echoSyntax))
			}
			time.Sleep(time.Second)
			if _, err := p.Write(p.request(opEcho, nil)[0]); err != nil {
				return err
			}
			p.response()
			return nil
		},
		"half a logon": func(p *peer) error { p.begin(AuthNTLM); return io.EOF },
		"refused logon": func(p *peer) error {
			p.send(auth3PDU(1, p.begin(AuthNTLM), []byte("\x03anna\x00guess")))
			return io.EOF
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := startPipeServer(t, Limits{HandshakeTimeout: 10 * time.Second})
				start := time.Now()
				p := l.raw(t, host)
				if name == "byte by byte" {
					p.send(lengths(bindTo(ptypeBind, 1), 200, 0))
				}
				for n := 0; n < 9 && busy(p) == nil; n++ {
				}
				if d := p.lived(start); d != 10*time.Second {
					t.Errorf("lived for %v", d)
				}
			})
		})
	}
}

// One that did lives until it is idle for IdleTimeout; its buffers are given
// back long before.
func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := startPipeServer(t, Limits{HandshakeTimeout: time.Minute, IdleTimeout: 15 * time.Minute})
		p := l.raw(t, host)
		p.logon(LevelPrivacy)
		for range 5 {
			time.Sleep(14 * time.Minute)
			p.echo()
		}
		p.send(p.request(opEcho, pattern(nil, 40_000))...)
		if n := len(p.response()); n != 40_000 {
			t.Fatal(n)
		}
		last := time.Now()
		time.Sleep(keepBuffers)
		synctest.Wait()
		if c := s.only(); len(c.r.buf) > readBufferMin || c.w.buf != nil || c.reply != nil || cap(c.pending.buf) > keepRequest {
			t.Error("an idle connection keeps its buffers")
		}
		if d := p.lived(last); d != 15*time.Minute {
			t.Errorf("idle for %v", d)
		}
	})
}

// An IdleTimeout shorter than buffers are kept is kept to.
func TestShortIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := startPipeServer(t, Limits{IdleTimeout: 3 * time.Second})
		p := l.raw(t, host)
		p.logon(LevelPrivacy)
		p.echo()
		if d := p.lived(time.Now()); d != 3*time.Second {
			t.Errorf("idle for %v", d)
		}
	})
}

// A request has ReadTimeout from its first byte to its last, in however many
// pieces it comes.
func TestReadTimeout(t *testing.T) {
	for name, send := range map[string]func(p *peer){
		"a byte":         func(p *peer) { p.send(p.request(opEcho, nil)[0][:1]) },
		"a header":       func(p *peer) { p.send(p.request(opEcho, nil)[0][:20]) },
		"all but a byte": func(p *peer) { b := p.request(opEcho, nil)[0]; p.send(b[:len(b)-1]) },
		"bytes now and then": func(p *peer) {
			b := p.request(opEcho, nil)[0]
			for n := range 9 {
				p.send(b[n : n+1])
				time.Sleep(time.Second)
			}
		},
		"a fragment": func(p *peer) { p.send(p.request(opEcho, make([]byte, 9000))[0]) },
		"fragments now and then": func(p *peer) {
			for _, b := range p.request(opEcho, make([]byte, 12*5000))[:9] {
				p.send(b)
				time.Sleep(time.Second)
			}
		},
		"a fragment and a half": func(p *peer) {
			all := p.request(opEcho, make([]byte, 9000))
			p.send(all[0])
			time.Sleep(9 * time.Second)
			p.send(all[1][:1])
		},
		"a request and a half": func(p *peer) {
			p.send(p.request(opEcho, nil)[0], p.request(opEcho, nil)[0][:17])
			p.recv()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := startPipeServer(t, Limits{ReadTimeout: 10 * time.Second})
				p := l.raw(t, host)
				p.logon(LevelPrivacy)
				p.echo()
				time.Sleep(time.Minute)
				start := time.Now()
				send(p)
				if d := p.lived(start); d != 10*time.Second {
					t.Errorf("lived for %v", d)
				}
			})
		})
	}
}

// A client that does not read its response is left after WriteTimeout; one that
// reads slowly, but 64 KiB in that time, gets all of it. Nobody else waits.
func TestWriteTimeout(t *testing.T) {
	for name, read := range map[string]func(p *peer) bool{
		"not at all": func(p *peer) bool { time.Sleep(13 * time.Second); return false },
		"too slowly": func(p *peer) bool {
			for {
				time.Sleep(2 * time.Second)
				if _, err := io.CopyN(io.Discard, p.Conn, 8<<10); err != nil {
					return false
				}
			}
		},
		"slowly": func(p *peer) bool {
			p.r.src = readerFunc(func(b []byte) (int, error) {
				time.Sleep(time.Second)
				return p.Conn.Read(b[:min(len(b), 8<<10)])
			})
			return bytes.Equal(p.response(), pattern(nil, 1_000_000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, l := startPipeServer(t, Limits{WriteTimeout: 12 * time.Second})
				honest := bind(t, l.client(t, host), echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
				p := l.raw(t, host)
				p.logon(LevelPrivacy)
				p.send(p.request(opBig, binary.LittleEndian.AppendUint32(nil, 1_000_000))[0])
				synctest.Wait()
				mustEcho(t, honest, pattern(nil, 100_000))
				start := time.Now()
				if got := read(p); got != (name == "slowly") {
					t.Fatalf("the response came: %v", got)
				} else if got {
					p.r.src = p.Conn
					p.echo()
					return
				}
				if d := time.Since(start); d > 14*time.Second {
					t.Errorf("took %v", d)
				}
				if _, err := p.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("not closed: %v", err)
				}
				s.only() // the honest one
				mustEcho(t, honest, pattern(nil, 100_000))
			})
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// A call may take as long as it likes: no timeout ends it, and none is left
// behind for the next one.
func TestLongCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := Limits{HandshakeTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, IdleTimeout: time.Minute}
		s, l := startPipeServer(t, limits)
		b := bind(t, l.client(t, host), echoSyntax, fakeSecurity(AuthNTLM, LevelPrivacy))
		go func() {
			time.Sleep(24 * time.Hour)
			<-s.blocked
			close(s.release)
			<-s.ended
		}()
		stub := pattern(nil, 30_000)
		got, err := b.Call(t.Context(), Request{Opnum: opBlock, Stub: stub})
		if err != nil || !bytes.Equal(got, stub) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		time.Sleep(59 * time.Second)
		mustEcho(t, b, stub)
	})
}
