package ntlm

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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

// oldClient is a client that knows no MIC, as there still are: it copies the
// server's list and begins the payload where the MIC would stand.
type oldClient struct {
	session
	cred       Credentials
	challenged bool
}

func (c *oldClient) Peer() gss.Peer { return gss.Peer{} }

func (c *oldClient) Step(_ context.Context, in []byte) ([]byte, bool, error) {
	if !c.challenged {
		c.challenged = true
		return marshalNegotiate(required | flagReqTarget | flagAlwaysSign | flag56), false, nil
	}
	m, err := parseChallenge(in)
	if err != nil {
		return nil, false, err
	}
	list, err := parsePairs(m.targetInfo)
	if err != nil || m.flags&required != required {
		return nil, false, errors.New("not such a challenge")
	}
	key := ntowfv2(c.cred.Hash, c.cred.User, c.cred.Domain)
	blob := clientBlob([8]byte{1}, vecClientChallenge, list.marshal())
	proof, exchange := proofs(key, m.challenge, blob)
	encrypted := rc4k(exchange, vecSessionKey[:])
	c.establish(vecSessionKey, true)
	a := authenticate{
		flags:  required | flagReqTarget | flagAlwaysSign | flag56 | flagTargetInfo,
		domain: toUTF16(c.cred.Domain), user: toUTF16(c.cred.User), workstation: toUTF16(c.cred.Workstation),
		lm: lmv2(key, m.challenge, vecClientChallenge), nt: append(proof[:], blob...),
		sessionKey: encrypted[:],
	}
	return a.marshal(), true, nil
}

// handshake runs a handshake; change may change each of the three messages. An
// error is that of one side's step.
func handshake(t testing.TB, i, a gss.Context, change func(n int, message []byte) []byte) error {
	t.Helper()
	if change == nil {
		change = func(_ int, m []byte) []byte { return m }
	}
	negotiate, done, err := i.Step(t.Context(), nil)
	if err != nil || done {
		t.Fatalf("first step: %v %v", done, err)
	}
	challenge, done, err := a.Step(t.Context(), change(1, bytes.Clone(negotiate)))
	if err != nil {
		return err
	}
	if done {
		t.Fatal("the acceptor is done after the first message")
	}
	authenticate, done, err := i.Step(t.Context(), change(2, bytes.Clone(challenge)))
	if err != nil {
		return err
	}
	if !done {
		t.Fatal("the initiator is not done")
	}
	out, done, err := a.Step(t.Context(), change(3, bytes.Clone(authenticate)))
	if err != nil {
		return err
	}
	if !done || out != nil {
		t.Fatalf("the acceptor ends with %v, %x", done, out)
	}
	return nil
}

// exchange sends one sealed message each way.
func exchange(i, a gss.Context) error {
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
	if got := i.Peer(); got != (gss.Peer{Mechanism: "ntlm"}) {
		t.Errorf("the initiator's peer is %v", got)
	}
	if !i.NegotiationMIC() || !a.NegotiationMIC() {
		t.Error("no mic")
	}
	if err := exchange(i, a); err != nil {
		t.Fatal(err)
	}
	for _, c := range []gss.Context{i, a} {
		if _, _, err := c.Step(t.Context(), nil); err == nil {
			t.Error("a step after the last")
		}
	}
	if i.cred.Hash != [16]byte{} {
		t.Error("the initiator keeps the hash")
	}
}

// TestClientWithoutMIC: such a client is served, and SPNEGO is not asked to
// sign (it would wait for a signature that never comes).
func TestClientWithoutMIC(t *testing.T) {
	i, a := &oldClient{cred: testCredentials()}, NewAcceptor(testConfig())
	if err := handshake(t, i, a, nil); err != nil {
		t.Fatal(err)
	}
	if a.NegotiationMIC() {
		t.Error("there was no mic")
	}
	if err := exchange(i, a); err != nil {
		t.Fatal(err)
	}
}

// TestServerWithoutTimestamp: the LM response is then a real one, and the MIC
// is there nevertheless.
func TestServerWithoutTimestamp(t *testing.T) {
	i, a := NewInitiator(testCredentials(), ""), NewAcceptor(testConfig())
	i.random = func(b []byte) { copy(b, bytes.Repeat([]byte{0xaa}, len(b))) }
	err := handshake(t, i, a, func(n int, m []byte) []byte {
		switch n {
		case 2:
			a.pairs = a.pairs[:len(a.pairs)-1] // the timestamp is the last
			c, _ := parseChallenge(m)
			c.targetInfo = a.pairs.marshal()
			m = c.marshal()
			a.challenge = m
		case 3:
			p, _ := parseAuthenticate(m)
			key := ntowfv2(NTHash("correct horse"), "backup", "CERTKEEP")
			if !bytes.Equal(p.lm, lmv2(key, a.server, vecClientChallenge)) {
				t.Errorf("lm response %x", p.lm)
			}
		}
		return m
	})
	if err != nil {
		t.Fatal(err)
	}
	if !a.NegotiationMIC() {
		t.Error("no mic")
	}
}

