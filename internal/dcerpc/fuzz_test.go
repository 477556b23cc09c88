package dcerpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/internal/gss"
)

// seedPDUs are PDUs of every type, as real peers send them.
func seedPDUs() [][]byte {
	sec := &security{id: 1, typ: AuthNTLM, level: LevelPrivacy}
	offer := Syntax{UUID: features, Major: 1}
	ack := ackPDU{maxXmit: 5840, maxRecv: 5840, group: 7, port: 135, results: []presResult{{transfer: NDR}, {result: resultNegotiate, reason: 3}}}
	all := [][]byte{
		bindTo(ptypeBind, 2, pres(0, echoSyntax)),
		bindTo(ptypeAlter, 2, pres(0, echoSyntax, ndr64, NDR), pres(1, otherSyntax, offer)),
		withToken(bindTo(ptypeBind, 2, pres(0, echoSyntax), pres(1, echoSyntax, offer)), sec, []byte("\x01token")),
		auth3PDU(2, sec, []byte("\x03token")),
		withToken(ack.append(appendHeader(nil, ptypeBindAck, flagWhole, 2)), sec, []byte("\x02token")),
		lengths(ack.append(appendHeader(nil, ptypeAlterResp, flagWhole, 2)), 88, 0),
		appendNak(nil, 2, NakChecksum),
		appendFault(nil, 3, 0, StatusAccessDenied, 0),
		controlPDU(ptypeShutdown, 0), controlPDU(ptypeCancel, 3), controlPDU(ptypeOrphaned, 3),
	}
	for _, v := range sealedVectors {
		all = append(all, unhex(v.pdu))
	}
	return all
}

// inside reports whether part lies within all.
func inside(all, part []byte) bool {
	return len(part) == 0 || bytes.Contains(all, part) && len(part) <= len(all)
}

// FuzzPDU gives arbitrary bytes to all parsers: they never panic, return parts
// of what they were given, and what they understand they would write again in
// the same way.
func FuzzPDU(f *testing.F) {
	for _, b := range seedPDUs() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Fatalf("error of another class: %v", err)
			}
			return
		}
		if h.fragLen < headerSize || h.authLen != 0 && h.authLen+trailerSize+headerSize > h.fragLen {
			t.Fatalf("impossible lengths: %+v", h)
		}
		if len(b) < h.fragLen {
			return
		}
		pdu := b[:h.fragLen]
		again := appendHeader(nil, h.ptype, h.flags, h.callID)
		putLengths(again, h.fragLen, h.authLen)
		if !bytes.Equal(again[2:4], pdu[2:4]) || !bytes.Equal(again[8:], pdu[8:headerSize]) {
			t.Fatalf("header %x, again %x", pdu[:headerSize], again)
		}
		size := headerSize
		if c, err := parseCall(h, pdu); err == nil {
			if c.size > len(pdu) {
				t.Fatalf("call's header of %d bytes of %d", c.size, len(pdu))
			}
			size = c.size
		}
		for _, size := range []int{headerSize, size} {
			body, v, err := splitVerifier(h, pdu, size)
			if err != nil {
				continue
			}
			if v.pad > len(body) || len(v.token) != h.authLen || !inside(pdu, body) || !inside(pdu, v.token) {
				t.Fatalf("body of %d bytes, %+v", len(body), v)
			}
			if h.authLen != 0 && size+len(body)+trailerSize+h.authLen != len(pdu) {
				t.Fatalf("parts of %d+%d+%d bytes in %d", size, len(body), h.authLen, len(pdu))
			}
			body = body[:len(body)-v.pad]
			if p, err := parseBind(body); err == nil {
				b := p.append(nil)
				if q, err := parseBind(b); err != nil || len(b) > len(body) || !cmp.Equal(p, q, cmp.AllowUnexported(bindPDU{}, presContext{})) {
					t.Fatalf("bind %+v, again %+v, %v", p, q, err)
				}
			}
			if p, err := parseAck(body); err == nil {
				b := p.append(make([]byte, headerSize))[headerSize:]
				if q, err := parseAck(b); err != nil || len(b) > len(body) || !cmp.Equal(p, q, cmp.AllowUnexported(ackPDU{}, presResult{})) {
					t.Fatalf("bind_ack %+v, again %+v, %v", p, q, err)
				}
			}
			parseNak(body)
			faultStatus(body)
		}
	})
}

// fuzzConn is a connection whose other side has said all that it will say.
type fuzzConn struct {
	io.Reader
	wrote int
}

