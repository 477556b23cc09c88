package kerberos

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/certkeep/certkeep/internal/gss"
)

// Flags of a token (RFC 4121 section 4.2.2).
const (
	flagSentByAcceptor = 1
	flagSealed         = 2
	flagAcceptorSubkey = 4
)

const (
	tokenHeader = 16 // bytes of a token's header

	// filler is how many bytes are encrypted between body and header copy. In
	// DCE style it is a whole block, although ciphertext stealing needs none:
	// that is what Windows sends and expects.
	filler = blockSize
)

// direction makes or checks the tokens that one side sends. It is used by one
// goroutine. Everything that a message needs is allocated once: keys are
// derived, HMACs keyed and ciphers set up when the context is established.
type direction struct {
	et    *etype
	flags byte   // of every token, without flagSealed
	seq   uint64 // of the next token
	dead  error  // set once a token was wrong

	sealing cipher.Block
	cbc     chain // encrypter of a sender, decrypter of a receiver
	mac     hash.Hash
	cksum   hash.Hash

	random [32 * blockSize]byte // confounders to come; one read of the system's random bytes serves many
	fresh  int                  // how many bytes of random are unused

	tail   [2*blockSize + 32]byte // filler, header copy, and room for the HMAC
	header [tokenHeader]byte
	sum    [64]byte
	buf    []byte // for bodies that are not whole blocks
}

// newDirection derives the keys. fromAcceptor tells whose tokens these are,
// subkey whether the acceptor chose the key.
func newDirection(k *key, fromAcceptor, subkey, sender bool, seq uint64) *direction {
	seal, sign := uint32(usageInitiatorSeal), uint32(usageInitiatorSign)
	d := &direction{et: k.et, seq: seq}
	if fromAcceptor {
		seal, sign = usageAcceptorSeal, usageAcceptorSign
		d.flags |= flagSentByAcceptor
	}
	if subkey {
		d.flags |= flagAcceptorSubkey
	}
	s := k.sealer(seal)
	d.sealing = s.block
	if sender {
		d.cbc = cipher.NewCBCEncrypter(s.block, zeroBlock[:]).(chain)
	} else {
		d.cbc = cipher.NewCBCDecrypter(s.block, zeroBlock[:]).(chain)
	}
	d.mac = hmac.New(k.et.hash, s.ki)
	d.cksum = k.checksummer(sign)
	return d
}

// sealedSize is the length of the token of a sealed message.
func (et *etype) sealedSize() int { return tokenHeader + blockSize + filler + tokenHeader + et.mac }

// signedSize is the length of the token of a message that is only signed.
func (et *etype) signedSize() int { return tokenHeader + et.mac }

// putHeader writes the header of a sealed message's token.
func putHeader(h []byte, flags byte, ec, rrc uint16, seq uint64) {
	h[0], h[1], h[2], h[3] = 0x05, 0x04, flags, 0xff
	binary.BigEndian.PutUint16(h[4:], ec)
	binary.BigEndian.PutUint16(h[6:], rrc)
	binary.BigEndian.PutUint64(h[8:], seq)
}

// putMICHeader writes the header of a MIC token.
func putMICHeader(h []byte, flags byte, seq uint64) {
	h[0], h[1], h[2] = 0x04, 0x04, flags
	for i := 3; i < 8; i++ {
		h[i] = 0xff
	}
	binary.BigEndian.PutUint64(h[8:], seq)
}

// confounder returns the next block of random bytes.
func (d *direction) confounder() []byte {
	if d.fresh == 0 {
		rand.Read(d.random[:]) // never fails (Go 1.24)
		d.fresh = len(d.random)
	}
	c := d.random[len(d.random)-d.fresh:][:blockSize]
	d.fresh -= blockSize
	return c
}

