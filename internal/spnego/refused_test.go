package spnego

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
)

// TestRefusedByInitiator: what a server may not answer.
func TestRefusedByInitiator(t *testing.T) {
	token2 := []byte(oidA.String() + " 2")
	for name, answers := range map[string][]*respToken{
		"a mechanism that was not offered":    {{state: acceptIncomplete, mech: oidC}},
		"reject":                              {{state: reject}},
		"reject with a mechanism":             {{state: reject, mech: oidA, token: token2}},
		"complete at once":                    {{state: acceptCompleted, mech: oidA}},
		"complete at once, with a token":      {{state: acceptCompleted, mech: oidA, token: token2}},
		"no token":                            {{state: acceptIncomplete, mech: oidA}},
		"another one's token":                 {{state: acceptIncomplete, mech: oidB, token: []byte(oidB.String() + " 2")}},
		"changes its choice":                  {{state: acceptIncomplete, mech: oidA, token: token2}, {state: acceptIncomplete, mech: oidB}},
		"names it late":                       {{state: acceptIncomplete, token: token2}, {state: acceptIncomplete, mech: oidB}},
		"goes on when it is done":             {{state: acceptIncomplete, mech: oidA, token: token2}, {state: acceptIncomplete, token: token2}},
		"waits when it is done":               {{state: acceptIncomplete, mech: oidA, token: token2}, {state: acceptIncomplete}},
		"asks for a signature, gives none":    {{state: requestMIC, mech: oidA, token: token2}, {state: acceptCompleted}},
		"signs wrongly":                       {{state: acceptIncomplete, mech: oidA, token: token2}, {state: acceptCompleted, mic: []byte("x")}},
		"second choice, complete, no message": {{state: acceptCompleted, mech: oidB}},
	} {
		i := NewInitiator(fakes("initiator", 3, oidA, oidB)...)
		if _, _, err := i.Step(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		var err error
		for n, m := range answers {
			var done bool
			if _, done, err = i.Step(t.Context(), marshal(t, m)); done {
				t.Errorf("%s: done with answer %d", name, n+1)
			}
			if err != nil && n < len(answers)-1 {
				t.Errorf("%s: answer %d: %v", name, n+1, err)
			}
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, _, again := i.Step(t.Context(), marshal(t, &respToken{state: acceptIncomplete, mech: oidA, token: token2})); again == nil {
			t.Errorf("%s: another try", name)
		}
		if (answers[0].state == reject) != errors.Is(err, gss.ErrLogon) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRefusedByAcceptor: what a client may not send, after a good beginning.
func TestRefusedByAcceptor(t *testing.T) {
	for name, tokens := range map[string][][]byte{
		"nothing":                  {nil},
		"no mechanism in common":   {marshal(t, &initToken{list: list(t, oidC)})},
		"a raw token":              {[]byte(oidA.String() + " 1")},
		"an answer first":          {marshal(t, &respToken{state: acceptIncomplete, token: []byte(oidA.String() + " 1")})},
		"the same once more":       {marshal(t, &initToken{list: list(t, oidA), token: []byte(oidA.String() + " 1")}), marshal(t, &initToken{list: list(t, oidA), token: []byte(oidA.String() + " 1")})},
		"gives up":                 {marshal(t, &initToken{list: list(t, oidA), token: []byte(oidA.String() + " 1")}), marshal(t, &respToken{state: reject})},
		"goes on without a token":  {marshal(t, &initToken{list: list(t, oidA), token: []byte(oidA.String() + " 1")}), marshal(t, &respToken{state: noState})},
		"a wrong token":            {marshal(t, &initToken{list: list(t, oidA), token: []byte("x")})},
		"a wrong token later":      {marshal(t, &initToken{list: list(t, oidA), token: []byte(oidA.String() + " 1")}), marshal(t, &respToken{state: noState, token: []byte("x")})},
		"the second choice's, now": {marshal(t, &initToken{list: list(t, oidC, oidA), token: []byte(oidA.String() + " 1")}), marshal(t, &respToken{state: noState, token: []byte(oidA.String() + " 3")})},
	} {
		a := NewAcceptor(fakes("acceptor", 3, oidA, oidB)...)
		var err error
		for n, token := range tokens {
			var done bool
			if _, done, err = a.Step(t.Context(), token); done {
				t.Errorf("%s: done", name)
			}
			if err != nil && n < len(tokens)-1 {
				t.Errorf("%s: token %d: %v", name, n+1, err)
			}
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, _, again := a.Step(t.Context(), marshal(t, &initToken{list: list(t, oidA)})); again == nil {
			t.Errorf("%s: another try", name)
		}
	}
}

// TestGoesOnAfterTheMechanism: a client that owes its signature sends a token of
// the mechanism instead.
func TestGoesOnAfterTheMechanism(t *testing.T) {
	a := NewAcceptor(fakes("acceptor", 2, oidA)...)
	first := marshal(t, &initToken{list: list(t, oidC, oidA)})
	begin := marshal(t, &respToken{state: noState, token: []byte(oidA.String() + " 1")})
	for _, in := range [][]byte{first, begin} {
		if _, done, err := a.Step(t.Context(), in); err != nil || done {
			t.Fatal(done, err)
		}
	}
	if _, _, err := a.Step(t.Context(), begin); err == nil || errors.Is(err, ErrDowngrade) {
		t.Errorf("%v", err)
	}
	// And one that sends nothing of either.
	a = NewAcceptor(fakes("acceptor", 2, oidA)...)
	for _, in := range [][]byte{first, begin} {
		if _, done, err := a.Step(t.Context(), in); err != nil || done {
			t.Fatal(done, err)
		}
	}
	if _, _, err := a.Step(t.Context(), marshal(t, &respToken{state: noState})); !errors.Is(err, ErrDowngrade) {
		t.Errorf("%v", err)
	}
}

// TestTooManyLegs: a mechanism that never ends is ended.
func TestTooManyLegs(t *testing.T) {
	i, a := NewInitiator(fakes("initiator", 1000, oidA)...), NewAcceptor(fakes("acceptor", 1000, oidA)...)
	legs := 0
	err := run(t, i, a, func(n int, token []byte) []byte { legs = n; return token })
	if !errors.Is(err, errLegs) || legs > 2*maxLegs {
		t.Errorf("after %d tokens: %v", legs, err)
	}
	// As many as a mechanism may need are no trouble.
	if err := run(t, NewInitiator(fakes("initiator", 9, oidA)...), NewAcceptor(fakes("acceptor", 9, oidA)...), nil); err != nil {
		t.Error(err)
	}
}

// TestMechanismFails: what a mechanism says of a logon is what comes out, and
// there is no other try.
func TestMechanismFails(t *testing.T) {
	a := NewAcceptor(fake("acceptor", script{oid: oidA, last: 3, fail: gss.ErrLogon}, nil), fakes("acceptor", 3, oidB)[0])
	i := NewInitiator(fakes("initiator", 3, oidA, oidB)...)
	if err := run(t, i, a, nil); !errors.Is(err, gss.ErrLogon) {
		t.Errorf("acceptor: %v", err)
	}
	if _, _, err := a.Step(t.Context(), marshal(t, &respToken{state: noState, mech: oidB})); err == nil {
		t.Error("another try")
	}
	// The client does not step down to its second when the first cannot start.
	wrong := errors.New("no ticket")
	i = NewInitiator(fake("initiator", script{oid: oidA, fail: wrong}, nil), fakes("initiator", 3, oidB)[0])
	if _, _, err := i.Step(t.Context(), nil); !errors.Is(err, wrong) {
		t.Errorf("initiator: %v", err)
	}
	i = NewInitiator(Mech{oidA, func() (gss.Context, error) { return nil, wrong }})
	if _, _, err := i.Step(t.Context(), nil); !errors.Is(err, wrong) {
		t.Errorf("initiator: %v", err)
	}
	a = NewAcceptor(Mech{oidA, func() (gss.Context, error) { return nil, wrong }})
	if _, _, err := a.Step(t.Context(), marshal(t, &initToken{list: list(t, oidA)})); !errors.Is(err, wrong) {
		t.Errorf("acceptor: %v", err)
	}
}

func TestNoMechanisms(t *testing.T) {
	if _, _, err := NewInitiator().Step(t.Context(), nil); !errors.Is(err, ErrNoMechanism) {
		t.Errorf("initiator: %v", err)
	}
	if _, _, err := NewInitiator(fakes("initiator", 3, oidA)...).Step(t.Context(), []byte{1}); err == nil {
		t.Error("the server may speak first")
	}
	if _, _, err := NewAcceptor().Step(t.Context(), marshal(t, &initToken{list: list(t, oidA)})); !errors.Is(err, ErrNoMechanism) {
		t.Errorf("acceptor: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	i := NewInitiator(fakes("initiator", 3, oidA)...)
	if _, _, err := i.Step(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// Nothing happened: it can still begin.
	if out, _, err := i.Step(t.Context(), nil); err != nil || !bytes.Contains(out, []byte(oidA.String()+" 1")) {
		t.Errorf("%x, %v", out, err)
	}
}
