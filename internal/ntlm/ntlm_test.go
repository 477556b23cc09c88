package ntlm

import (
	"errors"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/gss"
)

var (
	_ gss.Context = (*Initiator)(nil)
	_ gss.MIC     = (*Initiator)(nil)
	_ gss.Context = (*Acceptor)(nil)
	_ gss.MIC     = (*Acceptor)(nil)
)

func testConfig() AcceptorConfig {
	return AcceptorConfig{
		Computer: "CA1", Domain: "CERTKEEP", DNSComputer: "ca1.example.com", DNSDomain: "example.com",
		Lookup: func(user, domain string) ([16]byte, bool) {
			return NTHash("correct horse"), user == "backup"
		},
		Now: func() time.Time { return time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC) },
	}
}

func testCredentials() Credentials {
	return Credentials{User: "backup", Domain: "CERTKEEP", Workstation: "W1", Hash: NTHash("correct horse")}
}

// handshake runs a handshake; change may change each of the three messages.
func handshake(t testing.TB, i *Initiator, a *Acceptor, change func(n int, message []byte) []byte) error {
	t.Helper()
	if change == nil {
		change = func(_ int, m []byte) []byte { return m }
	}
	negotiate, done, err := i.Step(t.Context(), nil)
	if err != nil || done {
		t.Fatalf("first step: %v %v", done, err)
	}
	challenge, done, err := a.Step(t.Context(), change(1, negotiate))
	if err != nil {
		return err
	}
	if done {
		t.Fatal("the acceptor is done after the first message")
	}
	authenticate, done, err := i.Step(t.Context(), change(2, challenge))
	if err != nil {
		return err
	}
	if !done {
		t.Fatal("the initiator is not done")
	}
	out, done, err := a.Step(t.Context(), change(3, authenticate))
	if err != nil {
		return err
	}
	if !done || out != nil {
		t.Fatalf("the acceptor ends with %v, %x", done, out)
	}
	return nil
}

// exchange sends one sealed message each way.
func exchange(i *Initiator, a *Acceptor) error {
	for _, w := range []struct{ from, to gss.Context }{{i, a}, {a, i}} {
		token, body := make([]byte, w.from.TokenSize(true, 5)), []byte("hello")
		if err := w.from.Wrap(token, gss.Message{Body: body}, true); err != nil {
			return err
		}
		if err := w.to.Unwrap(token, gss.Message{Body: body}, true); err != nil {
			return err
		}
		if string(body) != "hello" {
			return errors.New("another text")
		}
	}
	return nil
}

func TestHandshake(t *testing.T) {
	i, a := NewInitiator(testCredentials(), "RPCSS/ca1"), NewAcceptor(testConfig())
	if err := handshake(t, i, a, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := a.Peer(), (gss.Peer{Mechanism: "ntlm", User: "backup", Domain: "CERTKEEP"}); got != want {
		t.Errorf("peer %v", got)
	}
	if !i.NegotiationMIC() || !a.NegotiationMIC() {
		t.Error("no mic")
	}
	if err := exchange(i, a); err != nil {
		t.Fatal(err)
	}
}
