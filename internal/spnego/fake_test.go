package spnego

import (
	"context"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/internal/gss"
)

// Mechanisms that only these tests know.
var (
	oidA      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}
	oidB      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 2}
	oidC      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 3}
	oidNEGOEX = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 2, 30}
)

// script is one side of a mechanism that sends a fixed number of messages to
// and fro, each with its number in it.
type script struct {
	oid     asn1.ObjectIdentifier
	last    int  // number of the last message; odd ones are the initiator's
	wantMIC bool // as NTLM's NegotiationMIC
	side    string

	at    int // number of the last message seen or sent
	after int // calls of AfterMIC
	fail  error
}

func (s *script) Step(_ context.Context, in []byte) ([]byte, bool, error) {
	if s.fail != nil {
		return nil, false, s.fail
	}
	if s.at > 0 || s.side == "acceptor" {
		s.at++
		if string(in) != fmt.Sprintf("%v %d", s.oid, s.at) {
			return nil, false, fmt.Errorf("message %d is %q: %w", s.at, in, gss.ErrLogon)
		}
	} else if len(in) != 0 {
		return nil, false, errors.New("the acceptor speaks first")
	}
	if s.at == s.last {
		return nil, true, nil
	}
	s.at++
	return fmt.Appendf(nil, "%v %d", s.oid, s.at), s.at == s.last, nil
}

func (s *script) NegotiationMIC() bool                            { return s.wantMIC }
func (s *script) Peer() gss.Peer                                  { return gss.Peer{Mechanism: s.oid.String(), User: "somebody"} }
func (s *script) TokenSize(bool, int) int                         { return 0 }
func (s *script) Wrap(token []byte, m gss.Message, _ bool) error  { return nil }
func (s *script) Unwrap(_ []byte, m gss.Message, seal bool) error { return nil }
func (s *script) AfterMIC()                                       { s.after++ }

func (s *script) MIC(list []byte) ([]byte, error) { return s.mic(s.side, list), nil }

func (s *script) mic(side string, list []byte) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%v %s %x", s.oid, side, list))
	return sum[:]
}

func (s *script) VerifyMIC(list, mic []byte) error {
	other := map[string]string{"acceptor": "initiator", "initiator": "acceptor"}[s.side]
	if string(s.mic(other, list)) != string(mic) {
		return gss.ErrIntegrity
	}
	return nil
}

// noMIC is a mechanism that cannot sign outside of messages.
type noMIC struct{ gss.Context }

// fake offers a script; made receives it when it is started.
func fake(side string, s script, made **script) Mech {
	return Mech{s.oid, func() (gss.Context, error) {
		s.side = side
		if made != nil {
			*made = &s
		}
		return &s, nil
	}}
}

// fakes offers scripts of that many messages.
func fakes(side string, last int, oids ...asn1.ObjectIdentifier) (mechs []Mech) {
	for _, o := range oids {
		mechs = append(mechs, fake(side, script{oid: o, last: last}, nil))
	}
	return mechs
}
