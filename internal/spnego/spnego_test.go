package spnego

import (
	"testing"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ntlm"
)

func ntlmInitiator() Mech {
	return Mech{NTLM, func() (gss.Context, error) {
		return ntlm.NewInitiator(ntlm.Credentials{User: "backup", Domain: "CERTKEEP", Hash: ntlm.NTHash("correct horse")}, "RPCSS/ca1"), nil
	}}
}

func ntlmAcceptor() Mech {
	return Mech{NTLM, func() (gss.Context, error) {
		return ntlm.NewAcceptor(ntlm.AcceptorConfig{
			Computer: "CA1", Domain: "CERTKEEP",
			Lookup: func(user, _ string) ([16]byte, bool) { return ntlm.NTHash("correct horse"), user == "backup" },
		}), nil
	}}
}

// run lets the two talk until both are done; change may change each token, and
// n counts them from 1.
func run(t testing.TB, i, a gss.Context, change func(n int, token []byte) []byte) error {
	t.Helper()
	if change == nil {
		change = func(_ int, token []byte) []byte { return token }
	}
	token, iDone, err := i.Step(t.Context(), nil)
	if err != nil {
		return err
	}
	aDone := false
	for n := 1; !iDone || !aDone; n += 2 {
		if token, aDone, err = a.Step(t.Context(), change(n, token)); err != nil {
			return err
		}
		if token, iDone, err = i.Step(t.Context(), change(n+1, token)); err != nil {
			return err
		}
		if n > 4*maxLegs {
			t.Fatal("the two do not come to an end")
		}
	}
	if token != nil {
		t.Fatalf("a token is left: %x", token)
	}
	return nil
}

func exchange(t testing.TB, i, a gss.Context) {
	t.Helper()
	for _, w := range []struct{ from, to gss.Context }{{i, a}, {a, i}, {i, a}} {
		token, body := make([]byte, w.from.TokenSize(true, 5)), []byte("hello")
		if err := w.from.Wrap(token, gss.Message{Body: body}, true); err != nil {
			t.Fatal(err)
		}
		if err := w.to.Unwrap(token, gss.Message{Body: body}, true); err != nil {
			t.Fatal(err)
		}
		if string(body) != "hello" {
			t.Fatalf("got %q", body)
		}
	}
}

func TestNTLM(t *testing.T) {
	i, a := NewInitiator(ntlmInitiator()), NewAcceptor(ntlmAcceptor())
	if err := run(t, i, a, nil); err != nil {
		t.Fatal(err)
	}
	if !i.micSent || !i.micGot || !a.micSent || !a.micGot {
		t.Error("the negotiation was not signed")
	}
	if got := a.Peer().String(); got != `CERTKEEP\backup` {
		t.Errorf("peer %q", got)
	}
	exchange(t, i, a)
}
