package dcerpc

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
)

// patch returns a PDU with a byte changed.
func patch(pdu []byte, at int, b byte) []byte {
	pdu = bytes.Clone(pdu)
	pdu[at] = b
	return pdu
}

// lengths returns a PDU that says other lengths.
func lengths(pdu []byte, frag, auth int) []byte {
	pdu = bytes.Clone(pdu)
	putLengths(pdu, frag, auth)
	return pdu
}

// flags returns a PDU with other flags.
func flags(pdu []byte, f uint8) []byte { return patch(pdu, 3, f) }

// hostileClients are what a client can do wrong, from what it sends to how it
// is told. Those that need a logon begin with one.
var hostileClients = []struct {
	name  string
	level Level // logon; 0 is none
	run   func(p *peer)
}{
	{"another protocol", 0, func(p *peer) {
		p.send([]byte("GET / HTTP/1.1\r\nHost: ca1\r\n\r\n"))
		p.nak(NakProtocolVersion)
		p.closed()
	}},
	{"version 4 names its call", 0, func(p *peer) {
		p.send(patch(bindTo(ptypeBind, 77, pres(0, echoSyntax)), 0, 4))
		h, pdu := p.recv()
		if reason, err := parseNak(pdu[headerSize:]); h.ptype != ptypeBindNak || h.callID != 77 || reason != NakProtocolVersion || err != nil {
			p.t.Errorf("%+v, reason %d, %v", h, reason, err)
		}
		p.closed()
	}},
	{"big-endian", 0, func(p *peer) { p.send(patch(bindTo(ptypeBind, 1), 4, 0)); p.closed() }},
	{"nothing but half a header", 0, func(p *peer) { p.send([]byte{5, 0, 11}); p.half(); p.closed() }},
	{"bind cut short", 0, func(p *peer) {
		b := bindTo(ptypeBind, 1, pres(0, echoSyntax))
		p.send(b[:len(b)-1])
		p.half()
		p.closed()
	}},
	{"frag_length smaller than a header", 0, func(p *peer) { p.send(lengths(bindTo(ptypeBind, 1), 15, 0)); p.closed() }},
	{"frag_length that cuts the contexts off", 0, func(p *peer) {
		p.send(lengths(bindTo(ptypeBind, 1, pres(0, echoSyntax)), 40, 0))
		p.nak(NakUnspecified)
		p.closed()
	}},
	{"auth_length of everything", 0, func(p *peer) {
		b := bindTo(ptypeBind, 1, pres(0, echoSyntax))
		p.send(lengths(b, len(b), len(b)))
		p.closed()
	}},
	{"auth_length that makes the body a verifier", 0, func(p *peer) {
		b := bindTo(ptypeBind, 1, pres(0, echoSyntax))
		p.send(lengths(b, len(b), len(b)-headerSize-trailerSize))
		p.nak(NakUnspecified)
		p.closed()
	}},
	{"auth_pad_length of more than the body", 0, func(p *peer) {
		sec := &security{id: 1, typ: AuthNTLM, level: LevelPrivacy}
		b := bindTo(ptypeBind, 1, pres(0, echoSyntax))
		p.send(patch(withToken(b, sec, []byte("token")), len(b)+2, 255))
		p.nak(NakUnspecified)
		p.closed()
	}},
	{"bind that offers tiny fragments", 0, func(p *peer) {
		b := bindTo(ptypeBind, 1, pres(0, echoSyntax))
		binary.LittleEndian.PutUint16(b[18:], minFragment-1)
		p.send(b)
		p.nak(NakUnspecified)
		p.closed()
	}},
	{"bind in fragments", 0, func(p *peer) { p.send(flags(bindTo(ptypeBind, 1), flagFirst)); p.nak(NakUnspecified); p.closed() }},
	{"request before a bind", 0, func(p *peer) { p.send(p.request(opEcho, nil)...); p.refused(StatusProtocol) }},
	{"alter_context before a bind", 0, func(p *peer) { p.send(bindTo(ptypeAlter, 1, pres(0, echoSyntax))); p.refused(StatusProtocol) }},
	{"auth3 before a bind", 0, func(p *peer) {
		p.send(auth3PDU(1, &security{id: 1, typ: AuthNTLM, level: LevelPrivacy}, []byte("token")))
		p.refused(StatusProtocol)
	}},
	{"second bind", 0, func(p *peer) {
		p.bind(pres(0, echoSyntax))
		p.send(bindTo(ptypeBind, 2, pres(0, echoSyntax)))
		p.refused(StatusProtocol)
	}},
	{"pdu of a server", 0, func(p *peer) { p.send(appendFault(nil, 1, 0, 5, 0)); p.refused(StatusProtocol) }},
	{"unknown pdu", 0, func(p *peer) {
		b := appendHeader(nil, 99, flagWhole, 1)
		putLengths(b, 16, 0)
		p.send(b)
		p.refused(StatusProtocol)
	}},
	{"context that was not bound", 0, func(p *peer) {
		p.bind(pres(0, echoSyntax), pres(1, noSyntax))
		for _, id := range []uint16{1, 2, 65535} {
			p.send(pdus(message{callID: 2, contextID: id}, defaultFragment, nil)...)
			p.fault(StatusInvalidContext) // which the connection survives
		}
		p.id = 3
		p.echo()
	}},
	{"request's header cut short", 0, func(p *peer) {
		p.bind(pres(0, echoSyntax))
		b := appendHeader(nil, ptypeRequest, flagWhole|flagObject, 2)
		b = append(b, make([]byte, 20)...)
		putLengths(b, len(b), 0)
		p.send(b)
		p.refused(StatusProtocol)
	}},
	{"fragment larger than agreed on", 0, func(p *peer) {
		p.bind(pres(0, echoSyntax))
		p.send(pdus(message{callID: 2, stub: make([]byte, 2*defaultFragment)}, 2*defaultFragment, nil)...)
		p.refused(StatusProtocol)
	}},
	{"request that does not begin", 0, func(p *peer) {
		p.bind(pres(0, echoSyntax))
		p.send(flags(p.request(opEcho, nil)[0], flagLast))
		p.refused(StatusProtocol)
	}},
	{"request that begins twice", 0, func(p *peer) {
		p.bind(pres(0, echoSyntax))
		all := p.request(opEcho, make([]byte, 9000))
		p.send(all[0], all[0])
		p.refused(StatusProtocol)
	}},
	{"empty fragment within a request", 0, func(p *peer) {
		p.bind(pres(0, echoSyntax))
		p.send(flags(p.request(opEcho, nil)[0], flagFirst))
		p.refused(StatusProtocol)
	}},
	{"fragment of another call", 0, func(p *peer) { p.fragments(12, 3) }},
	{"fragment for another context", 0, func(p *peer) { p.fragments(20, 1) }},
	{"fragment of another operation", 0, func(p *peer) { p.fragments(22, 1) }},
	{"fragment for an object", 0, func(p *peer) { p.fragments(3, flagLast|flagObject) }},
	{"bind within a request", 0, func(p *peer) {
		p.bind(pres(0, echoSyntax))
		p.send(p.request(opEcho, make([]byte, 9000))[0], bindTo(ptypeAlter, 3, pres(0, echoSyntax)))
		p.refused(StatusProtocol)
	}},
	{"large request, unprotected", 0, func(p *peer) { p.bind(pres(0, echoSyntax)); p.tooLarge(20_000) }},
	{"large request, at level connect", LevelConnect, func(p *peer) { p.tooLarge(20_000) }},
	{"large request, protected", LevelPrivacy, func(p *peer) { p.echo(); p.tooLarge(50_000) }},
	{"orphaned request goes on", LevelPrivacy, func(p *peer) {
		all := p.request(opEcho, make([]byte, 9000))
		p.send(all[0], controlPDU(ptypeOrphaned, p.id), all[1])
		p.refused(StatusProtocol)
	}},

	{"request that is not signed", LevelPrivacy, func(p *peer) {
		p.echo()
		sec := p.sec
		p.sec = nil
		p.id++
		p.send(pdus(message{callID: p.id, contextID: 1, opnum: opEcho}, defaultFragment, nil)...)
		p.fault(StatusAccessDenied) // the interface wants more
		p.sec = sec
		p.echo()
	}},
	{"changed stub", LevelPrivacy, func(p *peer) { p.changed(30) }},
	{"changed stub that is only signed", LevelIntegrity, func(p *peer) { p.changed(30) }},
	{"changed opnum", LevelPrivacy, func(p *peer) { p.changed(22) }},
	{"changed alloc_hint", LevelPrivacy, func(p *peer) { p.changed(16) }},
	{"changed call", LevelPrivacy, func(p *peer) { p.changed(12) }},
	{"changed padding", LevelIntegrity, func(p *peer) { p.changed(-16 - trailerSize - 1) }},
	{"changed auth_pad_length", LevelIntegrity, func(p *peer) { p.changed(-16 - trailerSize + 2) }},
	{"changed token", LevelPrivacy, func(p *peer) { p.changed(-1) }},
	{"token cut short", LevelIntegrity, func(p *peer) {
		b := p.request(opEcho, []byte("x"))[0]
		p.send(lengths(b[:len(b)-1], len(b)-1, 15))
		p.refused(StatusSecPkg)
	}},
	{"replayed request", LevelPrivacy, func(p *peer) {
		b := p.request(opEcho, []byte("once"))
		p.send(b...)
		p.response()
		p.send(b...)
		p.refused(StatusSecPkg)
	}},
	{"swapped requests", LevelPrivacy, func(p *peer) {
		first, second := p.request(opEcho, []byte("a")), p.request(opEcho, []byte("b"))
		p.send(second[0], first[0])
		p.refused(StatusSecPkg)
	}},
	{"fragment left out", LevelPrivacy, func(p *peer) {
		all := p.request(opEcho, make([]byte, 15_000))
		p.send(all[0], all[2])
		p.refused(StatusSecPkg)
	}},
	{"own response sent back", LevelPrivacy, func(p *peer) {
		p.send(p.request(opEcho, []byte("mirror"))...)
		_, pdu := p.recv()
		p.send(patch(pdu, 2, ptypeRequest))
		p.refused(StatusSecPkg)
	}},
	{"request of padding alone, that goes on", LevelPrivacy, func(p *peer) {
		b := appendHeader(nil, ptypeRequest, flagFirst, 9)
		b = append(b, make([]byte, 8+16)...)
		b = appendTrailer(b, p.sec, 16)
		b = append(b, make([]byte, 28)...)
		putLengths(b, len(b), 28)
		n := callHeader + 16
		if err := p.sec.ctx.Wrap(b[n+8:], gss.Message{Header: b[:callHeader], Body: b[callHeader:n], Trailer: b[n : n+8], SignHeader: true}, true); err != nil {
			p.t.Fatal(err)
		}
		p.send(b)
		p.refused(StatusProtocol)
	}},
	{"security context that was never made", LevelPrivacy, func(p *peer) { p.otherSecurity(func(s *security) { s.id = 8 }) }},
	{"security context at another level", LevelPrivacy, func(p *peer) { p.otherSecurity(func(s *security) { s.level = LevelConnect }) }},
	{"security context of another type", LevelPrivacy, func(p *peer) { p.otherSecurity(func(s *security) { s.typ = AuthKerberos }) }},
	{"request of two security contexts", LevelPrivacy, func(p *peer) {
		all := p.request(opEcho, make([]byte, 9000))
		other := p.handshake(ptypeAlter, 8, LevelPrivacy, pres(0, echoSyntax))
		p.id -= 2 // the same call
		p.sec = other
		p.send(all[0], p.request(opEcho, make([]byte, 9000))[1])
		p.refused(StatusProtocol)
	}},
	{"security context whose handshake goes on", 0, func(p *peer) {
		p.sec = p.begin(AuthNTLM)
		p.send(p.request(opEcho, nil)...)
		p.refused(StatusAccessDenied)
	}},
	{"security context made again", LevelPrivacy, func(p *peer) {
		p.echo()
		token, _, _ := newFake(3).Step(p.t.Context(), nil)
		p.send(withToken(bindTo(ptypeAlter, 9, pres(0, echoSyntax)), p.sec, token))
		p.refused(StatusAccessDenied)
	}},
	{"auth3 of a context that is made", LevelPrivacy, func(p *peer) { p.echo(); p.send(auth3PDU(9, p.sec, []byte("token"))); p.refused(StatusProtocol) }},
	{"auth3 of another context", 0, func(p *peer) {
		sec := *p.begin(AuthNTLM)
		sec.id++
		p.send(auth3PDU(1, &sec, []byte("token")))
		p.refused(StatusProtocol)
	}},
	{"auth3 of the context at another level", 0, func(p *peer) {
		sec := *p.begin(AuthNTLM)
		sec.level = LevelConnect
		p.send(auth3PDU(1, &sec, []byte("\x03anna\x00secret")))
		p.refused(StatusAccessDenied)
	}},
	{"auth3 without a token", 0, func(p *peer) { sec := p.begin(AuthNTLM); p.send(auth3PDU(1, sec, nil)); p.refused(StatusProtocol) }},
	{"auth3 where an answer is due", 0, func(p *peer) {
		p.sec = p.begin(AuthSPNEGO)
		p.send(auth3PDU(1, p.sec, []byte("\x03anna\x00secret"))) // the fourth message would be the server's
		p.send(p.request(opEcho, nil)...)
		p.refused(StatusAccessDenied)
	}},
	{"auth3 with wrong credentials", 0, func(p *peer) {
		p.sec = p.begin(AuthNTLM)
		p.send(auth3PDU(1, p.sec, []byte("\x03anna\x00guess")), auth3PDU(1, p.sec, []byte("\x03anna\x00secret")))
		p.refused(StatusProtocol) // there is no second try
	}},
	{"request without a verifier after wrong credentials", 0, func(p *peer) {
		sec := p.begin(AuthNTLM)
		p.send(auth3PDU(1, sec, []byte("\x03anna\x00guess")))
		p.send(p.request(opEcho, nil)...)
		p.refused(StatusAccessDenied)
	}},
	{"endless handshake", 0, func(p *peer) {
		p.endless(func(sec *security, token []byte) []byte {
			return withToken(bindTo(ptypeAlter, 1, pres(0, echoSyntax)), sec, token)
		}, StatusAccessDenied)
	}},
	{"endless handshake that ends with auth3", 0, func(p *peer) {
		p.endless(func(sec *security, token []byte) []byte {
			return auth3PDU(1, sec, token)
		}, StatusAccessDenied)
	}},
	{"too many security contexts", LevelPrivacy, func(p *peer) {
		for id := uint32(8); id < 7+4; id++ {
			p.handshake(ptypeAlter, id, LevelPrivacy, pres(0, echoSyntax))
		}
		p.echo()
		p.send(withToken(bindTo(ptypeAlter, 99, pres(0, echoSyntax)), &security{id: 99, typ: AuthNTLM, level: LevelPrivacy}, []byte("\x01")))
		p.refused(StatusTooBusy)
	}},
	{"authentication at level none", 0, func(p *peer) {
		p.send(withToken(bindTo(ptypeBind, 1, pres(0, echoSyntax)), &security{id: 1, typ: AuthNTLM, level: LevelNone}, []byte("\x01anna")))
		p.nak(NakAuthType)
		p.closed()
	}},
}

