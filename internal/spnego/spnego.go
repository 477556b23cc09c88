// Package spnego negotiates a security mechanism (RFC 4178, MS-SPNG), on both
// sides, and then is that mechanism.
//
// The client says which mechanisms it can, the best first, and sends the best
// one's first token along; the server takes the first that it can as well. All
// this is unprotected while it happens. So wherever something else than the
// client's first choice comes out, or the mechanism asks for it, both sides
// sign the client's list afterwards (the mechListMIC), and who does not is
// refused: nobody between can make two sides settle for less than they both
// can do.
package spnego

import (
	"context"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/internal/gss"
)

// Object identifiers of mechanisms.
var (
	// NTLM is NTLMSSP (MS-SPNG section 1.9).
	NTLM = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 10}

	// KRB5 is Kerberos version 5 (RFC 4121).
	KRB5 = asn1.ObjectIdentifier{1, 2, 840, 113554, 1, 2, 2}

	// MSKRB5 is Kerberos under the number that Windows 2000 gave it by mistake
	// and that Windows clients still put first. Here it is another name of
	// KRB5: who can one can the other.
	MSKRB5 = asn1.ObjectIdentifier{1, 2, 840, 48018, 1, 2, 2}
)

// Mech is a mechanism to negotiate.
type Mech struct {
	OID asn1.ObjectIdentifier

	// New starts the mechanism's handshake. It is called at most once.
	New func() (gss.Context, error)
}

// A mechanism that implements negotiationMIC says, when its own handshake is
// over, that the negotiation has to be signed although the client's first
// choice was taken. NTLM does when its handshake had a MIC (MS-SPNG section
// 3.3.5.1).
type negotiationMIC interface{ NegotiationMIC() bool }

// Errors of a negotiation. Those of mechanisms are returned as they are.
var (
	// ErrDowngrade says that the peer did not sign the list of mechanisms, or
	// signed another one, where it must: perhaps somebody between the two took
	// the better ones out.
	ErrDowngrade = errors.New("spnego: the negotiation is not signed as it must be")

	// ErrNoMechanism says that the two sides have no mechanism in common.
	ErrNoMechanism = errors.New("spnego: no mechanism that both sides can do")

	errOver           = errors.New("spnego: the negotiation is over")
	errNotEstablished = errors.New("spnego: the negotiation is not finished")
	errLegs           = errors.New("spnego: too many tokens")
)

// maxLegs bounds how many tokens one side takes.
const maxLegs = 16

// same says that two identifiers name one mechanism.
func same(a, b asn1.ObjectIdentifier) bool {
	if a.Equal(MSKRB5) {
		a = KRB5
	}
	if b.Equal(MSKRB5) {
		b = KRB5
	}
	return a.Equal(b)
}

// established is the chosen mechanism and what becomes of the mechListMIC, the
// same on both sides.
type established struct {
	mech     gss.Context // nil until one is chosen
	mechDone bool        // its own handshake is over
	done     bool        // the negotiation is as well
	failed   bool
	legs     int

	list            []byte // DER of the client's MechTypeList
	required        bool   // both sides must sign it
	micSent, micGot bool
}

// begin is what each Step starts with.
func (e *established) begin(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case e.done || e.failed:
		return errOver
	case e.legs == maxLegs:
		e.failed = true
		return errLegs
	}
	e.legs++
	return nil
}

// step passes a token to the mechanism.
func (e *established) step(ctx context.Context, in []byte) ([]byte, error) {
	out, done, err := e.mech.Step(ctx, in)
	if err != nil {
		return nil, err
	}
	if e.mechDone = done; done {
		if len(out) == 0 {
			out = nil // nothing to send
		}
		if m, ok := e.mech.(negotiationMIC); ok && m.NegotiationMIC() {
			e.required = true
		}
	}
	return out, nil
}

// verify checks the peer's mechListMIC, if there is one.
func (e *established) verify(mic []byte) error {
	if mic == nil {
		return nil
	}
	m, ok := e.mech.(gss.MIC)
	switch {
	case !ok:
		return errors.New("spnego: the peer signs with a mechanism that cannot")
	case !e.mechDone:
		return errors.New("spnego: the peer signs before there is a key")
	case e.micGot:
		return errors.New("spnego: the peer signs twice")
	}
	if err := m.VerifyMIC(e.list, mic); err != nil {
		return fmt.Errorf("%w: %w", ErrDowngrade, err)
	}
	e.micGot = true
	e.afterMIC()
	return nil
}

// sign returns this side's mechListMIC if it is due: nil otherwise.
func (e *established) sign() ([]byte, error) {
	if !e.mechDone || e.micSent || !e.required && !e.micGot {
		return nil, nil
	}
	m, ok := e.mech.(gss.MIC)
	if !ok {
		return nil, errors.New("spnego: the negotiation must be signed, and the mechanism cannot")
	}
	mic, err := m.MIC(e.list)
	if err != nil {
		return nil, err
	}
	e.micSent = true
	e.afterMIC()
	return mic, nil
}

func (e *established) afterMIC() {
	if e.micSent && e.micGot {
		e.mech.(gss.MIC).AfterMIC()
	}
}

// Peer implements [gss.Context].
func (e *established) Peer() gss.Peer {
	if !e.done {
		return gss.Peer{}
	}
	return e.mech.Peer()
}

// TokenSize implements [gss.Context].
func (e *established) TokenSize(seal bool, body int) int {
	if !e.done {
		return 0
	}
	return e.mech.TokenSize(seal, body)
}

// Wrap implements [gss.Context].
func (e *established) Wrap(token []byte, m gss.Message, seal bool) error {
	if !e.done {
		return errNotEstablished
	}
	return e.mech.Wrap(token, m, seal)
}

// Unwrap implements [gss.Context].
func (e *established) Unwrap(token []byte, m gss.Message, seal bool) error {
	if !e.done {
		return errNotEstablished
	}
	return e.mech.Unwrap(token, m, seal)
}
