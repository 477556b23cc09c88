package csra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
	"github.com/certkeep/certkeep/internal/need"
)

// mechanism is a way to log on, for tests that are to hold for each.
type mechanism struct {
	server func(*ServerOptions)
	client func(*Options)
}

// mechanisms has Kerberos where there is a KDC to be had.
func eachMechanism(t *testing.T, test func(t *testing.T, m mechanism)) {
	t.Run("NTLM", func(t *testing.T) { test(t, mechanism{func(*ServerOptions) {}, func(*Options) {}}) })
	t.Run("Kerberos", func(t *testing.T) {
		k := startRealm(t)
		test(t, mechanism{func(o *ServerOptions) { o.Keytab, o.NTLM = k.service, nil }, k.as(0)})
	})
}

func (m mechanism) serve(t *testing.T) (*served, *fake) {
	return serveFake(t, func(o *ServerOptions) { soon(o); m.server(o) })
}

// attempt takes a backup through a tap, and returns what the service saw of it
// once the client is gone.
func (m mechanism) attempt(t *testing.T, s *served, f *fake, p *tap) (calls string, err error) {
	before := len(f.calls())
	l := p.exporter(s)
	c, err := s.dialBy(t, l, m.client)
	if err == nil {
		if err = backUp(t.Context(), c); err != nil {
			c.Close()
		} else {
			err = c.Close()
		}
	} else {
		l.cut()
	}
	if gone := s.gone(l); gone != nil {
		<-gone
	}
	return strings.TrimSpace(f.calls()[before:]), err
}

// One bit is flipped on the way, in either direction: there is an error on the
// client, the server carries out no call that was changed, and no wrong data is
// taken for right. The bits of the handshake that protect nothing may not matter.
func TestFlippedBits(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m mechanism) {
		s, f := m.serve(t)
		plain := tapPort(t, s.exporter, nil)
		want, err := m.attempt(t, s, f, plain)
		if err != nil {
			t.Fatal(err)
		}
		trials := 25
		switch {
		case need.Heavy() && !racing:
			trials = 1000
		case racing:
			trials = 10
		}
		for _, d := range []direction{toServer, toClient} {
			total := 0
			for _, pdu := range plain.pdus(d) {
				total += len(pdu)
			}
			sealed := 0
			for i := range trials {
				at := i * total / trials // a byte of the whole direction
				bit := byte(1) << (i % 8)
				offset, hit, kind, length := 0, false, byte(0), false
				p := tapPort(t, s.exporter, func(dir direction, _ int, pdu []byte) ([]byte, bool) {
					if dir != d {
						return pdu, false
					}
					if i := at - offset; i >= 0 && i < len(pdu) {
						kind, hit, length = pdu[2], true, i >= 8 && i < 12
						pdu[i] ^= bit
					}
					offset += len(pdu)
					return pdu, length // after a wrong length somebody would wait for the rest
				})
				got, err := m.attempt(t, s, f, p)
				if !hit {
					continue
				}
				what := fmt.Sprintf("direction %d, byte %d of %d, pdu type %d", d, at, total, kind)
				if kind == 0 || kind == 2 {
					sealed++
					if err == nil {
						t.Errorf("%s: nobody minds", what)
					}
				}
				if err != nil && !strings.HasPrefix(want, strings.TrimSuffix(strings.TrimSuffix(got, " close"), "close")) {
					t.Errorf("%s: the service saw %s, of %s", what, got, want)
				}
			}
			if sealed < trials/2 {
				t.Errorf("direction %d: only %d of %d bits were in calls", d, sealed, trials)
			}
		}
		c, _ := s.mustDial(t, m.client)
		whole(t, c)
	})
}

