package certsrv

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/ntlm"
)

func TestLocalAccount(t *testing.T) {
	s := newServer(t, InitOptions{}, Options{Address: "adcs://127.0.0.1:8135"})
	name := s.at.path(localName)
	gone := func(when string) {
		t.Helper()
		if _, err := ReadLocalSecret(s.Dir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", when, err)
		}
		if a, ok := s.LocalAccount(); ok || a != (LocalAccount{}) {
			t.Errorf("%s the server has one", when)
		}
	}
	gone("before the start")
	mustStart(t, s)
	a, err := ReadLocalSecret(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if mine, ok := s.LocalAccount(); !ok || mine != a || len(a.Secret) != 43 {
		t.Errorf("the server's and the file's: %v", ok)
	}
	if runtime.GOOS != "windows" {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", fi, err)
		}
	}
	// It is no file of a backup.
	l, err := s.Service(root).(certadm.Lister).DynamicFiles(t.Context())
	if err != nil || strings.Contains(strings.Join(l, " "), "private") || strings.Contains(strings.Join(l, " "), accountsName) {
		t.Errorf("dynamic files %q, %v", l, err)
	}
	b, err := json.Marshal(map[string]any{"a": a})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", a, a, a, a, &a), string(b)} {
		if strings.Contains(text, a.Secret) {
			t.Errorf("shown: %s", text)
		}
	}
	if err := s.Suspend(); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.LocalAccount(); !ok {
		t.Error("a suspended service has none")
	}
	mustStop(t, s)
	gone("after the stop")
	mustStart(t, s)
	if again, err := ReadLocalSecret(s.Dir()); err != nil || again.Secret == a.Secret {
		t.Errorf("the second start: %v", err)
	}
}

// A service without an address is one that nobody could log on to.
func TestLocalAccountNeedsAddress(t *testing.T) {
	s := newServer(t, InitOptions{}, Options{})
	// What a crash left opens nothing, and goes.
	stale, err := newLocalAccount()
	if err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(durable.OS, s.at.path(localName), localFile{1, stale.Name, stale.Secret}, fileMode); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadLocalSecret(s.Dir()); err != nil || got != stale {
		t.Fatalf("%v, %v", got, err)
	}
	mustStart(t, s)
	if _, err := ReadLocalSecret(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after a start without an address: %v", err)
	}
	if _, ok := s.LocalAccount(); ok {
		t.Error("there is a local account")
	}
	accounts := openAccounts(t, s)
	if h, ok := s.NTHash(accounts, localAccountName); ok || h == ntlm.NTHash(stale.Secret) {
		t.Error("the stale secret opens something")
	}
	if _, err := s.Principal(accounts, MechanismNTLM, localAccountName, true); !errors.Is(err, account.ErrDenied) {
		t.Errorf("the local account: %v", err)
	}
}

