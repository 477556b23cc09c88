package spnego

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
)

// TestDowngrade: somebody between the two takes the better mechanism out of the
// client's list. The two come to terms over the other one, and then find out.
func TestDowngrade(t *testing.T) {
	for name, mitm := range map[string]func(n int, token []byte) []byte{
		"better one taken out": func(n int, token []byte) []byte {
			if n == 1 {
				token = marshal(t, &initToken{list: list(t, oidB)})
			}
			return token
		},
		"better one put last": func(n int, token []byte) []byte {
			if n == 1 {
				token = marshal(t, &initToken{list: list(t, oidB, oidA)})
			}
			return token
		},
		"and what is signed as well": func(n int, token []byte) []byte {
			switch {
			case n == 1:
				token = marshal(t, &initToken{list: list(t, oidB)})
			case token != nil:
				m := resp(t, token)
				m.mic = nil
				token = marshal(t, m)
			}
			return token
		},
		"and nothing is left to be waited for": func(n int, token []byte) []byte {
			switch {
			case n == 1:
				token = marshal(t, &initToken{list: list(t, oidB)})
			case n > 3 && n%2 == 0:
				token = marshal(t, &respToken{state: acceptCompleted})
			}
			return token
		},
		"the answer names the worse one": func(n int, token []byte) []byte {
			if n == 2 {
				token = marshal(t, &respToken{state: acceptIncomplete, mech: oidB})
			}
			return token
		},
	} {
		for last := 1; last <= 5; last++ {
			i, a := NewInitiator(fakes("initiator", last, oidA, oidB)...), NewAcceptor(fakes("acceptor", last, oidA, oidB)...)
			if err := run(t, i, a, mitm); err == nil {
				t.Errorf("%s, %d messages: not noticed", name, last)
			} else if i.done && a.done {
				t.Errorf("%s, %d messages: both are done, %v", name, last, err)
			}
			if i.done {
				t.Errorf("%s, %d messages: the client would send to the worse one", name, last)
			}
		}
	}
}

// TestMIC: where the list must be signed, each side's signature must be there
// and be right.
func TestMIC(t *testing.T) {
	for name, change := range map[string]func(m *respToken){
		"wrong":     func(m *respToken) { m.mic[0] ^= 1 },
		"empty":     func(m *respToken) { m.mic = []byte{} },
		"cut short": func(m *respToken) { m.mic = m.mic[:len(m.mic)-1] },
		"missing":   func(m *respToken) { m.mic = nil },
		"missing, and said to be complete": func(m *respToken) {
			m.mic, m.state = nil, acceptCompleted
		},
	} {
		for last := 1; last <= 5; last++ {
			for from := range 2 { // 0: the server's signature, 1: the client's
				touched := false
				i := NewInitiator(fakes("initiator", last, oidNEGOEX, oidB)...)
				a := NewAcceptor(fakes("acceptor", last, oidB)...)
				err := run(t, i, a, func(n int, token []byte) []byte {
					if n == 1 || n%2 != from || token == nil {
						return token
					}
					m := resp(t, token)
					if m.mic == nil {
						return token
					}
					touched = true
					change(m)
					return marshal(t, m)
				})
				if !touched {
					t.Fatalf("%d messages: there was no signature", last)
				}
				// A client whose own signature was lost sees a server that waits.
				if err == nil || i.done && a.done || !strings.HasPrefix(name, "missing") && !errors.Is(err, ErrDowngrade) {
					t.Errorf("%s, %d messages, side %d: %v", name, last, from, err)
				}
				if from == 1 && a.done || from == 0 && i.done {
					t.Errorf("%s, %d messages: side %d is content without it", name, last, from)
				}
			}
		}
	}
}

