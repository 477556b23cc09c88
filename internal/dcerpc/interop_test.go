package dcerpc

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
)

// padded makes a protected request whose padding is as a test wants it. The
// padding is not zero: nobody promises that.
func (p *peer) padded(stub []byte, pad int) []byte {
	p.id++
	b := appendHeader(nil, ptypeRequest, flagWhole, p.id)
	b = append(b, 0, 0, 0, 0, 0, 0, byte(opEcho), 0)
	b = append(b, stub...)
	b = append(b, bytes.Repeat([]byte{0xbb}, pad)...)
	end := len(b)
	b = appendTrailer(b, p.sec, pad)
	n := p.sec.ctx.TokenSize(p.sec.seal(), end-callHeader)
	b = append(b, make([]byte, n)...)
	putLengths(b, len(b), n)
	m := gss.Message{Header: b[:callHeader], Body: b[callHeader:end], Trailer: b[end : end+trailerSize], SignHeader: p.sec.signHeader}
	if err := p.sec.ctx.Wrap(b[end+trailerSize:], m, p.sec.seal()); err != nil {
		p.t.Fatal(err)
	}
	return b
}

// Clients pad to 4 (Impacket), to 16 (Samba, Windows), or as they like.
func TestPadding(t *testing.T) {
	s := startServer(t, Limits{})
	for _, level := range []Level{LevelIntegrity, LevelPrivacy} {
		p := s.raw(t)
		p.logon(level)
		for _, align := range []int{1, 4, 8, 16} {
			for n := range 34 {
				stub := pattern(nil, n)
				p.send(p.padded(stub, -n&(align-1)))
				if got := p.response(); !bytes.Equal(got, stub) {
					t.Fatalf("%v, %d bytes padded to %d: %x", level, n, align, got)
				}
			}
		}
		p.send(p.padded([]byte("x"), 255))
		if got := p.response(); string(got) != "x" {
			t.Errorf("%v, 255 bytes of padding: %x", level, got)
		}
	}
}

// Verification trailers come to the handler as a part of the stub: package ndr
// ignores what follows the parameters.
func TestVerificationTrailer(t *testing.T) {
	s := startServer(t, Limits{})
	p := s.raw(t)
	p.logon(LevelPrivacy)
	stub := append([]byte{1, 2, 3, 0}, unhex("8ae3137102f43671 02400 02800")...)
	p.send(p.padded(stub, 4))
	if got := p.response(); !bytes.Equal(got, stub) {
		t.Errorf("%x", got)
	}
}

// Impacket's client takes the last bytes of a bind_ack for the token, with no
// eye for padding: there is none, whatever comes before.
func TestAnswersHaveNoPadding(t *testing.T) {
	for n := range 5 {
		s := startServer(t, Limits{})
		p := s.raw(t)
		var contexts []presContext
		for i := range n {
			contexts = append(contexts, pres(uint16(i), echoSyntax))
		}
		sec := p.handshake(ptypeBind, 79231, LevelPrivacy, contexts...) // it checks that
		p.sec = sec
		// And on every change of interface it makes another security context,
		// with an id that goes with the new presentation context's.
		for i := range 3 {
			id := uint16(n + i)
			p.sec = p.handshake(ptypeAlter, 79231+uint32(id)+1, LevelPrivacy, pres(id, otherSyntax))
			p.id++
			stub := []byte("under another context")
			p.send(pdus(message{callID: p.id, contextID: id, opnum: opEcho, stub: stub}, 4280, p.sec)...)
			if got := p.response(); !bytes.Equal(got, stub) {
				t.Errorf("%q", got)
			}
		}
	}
}

// An alter_context without a verifier adds an interface; calls of it go under
// the security context that is there, or unprotected.
func TestAlterWithoutVerifier(t *testing.T) {
	s := startServer(t, Limits{})
	p := s.raw(t)
	p.logon(LevelPrivacy)
	p.echo()
	p.id++
	p.send(bindTo(ptypeAlter, p.id, pres(5, secureSyntax)))
	if ack := p.ack(ptypeAlterResp); ack.results[0].result != resultAccept {
		t.Fatalf("%+v", ack)
	}
	p.id++
	p.send(pdus(message{callID: p.id, contextID: 5, opnum: opEcho, stub: []byte("private")}, defaultFragment, p.sec)...)
	if got := p.response(); string(got) != "private" {
		t.Errorf("%q", got)
	}
}

// What clients say in alloc_hint never matters.
func TestAllocHintIsIgnored(t *testing.T) {
	s := startServer(t, Limits{})
	for _, hint := range []uint32{0, 1, 1 << 31, 0xffffffff} {
		p := s.raw(t)
		p.bind(pres(0, echoSyntax))
		stub := pattern(nil, 9000)
		all := p.request(opEcho, stub)
		for _, b := range all {
			binary.LittleEndian.PutUint32(b[16:], hint)
		}
		p.send(all...)
		if got := p.response(); !bytes.Equal(got, stub) {
			t.Errorf("hint %d: %d bytes", hint, len(got))
		}
	}
}
