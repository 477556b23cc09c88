package dcerpc

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

// While a call is carried out, the server notices what its client does.
func TestCallInProgress(t *testing.T) {
	block := func(p *peer) [][]byte { return p.request(opBlock, []byte("a stub")) }
	for _, v := range []struct {
		name      string
		begin     func(p *peer, s *testServer) // up to when the handler waits
		then      func(p *peer)
		cancelled bool
		gone      bool // no answer is expected
	}{
		{"cancel", nil, func(p *peer) { p.send(controlPDU(ptypeCancel, p.id)) }, true, false},
		{"orphaned", nil, func(p *peer) { p.send(controlPDU(ptypeOrphaned, p.id)) }, true, false},
		{"cancel in pieces", nil, func(p *peer) {
			for _, b := range controlPDU(ptypeCancel, p.id) {
				p.send([]byte{b})
			}
		}, true, false},
		{"cancel of the call before, then of this one", nil, func(p *peer) {
			p.send(controlPDU(ptypeCancel, p.id-1), controlPDU(ptypeCancel, p.id))
		}, true, false},
		{"cancel behind the next request", nil, func(p *peer) {
			p.id++
			p.send(pdus(message{callID: p.id, opnum: opEcho, stub: pattern(nil, 2000)}, defaultFragment, nil)...)
			p.send(controlPDU(ptypeCancel, p.id-1))
			p.id--
		}, true, false},
		{"cancel that came with the request", func(p *peer, s *testServer) {
			p.send(block(p)[0], controlPDU(ptypeCancel, p.id))
			<-s.blocked
		}, func(*peer) {}, true, false},
		{"closed", nil, func(p *peer) { p.Close() }, true, true},
		{"half a pdu, then closed", nil, func(p *peer) { p.send([]byte{5, 0, 0}); p.Close() }, true, true},
		{"next request, then closed", nil, func(p *peer) { p.send(p.request(opEcho, nil)[0]); p.half() }, true, true},
		// The request ends exactly where the reader's buffer does.
		{"full buffer, then closed", func(p *peer, s *testServer) {
			first := p.request(opConnect, make([]byte, 3000))
			second := p.request(opBlock, make([]byte, readBufferMin-len(first[0])-callHeader))
			if len(first[0])+len(second[0]) != readBufferMin {
				t.Fatal("no full buffer")
			}
			p.id--
			p.send(first[0], second[0])
			p.response()
			p.id++
			<-s.blocked
		}, func(p *peer) { p.Close() }, true, true},
		{"many fragments, then closed", func(p *peer, s *testServer) {
			p.send(p.request(opBlock, make([]byte, 60_000))...)
			<-s.blocked
		}, func(p *peer) { p.Close() }, true, true},
		{"nothing", nil, func(*peer) {}, false, false},
		{"cancel of another call", nil, func(p *peer) { p.send(controlPDU(ptypeCancel, p.id+1), controlPDU(ptypeOrphaned, p.id+1)) }, false, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			s := startServer(t, Limits{})
			p := s.raw(t)
			p.bind(pres(0, echoSyntax))
			if v.begin == nil {
				p.send(block(p)...)
				<-s.blocked
			} else {
				v.begin(p, s)
			}
			v.then(p)
			if !v.cancelled {
				close(s.release)
			}
			if err := <-s.ended; errors.Is(err, context.Canceled) != v.cancelled {
				t.Fatalf("handler: %v", err)
			}
			if v.gone {
				return
			}
			if v.cancelled {
				p.fault(StatusFaultUnspecified)
			} else if got := p.response(); string(got) != "a stub" {
				t.Errorf("response %q", got)
			}
			// What was read ahead is not lost.
			if v.name == "cancel behind the next request" {
				p.id++
				if got := p.response(); !bytes.Equal(got, pattern(nil, 2000)) {
					t.Errorf("%d bytes", len(got))
				}
			}
			p.echo()
		})
	}
}

// The stub that a handler uses stays as it is, however much arrives meanwhile;
// and all of that is served afterwards, in its order.
func TestStubDuringCall(t *testing.T) {
	for _, size := range []int{10, 3000, 5800} {
		s := startServer(t, Limits{})
		p := s.raw(t)
		p.bind(pres(0, echoSyntax))
		const ahead = 20 // more than the server's buffer, and less than the kernel's
		stub := pattern(nil, size)
		sent := make(chan struct{})
		requests := [][]byte{p.request(opBlock, stub)[0]}
		for n := range ahead {
			requests = append(requests, p.request(opEcho, bytes.Repeat([]byte{byte(n)}, size))[0])
		}
		go func() {
			defer close(sent)
			p.Write(bytes.Join(requests, nil))
		}()
		call := <-s.blocked
		<-sent
		if !bytes.Equal(call.Stub, stub) {
			t.Errorf("%d bytes: the stub has changed", size)
		}
		close(s.release)
		if err := <-s.ended; err != nil {
			t.Errorf("handler: %v", err)
		}
		p.id -= ahead
		if got := p.response(); !bytes.Equal(got, stub) {
			t.Errorf("%d bytes: another response", size)
		}
		for n := range ahead {
			p.id++
			if got := p.response(); !bytes.Equal(got, bytes.Repeat([]byte{byte(n)}, size)) {
				t.Fatalf("%d bytes, request %d: another response", size, n)
			}
		}
	}
}

// Requests of all sizes that come in one piece are served in their order.
func TestPipelining(t *testing.T) {
	s := startServer(t, Limits{})
	p := s.raw(t)
	p.logon(LevelPrivacy)
	var all [][]byte
	for n := range 40 {
		all = append(all, p.request(opEcho, pattern(nil, n*400))...)
	}
	go p.Write(bytes.Join(all, nil))
	p.id -= 40
	for n := range 40 {
		p.id++
		if got := p.response(); !bytes.Equal(got, pattern(nil, n*400)) {
			t.Fatalf("request %d: %d bytes", n, len(got))
		}
	}
}

// A request that its client gave up before its last fragment is forgotten.
func TestOrphanedWithinRequest(t *testing.T) {
	s := startServer(t, Limits{})
	p := s.raw(t)
	p.bind(pres(0, echoSyntax))
	all := p.request(opEcho, make([]byte, 30_000))
	p.send(all[0], all[1], controlPDU(ptypeCancel, p.id), controlPDU(ptypeOrphaned, p.id+7), controlPDU(ptypeOrphaned, p.id))
	p.echo()
}