// wrap seals m: the whole of
//
//	E(confounder | body | filler | header with RRC 0) | HMAC
//
// in which body stays where it is. What comes after the body goes into the
// token's front and the confounder behind it, as if all of it had been rotated
// right (MS-KILE section 3.4.5.4.1). RRC says by how much, less the filler.
func (d *direction) wrap(token []byte, m gss.Message) error {
	if len(token) != d.et.sealedSize() {
		return fmt.Errorf("a sealed token has %d bytes, not %d", d.et.sealedSize(), len(token))
	}
	flags := d.flags | flagSealed
	rrc := uint16(tokenHeader + d.et.mac)
	putHeader(token, flags, filler, rrc, d.seq)
	back := tokenHeader + filler + tokenHeader + d.et.mac // where the confounder goes
	conf, mac := token[back:], token[back-d.et.mac:back]
	tail := d.tail[:filler+tokenHeader]
	clear(tail[:filler])
	putHeader(tail[filler:], flags, filler, 0, d.seq)
	copy(conf, d.confounder())
	d.seq++

	if !d.et.sha2 {
		copy(mac, d.hmac(m, conf, tail))
	}
	if len(m.Body)%blockSize == 0 {
		// The common case: PDUs are padded to whole blocks. Then stealing is
		// an exchange of the last two blocks, and both lie in the token.
		d.cbc.SetIV(zeroBlock[:])
		d.cbc.CryptBlocks(conf, conf)
		d.cbc.CryptBlocks(m.Body, m.Body)
		d.cbc.CryptBlocks(tail, tail)
		copy(token[tokenHeader:], tail[blockSize:])
		copy(token[tokenHeader+blockSize:], tail[:blockSize])
	} else {
		d.buf = append(append(append(d.buf[:0], conf...), m.Body...), tail...)
		ctsEncrypt(d.sealing, d.buf)
		n := copy(conf, d.buf)
		n += copy(m.Body, d.buf[n:])
		copy(token[tokenHeader:], d.buf[n:])
	}
	if d.et.sha2 {
		copy(mac, d.hmac(m, conf, token[tokenHeader:tokenHeader+filler+tokenHeader]))
	}
	return nil
}

// hmac authenticates a sealed message, or with RFC 8009 its ciphertext. The
// result is overwritten by the next call.
func (d *direction) hmac(m gss.Message, conf, tail []byte) []byte {
	d.mac.Reset()
	if d.et.sha2 {
		d.mac.Write(zeroBlock[:])
	}
	d.mac.Write(conf)
	if m.SignHeader {
		d.mac.Write(m.Header)
	}
	d.mac.Write(m.Body)
	if m.SignHeader {
		d.mac.Write(m.Trailer)
	}
	d.mac.Write(tail)
	return d.mac.Sum(d.sum[:0])[:d.et.mac]
}

// fail marks the direction as unusable: a peer that got one token wrong is not
// given another try.
func (d *direction) fail(why string) error {
	d.dead = fmt.Errorf("%w: %s", gss.ErrIntegrity, why)
	return d.dead
}

// unwrap checks and opens what wrap made, with whatever EC and RRC the peer
// has chosen.
func (d *direction) unwrap(token []byte, m gss.Message) error {
	if d.dead != nil {
		return d.dead
	}
	if len(token) < d.et.sealedSize()-filler {
		return d.fail("token is too short")
	}
	h := token[:tokenHeader]
	ec, rrc := binary.BigEndian.Uint16(h[4:]), binary.BigEndian.Uint16(h[6:])
	putHeader(d.header[:], d.flags|flagSealed, ec, rrc, d.seq)
	if !bytes.Equal(h, d.header[:]) {
		return d.fail(d.mismatch(h, 0x05))
	}
	if len(token) != d.et.sealedSize()-filler+int(ec) {
		return d.fail("token's length and EC do not agree")
	}
	putHeader(d.header[:], d.flags|flagSealed, ec, 0, d.seq) // as it was encrypted
	d.seq++

	rest := token[tokenHeader:]
	if ec == filler && int(rrc) == tokenHeader+d.et.mac && len(m.Body)%blockSize == 0 {
		tail, mac := rest[:filler+tokenHeader], rest[filler+tokenHeader:][:d.et.mac]
		conf := rest[filler+tokenHeader+d.et.mac:]
		return d.open(m, conf, tail, mac)
	}
	return d.unwrapRotated(rest, m, int(ec), int(ec)+int(rrc))
}

