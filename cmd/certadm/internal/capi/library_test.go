package capi_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
	"github.com/certkeep/certkeep/cmd/certadm/internal/capi"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/csra"
	"github.com/certkeep/certkeep/csra/csratest"
)

// library is one with an environment of its own.
func library(t *testing.T) (l *capi.Library, env map[string]string, failures func() string) {
	env = map[string]string{capi.EnvLog: filepath.Join(t.TempDir(), "failures")}
	return capi.New(func(name string) string { return env[name] }), env, func() string {
		b, err := os.ReadFile(env[capi.EnvLog])
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		return string(b)
	}
}

func passwordFile(t *testing.T, password string) string {
	name := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(name, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Who logs on, and what becomes of a logon that cannot be.
func TestLogon(t *testing.T) {
	l, env, failures := library(t)
	s := csratest.Serve(t, certsrvtest.New(t))
	user, password := s.Logon(certadmtest.Caller{Name: "operator", Rights: certadmtest.Operator | certadmtest.Read})
	env[capi.EnvServers] = "CA1=" + s.Address

	env[capi.EnvUser] = user
	if _, code := l.IsServerOnline("CA1"); code != certadm.SecNoCredentials || !strings.Contains(failures(), "CERTKEEP_PASSWORD_FILE is not set") {
		t.Errorf("without a password: %v\n%s", code, failures())
	}
	env[capi.EnvPasswordFile] = filepath.Join(t.TempDir(), "none")
	if _, code := l.IsServerOnline("CA1"); code != certadm.SecNoCredentials {
		t.Errorf("without the password's file: %v", code)
	}
	env[capi.EnvPasswordFile] = passwordFile(t, password)
	if online, code := l.IsServerOnline("CA1"); !online || code != certadm.SOK {
		t.Errorf("%v, %v\n%s", online, code, failures())
	}
	if runtime.GOOS != "windows" {
		if err := os.Chmod(env[capi.EnvPasswordFile], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, code := l.IsServerOnline("CA1"); code != certadm.SecNoCredentials || !strings.Contains(failures(), "chmod 600") {
			t.Errorf("a file that others can read: %v\n%s", code, failures())
		}
	}
	env[capi.EnvPasswordFile] = passwordFile(t, "open sesame")
	if _, code := l.IsServerOnline("CA1"); code != certadm.ErrorLogonFailure {
		t.Errorf("a wrong password: %v", code)
	}
	if strings.Contains(failures(), "sesame") || strings.Contains(failures(), password) {
		t.Errorf("a password is in the log:\n%s", failures())
	}
	env[capi.EnvServers] = "CA1=127.0.0.1:1"
	if h, code := l.BackupPrepare("CA1", 1); code != certadm.RPCServerUnavailable || h != 0 {
		t.Errorf("nobody there: %#x, %v", h, code)
	}
	env[capi.EnvServers] = "CA1"
	if _, code := l.ServerControl("CA1", 1); code != certadm.EInvalidArg {
		t.Errorf("a mistake in the environment: %v", code)
	}
}

// A failure is one line of the log, for nobody else's eyes.
func TestLog(t *testing.T) {
	l, env, failures := library(t)
	l.IsServerOnline("a\nb")
	l.RestorePrepare("CA1", 1)
	l.RestorePrepare("CA1", 2)
	l.TruncateLogs(5)
	lines := strings.Split(failures(), "\n")
	if len(lines) != 5 || lines[4] != "" {
		t.Fatalf("%q", lines)
	}
	for i, want := range [][]string{
		{`CertSrvIsServerOnlineW "a\nb": 0x80070057 (E_INVALIDARG)`, "control character"},
		{`CertSrvRestorePrepareW "CA1": 0x80004001 (E_NOTIMPL)`, "; hint: restore on the CA's own machine"},
		{`CertSrvRestorePrepareW "CA1": 0x80070057 (E_INVALIDARG)`, "CSRESTORE_TYPE_FULL"},
		{"CertSrvBackupTruncateLogs: 0xC7FF0003 (hrInvalidHandle)"},
	} {
		for _, w := range want {
			if !strings.Contains(lines[i], w) {
				t.Errorf("%q does not say %q", lines[i], w)
			}
		}
	}
	if fi, err := os.Stat(env[capi.EnvLog]); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	env[capi.EnvLog] = "" // says nothing, and creates nothing
	if code := l.TruncateLogs(5); code != certadm.HrInvalidHandle {
		t.Error(code)
	}
	env[capi.EnvLog] = t.TempDir() // cannot be written
	if code := l.TruncateLogs(5); code != certadm.HrInvalidHandle {
		t.Error(code)
	}
}

// A directory that nobody serves is a stopped service, and stays one: it can be
// restored, and nothing else. One that is served is reached through its server.
func TestDirectory(t *testing.T) {
	l, env, failures := library(t)
	s := served(t)
	dir := "ca:" + s.Dir()
	env[capi.EnvServers] = `CA1=` + dir
	for range 2 {
		if online, code := l.IsServerOnline("CA1"); !online || code != certadm.SOK {
			t.Fatalf("%v, %v\n%s", online, code, failures())
		}
		h, code := l.BackupPrepare(`CA1\`+certsrvtest.Name, 1)
		if code != certadm.SOK {
			t.Fatalf("%v\n%s", code, failures())
		}
		if b, code := l.DatabaseNames(h); code != certadm.SOK || len(b) == 0 {
			t.Errorf("%d bytes, %v", len(b), code)
		}
		if code := l.BackupEnd(h); code != certadm.SOK {
			t.Error(code)
		}
	}
	if _, code := l.IsServerOnline(`CA1\Another CA`); code != certadm.EInvalidArg || !strings.Contains(failures(), `not "Another CA"`) {
		t.Errorf("another authority's name: %v\n%s", code, failures())
	}
	if h, code := l.RestorePrepare(dir, 1); code != certadm.ErrorSharingViolation || h != 0 {
		t.Errorf("a restore while it is served: %#x, %v", h, code)
	}

	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, code := l.IsServerOnline(dir); code != certadm.ErrorServiceNotActive || !strings.Contains(failures(), "certkeep ca serve") {
		t.Errorf("stopped: %v\n%s", code, failures())
	}
	if h, code := l.BackupPrepare(dir, 1); code != certadm.ErrorServiceNotActive || h != 0 {
		t.Errorf("a backup when it is stopped: %#x, %v", h, code)
	}
	if _, code := l.RestorePrepare(`CA1\Another CA`, 1); code != certadm.EInvalidArg {
		t.Errorf("a restore of another authority: %v", code)
	}
	h, code := l.RestorePrepare(`CA1\`+certsrvtest.Name, 1)
	if code != certadm.SOK {
		t.Fatalf("%v\n%s", code, failures())
	}
	if _, code := l.DatabaseLocations(h); code != certadm.ErrorServiceNotActive {
		t.Errorf("locations of a stopped service: %v", code)
	}
	if code := l.RestoreEnd(h); code != certadm.SOK {
		t.Error(code)
	}
	if err := s.Start(t.Context()); err != nil { // nothing of it is held
		t.Error(err)
	}

	for name, want := range map[string]certadm.HRESULT{
		"ca:" + filepath.Join(t.TempDir(), "none"): certadm.ErrorFileNotFound,
		"ca:" + t.TempDir():                        certadm.ErrorFileNotFound,
	} {
		if _, code := l.IsServerOnline(name); code != want {
			t.Errorf("%s: %v, want %v", name, code, want)
		}
	}
}

// served is an authority that this process serves, as another one would.
func served(t *testing.T) *certsrv.Server {
	t.Helper()
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := certsrvtest.Start(t, certsrvtest.Name, certsrv.Options{Address: connect.ServeAddress(at.Addr())})
	accounts, err := account.Open(filepath.Join(s.Dir(), "accounts.json"), account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := csra.NewServer(csra.ServerOptions{
		Name: certsrvtest.Name,
		NTLM: &csra.NTLMServer{Computer: "CA1", Lookup: func(user, _ string) ([16]byte, bool) { return s.NTHash(accounts, user) }},
		Open: func(_ context.Context, c csra.Caller) (certadm.Service, error) {
			p, err := s.Principal(accounts, c.Mechanism, c.User, c.SameMachine())
			return s.ServiceFrom(p, c.Remote.String()), err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- wire.Serve(ctx, at, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}
