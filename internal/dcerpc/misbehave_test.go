package dcerpc

import (
	"encoding/binary"
	"net"
)

// half ends what the peer sends.
func (p *peer) half() {
	p.t.Helper()
	if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		p.t.Fatal(err)
	}
}

func controlPDU(ptype uint8, callID uint32) []byte {
	b := appendHeader(nil, ptype, flagWhole, callID)
	putLengths(b, len(b), 0)
	return b
}

// fragments sends a request whose second fragment is changed.
func (p *peer) fragments(at int, b byte) {
	p.t.Helper()
	p.bind(pres(0, echoSyntax), pres(1, echoSyntax))
	all := p.request(opEcho, make([]byte, 9000))
	p.send(all[0], patch(all[1], at, b))
	p.refused(StatusProtocol)
}

// tooLarge sends a request that is refused as soon as it exceeds its limit.
func (p *peer) tooLarge(n int) {
	p.t.Helper()
	all := p.request(opEcho, make([]byte, n))
	p.send(all[:len(all)-1]...) // not even the last one is needed
	p.refused(StatusAccessDenied)
}

// changed sends a request of which a byte was changed after it was signed; at
// counts from the end if it is negative.
func (p *peer) changed(at int) {
	p.t.Helper()
	p.echo()
	b := p.request(opEcho, []byte("a stub of 22 bytes   ."))[0]
	if p.sec.level == LevelPrivacy && at == -16-trailerSize-1 {
		p.t.Fatal("the token is longer")
	}
	if at < 0 {
		at += len(b)
	}
	p.send(patch(b, at, b[at]^1))
	p.refused(StatusSecPkg)
}

// otherSecurity sends a request that claims to be of another context.
func (p *peer) otherSecurity(change func(*security)) {
	p.t.Helper()
	p.echo()
	b := p.request(opEcho, nil)[0]
	sec := *p.sec
	change(&sec)
	at := len(b) - int(binary.LittleEndian.Uint16(b[10:])) - trailerSize
	copy(b[at:], appendTrailer(nil, &sec, 0))
	p.send(b)
	p.refused(StatusAccessDenied)
}

// begin binds with the first message of a handshake.
func (p *peer) begin(typ AuthType) *security {
	p.t.Helper()
	sec := &security{id: 3, typ: typ, level: LevelPrivacy, ctx: newFake(9)}
	p.id++
	token, _, _ := sec.ctx.Step(p.t.Context(), nil)
	p.send(withToken(bindTo(ptypeBind, p.id, pres(0, echoSyntax)), sec, token))
	p.ack(ptypeBindAck)
	return sec
}

// endless answers each message of the server's until the server has enough;
// the last one that it takes goes out as last says.
func (p *peer) endless(last func(*security, []byte) []byte, status uint32) {
	p.t.Helper()
	p.sec = p.begin(200)
	for n := byte(3); n <= 2*maxLegs-1; n += 2 {
		p.send(withToken(bindTo(ptypeAlter, p.id, pres(0, echoSyntax)), p.sec, append([]byte{n}, "anna\x00secret"...)))
		p.ack(ptypeAlterResp)
	}
	p.send(last(p.sec, append([]byte{2*maxLegs + 1}, "anna\x00secret"...)))
	if h, err := parseHeader(last(p.sec, nil)); err == nil && h.ptype == ptypeAuth3 {
		// It shows in the next request.
		p.send(p.request(opEcho, nil)...)
	}
	p.refused(status)
}
