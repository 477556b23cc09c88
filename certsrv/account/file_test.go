package account

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodHash = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// goodNT is NTOWFv1 of "Password" (MS-NLMP 4.2.2.1.2).
const goodNT = "a4f49c406510bdcab6824ee7c30fd852"

func TestParsePHC(t *testing.T) {
	if _, err := parsePHC(goodHash); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	salt, hash := "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for name, s := range map[string]string{
		"empty":         "",
		"bcrypt":        "$2b$12$abcdefghijklmnopqrstuv",
		"argon2i":       "$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + hash,
		"old version":   "$argon2id$v=16$m=8,t=1,p=1$" + salt + "$" + hash,
		"4 TiB":         "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + hash,
		"over 32 bits":  "$argon2id$v=19$m=4294967304,t=1,p=1$" + salt + "$" + hash,
		"257 MiB":       "$argon2id$v=19$m=263168,t=1,p=1$" + salt + "$" + hash,
		"forever":       "$argon2id$v=19$m=8,t=17,p=1$" + salt + "$" + hash,
		"no pass":       "$argon2id$v=19$m=8,t=0,p=1$" + salt + "$" + hash,
		"257 threads":   "$argon2id$v=19$m=4096,t=1,p=257$" + salt + "$" + hash,
		"no thread":     "$argon2id$v=19$m=8,t=1,p=0$" + salt + "$" + hash,
		"little memory": "$argon2id$v=19$m=7,t=1,p=1$" + salt + "$" + hash,
		"leading zero":  "$argon2id$v=19$m=08,t=1,p=1$" + salt + "$" + hash,
		"sign":          "$argon2id$v=19$m=+8,t=1,p=1$" + salt + "$" + hash,
		"order":         "$argon2id$v=19$t=1,m=8,p=1$" + salt + "$" + hash,
		"short salt":    "$argon2id$v=19$m=8,t=1,p=1$AAAA$" + hash,
		"short hash":    "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$AAAA",
		"padding":       goodHash + "=",
		"line break":    goodHash + "\n",
		"long":          goodHash + strings.Repeat("A", 600),
		"one more":      goodHash + "$x",
	} {
		if p, err := parsePHC(s); err == nil {
			t.Errorf("%s: %+v", name, p.cost)
		}
	}
}

func TestParseCostDoesNotWrap(t *testing.T) {
	for _, s := range []string{"m=4096,t=1,p=257", "m=4294971392,t=1,p=1", "m=4096,t=4294967297,p=1"} {
		if c, err := parseCost(s); err == nil {
			t.Errorf("%s: %+v", s, c)
		}
	}
}

