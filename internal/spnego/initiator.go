package spnego

import (
	"context"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/internal/gss"
)

// Initiator is the client's side of a negotiation. It implements
// [gss.Context].
//
// Its last token is always the server's: Step reports done when the server has
// said that it is, and then returns no token.
type Initiator struct {
	established
	mechs  []Mech
	chosen int // index into mechs
	agreed bool
}

// NewInitiator returns the client's side, which offers these mechanisms, the
// best first. The first must work here: when it cannot even start, the
// negotiation fails, because going on with the next would be a step down that
// nobody asked for.
func NewInitiator(mechs ...Mech) *Initiator { return &Initiator{mechs: mechs} }

// Step implements [gss.Context].
func (i *Initiator) Step(ctx context.Context, in []byte) (out []byte, done bool, err error) {
	if err := i.begin(ctx); err != nil {
		return nil, false, err
	}
	if i.list == nil {
		out, err = i.first(ctx, in)
	} else {
		out, err = i.next(ctx, in)
	}
	if err != nil {
		i.failed = true
		return nil, false, err
	}
	return out, i.done, nil
}

// first offers the mechanisms, with a token for the first of them.
func (i *Initiator) first(ctx context.Context, in []byte) ([]byte, error) {
	switch {
	case len(in) != 0:
		return nil, errors.New("spnego: the server spoke first")
	case len(i.mechs) == 0:
		return nil, ErrNoMechanism
	}
	oids := make([]asn1.ObjectIdentifier, len(i.mechs))
	for n, m := range i.mechs {
		oids[n] = m.OID
	}
	list, err := marshalList(oids)
	if err != nil {
		return nil, fmt.Errorf("spnego: %w", err)
	}
	i.list = list
	if i.mech, err = i.mechs[0].New(); err != nil {
		return nil, err
	}
	token, err := i.step(ctx, nil)
	if err != nil {
		return nil, err
	}
	return (&initToken{list: list, token: token}).marshal()
}

// next answers the server.
func (i *Initiator) next(ctx context.Context, in []byte) ([]byte, error) {
	reply := &respToken{state: noState}
	// Over DCE/RPC a server that has nothing to add may answer the last leg
	// with nothing.
	if len(in) != 0 {
		var err error
		if reply, err = parseResp(in); err != nil {
			return nil, err
		}
	}
	if reply.state == reject {
		return nil, fmt.Errorf("spnego: the server rejects: %w", gss.ErrLogon)
	}
	fresh, err := i.agree(reply)
	if err != nil {
		return nil, err
	}
	if reply.state == requestMIC {
		i.required = true
	}

	var answer respToken
	switch {
	case i.mechDone && len(reply.token) != 0:
		return nil, errors.New("spnego: the server goes on where the mechanism is done")
	case i.mechDone:
	case fresh && len(reply.token) != 0:
		return nil, errors.New("spnego: the server answers what it was not sent")
	case !fresh && reply.token == nil:
		return nil, errors.New("spnego: the server's answer has no token")
	default:
		if answer.token, err = i.step(ctx, reply.token); err != nil {
			return nil, err
		}
	}
	if err := i.verify(reply.mic); err != nil {
		return nil, err
	}
	return i.conclude(reply.state, answer)
}

// agree takes note of the server's choice of a mechanism. fresh says that it
// is not the one whose token was sent, and that it is just started.
func (i *Initiator) agree(reply *respToken) (fresh bool, err error) {
	first := !i.agreed
	i.agreed = true
	if reply.mech == nil || same(reply.mech, i.mechs[i.chosen].OID) {
		return false, nil
	}
	if !first {
		return false, errors.New("spnego: the server changes its choice")
	}
	for n, m := range i.mechs {
		if !same(m.OID, reply.mech) {
			continue
		}
		i.chosen, i.required, i.mechDone = n, true, false
		i.mech, err = m.New()
		return true, err
	}
	return false, fmt.Errorf("spnego: the server chose %v, which was not offered", reply.mech)
}

// conclude makes the answer, or finds that nothing is left to say.
func (i *Initiator) conclude(state negState, answer respToken) ([]byte, error) {
	// A server that says completed reads nothing more. Its MIC alone proves to
	// us that it saw our list.
	if state != acceptCompleted || !i.micGot {
		var err error
		if answer.mic, err = i.sign(); err != nil {
			return nil, err
		}
	}
	if answer.token != nil || answer.mic != nil {
		if state == acceptCompleted {
			if answer.token == nil {
				return nil, ErrDowngrade
			}
			return nil, errors.New("spnego: the server ends before the mechanism does")
		}
		answer.state = noState
		return answer.marshal()
	}
	switch {
	case !i.mechDone:
		return nil, errors.New("spnego: the server ends before the mechanism does")
	case i.required && !i.micGot:
		return nil, ErrDowngrade
	case state != acceptCompleted && state != noState:
		return nil, errors.New("spnego: the server waits although nothing is left to say")
	}
	i.done = true
	return nil, nil
}
