package ntlm

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/internal/gss"
)

// Initiator is the client's side of one logon. It implements [gss.Context] and
// [gss.MIC].
type Initiator struct {
	session
	cred      Credentials
	target    string
	negotiate []byte // as sent
	state     state
	sentMIC   bool

	challenged time.Time // when the challenge came
	told       time.Time // what time it was then to the server; zero if it did not say

	// Replaced by tests of published vectors.
	now    func() time.Time
	random func([]byte)
}

// state is where a handshake stands, on either side.
type state int

const (
	stateStart state = iota
	stateChallenged
	stateDone
	stateFailed
)

var errOver = errors.New("ntlm: the handshake is over")

// NewInitiator returns the client's side of a logon with c. target is the
// service's principal name, like "RPCSS/ca1.example.com": it travels under the
// protection of the password, so that a server can refuse what was meant for
// another one. It may be empty.
func NewInitiator(c Credentials, target string) *Initiator {
	return &Initiator{cred: c, target: target, now: time.Now, random: fill}
}

func fill(b []byte) { rand.Read(b) } // never fails (crypto/rand)

// Step implements [gss.Context]: of nil it makes the NEGOTIATE_MESSAGE, of the
// server's CHALLENGE_MESSAGE the AUTHENTICATE_MESSAGE, and is done.
func (i *Initiator) Step(ctx context.Context, in []byte) (out []byte, done bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	switch i.state {
	case stateStart:
		if len(in) != 0 {
			i.state = stateFailed
			return nil, false, errors.New("ntlm: the server spoke first")
		}
		i.state = stateChallenged
		i.negotiate = marshalNegotiate(required | flagReqTarget | flagAlwaysSign | flagVersion | flag56)
		return i.negotiate, false, nil
	case stateChallenged:
		i.state = stateFailed
		if out, err = i.authenticate(in); err != nil {
			return nil, false, err
		}
		i.state = stateDone
		return out, true, nil
	}
	return nil, false, errOver
}

// authenticate answers the server's challenge (MS-NLMP section 3.1.5.1.2).
func (i *Initiator) authenticate(in []byte) ([]byte, error) {
	c, err := parseChallenge(in)
	if err != nil {
		return nil, err
	}
	if missing := (required | flagTargetInfo) &^ c.flags; missing != 0 {
		return nil, fmt.Errorf("ntlm: the server offers too little: flags %#x are missing (it may be too old, or somebody weakens the connection)", missing)
	}
	list, err := parsePairs(c.targetInfo)
	if err != nil {
		return nil, fmt.Errorf("ntlm challenge: %w", err)
	}
	stamp, stamped, err := list.timestamp()
	if err != nil {
		return nil, fmt.Errorf("ntlm challenge: %w", err)
	}
	i.challenged = i.now()
	if stamped {
		i.told = fromFileTime(stamp)
	} else {
		stamp = fileTime(i.challenged)
	}
	if list, err = i.answerPairs(list); err != nil {
		return nil, fmt.Errorf("ntlm challenge: %w", err)
	}

	var clientChallenge [8]byte
	i.random(clientChallenge[:])
	key := ntowfv2(i.cred.Hash, i.cred.User, i.cred.Domain)
	blob := clientBlob(stamp, clientChallenge, list.marshal())
	proof, exchange := proofs(key, c.challenge, blob)

	// With a timestamp in the challenge the LM response is zeros.
	lm := make([]byte, 24)
	if !stamped {
		lm = lmv2(key, c.challenge, clientChallenge)
	}
	var sessionKey [16]byte
	i.random(sessionKey[:])
	encrypted := rc4k(exchange, sessionKey[:])

	a := authenticate{
		flags: (required | flagReqTarget | flagAlwaysSign | flagVersion | flag56 | flagTargetInfo) & c.flags,
		lm:    lm, nt: append(proof[:], blob...),
		domain: toUTF16(i.cred.Domain), user: toUTF16(i.cred.User), workstation: toUTF16(i.cred.Workstation),
		sessionKey: encrypted[:],
		hasMIC:     true,
	}
	if a.flags&flagVersion != 0 {
		a.version = version
	}
	if max(len(a.domain), len(a.user), len(a.workstation)) > maxName || len(a.nt) > maxMessage/2 {
		return nil, errors.New("ntlm: a name is too long")
	}
	out := a.marshal()
	mic := messageMIC(sessionKey, i.negotiate, in, out)
	copy(out[micOffset:], mic[:])

	i.establish(sessionKey, true)
	i.sentMIC = true
	i.cred.Hash = [16]byte{}
	return out, nil
}

// answerPairs is the server's list with the client's part: the MIC is there,
// no channel is bound, and which service is meant.
func (i *Initiator) answerPairs(list pairs) (pairs, error) {
	flags, err := list.flags()
	if err != nil {
		return nil, err
	}
	answer := make(pairs, 0, len(list)+3)
	for _, p := range list {
		switch p.id {
		case avFlags, avTargetName, avChannelBindings: // not the server's to say
		default:
			answer = append(answer, p)
		}
	}
	answer = append(answer,
		pair{avFlags, binary.LittleEndian.AppendUint32(nil, flags|avFlagMIC)},
		pair{avChannelBindings, make([]byte, 16)})
	if i.target != "" {
		answer = append(answer, pair{avTargetName, toUTF16(i.target)})
	}
	return answer, nil
}

// Peer names only the mechanism: in NTLM a server proves no more than that it
// knows the secret, or somebody who does, and that with its first message.
func (i *Initiator) Peer() gss.Peer { return gss.Peer{Mechanism: "ntlm"} }

// ServerTime returns what time it was to the server when its challenge came, and
// what time it was here; false if it did not say.
func (i *Initiator) ServerTime() (server, local time.Time, ok bool) {
	return i.told, i.challenged, !i.told.IsZero()
}

// NegotiationMIC says that the handshake had a MIC. SPNEGO must then have one
// too (MS-SPNG section 3.3.5.1).
func (i *Initiator) NegotiationMIC() bool { return i.sentMIC }