// The connection breaks after any of the PDUs, in either direction: the client
// says so, and the server ends the session.
func TestBrokenAnywhere(t *testing.T) {
	m := mechanism{func(*ServerOptions) {}, func(*Options) {}}
	s, f := m.serve(t)
	for _, d := range []direction{toServer, toClient} {
		step := 1
		if racing {
			step = 5
		}
		for k := 0; ; k += step {
			broken := false
			p := tapPort(t, s.exporter, func(dir direction, n int, pdu []byte) ([]byte, bool) {
				if dir == d && n == k {
					broken = true
					return pdu, true
				}
				return pdu, false
			})
			calls, err := m.attempt(t, s, f, p)
			if !broken {
				if err != nil {
					t.Errorf("an unbroken connection: %v", err)
				}
				break
			}
			if strings.HasSuffix(calls, "end close") && d == toClient {
				continue // the backup was over; only the release was not answered
			}
			if err == nil && !strings.Contains(calls, "end") {
				t.Errorf("direction %d, after %d PDUs: no error; the service saw %s", d, k+1, calls)
			}
			if err != nil && k == 0 && strings.Contains(calls, "prepare") {
				t.Errorf("direction %d: the service saw %s", d, calls)
			}
		}
	}
	c, _ := s.mustDial(t, nil)
	whole(t, c)
}

// requestOf finds the client's request of a method; PDUs are sealed, but their
// headers are not, which say the object too.
func requestOf(t *testing.T, p *tap, op uint16) []byte {
	t.Helper()
	for _, pdu := range p.pdus(toServer) {
		if pdu[2] == 0 && uint16(pdu[22])|uint16(pdu[23])<<8 == op {
			return pdu
		}
	}
	t.Fatalf("no request of method %d", op)
	return nil
}

// A request that is sent twice on its connection is carried out once; the
// connection ends.
func TestReplayOnSameConnection(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m mechanism) {
		for _, op := range []uint16{opBackupPrepare, opBackupReadFile, opBackupTruncateLogs, opBackupEnd} {
			s, f := m.serve(t)
			p := tapPort(t, s.exporter, func(d direction, _ int, pdu []byte) ([]byte, bool) {
				if d == toServer && pdu[2] == 0 && uint16(pdu[22])|uint16(pdu[23])<<8 == op {
					pdu = append(pdu, pdu...)
				}
				return pdu, false
			})
			calls, err := m.attempt(t, s, f, p)
			if err == nil && op != opBackupEnd {
				t.Errorf("method %d, sent twice: nobody minds", op)
			}
			for name, most := range map[string]int{"prepare": 1, "truncate": 1, "end": 1, "open": 2} {
				if n := strings.Count(calls, name); n > most {
					t.Errorf("method %d, sent twice: the service saw %s", op, calls)
				}
			}
			c, _ := s.mustDial(t, m.client)
			whole(t, c)
		}
	})
}

// All that a client has sent is sent again on a new connection, handshake
// included: nobody is logged on by that, and no call is carried out.
func TestReplayOnNewConnection(t *testing.T) {
	eachMechanism(t, func(t *testing.T, m mechanism) {
		s, f := m.serve(t)
		p := tapPort(t, s.exporter, nil)
		c := s.mustDialBy(t, p.exporter(s), m.client) // its object lives on
		b := mustPrepare(t, c)
		requestOf(t, p, opBackupGetLogs)
		before, logons := f.calls(), len(s.logons)
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.exporter))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			for _, pdu := range p.pdus(toServer) {
				if _, err := conn.Write(pdu); err != nil {
					return
				}
			}
			conn.(*net.TCPConn).CloseWrite()
		}()
		for {
			pdu, err := readPDU(conn)
			if err != nil {
				break
			}
			if pdu[2] == 2 {
				t.Error("the server answers a replayed call")
			}
		}
		if l := s.lastLogon(t, logons+1); l.Err == nil {
			t.Errorf("OnLogon heard %+v", l)
		}
		if got := f.calls(); got != before {
			t.Errorf("the service saw %s, and then %s", before, got)
		}
		if err := errors.Join(b.TruncateLogs(t.Context()), b.End(t.Context())); err != nil {
			t.Errorf("the honest client: %v", err)
		}
	})
}

