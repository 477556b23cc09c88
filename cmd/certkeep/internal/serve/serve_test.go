package serve_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/demo"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/serve"
)

const password = "battery staple"

func newAuthority(t *testing.T, o certsrv.InitOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	o.Name = "Example CA"
	if err := certsrv.Init(t.Context(), dir, o); err != nil {
		t.Fatal(err)
	}
	accounts, err := account.Open(filepath.Join(dir, "accounts.json"), account.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := accounts.Add(t.Context(), "web", account.Enroll, []byte(password)); err != nil {
		t.Fatal(err)
	}
	return dir
}

const anyPort = "127.0.0.1:0"

// A stop in the middle of the work: every certificate that a client received is
// in the database.
func TestStopFinishesRequests(t *testing.T) {
	ctx := context.Background()
	dir := newAuthority(t, certsrv.InitOptions{})
	a, err := serve.Start(ctx, serve.Options{Dir: dir, EST: anyPort, HTTP: anyPort, Wire: serve.Wire{Listen: anyPort}})
	if err != nil {
		t.Fatal(err)
	}
	record, err := demo.NewRecord(filepath.Join(t.TempDir(), "record"))
	if err != nil {
		t.Fatal(err)
	}
	defer record.Close()
	var mu sync.Mutex
	var acked []string
	enough := make(chan struct{})
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			c := demo.Client{Name: "web", Password: password, URL: a.EST, CA: a.Server.CACertificate(), Record: record}
			defer c.Close()
			c.Work(ctx, worker, func(e demo.Entry) {
				mu.Lock()
				defer mu.Unlock()
				if acked = append(acked, e.Serial); len(acked) == 40 {
					close(enough)
				}
			})
		})
	}
	<-enough
	if err := a.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	workers.Wait()
	server, err := certsrv.New(dir, certsrv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer server.Stop(ctx)
	for _, serial := range acked {
		if _, err := server.Certificate(ctx, serial); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d certificates", len(acked))
}

// A port that is taken changes nothing, and nothing stays taken after a failure.
func TestStartRefuses(t *testing.T) {
	ctx := context.Background()
	dir := newAuthority(t, certsrv.InitOptions{Passphrase: []byte("correct")})
	taken, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	asked := 0
	passphrase := func(s string) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { asked++; return []byte(s), nil }
	}
	if _, err := serve.Start(ctx, serve.Options{Dir: dir, EST: anyPort, HTTP: taken.Addr().String(), Passphrase: passphrase("correct")}); err == nil || asked > 0 {
		t.Errorf("a port that is taken: %v, asked %d times", err, asked)
	}
	free, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	if _, err := serve.Start(ctx, serve.Options{Dir: dir, EST: address}); !errors.Is(err, authority.ErrPassphraseNeeded) {
		t.Errorf("no passphrase: %v", err)
	}
	if _, err := serve.Start(ctx, serve.Options{Dir: dir, EST: address, Passphrase: passphrase("wrong")}); !errors.Is(err, authority.ErrWrongPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	a, err := serve.Start(ctx, serve.Options{Dir: dir, EST: address, Passphrase: passphrase("correct")})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(a.EST, address) || a.HTTP != "" {
		t.Errorf("EST at %q, HTTP at %q", a.EST, a.HTTP)
	}
	var served *certsrv.ServedError
	if _, err := serve.Start(ctx, serve.Options{Dir: dir, Passphrase: passphrase("correct")}); !errors.As(err, &served) {
		t.Errorf("a second time: %v", err)
	}
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// An administrator's shutdown ends the waiting, and so does the end of the
// context.
func TestWait(t *testing.T) {
	ctx := context.Background()
	a, err := serve.Start(ctx, serve.Options{Dir: newAuthority(t, certsrv.InitOptions{})})
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := a.Wait(over); err != nil {
		t.Error(err)
	}
	if _, err := a.Server.Service(account.LocalUser()).ServerControl(ctx, certadm.ControlShutdown); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(ctx); err != nil {
		t.Error(err)
	}
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestCheckAddress(t *testing.T) {
	for _, s := range []string{"127.0.0.1:8137", ":0", "[::1]:443", "localhost:https"} {
		if err := serve.CheckAddress(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "127.0.0.1", "8137", "http://x:1", "a b:1", "x:99999"} {
		if serve.CheckAddress(s) == nil {
			t.Errorf("%q passed", s)
		}
	}
}