// TestAnswer looks at what the third message tells.
func TestAnswer(t *testing.T) {
	i, a := NewInitiator(testCredentials(), "RPCSS/ca1"), NewAcceptor(testConfig())
	err := handshake(t, i, a, func(n int, m []byte) []byte {
		if n != 3 {
			return m
		}
		p, err := parseAuthenticate(m)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.lm, make([]byte, 24)) {
			t.Error("with a timestamp the lm response is zeros")
		}
		r, err := parseNTResponse(p.nt)
		if err != nil {
			t.Fatal(err)
		}
		stamp, _ := a.pairs.get(avTimestamp)
		if !bytes.Equal(r.blob[8:16], stamp) {
			t.Error("the time is not the server's")
		}
		spn, _ := r.pairs.get(avTargetName)
		bindings, _ := r.pairs.get(avChannelBindings)
		flags, _ := r.pairs.flags()
		if !bytes.Equal(spn, toUTF16("RPCSS/ca1")) || !bytes.Equal(bindings, make([]byte, 16)) || flags != avFlagMIC {
			t.Errorf("pairs %v", r.pairs)
		}
		return m
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFileTime(t *testing.T) {
	b := fileTime(time.Unix(0, 0))
	if hex.EncodeToString(b[:]) != "00803ed5deb19d01" { // 116444736000000000
		t.Errorf("1970 is %x", b)
	}
}

func TestRefusedLogons(t *testing.T) {
	for name, change := range map[string]func(*Credentials){
		"wrong password":     func(c *Credentials) { c.Hash = NTHash("wrong") },
		"unknown user":       func(c *Credentials) { c.User = "mallory" },
		"anonymous":          func(c *Credentials) { *c = Credentials{} },
		"anonymous, domain":  func(c *Credentials) { c.User = "" },
		"unknown, no secret": func(c *Credentials) { *c = Credentials{User: "mallory"} },
	} {
		c := testCredentials()
		change(&c)
		i, a := NewInitiator(c, ""), NewAcceptor(testConfig())
		err := handshake(t, i, a, nil)
		if !errors.Is(err, gss.ErrLogon) {
			t.Errorf("%s: %v", name, err)
		}
		if a.Peer() != (gss.Peer{}) {
			t.Errorf("%s: peer %v", name, a.Peer())
		}
		if err := a.Wrap(make([]byte, 16), gss.Message{}, true); err == nil {
			t.Errorf("%s: wraps", name)
		}
		if _, _, err := a.Step(t.Context(), nil); err == nil {
			t.Errorf("%s: another try", name)
		}
	}
}

// TestUnknownUserLikeWrongPassword: the error does not tell them apart, and a
// Lookup whose hash for unknown users is the right one changes nothing.
func TestUnknownUserLikeWrongPassword(t *testing.T) {
	text := map[bool]string{}
	for _, known := range []bool{true, false} {
		config := testConfig()
		config.Lookup = func(string, string) ([16]byte, bool) {
			if known {
				return NTHash("another"), true
			}
			return NTHash("correct horse"), false
		}
		text[known] = handshake(t, NewInitiator(testCredentials(), ""), NewAcceptor(config), nil).Error()
	}
	if text[true] != text[false] {
		t.Errorf("%q and %q", text[true], text[false])
	}
}

func TestDomainCaseIsKept(t *testing.T) {
	c := testCredentials()
	c.User, c.Domain = "bäckup", "ExAmPle.com"
	config := testConfig()
	config.Lookup = func(user, domain string) ([16]byte, bool) {
		return c.Hash, user == "bäckup" && domain == "ExAmPle.com"
	}
	if err := handshake(t, NewInitiator(c, ""), NewAcceptor(config), nil); err != nil {
		t.Error(err)
	}
}

func TestLongNames(t *testing.T) {
	c := testCredentials()
	c.User = strings.Repeat("x", 257)
	if err := handshake(t, NewInitiator(c, ""), NewAcceptor(testConfig()), nil); err == nil {
		t.Error("the initiator sends a name of 257 characters")
	}
	err := handshake(t, &oldClient{cred: c}, NewAcceptor(testConfig()), nil)
	if err == nil || errors.Is(err, gss.ErrLogon) {
		t.Errorf("the acceptor takes a name of 257 characters: %v", err)
	}
}

// TestNoSecretsPrinted prints credentials in every way.
func TestNoSecretsPrinted(t *testing.T) {
	c := testCredentials()
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n", c)
		fmt.Fprintf(&out, verb+"\n", []any{&c, map[string]any{"x": c}})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "c", c)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "c", &c)
	j, err := json.Marshal(struct{ C Credentials }{c})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	text := strings.ToLower(out.String())
	for _, secret := range []string{
		hex.EncodeToString(c.Hash[:4]), fmt.Sprintf("%d %d", c.Hash[0], c.Hash[1]),
		fmt.Sprintf("%d,%d", c.Hash[0], c.Hash[1]), fmt.Sprintf("%#x, %#x", c.Hash[0], c.Hash[1]),
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in\n%s", secret, text)
		}
	}
	if !strings.Contains(text, `certkeep\backup`) {
		t.Errorf("no name in\n%s", text)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []gss.Context{NewInitiator(testCredentials(), ""), NewAcceptor(testConfig())} {
		if _, _, err := c.Step(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