func TestDecodeFileRefuses(t *testing.T) {
	entryOf := func(name, roles, hash string) string {
		return fmt.Sprintf(`{"name":%q,"roles":%s,"created":"2026-01-01T00:00:00Z","password":%q}`, name, roles, hash)
	}
	ok := entryOf("a", `["read"]`, goodHash)
	if _, err := decodeFile([]byte(`{"schema":1,"accounts":[` + ok + `]}`)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	withNT := func(schema int, nt string) string {
		return fmt.Sprintf(`{"schema":%d,"accounts":[%s]}`, schema, strings.Replace(ok, `"name"`, `"nt_hash":"`+nt+`","name"`, 1))
	}
	for _, in := range []string{withNT(2, goodNT), `{"schema":2,"accounts":[` + ok + `]}`, `{"schema":2,"accounts":[]}`} {
		if _, err := decodeFile([]byte(in)); err != nil {
			t.Fatalf("good ones: %v", err)
		}
	}
	many := strings.Repeat(ok+",", maxAccounts) + ok
	for name, c := range map[string]struct{ in, part string }{
		"empty":         {"", "not JSON"},
		"schema 3":      {`{"schema":3,"accounts":[]}`, "schema 3"},
		"no schema":     {`{"accounts":[]}`, "schema 0"},
		"unknown field": {`{"schema":1,"accounts":[],"x":1}`, `unknown field "x"`},
		"other hash":    {`{"schema":2,"accounts":[` + strings.Replace(ok, `"name"`, `"nt":"x","name"`, 1) + `]}`, `unknown field "nt"`},
		"NT in 1":       {withNT(1, goodNT), "schema 1"},
		"NT short":      {withNT(2, goodNT[:30]), "32 hexadecimal digits"},
		"NT long":       {withNT(2, goodNT+"00"), "32 hexadecimal digits"},
		"NT upper":      {withNT(2, strings.ToUpper(goodNT)), "lower case"},
		"NT no digit":   {withNT(2, "g"+goodNT[1:]), "32 hexadecimal digits"},
		"NT no string":  {strings.Replace(withNT(2, goodNT), `"`+goodNT+`"`, "7", 1), "cannot unmarshal"},
		"two":           {`{"schema":1,"accounts":[` + ok + "," + strings.Replace(ok, `"a"`, `"A"`, 1) + `]}`, "twice"},
		"name":          {`{"schema":1,"accounts":[` + entryOf("a\nb", `["read"]`, goodHash) + `]}`, "not possible"},
		"role":          {`{"schema":1,"accounts":[` + entryOf("a", `["root"]`, goodHash) + `]}`, "unknown role"},
		"no role":       {`{"schema":1,"accounts":[` + entryOf("a", `[]`, goodHash) + `]}`, "no roles"},
		"hash":          {`{"schema":1,"accounts":[` + entryOf("a", `["read"]`, "secret") + `]}`, "argon2id"},
		"too many":      {`{"schema":1,"accounts":[` + many + `]}`, "more than"},
		"too large":     {strings.Repeat(" ", maxFile+1), "larger"},
	} {
		_, err := decodeFile([]byte(c.in))
		if err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "AAAAAAAA") || strings.Contains(strings.ToLower(err.Error()), goodNT[1:29])) {
			t.Errorf("%s: the error shows a hash: %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "accounts.json")
	if err := os.WriteFile(path, []byte(`{"schema":3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not name the file: %v", err)
	}
}

// FuzzAccounts holds every input to this: no panic, no hash whose computation
// is beyond the bounds, and what is accepted is written back the same.
func FuzzAccounts(f *testing.F) {
	f.Add([]byte(`{"schema":1,"accounts":[]}`))
	f.Add([]byte(`{"schema":1,"accounts":[{"name":"a","roles":["read","backup"],"created":"2026-01-01T00:00:00Z","password":"` + goodHash + `"}]}`))
	f.Add([]byte(`{"schema":1,"accounts":[{"name":"a","roles":["read"],"password":"$argon2id$v=19$m=4294967295,t=4294967295,p=255$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA"}]}`))
	f.Add([]byte(`{"schema":2,"accounts":[{"name":"a","roles":["read"],"created":"2026-01-01T00:00:00Z","password":"` + goodHash + `","nt_hash":"` + goodNT + `"}]}`))
	f.Add([]byte(`{"schema":1,"accounts":[{"name":"a","roles":["read"],"created":"2026-01-01T00:00:00Z","password":"` + goodHash + `","nt_hash":"` + goodNT + `"}]}`))
	f.Add([]byte(`{"schema":2,"accounts":[{"name":"a","roles":["read"],"password":"` + goodHash + `","nt_hash":"` + strings.ToUpper(goodNT) + `"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeFile(b)
		if err != nil {
			return
		}
		for _, e := range a.Accounts {
			if e.hash.cost.check() != nil || e.roles == 0 || e.roles&^AllRoles != 0 || checkName(e.Name) != nil {
				t.Errorf("accepted %+v", e)
			}
			if e.NTHash != "" && (a.Schema != ntSchema || e.nt.text() != e.NTHash) {
				t.Errorf("accepted the NT hash %q in schema %d", e.NTHash, a.Schema)
			}
		}
		once, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeFile(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%s became %s: %v", once, twice, err)
		}
	})
}

// TestReferenceHash is a vector of the reference implementation (test.c of
// phc-winner-argon2).
func TestReferenceHash(t *testing.T) {
	p, err := parsePHC("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	if !p.matches([]byte("password")) || p.matches([]byte("Password")) {
		t.Error("does not agree with the reference")
	}
}