// TestHostileClients lets each of them do its worst, while an honest client
// with the same server notices nothing.
func TestHostileClients(t *testing.T) {
	limits := Limits{UnauthenticatedBytes: 16_000, RequestBytes: 40_000, SecurityContexts: 4}
	s := startServer(t, limits, func(c *ServerConfig) {
		accept := c.Accept
		c.Accept = func(typ AuthType, conn *Conn) (gss.Context, error) {
			if typ == AuthType(200) {
				return acceptFake(1000), nil
			}
			return accept(typ, conn)
		}
		c.Limits.Logons = TokenBucket{Rate: 1, Burst: 1000}
		c.Limits.AllLogons = c.Limits.Logons
	})
	echo := s.honest(t)
	for _, v := range hostileClients {
		t.Run(v.name, func(t *testing.T) {
			p := s.raw(t)
			if v.level != 0 {
				// The second context is of an interface that wants privacy.
				p.sec = p.handshake(ptypeBind, 7, v.level, pres(0, echoSyntax), pres(1, secureSyntax))
			}
			v.run(p)
			mustEcho(t, bind(t, s.connect(t, ClientOptions{}), secureSyntax, fakeSecurity(AuthNTLM, LevelPrivacy)), pattern(nil, 1000))
		})
		echo()
	}
}
