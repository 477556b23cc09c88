package spnego

import (
	"encoding/asn1"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/internal/gss"
)

// init1 takes the client's first token apart.
func init1(t testing.TB, token []byte) *initToken {
	t.Helper()
	m, err := parseInit(token)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func resp(t testing.TB, token []byte) *respToken {
	t.Helper()
	m, err := parseResp(token)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func marshal(t testing.TB, m interface{ marshal() ([]byte, error) }) []byte {
	t.Helper()
	b, err := m.marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func list(t testing.TB, oids ...asn1.ObjectIdentifier) []byte {
	t.Helper()
	b, err := marshalList(oids)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFirstChoice: the token that came along is used at once, nothing is signed,
// and there is no message more than the mechanism has.
func TestFirstChoice(t *testing.T) {
	var is, as *script
	i := NewInitiator(fake("initiator", script{oid: oidA, last: 3}, &is), fakes("initiator", 3, oidB)[0])
	a := NewAcceptor(fakes("acceptor", 3, oidB)[0], fake("acceptor", script{oid: oidA, last: 3}, &as))
	count := 0
	err := run(t, i, a, func(n int, token []byte) []byte {
		count = n
		switch n {
		case 1:
			if m := init1(t, token); string(m.token) != oidA.String()+" 1" || m.mic != nil {
				t.Errorf("%+v", m)
			}
		case 2:
			if m := resp(t, token); m.state != acceptIncomplete || !m.mech.Equal(oidA) || string(m.token) != oidA.String()+" 2" || m.mic != nil {
				t.Errorf("%+v", m)
			}
		case 3:
			if m := resp(t, token); m.mech != nil || m.mic != nil {
				t.Errorf("%+v", m)
			}
		case 4:
			if m := resp(t, token); m.state != acceptCompleted || m.token != nil || m.mic != nil {
				t.Errorf("%+v", m)
			}
		}
		return token
	})
	if err != nil {
		t.Fatal(err)
	}
	if count != 4 || is.after != 0 || as.after != 0 {
		t.Errorf("%d tokens, ciphers rewound %d and %d times", count, is.after, as.after)
	}
	if got := a.Peer(); got.Mechanism != oidA.String() || got != i.Peer() {
		t.Errorf("peer %v", got)
	}
	for _, c := range []gss.Context{i, a} {
		if _, _, err := c.Step(t.Context(), nil); err == nil {
			t.Error("a step after the last")
		}
	}
}

// TestNotYetThere: nothing can be protected, and nobody is there, before both
// sides are done.
func TestNotYetThere(t *testing.T) {
	i, a := NewInitiator(fakes("initiator", 4, oidA)...), NewAcceptor(fakes("acceptor", 4, oidA)...)
	check := func(c gss.Context) {
		if c.Peer() != (gss.Peer{}) || c.TokenSize(true, 1) != 0 || c.Wrap(nil, gss.Message{}, true) == nil || c.Unwrap(nil, gss.Message{}, true) == nil {
			t.Errorf("%T is of use before it is done", c)
		}
	}
	check(i)
	check(a)
	err := run(t, i, a, func(n int, token []byte) []byte {
		if n < 4 {
			check(i)
			check(a)
		}
		return token
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestUnknownFirst: a client whose best mechanism is not known here, as Windows
// with NEGOEX, is asked to sign, and its second choice is begun anew.
func TestUnknownFirst(t *testing.T) {
	var is, as *script
	i := NewInitiator(append(fakes("initiator", 3, oidNEGOEX), fake("initiator", script{oid: oidB, last: 3}, &is))...)
	a := NewAcceptor(fake("acceptor", script{oid: oidB, last: 3}, &as))
	var got []*respToken
	err := run(t, i, a, func(n int, token []byte) []byte {
		if n > 1 && token != nil {
			got = append(got, resp(t, token))
		}
		return token
	})
	if err != nil {
		t.Fatal(err)
	}
	if m := got[0]; m.state != requestMIC || !m.mech.Equal(oidB) || m.token != nil {
		t.Errorf("the first answer is %+v", m)
	}
	if m := got[1]; string(m.token) != oidB.String()+" 1" {
		t.Errorf("the second choice begins with %+v", m)
	}
	if last := got[len(got)-1]; last.state != acceptCompleted || last.mic == nil {
		t.Errorf("the last answer is %+v", last)
	}
	if is.after != 1 || as.after != 1 {
		t.Errorf("ciphers rewound %d and %d times", is.after, as.after)
	}
}

// TestAnyNegotiation: whatever is offered and known, of mechanisms of any number
// of messages, the client's best that both can do is what comes out, signed
// wherever it was not the first or asks for it; or nothing.
func TestAnyNegotiation(t *testing.T) {
	all := []asn1.ObjectIdentifier{oidA, oidB, oidC, oidNEGOEX}
	rapid.Check(t, func(r *rapid.T) {
		some := rapid.Custom(func(r *rapid.T) []asn1.ObjectIdentifier {
			return rapid.Permutation(all).Draw(r, "order")[:rapid.IntRange(1, len(all)).Draw(r, "count")]
		})
		offered, known := some.Draw(r, "offered"), some.Draw(r, "known")
		last, wantMIC := rapid.IntRange(1, 7).Draw(r, "messages"), rapid.Bool().Draw(r, "mic")
		made := map[string]*script{}
		mechs := func(side string, oids []asn1.ObjectIdentifier) (m []Mech) {
			for _, o := range oids {
				s := &script{oid: o, last: last, wantMIC: wantMIC, side: side}
				m = append(m, Mech{o, func() (gss.Context, error) { made[side] = s; return s, nil }})
			}
			return m
		}
		i, a := NewInitiator(mechs("initiator", offered)...), NewAcceptor(mechs("acceptor", known)...)
		best := -1
		for n := len(offered) - 1; n >= 0; n-- {
			for _, k := range known {
				if k.Equal(offered[n]) {
					best = n
				}
			}
		}
		err := run(t, i, a, nil)
		if best < 0 {
			if !errors.Is(err, ErrNoMechanism) {
				r.Fatalf("nothing in common: %v", err)
			}
			return
		}
		if err != nil {
			r.Fatal(err)
		}
		signed := 0
		if best > 0 || wantMIC {
			signed = 1
		}
		for _, side := range []string{"initiator", "acceptor"} {
			if s := made[side]; !s.oid.Equal(offered[best]) || s.after != signed || s.at != last {
				r.Fatalf("%s: %v after %d messages, rewound %d times", side, s.oid, s.at, s.after)
			}
		}
	})
}

// TestSecondChoiceNTLM is NTLM after a mechanism that the server does not know.
func TestSecondChoiceNTLM(t *testing.T) {
	i := NewInitiator(append(fakes("initiator", 3, oidNEGOEX), ntlmInitiator())...)
	a := NewAcceptor(ntlmAcceptor())
	if err := run(t, i, a, nil); err != nil {
		t.Fatal(err)
	}
	exchange(t, i, a)
}
