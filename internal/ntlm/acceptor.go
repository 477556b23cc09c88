package ntlm

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/internal/gss"
)

// AcceptorConfig is what a server tells of itself, and whom it knows.
type AcceptorConfig struct {
	Computer    string // NetBIOS name; mandatory, as is Domain: Windows clients fail without
	Domain      string // NetBIOS name; the computer's own name where there is no domain
	DNSComputer string // may be empty
	DNSDomain   string // may be empty

	// Lookup returns the NT hash of a user's password (see [NTHash]). Names are
	// as the client sent them; it decides whether case matters, and whether the
	// domain does. It should cost the same for users that do not exist: then
	// nobody can tell from the time that an answer takes who does.
	Lookup func(user, domain string) (hash [16]byte, ok bool)

	Now func() time.Time // nil: time.Now
}

// Acceptor is the server's side of one logon. It implements [gss.Context] and
// [gss.MIC].
type Acceptor struct {
	session
	config    AcceptorConfig
	negotiate []byte // as received
	challenge []byte // as sent
	server    [8]byte
	pairs     pairs // as sent
	state     state
	peer      gss.Peer
	sawMIC    bool

	random func([]byte) // replaced by tests of published vectors
}

// NewAcceptor returns the server's side of one logon.
func NewAcceptor(c AcceptorConfig) *Acceptor {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Acceptor{config: c, random: fill}
}

// Step implements [gss.Context]: of the client's NEGOTIATE_MESSAGE it makes the
// CHALLENGE_MESSAGE; its AUTHENTICATE_MESSAGE ends the handshake without
// another token. An error that wraps [gss.ErrLogon] never tells whether the
// user exists.
func (a *Acceptor) Step(ctx context.Context, in []byte) (out []byte, done bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	switch a.state {
	case stateStart:
		a.state = stateFailed
		if err := a.makeChallenge(in); err != nil {
			return nil, false, err
		}
		a.state = stateChallenged
		return a.challenge, false, nil
	case stateChallenged:
		a.state = stateFailed
		if err := a.check(in); err != nil {
			return nil, false, err
		}
		a.state = stateDone
		a.negotiate, a.challenge = nil, nil
		return nil, true, nil
	}
	return nil, false, errOver
}

// makeChallenge answers a NEGOTIATE_MESSAGE (MS-NLMP section 3.2.5.1.1).
func (a *Acceptor) makeChallenge(in []byte) error {
	flags, err := parseNegotiate(in)
	if err != nil {
		return err
	}
	if missing := required &^ flags; missing != 0 {
		return fmt.Errorf("ntlm: the client offers too little: flags %#x are missing", missing)
	}
	a.negotiate = bytes.Clone(in)
	a.random(a.server[:])
	now := fileTime(a.config.Now())
	a.pairs = pairs{
		{avNbDomain, toUTF16(a.config.Domain)},
		{avNbComputer, toUTF16(a.config.Computer)},
	}
	if a.config.DNSDomain != "" {
		a.pairs = append(a.pairs, pair{avDNSDomain, toUTF16(a.config.DNSDomain)})
	}
	if a.config.DNSComputer != "" {
		a.pairs = append(a.pairs, pair{avDNSComputer, toUTF16(a.config.DNSComputer)})
	}
	a.pairs = append(a.pairs, pair{avTimestamp, now[:]})
	c := challenge{
		flags:      required | flagTargetInfo | flags&(flagAlwaysSign|flag56|flagVersion),
		challenge:  a.server,
		targetInfo: a.pairs.marshal(),
	}
	if flags&flagReqTarget != 0 {
		c.flags |= flagReqTarget | flagTargetServer
		c.targetName = toUTF16(a.config.Computer)
	}
	if flags&flagVersion != 0 {
		c.version = version
	}
	a.challenge = c.marshal()
	return nil
}

// check verifies an AUTHENTICATE_MESSAGE (MS-NLMP section 3.2.5.1.2).
func (a *Acceptor) check(in []byte) error {
	m, err := parseAuthenticate(in)
	if err != nil {
		return err
	}
	if missing := required &^ m.flags; missing != 0 {
		return fmt.Errorf("ntlm: the client settles for too little: flags %#x are missing", missing)
	}
	user, okUser := fromUTF16(m.user)
	domain, okDomain := fromUTF16(m.domain)
	switch {
	case !okUser || !okDomain:
		return errors.New("ntlm authenticate: a name is not in UTF-16")
	case user == "" || m.flags&flagAnonymous != 0:
		return fmt.Errorf("ntlm: anonymous: %w", gss.ErrLogon)
	case len(m.sessionKey) != 16:
		return fmt.Errorf("ntlm authenticate: session key is of %d bytes", len(m.sessionKey))
	}
	r, err := parseNTResponse(m.nt)
	if err != nil {
		return fmt.Errorf("ntlm authenticate: %w: %w", err, gss.ErrLogon)
	}

	// From here on the way is the same for users that exist and others.
	hash, known := a.config.Lookup(user, domain)
	proof, exchange := proofs(ntowfv2(hash, user, domain), a.server, r.blob)
	clear(hash[:])
	sessionKey := rc4k(exchange, m.sessionKey)
	right := subtle.ConstantTimeCompare(proof[:], r.proof) == 1
	micErr := a.checkMIC(in, m, r, sessionKey)
	if !known || !right {
		return &gss.RefusedError{
			Claimed: gss.Peer{Mechanism: "ntlm", User: user, Domain: domain},
			Err:     fmt.Errorf("ntlm: user %q of domain %q: %w", user, domain, gss.ErrLogon),
		}
	}
	if micErr != nil {
		return micErr
	}
	a.peer = gss.Peer{Mechanism: "ntlm", User: user, Domain: domain}
	a.establish(sessionKey, false)
	return nil
}

// checkMIC checks the MIC where the client says that there is one, and that
// the client saw the challenge that was sent. The latter is so also without
// MIC, because the list is protected by the password: nobody can have taken
// the timestamp away in order to make the client leave out the MIC.
func (a *Acceptor) checkMIC(in []byte, m *authenticate, r *ntResponse, key [16]byte) error {
	for _, p := range a.pairs {
		if v, ok := r.pairs.get(p.id); !ok || !bytes.Equal(v, p.value) {
			return fmt.Errorf("ntlm: the client answers another challenge (av pair %d): %w", p.id, gss.ErrIntegrity)
		}
	}
	flags, err := r.pairs.flags()
	if err != nil {
		return fmt.Errorf("ntlm authenticate: %w", err)
	}
	if flags&avFlagMIC == 0 {
		return nil
	}
	if !m.hasMIC {
		return fmt.Errorf("ntlm: the handshake's mic was taken away: %w", gss.ErrIntegrity)
	}
	mic := messageMIC(key, a.negotiate, a.challenge, in)
	if subtle.ConstantTimeCompare(mic[:], m.mic[:]) != 1 {
		return fmt.Errorf("ntlm: the handshake was changed on its way: %w", gss.ErrIntegrity)
	}
	a.sawMIC = true
	return nil
}

// Peer is the user who logged on, named as the client did. It is empty before
// that.
func (a *Acceptor) Peer() gss.Peer { return a.peer }

// NegotiationMIC says that the client's handshake had a MIC. SPNEGO must then
// have one too (MS-SPNG section 3.3.5.1).
func (a *Acceptor) NegotiationMIC() bool { return a.sawMIC }