// TestUnsolicitedMIC: a peer may sign where it need not; then it is checked and
// answered. It may not sign twice, nor before there is a key.
func TestUnsolicitedMIC(t *testing.T) {
	sign := func(at, last int) (func(n int, token []byte) []byte, *Initiator, *Acceptor) {
		var is *script
		i, a := NewInitiator(fake("initiator", script{oid: oidA, last: last}, &is)), NewAcceptor(fakes("acceptor", last, oidA)...)
		return func(n int, token []byte) []byte {
			if n != at {
				return token
			}
			if n == 1 {
				m := init1(t, token)
				m.mic = is.mic("initiator", m.list)
				return marshal(t, m)
			}
			m := resp(t, token)
			m.mic = is.mic([]string{"acceptor", "initiator"}[n%2], i.list)
			return marshal(t, m)
		}, i, a
	}
	change, i, a := sign(3, 3)
	answered := false
	err := run(t, i, a, func(n int, token []byte) []byte {
		if n == 4 {
			answered = resp(t, token).mic != nil
		}
		return change(n, token)
	})
	if err != nil || !answered {
		t.Errorf("answered %v, %v", answered, err)
	}
	for _, early := range []int{1, 2, 3} {
		change, i, a := sign(early, 5)
		if err := run(t, i, a, change); err == nil {
			t.Errorf("signature in token %d, before there is a key: accepted", early)
		}
	}
	// Twice: the server signs with its last message, waits for the client's
	// signature as it must, and signs once more.
	i = NewInitiator(fakes("initiator", 2, oidA)...)
	if _, _, err := i.Step(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	mic := (&script{oid: oidA}).mic("acceptor", i.list)
	out, done, err := i.Step(t.Context(), marshal(t, &respToken{state: acceptIncomplete, mech: oidA, token: []byte(oidA.String() + " 2"), mic: mic}))
	if err != nil || done || resp(t, out).mic == nil {
		t.Fatalf("done %v, %v", done, err)
	}
	if _, done, err := i.Step(t.Context(), marshal(t, &respToken{state: acceptCompleted, mic: mic})); err == nil || done {
		t.Error("signed twice: accepted")
	}
}

// TestMechanismCannotSign: a negotiation that has to be signed fails with a
// mechanism that has no MIC, on either side.
func TestMechanismCannotSign(t *testing.T) {
	mute := func(m Mech) Mech {
		return Mech{m.OID, func() (gss.Context, error) { c, err := m.New(); return noMIC{c}, err }}
	}
	for mask := 1; mask < 4; mask++ {
		im, am := fakes("initiator", 3, oidC, oidA), fakes("acceptor", 3, oidA)
		if mask&1 != 0 {
			im[1] = mute(im[1])
		}
		if mask&2 != 0 {
			am[0] = mute(am[0])
		}
		if err := run(t, NewInitiator(im...), NewAcceptor(am...), nil); err == nil {
			t.Errorf("mask %d: accepted unsigned", mask)
		}
	}
	// Where nothing has to be signed it works.
	if err := run(t, NewInitiator(mute(fakes("initiator", 3, oidA)[0])), NewAcceptor(mute(fakes("acceptor", 3, oidA)[0])), nil); err != nil {
		t.Error(err)
	}
}

// TestEmptyLastToken: a server with nothing to add may answer the last leg with
// no token at all, but not where its signature is due or the mechanism goes on.
func TestEmptyLastToken(t *testing.T) {
	for _, empty := range [][]byte{nil, {}} {
		drop := func(n int, token []byte) []byte {
			if n == 4 {
				return empty
			}
			return token
		}
		if err := run(t, NewInitiator(fakes("initiator", 3, oidA)...), NewAcceptor(fakes("acceptor", 3, oidA)...), drop); err != nil {
			t.Errorf("%#v: %v", empty, err)
		}
		if err := run(t, NewInitiator(ntlmInitiator()), NewAcceptor(ntlmAcceptor()), drop); !errors.Is(err, ErrDowngrade) {
			t.Errorf("the server's signature was taken away: %v", err)
		}
		if err := run(t, NewInitiator(fakes("initiator", 5, oidA)...), NewAcceptor(fakes("acceptor", 5, oidA)...), drop); err == nil {
			t.Error("the mechanism's fourth message was taken away")
		}
	}
}

// TestNTLMSequenceGoesOn: the signatures of the list have number 0, and the first
// message of each direction number 1. (That the ciphers begin anew is in the
// vectors of package ntlm, that they are told to once in TestAnyNegotiation.)
func TestNTLMSequenceGoesOn(t *testing.T) {
	i, a := NewInitiator(ntlmInitiator()), NewAcceptor(ntlmAcceptor())
	var mics [][]byte
	err := run(t, i, a, func(n int, token []byte) []byte {
		if n > 2 && token != nil {
			if m := resp(t, token); m.mic != nil {
				mics = append(mics, m.mic)
			}
		}
		return token
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(mics) != 2 {
		t.Fatalf("%d signatures", len(mics))
	}
	for _, mic := range mics {
		if binary.LittleEndian.Uint32(mic[12:]) != 0 {
			t.Errorf("the signature %x is not number 0", mic)
		}
	}
	for n, from := range []gss.Context{i, a, i, a} {
		to := []gss.Context{a, i, a, i}[n]
		token, body := make([]byte, 16), []byte("hello")
		if err := from.Wrap(token, gss.Message{Body: body}, true); err != nil {
			t.Fatal(err)
		}
		if got := binary.LittleEndian.Uint32(token[12:]); got != uint32(1+n/2) {
			t.Errorf("message %d has number %d", n/2, got)
		}
		if err := to.Unwrap(token, gss.Message{Body: body}, true); err != nil || string(body) != "hello" {
			t.Fatalf("%q, %v", body, err)
		}
	}
}
