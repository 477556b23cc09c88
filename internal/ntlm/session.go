package ntlm

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rc4"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"

	"github.com/certkeep/certkeep/internal/gss"
)

// tokenSize is the length of a NTLMSSP_MESSAGE_SIGNATURE.
const tokenSize = 16

// The magic constants of MS-NLMP section 3.4.5, terminating NUL included.
const (
	clientSigning = "session key to client-to-server signing key magic constant\x00"
	serverSigning = "session key to server-to-client signing key magic constant\x00"
	clientSealing = "session key to client-to-server sealing key magic constant\x00"
	serverSealing = "session key to server-to-client sealing key magic constant\x00"
)

var (
	errNotEstablished = errors.New("ntlm: the handshake is not finished")
	errBroken         = fmt.Errorf("ntlm: an earlier message failed: %w", gss.ErrIntegrity)
	errExhausted      = errors.New("ntlm: the sequence numbers are used up; log on again")
)

// session is what both sides do once they share a key. The directions share
// nothing, so Wrap and Unwrap may run at the same time.
type session struct {
	send, recv *direction // nil before the handshake is over
}

// direction is one direction's keys and state. It holds its scratch space, so
// that messages cost no allocation.
type direction struct {
	sealKey [16]byte
	cipher  *rc4.Cipher
	mac     hash.Hash
	seq     uint64 // of the next message
	broken  bool
	sum     [md5.Size]byte
	number  [4]byte
}

func newDirection(key [16]byte, signing, sealing string) *direction {
	sign := md5.Sum(append(key[:], signing...))
	d := &direction{sealKey: md5.Sum(append(key[:], sealing...)), mac: hmac.New(md5.New, sign[:])}
	d.rewind()
	return d
}

func (d *direction) rewind() { d.cipher = newRC4(d.sealKey) }

// establish derives the keys (MS-NLMP sections 3.4.5.2 and 3.4.5.3).
func (s *session) establish(key [16]byte, initiator bool) {
	s.send = newDirection(key, clientSigning, clientSealing)
	s.recv = newDirection(key, serverSigning, serverSealing)
	if !initiator {
		s.send, s.recv = s.recv, s.send
	}
}

// usable says whether d can process one more message.
func (d *direction) usable() error {
	switch {
	case d == nil:
		return errNotEstablished
	case d.broken:
		return errBroken
	case d.seq > math.MaxUint32:
		return errExhausted
	}
	return nil
}

// hash leaves the checksum of the plain message in d.sum[:8].
func (d *direction) hash(m *gss.Message) {
	binary.LittleEndian.PutUint32(d.number[:], uint32(d.seq))
	d.mac.Reset()
	d.mac.Write(d.number[:])
	d.mac.Write(m.Header)
	d.mac.Write(m.Body)
	d.mac.Write(m.Trailer)
	d.mac.Sum(d.sum[:0])
}

// finish encrypts the checksum, makes the token's 16 bytes of it and counts
// the message. The cipher must have passed the body already.
func (d *direction) finish(token []byte) {
	d.cipher.XORKeyStream(d.sum[:8], d.sum[:8])
	binary.LittleEndian.PutUint32(token, 1) // version
	copy(token[4:12], d.sum[:8])
	binary.LittleEndian.PutUint32(token[12:], uint32(d.seq))
	d.seq++
}

// TokenSize returns 16, whatever the message.
func (s *session) TokenSize(bool, int) int { return tokenSize }

// Wrap implements [gss.Context]. Header, body and trailer are signed always
// (MS-NLMP section 3.4.6.1). It does not allocate.
func (s *session) Wrap(token []byte, m gss.Message, seal bool) error {
	d := s.send
	if err := d.usable(); err != nil {
		return err
	}
	if len(token) != tokenSize {
		return fmt.Errorf("ntlm: room of %d bytes for a token of %d", len(token), tokenSize)
	}
	d.hash(&m)
	if seal {
		d.cipher.XORKeyStream(m.Body, m.Body)
	}
	d.finish(token)
	return nil
}

// Unwrap implements [gss.Context]. It does not allocate.
func (s *session) Unwrap(token []byte, m gss.Message, seal bool) error {
	d := s.recv
	if err := d.usable(); err != nil {
		return err
	}
	if len(token) != tokenSize {
		d.broken = true
		return fmt.Errorf("ntlm: token of %d bytes: %w", len(token), gss.ErrIntegrity)
	}
	if seal {
		d.cipher.XORKeyStream(m.Body, m.Body)
	}
	d.hash(&m)
	d.cipher.XORKeyStream(d.sum[:8], d.sum[:8])
	// The whole token is predictable: version, checksum, sequence number.
	var want [tokenSize]byte
	binary.LittleEndian.PutUint32(want[:], 1)
	copy(want[4:12], d.sum[:8])
	binary.LittleEndian.PutUint32(want[12:], uint32(d.seq))
	if subtle.ConstantTimeCompare(want[:], token) != 1 {
		d.broken = true
		return fmt.Errorf("ntlm: message %d: %w", d.seq, gss.ErrIntegrity)
	}
	d.seq++
	return nil
}

// MIC implements [gss.MIC].
func (s *session) MIC(message []byte) ([]byte, error) {
	token := make([]byte, tokenSize)
	err := s.Wrap(token, gss.Message{Body: message}, false)
	return token, err
}

// VerifyMIC implements [gss.MIC].
func (s *session) VerifyMIC(message, mic []byte) error {
	return s.Unwrap(mic, gss.Message{Body: message}, false)
}

// AfterMIC implements [gss.MIC]: the ciphers begin anew, the sequence numbers
// go on (MS-SPNG section 3.2.5.1).
func (s *session) AfterMIC() {
	if s.send != nil {
		s.send.rewind()
		s.recv.rewind()
	}
}
