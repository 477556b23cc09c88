package dcerpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"
)

// peer is the other side of a connection, spoken by hand: a hostile client's or
// server's.
type peer struct {
	t testing.TB
	net.Conn
	r   reader
	id  uint32    // of the last call
	sec *security // made by handshake

	// Of a server.
	token       []byte // the client's
	frag        int
	presContext uint16
}

// patience bounds what a test waits for the other side; it never decides
// anything but that a test hangs.
const patience = 30 * time.Second

func newPeer(t testing.TB, c net.Conn) *peer {
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &peer{t: t, Conn: c, r: reader{src: c}}
}

// raw connects to the server.
func (s *testServer) raw(t testing.TB) *peer {
	t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	return newPeer(t, c)
}

func (p *peer) send(pdus ...[]byte) {
	p.t.Helper()
	if _, err := p.Write(bytes.Join(pdus, nil)); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// recv returns the next PDU, in a copy.
func (p *peer) recv() (header, []byte) {
	p.t.Helper()
	h, pdu, err := p.r.next()
	if err != nil {
		p.t.Fatalf("receive: %v", err)
	}
	return h, bytes.Clone(pdu)
}

// fault receives a fault.
func (p *peer) fault(status uint32) {
	p.t.Helper()
	h, pdu := p.recv()
	if h.ptype != ptypeFault || !h.whole() {
		p.t.Fatalf("pdu type %d instead of fault 0x%x", h.ptype, status)
	}
	if got, err := faultStatus(pdu[callHeader:]); got != status {
		p.t.Fatalf("fault 0x%x, %v, want 0x%x", got, err, status)
	}
}

// nak receives a bind_nak.
func (p *peer) nak(reason uint16) {
	p.t.Helper()
	h, pdu := p.recv()
	if h.ptype != ptypeBindNak {
		p.t.Fatalf("pdu type %d instead of bind_nak", h.ptype)
	}
	if got, err := parseNak(pdu[headerSize:]); got != reason {
		p.t.Fatalf("bind_nak with %d, %v, want %d", got, err, reason)
	}
}

// closed waits for the other side to close the connection.
func (p *peer) closed() {
	p.t.Helper()
	if h, _, err := p.r.next(); !isClosed(err) {
		p.t.Fatalf("pdu type %d, error %v instead of the end", h.ptype, err)
	}
}

// refused receives a fault, and the end.
func (p *peer) refused(status uint32) {
	p.t.Helper()
	p.fault(status)
	p.closed()
}

// bindTo makes a bind or an alter_context.
func bindTo(ptype uint8, callID uint32, contexts ...presContext) []byte {
	b := appendHeader(nil, ptype, flagWhole, callID)
	b = bindPDU{maxXmit: defaultFragment, maxRecv: defaultFragment, contexts: contexts}.append(b)
	putLengths(b, len(b), 0)
	return b
}

func pres(id uint16, s Syntax, transfers ...Syntax) presContext {
	if transfers == nil {
		transfers = []Syntax{NDR}
	}
	return presContext{id: id, abstract: s, transfers: transfers}
}

// withToken adds a verifier with a token to a PDU, as handshakes have it.
func withToken(pdu []byte, sec *security, token []byte) []byte {
	pdu[3] |= flagHeaderSign
	b, err := appendHandshake(pdu, sec, token)
	if err != nil {
		panic(err)
	}
	return b
}

func auth3PDU(callID uint32, sec *security, token []byte) []byte {
	return withToken(append(appendHeader(nil, ptypeAuth3, flagWhole, callID), 0, 0, 0, 0), sec, token)
}

// bind binds to an interface, unprotected.
func (p *peer) bind(contexts ...presContext) ackPDU {
	p.t.Helper()
	p.id++
	p.send(bindTo(ptypeBind, p.id, contexts...))
	return p.ack(ptypeBindAck)
}

func (p *peer) ack(ptype uint8) ackPDU {
	p.t.Helper()
	h, pdu := p.recv()
	body, v, err := splitVerifier(h, pdu, headerSize)
	if err != nil || h.ptype != ptype || v.pad != 0 {
		p.t.Fatalf("pdu type %d instead of %d, padding %d, %v", h.ptype, ptype, v.pad, err)
	}
	ack, err := parseAck(body)
	if err != nil {
		p.t.Fatal(err)
	}
	return ack
}

// logon binds to the echo interface as a client with fake NTLM does.
func (p *peer) logon(level Level) {
	p.t.Helper()
	p.sec = p.handshake(ptypeBind, 7, level, pres(0, echoSyntax))
}

// handshake authenticates, in three messages, under a security context id.
func (p *peer) handshake(ptype uint8, id uint32, level Level, contexts ...presContext) *security {
	p.t.Helper()
	sec := &security{id: id, typ: AuthNTLM, level: level, ctx: newFake(3)}
	p.id++
	token, _, _ := sec.ctx.Step(p.t.Context(), nil)
	p.send(withToken(bindTo(ptype, p.id, contexts...), sec, token))
	h, pdu := p.recv()
	_, v, err := splitVerifier(h, pdu, headerSize)
	if err != nil || h.ptype != ptype+1 || !sec.matches(v) {
		p.t.Fatalf("answer to bind: type %d, %+v, %v", h.ptype, v, err)
	}
	sec.signHeader = h.flags&flagHeaderSign != 0
	token, done, err := sec.ctx.Step(p.t.Context(), v.token)
	if err != nil || !done {
		p.t.Fatal(done, err)
	}
	p.send(auth3PDU(p.id, sec, token))
	return sec
}

// pdus makes the fragments of a message.
func pdus(m message, maxFrag int, sec *security) [][]byte {
	var buf bytes.Buffer
	w := writer{dst: &buf}
	if err := w.send(m, maxFrag, sec); err != nil {
		panic(err)
	}
	var all [][]byte
	for b := buf.Bytes(); len(b) > 0; {
		n := int(binary.LittleEndian.Uint16(b[8:]))
		all = append(all, b[:n:n])
		b = b[n:]
	}
	return all
}

// request makes the fragments of the next call.
func (p *peer) request(opnum uint16, stub []byte) [][]byte {
	p.id++
	return pdus(message{ptype: ptypeRequest, callID: p.id, opnum: opnum, stub: stub}, defaultFragment, p.sec)
}

// response receives the response to the last call.
func (p *peer) response() []byte {
	p.t.Helper()
	var stub []byte
	for {
		h, pdu := p.recv()
		if h.ptype != ptypeResponse || h.callID != p.id {
			p.t.Fatalf("pdu type %d of call %d instead of the response to %d", h.ptype, h.callID, p.id)
		}
		body, v, err := splitVerifier(h, pdu, callHeader)
		if err == nil && p.sec.protects() {
			body, err = p.sec.unwrap(pdu[:callHeader], body, v)
		}
		if err != nil {
			p.t.Fatal(err)
		}
		stub = append(stub, body...)
		if h.flags&flagLast != 0 {
			return stub
		}
	}
}

// echo makes a call that must succeed.
func (p *peer) echo() {
	p.t.Helper()
	stub := pattern(nil, 100)
	p.send(p.request(opEcho, stub)...)
	if got := p.response(); !bytes.Equal(got, stub) {
		p.t.Fatalf("echo of %x: %x", stub, got)
	}
}

// errorClass names the kind of error that a client's caller can tell.
func errorClass(err error) string {
	var (
		fault  *Fault
		nak    *NakError
		reject *RejectError
	)
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, ErrProtocol):
		return "protocol"
	case errors.As(err, &fault):
		return "fault"
	case errors.As(err, &nak):
		return "nak"
	case errors.As(err, &reject):
		return "reject"
	case isClosed(err):
		return "closed"
	}
	return err.Error()
}