// open is the common case: everything is whole blocks, and where wrap puts it.
func (d *direction) open(m gss.Message, conf, tail, mac []byte) error {
	if d.et.sha2 && !hmac.Equal(mac, d.hmac(m, conf, tail)) {
		return d.fail("sealed message was changed")
	}
	t := d.tail[:len(tail)]
	copy(t, tail[blockSize:])
	copy(t[blockSize:], tail[:blockSize])
	d.cbc.SetIV(zeroBlock[:])
	d.cbc.CryptBlocks(conf, conf)
	d.cbc.CryptBlocks(m.Body, m.Body)
	d.cbc.CryptBlocks(t, t)
	if !d.et.sha2 && !hmac.Equal(mac, d.hmac(m, conf, t)) {
		return d.fail("sealed message was changed")
	}
	if !bytes.Equal(t[filler:], d.header[:]) {
		return d.fail("token's header was changed")
	}
	return nil
}

// unwrapRotated is the general case: the message is put together in a buffer.
func (d *direction) unwrapRotated(rest []byte, m gss.Message, ec, rotation int) error {
	n := len(rest) + len(m.Body)
	rotation %= n
	d.buf = append(d.buf[:0], rest...)
	d.buf = append(d.buf, m.Body...)
	d.buf = append(d.buf, d.buf[:rotation]...) // rotates left:
	all := d.buf[rotation:]                    // what was in front is at the end now
	cipherLen := n - d.et.mac
	text, mac := all[:cipherLen], all[cipherLen:]

	inner := gss.Message{Header: m.Header, Trailer: m.Trailer, SignHeader: m.SignHeader}
	inner.Body = text[blockSize:][:len(m.Body)]
	conf, tail := text[:blockSize], text[blockSize+len(m.Body):]
	if d.et.sha2 && !hmac.Equal(mac, d.hmac(inner, conf, tail)) {
		return d.fail("sealed message was changed")
	}
	ctsDecrypt(d.sealing, text)
	if !d.et.sha2 && !hmac.Equal(mac, d.hmac(inner, conf, tail)) {
		return d.fail("sealed message was changed")
	}
	if !bytes.Equal(tail[ec:], d.header[:]) {
		return d.fail("token's header was changed")
	}
	copy(m.Body, inner.Body)
	return nil
}

// mismatch says what is wrong with a header that is not the one expected.
func (d *direction) mismatch(h []byte, id byte) string {
	switch {
	case h[0] != id || h[1] != 0x04:
		return "token is of another kind"
	case (h[2]^d.flags)&flagSentByAcceptor != 0:
		return "token is one of our own"
	case binary.BigEndian.Uint64(h[8:]) != d.seq:
		return "token is out of sequence"
	}
	return "token's flags are wrong"
}

// sign makes a MIC token over the parts, in order (RFC 4121 section 4.2.6.1).
func (d *direction) sign(token []byte, parts ...[]byte) error {
	if len(token) != d.et.signedSize() {
		return fmt.Errorf("a MIC token has %d bytes, not %d", d.et.signedSize(), len(token))
	}
	putMICHeader(token, d.flags, d.seq)
	d.seq++
	copy(token[tokenHeader:], d.digest(token[:tokenHeader], parts...))
	return nil
}

// verify checks what sign made.
func (d *direction) verify(token []byte, parts ...[]byte) error {
	if d.dead != nil {
		return d.dead
	}
	if len(token) != d.et.signedSize() {
		return d.fail("token's length is wrong")
	}
	putMICHeader(d.header[:], d.flags, d.seq)
	if !bytes.Equal(token[:tokenHeader], d.header[:]) {
		return d.fail(d.mismatch(token, 0x04))
	}
	d.seq++
	if !hmac.Equal(token[tokenHeader:], d.digest(d.header[:], parts...)) {
		return d.fail("signed message was changed")
	}
	return nil
}

func (d *direction) digest(header []byte, parts ...[]byte) []byte {
	d.cksum.Reset()
	for _, p := range parts {
		d.cksum.Write(p)
	}
	d.cksum.Write(header)
	return d.cksum.Sum(d.sum[:0])[:d.et.mac]
}
