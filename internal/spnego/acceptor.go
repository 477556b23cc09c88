package spnego

import (
	"context"
	"encoding/asn1"
	"errors"

	"github.com/certkeep/certkeep/internal/gss"
)

// Acceptor is the server's side of a negotiation. It implements [gss.Context].
//
// Each of its steps returns a token, the last one as well.
type Acceptor struct {
	established
	mechs []Mech
}

// NewAcceptor returns the server's side, which can do these mechanisms. Which
// is taken is for the client to say: the first in its list that is in this
// one, in whatever order.
func NewAcceptor(mechs ...Mech) *Acceptor { return &Acceptor{mechs: mechs} }

// Step implements [gss.Context].
func (a *Acceptor) Step(ctx context.Context, in []byte) (out []byte, done bool, err error) {
	if err := a.begin(ctx); err != nil {
		return nil, false, err
	}
	if a.list == nil {
		out, err = a.first(ctx, in)
	} else {
		out, err = a.next(ctx, in)
	}
	if err != nil {
		a.failed = true
		return nil, false, err
	}
	return out, a.done, nil
}

// first chooses the mechanism.
func (a *Acceptor) first(ctx context.Context, in []byte) ([]byte, error) {
	offer, err := parseInit(in)
	if err != nil {
		return nil, err
	}
	a.list = append([]byte{}, offer.list...)
	mech, index, oid := a.choose(offer.mechs)
	if mech == nil {
		return nil, ErrNoMechanism
	}
	if a.mech, err = mech.New(); err != nil {
		return nil, err
	}
	answer := respToken{state: acceptIncomplete, mech: oid}
	if index != 0 {
		// The token is for a mechanism that is not taken. That it is not has
		// to be signed in the end.
		a.required = true
		answer.state = requestMIC
		return answer.marshal()
	}
	if offer.token == nil {
		return answer.marshal()
	}
	if answer.token, err = a.step(ctx, offer.token); err != nil {
		return nil, err
	}
	return a.conclude(offer.mic, answer)
}

// choose returns the client's best mechanism of those that we can do, its
// place in the client's list and its name there.
func (a *Acceptor) choose(offered []asn1.ObjectIdentifier) (*Mech, int, asn1.ObjectIdentifier) {
	for index, oid := range offered {
		for n := range a.mechs {
			if same(a.mechs[n].OID, oid) {
				return &a.mechs[n], index, oid
			}
		}
	}
	return nil, 0, nil
}

// next answers the client's further tokens.
func (a *Acceptor) next(ctx context.Context, in []byte) ([]byte, error) {
	t, err := parseResp(in)
	if err != nil {
		return nil, err
	}
	answer := respToken{state: acceptIncomplete}
	switch {
	case t.state == reject:
		return nil, errors.New("spnego: the client gives up")
	case a.mechDone && len(t.token) != 0:
		return nil, errors.New("spnego: the client goes on where the mechanism is done")
	case a.mechDone:
	case t.token == nil:
		return nil, errors.New("spnego: the client's answer has no token")
	default:
		if answer.token, err = a.step(ctx, t.token); err != nil {
			return nil, err
		}
	}
	return a.conclude(t.mic, answer)
}

// conclude checks and makes the MICs, where due, and says whether that is all.
func (a *Acceptor) conclude(mic []byte, answer respToken) ([]byte, error) {
	waited := a.micSent // the client has had its turn to sign
	if err := a.verify(mic); err != nil {
		return nil, err
	}
	var err error
	if answer.mic, err = a.sign(); err != nil {
		return nil, err
	}
	switch {
	case !a.mechDone:
	case !a.required || a.micGot:
		a.done = true
		answer.state = acceptCompleted
	case waited:
		return nil, ErrDowngrade
	}
	return answer.marshal()
}

var (
	_ gss.Context = (*Acceptor)(nil)
	_ gss.Context = (*Initiator)(nil)
)