// The start that fails leaves no secret behind.
func TestLocalAccountAfterFailedStart(t *testing.T) {
	s := newServer(t, InitOptions{Passphrase: []byte("correct horse")}, Options{Address: "adcs://127.0.0.1:8135"})
	if err := s.Start(t.Context()); err == nil {
		t.Fatal("started without the passphrase")
	}
	if _, err := ReadLocalSecret(s.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	// Nor does one that another process serves touch the other one's.
	first := startServer(t, InitOptions{}, Options{Address: "adcs://127.0.0.1:8135"})
	second := openServer(t, first.Dir(), Options{Address: "adcs://127.0.0.1:8136"})
	var served *ServedError
	if err := second.Start(t.Context()); !errors.As(err, &served) {
		t.Fatalf("%v", err)
	}
	if a, err := ReadLocalSecret(first.Dir()); err != nil {
		t.Error(err)
	} else if mine, _ := first.LocalAccount(); mine != a {
		t.Error("it is another one now")
	}
}

func TestReadLocalSecretRefuses(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, filepath.FromSlash(localName))
	if err := os.Mkdir(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	good := `{"schema":1,"name":"local$","secret":"` + strings.Repeat("A", 43) + `"}`
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(good, 0o600)
	if a, err := ReadLocalSecret(dir); err != nil || a.Name != "local$" {
		t.Fatalf("the good one: %v", err)
	}
	for what, text := range map[string]string{
		"empty":       "",
		"no JSON":     good[:50],
		"schema":      strings.Replace(good, "1", "2", 1),
		"name":        strings.Replace(good, "local$", "root", 1),
		"no name":     strings.Replace(good, "local$", "", 1),
		"short":       strings.Replace(good, "AAAA", "", 1),
		"no base64":   strings.Replace(good, "AAA", "A A", 1),
		"last bits":   strings.Replace(good, `A"`, `B"`, 1),
		"wrong type":  strings.Replace(good, `"local$"`, "7", 1),
		"much":        strings.Repeat(" ", localAccountLimit) + good,
		"no secret":   `{"schema":1,"name":"local$"}`,
		"empty value": `{"schema":1,"name":"local$","secret":""}`,
	} {
		write(text, 0o600)
		a, err := ReadLocalSecret(dir)
		if err == nil || a != (LocalAccount{}) {
			t.Errorf("%s: accepted", what)
		}
		if err != nil && (strings.Contains(err.Error(), "AAAA") || !strings.Contains(err.Error(), "local")) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if runtime.GOOS != "windows" {
		write(good, 0o640)
		var insecure *account.InsecureFileError
		if _, err := ReadLocalSecret(dir); !errors.As(err, &insecure) {
			t.Errorf("readable by others: %v", err)
		}
	}
}

func FuzzLocalAccount(f *testing.F) {
	f.Add([]byte(`{"schema":1,"name":"local$","secret":"` + strings.Repeat("A", 43) + `"}`))
	f.Add([]byte(`{"schema":1,"name":"local$","secret":"` + strings.Repeat("A", 42) + `B"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeLocalAccount(b)
		if err != nil {
			return
		}
		if a.Name != localAccountName || len(a.Secret) != 43 {
			t.Errorf("accepted %q", b)
		}
	})
}

func openAccounts(t *testing.T, s *Server) *account.Store {
	t.Helper()
	accounts, err := account.Open(s.at.path(accountsName), account.Options{Cost: account.Cost{Memory: 8, Time: 1, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return accounts
}

func TestCallers(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{Address: "adcs://127.0.0.1:8135"})
	accounts := openAccounts(t, s)
	secret, err := accounts.AddNTLM(t.Context(), "backup", account.Operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := accounts.Add(t.Context(), "web", account.Enroll, []byte("webs password")); err != nil {
		t.Fatal(err)
	}
	local, ok := s.LocalAccount()
	if !ok {
		t.Fatal("no local account")
	}
	for user, want := range map[string]string{local.Name: local.Secret, "backup": secret, "BACKUP": secret} {
		if h, ok := s.NTHash(accounts, user); !ok || h != ntlm.NTHash(want) {
			t.Errorf("the NT hash of %s: %v", user, ok)
		}
	}
	decoy, _ := accounts.NTHash("nobody")
	for _, user := range []string{"web", "nobody", "", "LOCAL$", "local"} {
		if h, ok := s.NTHash(accounts, user); ok || h != decoy {
			t.Errorf("the NT hash of %q: %v", user, ok)
		}
	}
	operator := account.Principal{Name: "backup", Roles: account.Operator, BackupPrivilege: true}
	for _, c := range []struct {
		mechanism, user string
		here            bool
		want            account.Principal
	}{
		{MechanismNTLM, local.Name, true, account.LocalUser()},
		{MechanismNTLM, local.Name, false, account.Principal{}},
		{MechanismKerberos, local.Name, true, account.Principal{}},
		{"", local.Name, true, account.Principal{}},
		{MechanismNTLM, "LOCAL$", true, account.Principal{}},
		{MechanismNTLM, "Backup", true, operator}, // who logs on as an account is never local
		{MechanismNTLM, "backup", false, operator},
		{MechanismKerberos, "backup", false, operator},
		{MechanismNTLM, "web", false, account.Principal{}}, // it has no NT hash
		{MechanismKerberos, "web", false, account.Principal{Name: "web", Roles: account.Enroll}},
		{MechanismKerberos, "nobody", true, account.Principal{}},
		{MechanismKerberos, "", true, account.Principal{}},
		{MechanismNTLM, "", true, account.Principal{}},
		{"", "backup", true, account.Principal{}},
		{"negotiate", "backup", true, account.Principal{}},
	} {
		p, err := s.Principal(accounts, c.mechanism, c.user, c.here)
		if p != c.want || (err == nil) != (c.want != account.Principal{}) || err != nil && !errors.Is(err, account.ErrDenied) {
			t.Errorf("%s by %s, here %v: %+v, %v", c.user, c.mechanism, c.here, p, err)
		}
	}
	// No account can be given the local one's name.
	if err := accounts.Add(t.Context(), local.Name, account.Read, []byte("a password")); err == nil {
		t.Error("an account of that name")
	}
	mustStop(t, s)
	if _, ok := s.NTHash(accounts, local.Name); ok {
		t.Error("the local account outlives the service")
	}
	if err := os.WriteFile(s.at.path(accountsName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Principal(accounts, MechanismKerberos, "web", false); err == nil || errors.Is(err, account.ErrDenied) || p != (account.Principal{}) {
		t.Errorf("of a damaged file: %v", err)
	}
}
