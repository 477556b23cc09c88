package kerberos

import (
	"errors"

	"github.com/certkeep/certkeep/internal/gss"
)

var errNotEstablished = errors.New("kerberos: the security context is not established")

// session is what both sides are after the handshake.
type session struct {
	et         *etype
	send, recv *direction
	peer       gss.Peer
}

// establish sets up both directions.
func (s *session) establish(k *key, acceptor, subkey bool, sendSeq, recvSeq uint32) {
	s.et = k.et
	s.send = newDirection(k, acceptor, subkey, true, uint64(sendSeq))
	s.recv = newDirection(k, !acceptor, subkey, false, uint64(recvSeq))
}

// Peer is who is on the other side: in an acceptor the client, whose realm is
// the domain; in an initiator the service that the ticket was for.
func (s *session) Peer() gss.Peer { return s.peer }

// TokenSize returns the length of a token, which depends on the encryption
// type only: 76 bytes sealed and 28 signed with the types of RFC 3962. It is 0
// before the handshake is done.
func (s *session) TokenSize(seal bool, body int) int {
	switch {
	case s.et == nil:
		return 0
	case seal:
		return s.et.sealedSize()
	}
	return s.et.signedSize()
}

// Wrap protects m. Header and Trailer are signed if m.SignHeader says so. The
// fast case, which allocates nothing, is a body of whole 16-byte blocks.
func (s *session) Wrap(token []byte, m gss.Message, seal bool) error {
	switch {
	case s.send == nil:
		return errNotEstablished
	case seal:
		return s.send.wrap(token, m)
	case m.SignHeader:
		return s.send.sign(token, m.Header, m.Body, m.Trailer)
	}
	return s.send.sign(token, m.Body)
}

// Unwrap checks m, which must be the next message in order. The token is
// overwritten.
func (s *session) Unwrap(token []byte, m gss.Message, seal bool) error {
	switch {
	case s.recv == nil:
		return errNotEstablished
	case seal:
		return s.recv.unwrap(token, m)
	case m.SignHeader:
		return s.recv.verify(token, m.Header, m.Body, m.Trailer)
	}
	return s.recv.verify(token, m.Body)
}

// MIC signs a message. It takes a sequence number as a wrapped message does.
func (s *session) MIC(message []byte) ([]byte, error) {
	if s.send == nil {
		return nil, errNotEstablished
	}
	token := make([]byte, s.et.signedSize())
	return token, s.send.sign(token, message)
}

// VerifyMIC checks what the peer's MIC made.
func (s *session) VerifyMIC(message, mic []byte) error {
	if s.recv == nil {
		return errNotEstablished
	}
	return s.recv.verify(mic, message)
}

// AfterMIC does nothing: sequence numbers go on, and there is no other state.
func (s *session) AfterMIC() {}
