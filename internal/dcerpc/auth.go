package dcerpc

import (
	"encoding/binary"

	"github.com/certkeep/certkeep/internal/gss"
)

// maxLegs bounds the tokens of one handshake. Kerberos needs four in SPNEGO,
// NTLM five; a mechanism that was not guessed at first adds two.
const maxLegs = 10

// maxToken bounds the tokens of a handshake, so that the PDU around them fits.
// Kerberos tickets with many groups have tens of kilobytes.
const maxToken = 56 << 10

// verifier is a PDU's authentication verifier (MS-RPCE section 2.2.2.11).
type verifier struct {
	typ     AuthType
	level   Level
	pad     int // bytes of padding at the body's end
	id      uint32
	trailer []byte // the sec_trailer, as it is signed
	token   []byte
}

// splitVerifier divides what follows the first headSize bytes of a PDU into
// body, with padding, and verifier. Without a verifier (authLen 0) it is all
// body.
func splitVerifier(h header, pdu []byte, headSize int) (body []byte, v verifier, err error) {
	if len(pdu) < headSize {
		return nil, v, protocolError("pdu type %d of %d bytes", h.ptype, len(pdu))
	}
	if h.authLen == 0 {
		return pdu[headSize:len(pdu):len(pdu)], v, nil
	}
	end := len(pdu) - h.authLen - trailerSize
	if end < headSize {
		return nil, v, protocolError("verifier of %d bytes in a fragment of %d", h.authLen, len(pdu))
	}
	t := pdu[end : end+trailerSize : end+trailerSize]
	v = verifier{
		typ:     AuthType(t[0]),
		level:   Level(t[1]),
		pad:     int(t[2]),
		id:      binary.LittleEndian.Uint32(t[4:]),
		trailer: t,
		token:   pdu[end+trailerSize:],
	}
	body = pdu[headSize:end:end]
	if v.pad > len(body) {
		return nil, v, protocolError("%d bytes of padding in a body of %d", v.pad, len(body))
	}
	return body, v, nil
}

func appendTrailer(b []byte, s *security, pad int) []byte {
	b = append(b, byte(s.typ), byte(s.level), byte(pad), 0)
	return binary.LittleEndian.AppendUint32(b, s.id)
}

// security is a security context of a connection.
type security struct {
	id    uint32
	typ   AuthType
	level Level
	ctx   gss.Context

	signHeader bool
	done       bool // the handshake is over, and well
	failed     bool // it is over, and credentials were refused
	legs       int
	peer       gss.Peer // once done

	// In a client: the last token went out in an auth3, and nothing that the
	// server sent since proves that it liked it.
	unconfirmed bool
}

// protects reports whether fragments carry verifiers that mean something.
func (s *security) protects() bool { return s != nil && s.level > LevelConnect }

func (s *security) seal() bool { return s.level == LevelPrivacy }

// matches reports whether a PDU's verifier claims to be of s.
func (s *security) matches(v verifier) bool {
	return v.typ == s.typ && v.level == s.level && v.id == s.id
}

// unwrap checks and decrypts the body of a fragment in place, and returns it
// without its padding. head is all that precedes it in the PDU.
func (s *security) unwrap(head, body []byte, v verifier) ([]byte, error) {
	if s.protects() {
		m := gss.Message{Header: head, Body: body, Trailer: v.trailer, SignHeader: s.signHeader}
		if err := s.ctx.Unwrap(v.token, m, s.seal()); err != nil {
			return nil, err
		}
	}
	return body[:len(body)-v.pad], nil
}

// appendHandshake appends the verifier of a PDU of the handshake, which has no
// padding: peers exist that do not skip it there. b holds the PDU alone, whose
// length is a multiple of 4. The lengths in its header are set.
func appendHandshake(b []byte, s *security, token []byte) ([]byte, error) {
	if len(token) > maxToken || len(b)+trailerSize+len(token) > maxPDU {
		return nil, protocolError("token of %d bytes", len(token))
	}
	b = appendTrailer(b, s, 0)
	b = append(b, token...)
	// A verifier without a token cannot be told from none by its length, which
	// is what C706 has for it; nobody misses it.
	if len(token) == 0 {
		b = b[:len(b)-trailerSize]
	}
	putLengths(b, len(b), len(token))
	return b, nil
}
