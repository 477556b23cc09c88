package dcerpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
)

// hostileServers are what a server can do wrong: script speaks its side. The
// client binds, with security unless plain is set, and calls once. Its error
// must be of the class want, when it binds or when it calls.
var hostileServers = []struct {
	name   string
	plain  bool
	script func(p *peer)
	want   string
	call   bool
}{
	{"closes at once", true, func(p *peer) {}, "closed", false},
	{"closes after half an answer", true, func(p *peer) { b := p.ackFor(); p.send(b[:len(b)-1]) }, "closed", false},
	{"another protocol", true, func(p *peer) { p.recv(); p.send([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }, "protocol", false},
	{"big-endian", true, func(p *peer) { p.send(patch(p.ackFor(), 4, 0)) }, "protocol", false},
	{"frag_length too small", true, func(p *peer) { b := p.ackFor(); p.send(lengths(b, len(b)-1, 0)) }, "protocol", false},
	{"frag_length too large", true, func(p *peer) { b := p.ackFor(); p.send(lengths(b, len(b)+1, 0)) }, "closed", false},
	{"auth_length of the whole pdu", true, func(p *peer) { b := p.ackFor(); p.send(lengths(b, len(b), len(b))) }, "protocol", false},
	{"answer to another call", true, func(p *peer) { p.send(patch(p.ackFor(), 12, 99)) }, "protocol", false},
	{"response to a bind", true, func(p *peer) { p.send(patch(p.ackFor(), 2, ptypeResponse)) }, "protocol", false},
	{"alter_context_resp to a bind", true, func(p *peer) { p.send(patch(p.ackFor(), 2, ptypeAlterResp)) }, "protocol", false},
	{"bind_nak", true, func(p *peer) { h, _ := p.recv(); p.send(appendNak(nil, h.callID, NakCongestion)) }, "nak", false},
	{"bind_nak without a reason", true, func(p *peer) {
		h, _ := p.recv()
		p.send(controlPDU(ptypeBindNak, h.callID))
	}, "protocol", false},
	{"fault to a bind", true, func(p *peer) { h, _ := p.recv(); p.send(appendFault(nil, h.callID, 0, 5, 0)) }, "fault", false},
	{"fault without a status to a bind", true, func(p *peer) {
		h, _ := p.recv()
		p.send(lengths(appendFault(nil, h.callID, 0, 5, 0)[:26], 26, 0))
	}, "protocol", false},
	{"fault without anything to a bind", true, func(p *peer) { h, _ := p.recv(); p.send(controlPDU(ptypeFault, h.callID)) }, "protocol", false},
	{"bind_ack in fragments", true, func(p *peer) { p.send(flags(p.ackFor(), flagFirst)) }, "protocol", false},
	{"no result", true, func(p *peer) { p.send(p.ackWith(func(a *ackPDU) { a.results = nil })) }, "protocol", false},
	{"two results for one context", true, func(p *peer) { p.send(p.ackWith(func(a *ackPDU) { a.results = append(a.results, a.results...) })) }, "protocol", false},
	{"one result for two contexts", false, func(p *peer) { p.send(p.ackWith(func(a *ackPDU) { a.results = a.results[:1] })) }, "protocol", false},
	{"ndr64 accepted", true, func(p *peer) { p.send(p.ackWith(func(a *ackPDU) { a.results[0].transfer = ndr64 })) }, "protocol", false},
	{"nothing accepted, as if it were something", true, func(p *peer) { p.send(p.ackWith(func(a *ackPDU) { a.results[0].transfer = Syntax{} })) }, "protocol", false},
	{"interface refused", true, func(p *peer) { p.send(p.ackWith(func(a *ackPDU) { a.results[0] = presResult{result: 1, reason: 77} })) }, "reject", false},
	{"features where an interface was asked for", true, func(p *peer) { p.send(p.ackWith(func(a *ackPDU) { a.results[0].result = resultNegotiate })) }, "reject", false},
	{"sends tiny fragments", true, func(p *peer) { p.send(p.ackWith(func(a *ackPDU) { a.maxXmit = minFragment - 1 })) }, "protocol", false},
	{"wants tiny fragments", true, func(p *peer) { p.send(p.ackWith(func(a *ackPDU) { a.maxRecv = 0 })) }, "protocol", false},
	{"bind_ack of nothing", true, func(p *peer) { h, _ := p.recv(); p.send(controlPDU(ptypeBindAck, h.callID)) }, "protocol", false},
	{"two shutdowns", true, func(p *peer) {
		p.recv()
		p.send(controlPDU(ptypeShutdown, 0), controlPDU(ptypeShutdown, 0))
	}, "protocol", false},
	{"authenticates one who did not ask", true, func(p *peer) {
		p.send(withToken(p.ackFor(), &security{id: 1, typ: AuthNTLM, level: LevelPrivacy}, []byte("token")))
	}, "protocol", false},
	{"does not authenticate", false, func(p *peer) { p.send(p.ackFor()) }, "protocol", false},
	{"authenticates another context", false, func(p *peer) { p.acceptWith(func(s *security) { s.id++ }) }, "protocol", false},
	{"authenticates at another level", false, func(p *peer) { p.acceptWith(func(s *security) { s.level = LevelConnect }) }, "protocol", false},
	{"authenticates with another mechanism", false, func(p *peer) { p.acceptWith(func(s *security) { s.typ = AuthNTLM }) }, "protocol", false},
	{"more padding than answer", false, func(p *peer) {
		b := p.ackFor()
		p.send(patch(withToken(b, p.sec, []byte("token")), len(b)+2, 255))
	}, "protocol", false},

	{"works", false, func(p *peer) { p.acceptWith(nil); p.send(p.reply("good")...) }, "none", true},
	{"works without security", true, func(p *peer) { p.send(p.ackFor()); p.send(p.reply("good")...) }, "none", true},
	{"one shutdown", false, func(p *peer) { p.acceptWith(nil); p.send(controlPDU(ptypeShutdown, 0)); p.send(p.reply("good")...) }, "none", true},
	{"shutdowns in every answer", false, func(p *peer) {
		p.send(controlPDU(ptypeShutdown, 0))
		p.acceptWith(nil)
		p.send(controlPDU(ptypeShutdown, 0))
	}, "protocol", true},
	{"closes instead of an answer", false, func(p *peer) { p.acceptWith(nil); p.recv() }, "closed", true},
	{"closes within the response", false, func(p *peer) { p.acceptWith(nil); p.send(p.reply(long)[0]) }, "closed", true},
	{"closes within a fragment", false, func(p *peer) { p.acceptWith(nil); b := p.reply(long)[0]; p.send(b[:len(b)-1]) }, "closed", true},
	{"response to another call", false, func(p *peer) { p.acceptWith(nil); p.id++; p.send(p.reply("x")...) }, "protocol", true},
	{"request in answer", false, func(p *peer) { p.acceptWith(nil); p.send(patch(p.reply("x")[0], 2, ptypeRequest)) }, "protocol", true},
	{"bind_ack in answer", false, func(p *peer) { p.acceptWith(nil); p.send(patch(p.reply("x")[0], 2, ptypeBindAck)) }, "protocol", true},
	{"response that is not protected", false, func(p *peer) { p.acceptWith(nil); p.sec = nil; p.send(p.reply("x")...) }, "protocol", true},
	{"protected response without security", true, func(p *peer) {
		p.send(p.ackFor())
		p.sec = &security{id: 1, typ: AuthNTLM, level: LevelPrivacy, ctx: acceptFake(1)}
		p.send(p.reply("x")...)
	}, "protocol", true},
	{"response of another security context", false, func(p *peer) { p.acceptWith(nil); p.sec.id++; p.send(p.reply("x")...) }, "protocol", true},
	{"response at a lower level", false, func(p *peer) { p.acceptWith(nil); p.sec.level = LevelIntegrity; p.send(p.reply("x")...) }, "protocol", true},
	{"response of another presentation context", false, func(p *peer) { p.acceptWith(nil); p.presContext = 1; p.send(p.reply("x")...) }, "protocol", true},
	{"the same without security", true, func(p *peer) { p.send(p.ackFor()); p.presContext = 1; p.send(p.reply("x")...) }, "protocol", true},
	{"changed response", false, func(p *peer) { p.acceptWith(nil); p.send(patch(p.reply("x")[0], 24, 0)) }, "protocol", true},
	{"changed header", false, func(p *peer) { p.acceptWith(nil); p.send(patch(p.reply("x")[0], 22, 1)) }, "protocol", true},
	{"request sent back", false, func(p *peer) {
		p.acceptWith(nil)
		_, pdu := p.recv()
		p.send(patch(pdu, 2, ptypeResponse))
	}, "protocol", true},
	{"fragments swapped", false, func(p *peer) {
		p.acceptWith(nil)
		all := p.reply(long + long)
		p.send(all[0], flags(all[2], 0), all[1])
	}, "protocol", true},
	{"fragment twice", false, func(p *peer) { p.acceptWith(nil); all := p.reply(long); p.send(all[0], flags(all[0], 0)) }, "protocol", true},
	{"response that does not begin", true, func(p *peer) { p.send(p.ackFor()); p.send(flags(p.reply("x")[0], flagLast)) }, "protocol", true},
	{"response that begins twice", true, func(p *peer) { p.send(p.ackFor()); b := p.reply(long); p.send(b[0], b[0]) }, "protocol", true},
	{"empty fragment within a response", true, func(p *peer) { p.send(p.ackFor()); p.send(flags(p.reply("")[0], flagFirst)) }, "protocol", true},
	{"fragment larger than agreed on", true, func(p *peer) { p.send(p.ackFor()); p.frag = 2 * defaultFragment; p.send(p.reply(long)...) }, "protocol", true},
	{"response cut short", true, func(p *peer) { p.send(p.ackFor()); p.send(lengths(p.reply("")[0][:20], 20, 0)) }, "protocol", true},
	{"verifier over the header", false, func(p *peer) {
		p.acceptWith(nil)
		b := p.reply("x")[0]
		p.send(lengths(b, len(b), len(b)-headerSize-trailerSize))
	}, "protocol", true},
	{"more padding than response", false, func(p *peer) { p.acceptWith(nil); b := p.reply("x")[0]; p.send(patch(b, len(b)-28-trailerSize+2, 255)) }, "protocol", true},
	{"response without an end", true, func(p *peer) { p.send(p.ackFor()); p.endlessly(flags(p.reply(long)[0], 0)) }, "protocol", true},
	{"fault", false, func(p *peer) { p.acceptWith(nil); p.recv(); p.send(appendFault(nil, 3, 0, StatusTooBusy, 0)) }, "fault", true},
	{"fault within the response", false, func(p *peer) {
		p.acceptWith(nil)
		p.send(p.reply(long)[0], appendFault(nil, 3, 0, StatusTooBusy, 0))
	}, "fault", true},
	{"fault without a status", false, func(p *peer) {
		p.acceptWith(nil)
		p.recv()
		p.send(lengths(appendFault(nil, 3, 0, 5, 0)[:27], 27, 0))
	}, "protocol", true},
	{"fault of another call", false, func(p *peer) { p.acceptWith(nil); p.recv(); p.send(appendFault(nil, 2, 0, StatusTooBusy, 0)) }, "protocol", true},
	{"protected fault, changed", false, func(p *peer) { p.acceptWith(nil); b := p.reply("\x05\x00\x00\x00")[0]; p.send(patch(b, 2, ptypeFault)) }, "protocol", true},
}

var long = string(pattern(nil, 6000))

// scripted dials a server that speaks as script has it, once.
func scripted(t *testing.T, script func(*peer), o ClientOptions) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		p := newPeer(t, nc)
		script(p)
		// What the client sent in the meantime must not turn into a reset.
		nc.(*net.TCPConn).CloseWrite()
		for {
			if _, _, err := p.r.next(); err != nil {
				nc.Close()
				return
			}
		}
	}()
	c, err := Dial(t.Context(), l.Addr().String(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); <-done; l.Close() })
	return c
}