func (c *fuzzConn) Write(b []byte) (int, error)      { c.wrote += len(b); return len(b), nil }
func (c *fuzzConn) Close() error                     { return nil }
func (c *fuzzConn) LocalAddr() net.Addr              { return &net.TCPAddr{Port: 135} }
func (c *fuzzConn) RemoteAddr() net.Addr             { return &net.TCPAddr{Port: 1000} }
func (c *fuzzConn) SetDeadline(time.Time) error      { return nil }
func (c *fuzzConn) SetReadDeadline(time.Time) error  { return nil }
func (c *fuzzConn) SetWriteDeadline(time.Time) error { return nil }

// openContext is a mechanism that takes anything, so that the fuzzer gets
// behind the handshake: the first byte of its first token says how many steps
// there are.
type openContext struct{ left int }

func (o *openContext) Step(_ context.Context, in []byte) ([]byte, bool, error) {
	if o.left == 0 && len(in) > 0 {
		o.left = int(in[0]&3) + 1
	}
	if o.left--; o.left <= 0 {
		return nil, true, nil
	}
	return []byte("token"), false, nil
}

func (o *openContext) Peer() gss.Peer                       { return gss.Peer{User: "anybody"} }
func (o *openContext) TokenSize(bool, int) int              { return 16 }
func (o *openContext) Wrap([]byte, gss.Message, bool) error { return nil }
func (o *openContext) Unwrap(t []byte, m gss.Message, _ bool) error {
	if len(t) > 0 && t[0] == 0xff {
		return gss.ErrIntegrity
	}
	return nil
}

