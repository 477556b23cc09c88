package serve_test

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/serve"
	"github.com/certkeep/certkeep/csra"
)

// What other machines can reach must have a way to log on; loopback always has.
func TestWireCheck(t *testing.T) {
	for _, tt := range []struct {
		wire     serve.Wire
		loopback bool
		ok       bool
	}{
		{serve.Wire{}, false, true},
		{serve.Wire{Listen: "127.0.0.1:8135"}, true, true},
		{serve.Wire{Listen: "127.8.9.1:8135"}, true, true},
		{serve.Wire{Listen: "[::1]:135"}, true, true},
		{serve.Wire{Listen: "LocalHost:135"}, true, true},
		{serve.Wire{Listen: "0.0.0.0:8135"}, false, false},
		{serve.Wire{Listen: ":8135"}, false, false},
		{serve.Wire{Listen: "[::]:8135"}, false, false},
		{serve.Wire{Listen: "pki.example.org:8135"}, false, false},
		{serve.Wire{Listen: "127.0.0.1:8135", Exporter: "127.0.0.1:0"}, true, true},
		{serve.Wire{Listen: "127.0.0.1:8135", Exporter: "0.0.0.0:8138"}, false, false}, // whoever comes there can log on
		{serve.Wire{Listen: "192.0.2.7:8135", AllowNTLM: true}, false, true},
		{serve.Wire{Listen: "192.0.2.7:8135", Keytab: "k"}, false, true},
	} {
		err := tt.wire.Check()
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, serve.ErrNobody) {
			t.Errorf("%+v: %v", tt.wire, err)
		}
		if got := tt.wire.Loopback(); got != tt.loopback {
			t.Errorf("%+v: loopback is %v", tt.wire, got)
		}
	}
}

func dial(t *testing.T, at net.Addr, c csra.Credentials) (*csra.Client, error) {
	t.Helper()
	tcp := at.(*net.TCPAddr)
	client, err := csra.Dial(t.Context(), csra.Options{Host: "127.0.0.1", Port: tcp.Port, Credentials: c})
	if err == nil {
		t.Cleanup(func() { client.Close() })
	}
	return client, err
}

// withOperator is an authority with the account "backup", made for NTLM.
func withOperator(t *testing.T) (dir string, accounts *account.Store, secret string) {
	t.Helper()
	dir = newAuthority(t, certsrv.InitOptions{})
	accounts, err := account.Open(filepath.Join(dir, "accounts.json"), account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if secret, err = accounts.AddNTLM(t.Context(), "backup", account.Operator); err != nil {
		t.Fatal(err)
	}
	return dir, accounts, secret
}

// The calls may have a port of their own. Accounts have the rights of their
// roles, those without an NT hash do not log on by NTLM, and the local account is
// for this machine only.
func TestWire(t *testing.T) {
	dir, _, secret := withOperator(t)
	for _, exporter := range []string{"", anyPort} {
		a, err := serve.Start(t.Context(), serve.Options{Dir: dir, Wire: serve.Wire{Listen: anyPort, Exporter: exporter}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := dial(t, a.Wire, csra.NTLM("backup", "", []byte(secret)))
		if err != nil {
			t.Fatal(err)
		}
		roles, err := c.MyRoles(t.Context())
		if err != nil || roles != certadm.RoleOperator|certadm.RoleRead {
			t.Errorf("%v, %v", roles, err)
		}
		if _, err := c.ServerControl(t.Context(), certadm.ControlShutdown); !errors.Is(err, certadm.EAccessDenied) {
			t.Errorf("an operator's shutdown: %v", err)
		}
		if _, err := dial(t, a.Wire, csra.NTLM("web", "", []byte(password))); certadm.CodeOf(err) != certadm.ErrorLogonFailure {
			t.Errorf("an account without an NT hash: %v", err)
		}
		local, ok := a.Server.LocalAccount()
		if !ok {
			t.Fatal("there is no local account")
		}
		l, err := dial(t, a.Wire, csra.NTLM(local.Name, "", []byte(local.Secret)))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Ping(t.Context()); err != nil {
			t.Errorf("the local account is no administrator: %v", err)
		}

		// A session that is open when the service stops is no backup.
		b, err := c.BackupPrepare(t.Context(), certadm.BackupFull)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := b.End(t.Context()); err == nil {
			t.Error("a session outlived its server")
		}
	}
	s, err := certsrv.New(dir, certsrv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Stop(t.Context())
	if st, err := s.Status(t.Context()); err != nil || st.LastFull != nil {
		t.Errorf("last full backup: %+v, %v", st.LastFull, err)
	}
}

// How a user writes its name and domain makes no account of its own: the limit of
// objects holds for all of them together.
func TestLimitIsPerAccount(t *testing.T) {
	dir, _, secret := withOperator(t)
	a, err := serve.Start(t.Context(), serve.Options{Dir: dir, Wire: serve.Wire{Listen: anyPort}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop(t.Context())
	const limit = 8 // docs/security.md
	names := []string{"backup", "Backup", "BACKUP"}
	for i := range limit {
		if _, err := dial(t, a.Wire, csra.NTLM(names[i%3], fmt.Sprintf("DOMAIN%d", i), []byte(secret))); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	if _, err := dial(t, a.Wire, csra.NTLM("backup", "ANOTHER", []byte(secret))); err == nil || !strings.Contains(err.Error(), "activate") {
		t.Errorf("one too many: %v", err)
	}
}

// A removed account's sessions go no further: the next call is refused.
func TestRemovedAccount(t *testing.T) {
	dir, accounts, secret := withOperator(t)
	a, err := serve.Start(t.Context(), serve.Options{Dir: dir, Wire: serve.Wire{Listen: anyPort}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop(t.Context())
	c, err := dial(t, a.Wire, csra.NTLM("backup", "", []byte(secret)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.BackupPrepare(t.Context(), certadm.BackupFull)
	if err != nil {
		t.Fatal(err)
	}
	names, err := b.DatabaseNames(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := accounts.Remove(t.Context(), "backup"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.OpenFile(t.Context(), names[0].Path, 0); !errors.Is(err, certadm.EAccessDenied) {
		t.Errorf("opening a file: %v", err)
	}
	if err := b.TruncateLogs(t.Context()); !errors.Is(err, certadm.EAccessDenied) {
		t.Errorf("truncating: %v", err)
	}
	if _, err := dial(t, a.Wire, csra.NTLM("backup", "", []byte(secret))); certadm.CodeOf(err) != certadm.ErrorLogonFailure {
		t.Errorf("logging on again: %v", err)
	}
}
