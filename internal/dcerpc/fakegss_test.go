package dcerpc

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/certkeep/certkeep/internal/gss"
)

// fakeContext is a mechanism of as many handshake tokens as a test wants. Like
// Kerberos, it signs headers only if that was agreed on, and its tokens are of
// another size when it seals.
type fakeContext struct {
	initiator      bool
	legs           int
	user, password string                           // an initiator's
	check          func(user, password string) bool // an acceptor's

	seen       int
	nonce      []byte
	peer       gss.Peer
	key        [32]byte
	sent, read uint32
}

var fakeNonce atomic.Uint64

func newFake(legs int) *fakeContext {
	return &fakeContext{initiator: true, legs: legs, user: "anna", password: "secret"}
}

func acceptFake(legs int) *fakeContext {
	return &fakeContext{legs: legs, check: func(_, password string) bool { return password == "secret" }}
}

func (f *fakeContext) Step(ctx context.Context, in []byte) (out []byte, done bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	if in != nil {
		if f.seen++; f.seen > f.legs {
			return nil, false, errors.New("fake: the handshake is over")
		}
		if err := f.take(in); err != nil {
			return nil, false, err
		}
		if f.seen == f.legs {
			f.finish()
			return nil, true, nil
		}
	}
	f.seen++
	if out = f.give(); f.seen == f.legs {
		f.finish()
		return out, true, nil
	}
	return out, false, nil
}

func (f *fakeContext) take(in []byte) error {
	if len(in) < 2 || in[0] != byte(f.seen) {
		return fmt.Errorf("fake: not token %d", f.seen)
	}
	if f.initiator {
		f.nonce = append([]byte{}, in[1:]...)
		return nil
	}
	f.user, f.password, _ = strings.Cut(string(in[1:]), "\x00")
	if f.seen >= f.legs-1 && !f.check(f.user, f.password) {
		return fmt.Errorf("fake: %w", gss.ErrLogon)
	}
	return nil
}

func (f *fakeContext) give() []byte {
	if f.initiator {
		return append([]byte{byte(f.seen)}, f.user+"\x00"+f.password...)
	}
	if f.nonce == nil {
		f.nonce = binary.BigEndian.AppendUint64(nil, fakeNonce.Add(1))
	}
	return append([]byte{byte(f.seen)}, f.nonce...)
}

func (f *fakeContext) finish() {
	f.key = sha256.Sum256(append([]byte(f.password), f.nonce...))
	f.peer = gss.Peer{Mechanism: "fake", User: "server"}
	if !f.initiator {
		f.peer.User = f.user
	}
}

func (f *fakeContext) Peer() gss.Peer { return f.peer }

func (f *fakeContext) TokenSize(seal bool, _ int) int {
	if seal {
		return 28
	}
	return 16
}

// apply encrypts or decrypts, and returns the signature, of the plain text.
func (f *fakeContext) apply(m gss.Message, seal, decrypt, fromInitiator bool, seq uint32, size int) []byte {
	var iv [16]byte
	if fromInitiator {
		iv[0] = 1
	}
	binary.BigEndian.PutUint32(iv[1:], seq)
	crypt := func() {
		block, err := aes.NewCipher(f.key[:])
		if err != nil {
			panic(err)
		}
		cipher.NewCTR(block, iv[:]).XORKeyStream(m.Body, m.Body)
	}
	if seal && decrypt {
		crypt()
	}
	mac := hmac.New(sha256.New, f.key[:])
	mac.Write(iv[:])
	if m.SignHeader {
		mac.Write(m.Header)
		mac.Write(m.Trailer)
	}
	mac.Write(m.Body)
	if seal && !decrypt {
		crypt()
	}
	return mac.Sum(nil)[:size]
}

func (f *fakeContext) Wrap(token []byte, m gss.Message, seal bool) error {
	if len(token) != f.TokenSize(seal, len(m.Body)) {
		return fmt.Errorf("fake: room of %d bytes", len(token))
	}
	copy(token, f.apply(m, seal, false, f.initiator, f.sent, len(token)))
	f.sent++
	return nil
}

func (f *fakeContext) Unwrap(token []byte, m gss.Message, seal bool) error {
	if len(token) != f.TokenSize(seal, len(m.Body)) ||
		subtle.ConstantTimeCompare(token, f.apply(m, seal, true, !f.initiator, f.read, len(token))) != 1 {
		return fmt.Errorf("fake: message %d: %w", f.read, gss.ErrIntegrity)
	}
	f.read++
	return nil
}