func TestHostileServers(t *testing.T) {
	for _, v := range hostileServers {
		t.Run(v.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			c := scripted(t, v.script, ClientOptions{MaxResponse: 20_000})
			var sec *Security
			if !v.plain {
				sec = fakeSecurity(AuthKerberos, LevelPrivacy)
			}
			b, err := c.Bind(ctx, echoSyntax, sec)
			var stub []byte
			if v.call && err == nil {
				stub, err = b.Call(ctx, Request{Opnum: 7, Stub: []byte("a stub")})
			} else if v.call {
				t.Fatalf("bind: %v", err)
			}
			if got := errorClass(err); got != v.want {
				t.Fatalf("error of class %q, want %q: %v", got, v.want, err)
			}
			if v.want == "none" {
				if string(stub) != "good" {
					t.Errorf("response %q", stub)
				}
				return
			}
			if stub != nil {
				t.Errorf("a response of %d bytes came with the error", len(stub))
			}
			if v.call && v.want == "fault" || v.want == "reject" {
				return // which the connection survives
			}
			if _, err := c.Bind(ctx, otherSyntax, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// ackFor receives a bind and makes a good answer to it.
func (p *peer) ackFor() []byte { return p.ackWith(nil) }

func (p *peer) ackWith(change func(*ackPDU)) []byte {
	h, pdu := p.recv()
	body, v, err := splitVerifier(h, pdu, headerSize)
	if err != nil {
		p.t.Error(err)
	}
	b, err := parseBind(body)
	if err != nil || h.ptype != ptypeBind {
		p.t.Errorf("pdu type %d, %v", h.ptype, err)
	}
	p.id, p.frag = h.callID, defaultFragment
	p.sec = &security{id: v.id, typ: v.typ, level: v.level, ctx: acceptFake(2), signHeader: h.flags&flagHeaderSign != 0}
	p.token = v.token
	a := ackPDU{maxXmit: defaultFragment, maxRecv: defaultFragment, group: 1, port: 135}
	for n := range b.contexts {
		r := presResult{result: resultAccept, transfer: NDR}
		if n > 0 {
			r = presResult{result: resultNegotiate, reason: featureMultiplexing}
		}
		a.results = append(a.results, r)
	}
	if change != nil {
		change(&a)
	}
	b2 := a.append(appendHeader(nil, ptypeBindAck, flagWhole, h.callID))
	putLengths(b2, len(b2), 0)
	if h.authLen == 0 {
		p.sec = nil
	}
	return b2
}

// acceptWith receives a bind and answers it with a token, whose verifier can be
// changed.
func (p *peer) acceptWith(change func(*security)) {
	b := p.ackFor()
	token, _, err := p.sec.ctx.Step(context.Background(), p.token)
	if err != nil {
		p.t.Error(err)
	}
	said := *p.sec
	if change != nil {
		change(&said)
	}
	p.send(withToken(b, &said, token))
}

// reply receives a request and makes the fragments of a response to it.
func (p *peer) reply(stub string) [][]byte {
	for {
		h, pdu := p.recv()
		body, v, err := splitVerifier(h, pdu, callHeader)
		if err == nil && p.sec != nil && h.authLen != 0 && p.sec.matches(v) {
			body, err = p.sec.unwrap(pdu[:callHeader], body, v)
			if err == nil && !bytes.Equal(body, []byte("a stub")) {
				p.t.Errorf("request %q", body)
			}
		}
		if err != nil || h.ptype != ptypeRequest || binary.LittleEndian.Uint16(pdu[22:]) != 7 {
			p.t.Errorf("pdu type %d, %v", h.ptype, err)
		}
		if h.flags&flagLast != 0 {
			p.id++
			return pdus(message{ptype: ptypeResponse, callID: p.id, contextID: p.presContext, stub: []byte(stub)}, p.frag, p.sec)
		}
	}
}

// endlessly sends a fragment that begins a response, and then more and more of
// it until the client has enough.
func (p *peer) endlessly(pdu []byte) {
	p.send(flags(pdu, flagFirst))
	for {
		if _, err := p.Write(pdu); err != nil {
			return
		}
	}
}

// A server that goes on and on authenticating, or sends a token to one who is
// done, is left.
func TestServerAuthenticatesForever(t *testing.T) {
	c := scripted(t, func(p *peer) {
		p.send(withToken(p.ackFor(), p.sec, []byte("\x02nonce")))
		for n := byte(4); ; n += 2 {
			h, pdu := p.recv()
			if h.ptype != ptypeAlter {
				p.t.Errorf("pdu type %d", h.ptype)
				return
			}
			body, _, _ := splitVerifier(h, pdu, headerSize)
			if b, err := parseBind(body); err != nil || len(b.contexts) != 1 {
				p.t.Errorf("alter_context with %d contexts, %v", len(b.contexts), err)
			}
			p.send(p.alterResp(h, []byte{n, 'x'}))
			if n == 2*maxLegs { // as many as the client sends
				return
			}
		}
	}, ClientOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.Bind(ctx, echoSyntax, &Security{Type: AuthSPNEGO, Level: LevelPrivacy, Context: newFake(1000)}); !errors.Is(err, ErrProtocol) {
		t.Errorf("endless handshake: %v", err)
	}
	c = scripted(t, func(p *peer) { p.send(withToken(p.ackFor(), p.sec, []byte("\x02more"))) }, ClientOptions{})
	if _, err := c.Bind(ctx, echoSyntax, &Security{Type: AuthKerberos, Level: LevelPrivacy, Context: newFake(1)}); !errors.Is(err, ErrProtocol) {
		t.Errorf("token after the last: %v", err)
	}
}

func (p *peer) alterResp(h header, token []byte) []byte {
	a := ackPDU{maxXmit: defaultFragment, maxRecv: defaultFragment, group: 1, results: []presResult{{transfer: NDR}}}
	return withToken(a.append(appendHeader(nil, ptypeAlterResp, flagWhole, h.callID)), p.sec, token)
}

// A server that neither answers nor reads is left as soon as the context ends.
func TestServerHangs(t *testing.T) {
	for _, v := range []struct {
		name   string
		script func(*peer)
		bound  bool
		stub   int
	}{
		{"no answer to a bind", func(p *peer) { p.recv() }, false, 0},
		{"no answer to a call", func(p *peer) { p.send(p.ackFor()); p.recv() }, true, 0},
		{"half an answer", func(p *peer) { p.send(p.ackFor()); p.send(p.reply(long)[0]) }, true, 0},
		{"request is not read", func(p *peer) { p.send(p.ackFor()); p.recv() }, true, 64 << 20},
	} {
		t.Run(v.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			why := errors.New("enough")
			gone := make(chan struct{})
			defer close(gone)
			// Each script ends in the middle of what the client waits for.
			c := scripted(t, func(p *peer) { v.script(p); cancel(why); <-gone }, ClientOptions{})
			b, err := c.Bind(ctx, echoSyntax, nil)
			if v.bound {
				if err != nil {
					t.Fatal(err)
				}
				_, err = b.Call(ctx, Request{Opnum: 7, Stub: make([]byte, v.stub)})
			}
			if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
				t.Errorf("%v", err)
			}
		})
	}
}
