package connect_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/csra"
)

// served is an authority that is being served by this process, as another one
// would.
func served(t *testing.T) (dir, secret string, at connect.Address) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "pki")
	if err := certsrv.Init(t.Context(), dir, certsrv.InitOptions{Name: "Example CA", Host: "srv01"}); err != nil {
		t.Fatal(err)
	}
	accounts, err := account.Open(filepath.Join(dir, "accounts.json"), account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if secret, err = accounts.AddNTLM(t.Context(), "backup", account.Operator); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := certsrv.New(dir, certsrv.Options{Address: connect.ServeAddress(l.Addr())})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	wire, err := csra.NewServer(csra.ServerOptions{
		Name: "Example CA",
		NTLM: &csra.NTLMServer{Computer: "SRV01", Lookup: func(user, _ string) ([16]byte, bool) { return s.NTHash(accounts, user) }},
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
	go func() { done <- wire.Serve(ctx, l, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Stop(context.Background())); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if at, err = connect.Parse(connect.ServeAddress(l.Addr())); err != nil {
		t.Fatal(err)
	}
	return dir, secret, at
}

// Across the network, the server is asked for what cannot be copied.
func TestOpenRemote(t *testing.T) {
	_, secret, at := served(t)
	asked := ""
	var stages []connect.Stage
	login := connect.Login{User: "backup", Password: func(_ context.Context, user string) ([]byte, error) {
		asked = user
		return []byte(secret), nil
	}}
	c, err := at.Open(t.Context(), connect.Options{Login: login, Stage: func(s connect.Stage, err error) {
		if err != nil {
			t.Errorf("%s: %v", s, err)
		}
		stages = append(stages, s)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := []connect.Stage{connect.StageResolver, connect.StageAuthenticate, connect.StageActivate, connect.StageExporter, connect.StageBind}
	if diff := cmp.Diff(want, stages); diff != "" || asked != "backup" {
		t.Errorf("asked for the password of %q; stages (-want +got):\n%s", asked, diff)
	}
	if id, err := c.Identity(t.Context()); err != nil || id.Name != "Example CA" || id.Host != "srv01" || id.Engine != "sqlite" || len(id.Certificate) == 0 {
		t.Errorf("%+v, %v", id, err)
	}
	if c.Server() != nil || c.ServedAt() != "" || c.TakeOptions().OpenDynamic != nil || c.TakeOptions().Templates != backupset.NotAttempted {
		t.Error("it is taken for a directory")
	}
	if _, err := c.Target(); err == nil {
		t.Error("it was taken for a restore's target")
	}
	got, err := c.TakeOptions().Collect(t.Context())
	if err != nil || len(got.Companions) != 3 || len(got.Skipped) > 0 {
		t.Errorf("%+v, %v", got, err)
	}

	// Without a password, or with a wrong one.
	if _, err := at.Open(t.Context(), connect.Options{Login: connect.Login{User: "backup"}}); !errors.Is(err, connect.ErrLogin) {
		t.Errorf("no password: %v", err)
	}
	login.Password = func(context.Context, string) ([]byte, error) { return []byte("wrong"), nil }
	if _, err := at.Open(t.Context(), connect.Options{Login: login}); certadm.CodeOf(err) != certadm.ErrorLogonFailure {
		t.Errorf("wrong password: %v", err)
	}
}

// A directory that is being served is reached through its server, by whoever may
// read its private files; and its files are at hand all the same.
func TestOpenServed(t *testing.T) {
	dir, _, at := served(t)
	c, err := connect.Open(t.Context(), "ca:"+dir, connect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c.ServedAt() != at.String() || c.Server() != nil || c.TakeOptions().Collect != nil || c.TakeOptions().Templates != backupset.Absent {
		t.Errorf("served at %q", c.ServedAt())
	}
	if _, err := c.Target(); err == nil {
		t.Error("it was taken for a restore's target")
	}
	b, err := c.Service().BackupPrepare(t.Context(), certadm.BackupFull)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}
	names, err := certadm.Dynamic(t.Context(), c.Service())
	if err != nil || len(names) != 3 {
		t.Fatalf("%q, %v", names, err)
	}
	for _, name := range names {
		f, err := c.TakeOptions().OpenDynamic(t.Context(), name)
		if err != nil {
			t.Error(err)
			continue
		}
		if b, err := io.ReadAll(f); err != nil || len(b) == 0 {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		f.Close()
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}

	// Who needs the authority itself, or needs it stopped, is told who has it.
	var is *certsrv.ServedError
	for _, o := range []connect.Options{{InProcess: true}, {Stopped: true}} {
		if _, err := connect.Open(t.Context(), "ca:"+dir, o); !errors.As(err, &is) || is.Address != at.String() {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// Whoever may not read the private files is told where it is served.
func TestOpenServedDenied(t *testing.T) {
	dir, _, at := served(t)
	local := filepath.Join(dir, "private", "local.json")
	var is *certsrv.ServedError
	if runtime.GOOS != "windows" {
		if err := os.Chmod(local, 0o644); err != nil { // as good as published
			t.Fatal(err)
		}
		if _, err := connect.Open(t.Context(), "ca:"+dir, connect.Options{}); !errors.As(err, &is) || is.Address != at.String() {
			t.Errorf("a secret that others can read: %v", err)
		}
	}
	if err := os.Remove(local); err != nil {
		t.Fatal(err)
	}
	if _, err := connect.Open(t.Context(), "ca:"+dir, connect.Options{}); !errors.As(err, &is) || is.Address != at.String() {
		t.Errorf("no secret: %v", err)
	}
}