// FuzzServer lets a client say anything. The server does not panic, ends the
// connection when the client has said all, and does not answer with more than
// its handlers and a few refusals give.
func FuzzServer(f *testing.F) {
	for _, b := range seedPDUs() {
		f.Add(b)
	}
	request := func(opnum uint16, flags uint8, n int) []byte {
		b := pdus(message{callID: 3, opnum: opnum, stub: make([]byte, n)}, 3000, nil)[0]
		b[3] = flags
		return b
	}
	start := bindTo(ptypeBind, 2, pres(0, echoSyntax), pres(1, secureSyntax))
	sec := &security{id: 1, typ: AuthNTLM, level: LevelPrivacy}
	sealed := func(callID uint32, opnum uint16) []byte {
		return pdus(message{callID: callID, opnum: opnum, stub: make([]byte, 100)}, 3000, &security{id: 1, typ: AuthNTLM, level: LevelPrivacy, ctx: &openContext{}})[0]
	}
	logon := withToken(bindTo(ptypeBind, 2, pres(0, echoSyntax), pres(1, secureSyntax)), sec, []byte("\x01token"))
	for _, all := range [][][]byte{
		{start, request(opEcho, flagWhole, 100), request(opWho, flagWhole, 0)},
		{start, request(opEcho, flagFirst, 2000), request(opEcho, 0, 2000), request(opEcho, flagLast, 100)},
		{start, request(opFault, flagWhole, 8), controlPDU(ptypeCancel, 3), bindTo(ptypeAlter, 4, pres(3, otherSyntax))},
		{start, request(opEcho, flagFirst, 100), controlPDU(ptypeOrphaned, 3), request(opError, flagWhole, 0)},
		{logon, auth3PDU(2, sec, []byte("\x03token")), sealed(3, opEcho), sealed(4, opMalformed)},
		{logon, withToken(bindTo(ptypeAlter, 2, pres(0, echoSyntax)), sec, []byte("\x03token")), sealed(3, opWho)},
		{logon, auth3PDU(2, sec, []byte("\x03token")), withToken(bindTo(ptypeAlter, 9, pres(2, otherSyntax)), &security{id: 2, typ: AuthKerberos, level: LevelIntegrity}, []byte("\x00")), sealed(10, opEcho)},
	} {
		f.Add(bytes.Join(all, nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newTestServer(t, Limits{RequestBytes: 1 << 16, ResponseBytes: 1 << 16}, func(c *ServerConfig) {
			c.Accept = func(AuthType, *Conn) (gss.Context, error) { return &openContext{}, nil }
			c.RequireHeaderSigning = func(string) bool { return false }
			for n := range c.Interfaces {
				handler := c.Interfaces[n].Handler
				c.Interfaces[n].Handler = func(ctx context.Context, call *Call) ([]byte, error) {
					if call.Opnum == opBlock || call.Opnum == opPanic || call.Opnum == opFault && len(call.Stub) < 4 || call.Opnum == opBig {
						return nil, io.ErrUnexpectedEOF
					}
					return handler(ctx, call)
				}
			}
		})
		nc := &fuzzConn{Reader: bytes.NewReader(b)}
		c := s.newConn(t.Context(), nc)
		if !s.conns.add(c) {
			t.Fatal("refused")
		}
		c.serve()
		// A PDU of 16 bytes can be answered with a fault, one with contexts of
		// 24 bytes with results as long; operations name themselves.
		if most := 20*len(b) + 1000; nc.wrote > most {
			t.Errorf("%d bytes in answer to %d", nc.wrote, len(b))
		}
		if len(c.contexts) > s.limits.PresentationContexts || len(c.securities) > s.limits.SecurityContexts {
			t.Errorf("%d presentation and %d security contexts", len(c.contexts), len(c.securities))
		}
		if space := cap(c.pending.buf) + len(c.r.buf); space > readBufferMin+keepRequest+4*len(b) {
			t.Errorf("%d bytes sent, space of %d", len(b), space)
		}
	})
}

// FuzzClient lets a server say anything. The client does not panic, comes to an
// end, and returns an error of a class that is promised.
func FuzzClient(f *testing.F) {
	ack := func(ptype uint8, id uint32, n int) []byte {
		a := ackPDU{maxXmit: 5840, maxRecv: 5840, group: 7, results: []presResult{{transfer: NDR}, {result: resultNegotiate, reason: 3}}[:n]}
		b := a.append(appendHeader(nil, ptype, flagWhole, id))
		putLengths(b, len(b), 0)
		return b
	}
	response := func(id uint32, sec *security) []byte {
		return bytes.Join(pdus(message{ptype: ptypeResponse, callID: id, stub: make([]byte, 2000)}, minFragment, sec), nil)
	}
	for _, b := range seedPDUs() {
		f.Add(b, uint8(0))
		f.Add(b, uint8(1))
	}
	f.Add(bytes.Join([][]byte{ack(ptypeBindAck, 2, 1), response(3, nil), ack(ptypeAlterResp, 4, 1), response(5, nil)}, nil), uint8(0))
	f.Add(bytes.Join([][]byte{ack(ptypeBindAck, 2, 1), appendFault(nil, 3, 0, 5, 0), ack(ptypeAlterResp, 4, 1), controlPDU(ptypeShutdown, 0), response(5, nil)}, nil), uint8(0))
	for mode, typ := range []AuthType{AuthNone, AuthNTLM, AuthSPNEGO, AuthKerberos} {
		sec := &security{id: 1, typ: typ, level: LevelPrivacy, ctx: &openContext{}}
		first := withToken(ack(ptypeBindAck, 2, 2), sec, []byte("\x01token"))
		f.Add(bytes.Join([][]byte{first, response(3, sec), ack(ptypeAlterResp, 4, 1), response(5, sec)}, nil), uint8(mode))
		f.Add(bytes.Join([][]byte{first, withToken(ack(ptypeAlterResp, 2, 1), sec, []byte("\x01token")), response(3, sec), ack(ptypeAlterResp, 4, 1), response(5, sec)}, nil), uint8(mode))
	}
	f.Fuzz(func(t *testing.T, b []byte, mode uint8) {
		const most = 10_000
		c := newClient(&fuzzConn{Reader: bytes.NewReader(b)}, ClientOptions{MaxResponse: most})
		var sec *Security
		if mode&3 != 0 {
			sec = &Security{Type: []AuthType{0, AuthNTLM, AuthSPNEGO, AuthKerberos}[mode&3], Level: LevelPrivacy, Context: &openContext{left: int(mode>>2)%3 + 1}}
		}
		dead := false
		check := func(err error, survives string) bool {
			t.Helper()
			class := errorClass(err)
			if dead != errors.Is(err, ErrClosed) {
				t.Fatalf("after an error: %v", err)
			}
			switch class {
			case "none", survives:
			case "protocol", "fault", "nak", "reject", "closed":
				dead = true
			default:
				t.Fatalf("error of no class: %v", err)
			}
			return err == nil
		}
		for _, syntax := range []Syntax{echoSyntax, otherSyntax} {
			i, err := c.Bind(t.Context(), syntax, sec)
			sec = nil
			if !check(err, "reject") {
				continue
			}
			stub, err := i.Call(t.Context(), Request{Opnum: 1, Stub: []byte("stub")})
			if check(err, "fault"); len(stub) > min(most, len(b)) {
				t.Fatalf("response of %d bytes", len(stub))
			}
		}
		if len(c.r.buf) > max(readBufferMin, 2*len(b)) {
			t.Errorf("%d bytes came, buffer of %d", len(b), len(c.r.buf))
		}
	})
}
