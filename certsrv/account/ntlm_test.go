package account

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/ntlm"
)

func TestNTHashVector(t *testing.T) {
	h := ntHash(ntlm.NTHash("Password"))
	if h.text() != goodNT {
		t.Errorf("%s", h.text())
	}
	if s := fmt.Sprintf("%v %s %+v", h, h, []any{h}); strings.Contains(s, "164 244") || strings.Contains(s, goodNT) {
		t.Errorf("a message shows the hash: %s", s)
	}
}

func TestAddNTLM(t *testing.T) {
	s, path := newStore(t, Options{})
	ctx := t.Context()
	mustAdd(t, s, "web", Enroll, "webs password")
	if b := read(t, path); !bytes.Contains(b, []byte(`"schema": 1`)) {
		t.Errorf("without NT hashes an earlier version could not read the file: %s", b)
	}
	secret, err := s.AddNTLM(ctx, "Backup", Operator)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[a-km-np-z2-9]{4}(-[a-km-np-z2-9]{4}){6}$`).MatchString(secret) {
		t.Errorf("secret %q", secret)
	}
	// 28 characters of 32: 140 bits.
	if n := len(strings.ReplaceAll(secret, "-", "")); n*5 < 128 || len(secretAlphabet) != 32 {
		t.Errorf("%d characters", n)
	}
	b := read(t, path)
	if !bytes.Contains(b, []byte(`"schema": 2`)) || bytes.Contains(b, []byte(secret)) {
		t.Errorf("the file: %s", b)
	}
	// The secret is the password as well.
	p, err := s.Authenticate(ctx, "backup", []byte(secret))
	if want := (Principal{Name: "Backup", Roles: Operator, BackupPrivilege: true}); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := s.Authenticate(ctx, "backup", []byte(strings.ReplaceAll(secret, "-", ""))); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("without hyphens: %v", err)
	}
	other, err := Open(path, Options{Cost: cheap})
	if err != nil {
		t.Fatal(err)
	}
	if h, ok := other.NTHash("BACKUP"); !ok || h != ntlm.NTHash(secret) {
		t.Errorf("NTHash: %v", ok)
	}
	l, err := s.List(ctx)
	if err != nil || len(l) != 2 || !l[0].NTLM || l[1].NTLM {
		t.Errorf("%+v, %v", l, err)
	}
	if text := fmt.Sprintf("%+v %#v", l, l); strings.Contains(text, ntHash(ntlm.NTHash(secret)).text()) {
		t.Errorf("the list shows the hash: %s", text)
	}
	if again, err := s.AddNTLM(ctx, "BACKUP", Read); !errors.Is(err, ErrExists) || again != "" {
		t.Errorf("twice: %v", err)
	}
	if again, err := s.AddNTLM(ctx, "a b", Read); err == nil || again != "" {
		t.Error("a bad name was accepted")
	}
	if again, err := s.AddNTLM(ctx, "c", Read); err != nil || again == secret {
		t.Errorf("the second secret: %v", err)
	}
	for _, name := range []string{"backup", "c"} {
		if err := s.Remove(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := s.NTHash("backup"); ok {
		t.Error("removed, and still there")
	}
	if b := read(t, path); !bytes.Contains(b, []byte(`"schema": 1`)) {
		t.Errorf("the last one is gone, and the file is still of schema 2: %s", b)
	}
}

// For an unknown name, and for an account that has none, there is a hash of which
// nobody knows the password, found by the same work.
func TestNTHashUnknown(t *testing.T) {
	s, path := newStore(t, Options{})
	mustAdd(t, s, "web", Enroll, "webs password")
	if _, err := s.AddNTLM(t.Context(), "backup", Operator); err != nil {
		t.Fatal(err)
	}
	known, _ := s.NTHash("backup")
	decoys := make(map[[16]byte]bool)
	for _, name := range []string{"web", "nobody", "", "bac\u212aup", strings.Repeat("x", 1<<16), "backup\x00"} {
		h, ok := s.NTHash(name)
		if ok || h == known || h == ([16]byte{}) || h == ntlm.NTHash("") || h == ntlm.NTHash("webs password") {
			t.Errorf("%.20q: %v", name, ok)
		}
		decoys[h] = true
	}
	if len(decoys) != 1 {
		t.Errorf("%d decoys: who logs on twice would learn that the name is unknown", len(decoys))
	}
	other, err := Open(path, Options{Cost: cheap})
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := other.NTHash("nobody"); decoys[h] {
		t.Error("each process has the same decoy")
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, ok := s.NTHash("backup"); ok || h == known {
		t.Error("a hash out of a damaged file")
	}
	// The work is that of reading the file: one look at each account.
	big, _ := newStore(t, Options{})
	if _, err := big.AddNTLM(context.Background(), "first", Read); err != nil {
		t.Fatal(err)
	}
	cost := func(name string) float64 { return testing.AllocsPerRun(20, func() { big.NTHash(name) }) }
	if a, b := cost("first"), cost("nobody"); math.Abs(a-b) > 4 { // the race detector empties pools at random
		t.Errorf("%v allocations for a known name, %v for an unknown one", a, b)
	}
}

func TestPrincipal(t *testing.T) {
	s, path := newStore(t, Options{})
	mustAdd(t, s, "kate", Operator, "kates password")
	for _, name := range []string{"kate", "KATE"} {
		p, err := s.Principal(name)
		if want := (Principal{Name: "kate", Roles: Operator, BackupPrivilege: true}); err != nil || p != want {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	for _, name := range []string{"", "nobody", "\u212aate", "kate\x00", "kate@EXAMPLE.ORG", "kate/admin"} {
		if p, err := s.Principal(name); !errors.Is(err, ErrUnknown) || p != (Principal{}) {
			t.Errorf("%q: %+v, %v", name, p, err)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Principal("kate"); err == nil || errors.Is(err, ErrUnknown) || p != (Principal{}) {
		t.Errorf("of a damaged file: %+v, %v", p, err)
	}
}

// A file that an earlier version wrote stays as it is until it needs more.
func TestSchema1(t *testing.T) {
	s, path := newStore(t, Options{})
	text := `{"schema":1,"accounts":[{"name":"a","roles":["read"],"created":"2026-01-01T00:00:00Z","password":"` + goodHash + `"}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.NTHash("a"); ok {
		t.Error("an NT hash out of schema 1")
	}
	if _, err := s.AddNTLM(t.Context(), "b", Read); err != nil {
		t.Fatal(err)
	}
	l, err := s.List(t.Context())
	if err != nil || len(l) != 2 || l[0].Name != "a" || l[0].NTLM || !l[1].NTLM {
		t.Errorf("%+v, %v", l, err)
	}
	f, err := decodeFile(read(t, path))
	if err != nil || f.Schema != 2 || f.Accounts[0].Password != goodHash {
		t.Errorf("%v", err)
	}
}

func FuzzNTHash(f *testing.F) {
	f.Add(goodNT)
	f.Add(strings.ToUpper(goodNT))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseNTHash(s)
		if err == nil && h.text() != s {
			t.Errorf("%q became %q", s, h.text())
		}
		if want, e := hex.DecodeString(s); err == nil && (e != nil || !bytes.Equal(want, h[:])) {
			t.Errorf("%q: %v", s, e)
		}
	})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
