// Package gss is what DCE/RPC and SPNEGO expect of a security mechanism: legs
// of a handshake first, then protection of messages. Packages ntlm, kerberos
// and spnego implement it, and package dcerpc uses it; so any mechanism serves
// either side of a connection.
package gss

import (
	"context"
	"errors"
)

// Context is one side of one security context.
//
// Step is called with one token after the other until it reports done. Then
// Peer, TokenSize, Wrap and Unwrap may be called. Wrap is called by one
// goroutine and Unwrap by one, and these may be two at the same time: the
// directions share no changing state. Messages are wrapped, and unwrapped, in
// the order in which they travel.
type Context interface {
	// Step takes the peer's token, nil in an initiator's first step, and
	// returns the one to send. done says that this side has what it needs; a
	// last token may still have to be sent then (out not nil). An error ends
	// the handshake; it is [ErrLogon] when the peer's credentials, or ours,
	// were refused.
	Step(ctx context.Context, in []byte) (out []byte, done bool, err error)

	// Peer is the other side, as far as it has proven who it is.
	Peer() Peer

	// TokenSize returns the length of the token that Wrap makes for a body of
	// this many bytes.
	TokenSize(seal bool, body int) int

	// Wrap protects m: it signs, and with seal encrypts m.Body in place. The
	// token, of TokenSize bytes, receives what the peer needs to undo it.
	Wrap(token []byte, m Message, seal bool) error

	// Unwrap checks m, and with seal first decrypts m.Body in place. It never
	// trusts the token's length. After an error the context is of no more use.
	Unwrap(token []byte, m Message, seal bool) error
}

// Message is a protocol data unit as the mechanisms see it: Header and Trailer
// are signed, Body is signed and encrypted.
type Message struct {
	Header, Body, Trailer []byte

	// SignHeader says that signing headers was negotiated. Mechanisms for
	// which that is no question (NTLM with extended session security,
	// MS-NLMP section 3.4.6.1) sign them always.
	SignHeader bool
}

// MIC is implemented by mechanisms that SPNEGO can protect its negotiation
// with (RFC 4178 section 5): they sign a message outside the stream of PDUs.
type MIC interface {
	MIC(message []byte) ([]byte, error)
	VerifyMIC(message, mic []byte) error

	// AfterMIC is called once, after both MICs were exchanged and before the
	// first Wrap or Unwrap. NTLM rewinds its ciphers then (MS-SPNG section
	// 3.2.5.1); sequence numbers go on.
	AfterMIC()
}

// Peer is who is on the other side.
type Peer struct {
	Mechanism string // "ntlm", "kerberos"
	User      string // the account's name, without its domain
	Domain    string // the NTLM domain as the client sent it, or the Kerberos realm
}

func (p Peer) String() string {
	switch {
	case p.Domain == "":
		return p.User
	case p.Mechanism == "kerberos":
		return p.User + "@" + p.Domain
	}
	return p.Domain + `\` + p.User
}

// Errors of a handshake and of messages.
var (
	// ErrLogon says that credentials were refused. The peer learns no more
	// than that.
	ErrLogon = errors.New("logon refused")

	// ErrIntegrity says that a message was changed, replayed, reordered or
	// made by somebody else.
	ErrIntegrity = errors.New("message signature is wrong")
)

// RefusedError is a logon that was refused, and who the peer said to be: for the
// server's log, and proven by nothing.
type RefusedError struct {
	Claimed Peer
	Err     error
}

func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }
