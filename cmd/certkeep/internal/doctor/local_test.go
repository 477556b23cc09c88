package doctor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/connect"
)

// examineDir examines a directory as the command does, and checks what holds for
// every report.
func examineDir(t *testing.T, dir string) *Report {
	t.Helper()
	var heard []Check
	rep, err := Local(t.Context(), LocalOptions{
		Server: "ca:" + dir, Dir: dir, Observe: func(c Check) { heard = append(heard, c) },
		Open: func(ctx context.Context) (*connect.Connection, error) {
			return connect.Open(ctx, "ca:"+dir, connect.Options{})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	sound(t, rep, heard)
	if len(rep.Checks) != 9 {
		t.Errorf("%d checks: %+v", len(rep.Checks), rep.Checks)
	}
	return rep
}

func newDir(t *testing.T, o certsrv.InitOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	o.Name, o.Host = "Example CA", "srv01"
	if err := certsrv.Init(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestDirectory: a new authority works, and has had no backup. Nothing of it is
// changed but what a start changes.
func TestDirectory(t *testing.T) {
	dir := newDir(t, certsrv.InitOptions{})
	accounts, err := account.Open(filepath.Join(dir, "accounts.json"), account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.AddNTLM(t.Context(), "backup", account.Operator); err != nil {
		t.Fatal(err)
	}
	before := map[string]string{}
	for _, name := range []string{"accounts.json", "config.json", "private/ca.key"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		before[name] = string(b)
	}
	rep := examineDir(t, dir)
	if !rep.OK || rep.Authority != "Example CA" || rep.Unreached() {
		t.Errorf("%+v, %v", rep, rep.Err)
	}
	for _, c := range rep.Checks {
		if want := map[bool]State{true: Warning, false: Good}[c.Name == checkLastBackup]; c.State != want {
			t.Errorf("%+v", c)
		}
	}
	if c := check(t, rep, checkLastBackup); c.Detail != "there has been none" || c.Mend != "certkeep backup ca:"+dir+" --folder DIR" {
		t.Errorf("%+v", c)
	}
	if c := check(t, rep, checkKey); !strings.Contains(c.Detail, "not encrypted") {
		t.Errorf("%+v", c)
	}
	for name, was := range before {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != was {
			t.Errorf("%s was changed, %v", name, err)
		}
	}
	// It was stopped again.
	if rep := examineDir(t, dir); check(t, rep, checkServed).Detail != "by nobody: started for this examination" {
		t.Errorf("%+v", rep)
	}
}

// TestDirectoryInTrouble: one thing is wrong with each.
func TestDirectoryInTrouble(t *testing.T) {
	for name, v := range map[string]struct {
		init   certsrv.InitOptions
		change func(dir string) error
		check  string
		state  State
		says   string
		mend   string
		ok     bool
	}{
		"nothing there": {certsrv.InitOptions{}, os.RemoveAll, checkDirectory, Failed, "", "certkeep ca init", false},
		"broken configuration": {certsrv.InitOptions{}, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o600)
		}, checkDirectory, Failed, "config.json", "", false},
		"no accounts": {certsrv.InitOptions{}, func(dir string) error { return os.Remove(filepath.Join(dir, "accounts.json")) },
			checkAccounts, Warning, "no account", "certkeep ca user add", true},
		"accounts that others can read": {certsrv.InitOptions{}, func(dir string) error { return os.Chmod(filepath.Join(dir, "accounts.json"), 0o644) },
			checkAccounts, Failed, "accounts.json", "", false},
		"no key": {certsrv.InitOptions{}, func(dir string) error { return os.Remove(filepath.Join(dir, "private", "ca.key")) },
			checkKey, Failed, "ca.key", "", false},
		"encrypted key": {certsrv.InitOptions{Passphrase: []byte("correct")}, func(string) error { return nil }, checkKey, Good, "encrypted; keep a copy", "", false},
		"encrypted key, no passphrase": {certsrv.InitOptions{Passphrase: []byte("correct")}, func(string) error { return nil },
			checkStart, Failed, "passphrase", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t, v.init)
			if v.state == Failed && strings.Contains(name, "read") || name == "no accounts" {
				accounts, err := account.Open(filepath.Join(dir, "accounts.json"), account.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := accounts.AddNTLM(t.Context(), "backup", account.Operator); err != nil {
					t.Fatal(err)
				}
			}
			if err := v.change(dir); err != nil {
				t.Fatal(err)
			}
			rep := examineDir(t, dir)
			c := check(t, rep, v.check)
			if c.State != v.state || !strings.Contains(c.Detail, v.says) || !strings.Contains(c.Mend, v.mend) {
				t.Errorf("%+v", c)
			}
			if rep.OK != v.ok {
				t.Errorf("ok %v, %v", rep.OK, rep.Err)
			}
		})
	}
}

// TestServedDirectory is examined through its server; only that has seen the
// backups.
func TestServedDirectory(t *testing.T) {
	dir, _, at := served(t, account.Operator, 0)
	at.User = ""
	rep := examineDir(t, dir)
	if !rep.OK {
		t.Fatalf("%v: %+v", rep.Err, rep)
	}
	if c := check(t, rep, checkServed); c.State != Good || !strings.Contains(c.Detail, at.String()) {
		t.Errorf("%+v", c)
	}
	if c := check(t, rep, checkLastBackup); c.State != NotChecked || c.Mend == "" {
		t.Errorf("%+v", c)
	}
}

// TestServedElsewhere: one that is served without being reachable, as by another
// command, cannot be asked.
func TestServedElsewhere(t *testing.T) {
	dir := newDir(t, certsrv.InitOptions{})
	s, err := certsrv.New(dir, certsrv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	rep := examineDir(t, dir)
	var held *certsrv.ServedError
	if rep.Failed() != checkServed || !errors.As(rep.Err, &held) {
		t.Errorf("%q: %v", rep.Failed(), rep.Err)
	}
	for _, name := range []string{checkStart, checkCRL, checkBackup, checkLastBackup} {
		if c := check(t, rep, name); c.State != NotChecked {
			t.Errorf("%+v", c)
		}
	}
}