// Who knows the identifier of another's object, which travels in the clear, can
// do nothing with it, though logged on: not read, not truncate, not end.
func TestStolenObject(t *testing.T) {
	s, f := serveFake(t, nil)
	p := tapPort(t, s.exporter, nil)
	c := s.mustDialBy(t, p.exporter(s), nil)
	b := mustPrepare(t, c)
	file := mustOpen(t, b, t.Context())
	var ipid ndr.GUID
	copy(ipid[:], requestOf(t, p, opBackupPrepare)[24:])
	before := f.calls()

	for name, creds := range map[string]Credentials{"bob": testSecrets.as("bob"), "alice": testSecrets.as("alice")} {
		l, err := creds.login(&Options{})
		if err != nil {
			t.Fatal(err)
		}
		thief, err := dcerpc.Dial(t.Context(), fmt.Sprintf("127.0.0.1:%d", s.exporter), dcerpc.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer thief.Close()
		sec, err := l.authenticate(false)("RPCSS", "localhost")
		if err != nil {
			t.Fatal(err)
		}
		face, err := thief.Bind(t.Context(), dcerpc.Syntax{UUID: iidICertAdminD2}, sec)
		if err != nil {
			t.Fatal(err)
		}
		for op := opBackupEnd; op <= opBackupTruncateLogs; op++ {
			if name == "alice" && op != opBackupGetLogs {
				continue // it is hers, on whichever connection
			}
			e := ndr.NewEncoder(nil)
			e.Raw(orpcThisBytes)
			e.U64(0)
			_, err := face.Call(t.Context(), dcerpc.Request{Opnum: op, Object: &ipid, Stub: e.Bytes()})
			var fault *dcerpc.Fault
			if name == "bob" && (!errors.As(err, &fault) || certadm.HRESULT(fault.Status) != certadm.EAccessDenied) {
				t.Errorf("method %d by %s: %v", op, name, err)
			}
			if name == "alice" && err != nil {
				t.Errorf("method %d by %s: %v", op, name, err)
			}
		}
	}
	if got := f.calls(); got != before+" logs" {
		t.Errorf("the service saw %s, and then %s", before, got)
	}
	if _, err := io.Copy(io.Discard, file); err != nil {
		t.Errorf("the honest client: %v", err)
	}
	if err := errors.Join(file.Close(), b.TruncateLogs(t.Context()), b.End(t.Context())); err != nil {
		t.Errorf("the honest client: %v", err)
	}
}

// stall is a connection that stops reading when something large comes.
type stall struct {
	net.Conn
	got    int
	resume chan struct{}
	full   chan struct{}
}

func (s *stall) Read(b []byte) (int, error) {
	if s.got > 64<<10 {
		select {
		case <-s.full:
		default:
			close(s.full)
		}
		<-s.resume
	}
	n, err := s.Conn.Read(b)
	s.got += n
	return n, err
}

// A client that asks for much and takes nothing holds up nobody but itself.
func TestSlowReader(t *testing.T) {
	s := serveTCP(t, ServerOptions{NTLM: testSecrets.server(), Limits: Limits{Grace: 1},
		Open: func(_ context.Context, c Caller) (certadm.Service, error) {
			if c.User == "bob" {
				return newLarge(64 << 20), nil
			}
			return newFake(), nil
		}})
	full, resume := make(chan struct{}), make(chan struct{})
	l := &lifeline{slow: func(c net.Conn) net.Conn { return &stall{Conn: c, resume: resume, full: full} }}
	slow := s.mustDialBy(t, l, func(o *Options) { o.Credentials = testSecrets.as("bob") })
	slow.patience = 1
	b, err := slow.BackupPrepare(t.Context(), certadm.BackupFull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.DatabaseNames(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := b.OpenFile(t.Context(), fakeDB, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, f); done <- err }()
	<-full
	for range 3 {
		honest, _ := s.mustDial(t, nil)
		whole(t, honest)
		if err := honest.Close(); err != nil {
			t.Error(err)
		}
	}
	l.cut()
	close(resume)
	if err := <-done; err == nil {
		t.Error("the slow client has it all")
	}
	<-s.gone(l)
}
