package connect

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

func newAuthority(t *testing.T, o certsrv.InitOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	o.Name = "Example CA"
	o.Host = "srv01"
	if err := certsrv.Init(context.Background(), dir, o); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOpen(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	dir := newAuthority(t, certsrv.InitOptions{})
	c, err := Open(ctx, "ca:"+dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if online, err := c.Service().IsServerOnline(ctx); !online || err != nil {
		t.Errorf("online is %v, %v", online, err)
	}
	id, err := c.Identity(ctx)
	if err != nil || id.Name != "Example CA" || id.Host != "srv01" || id.Engine != "sqlite" {
		t.Errorf("%+v, %v", id, err)
	}
	if _, err := c.Target(); err == nil {
		t.Error("a running authority was taken for a restore's target")
	}

	// While it is open, it is served: by this process.
	_, err = Open(ctx, "ca:"+dir, Options{})
	var served *certsrv.ServedError
	if !errors.As(err, &served) || served.PID != os.Getpid() {
		t.Errorf("a second time: %v", err)
	}
	if _, err := Open(ctx, "ca:"+dir, Options{Stopped: true}); !errors.As(err, &served) {
		t.Errorf("a second time, stopped: %v", err)
	}

	// Close works when the context is long over, and closes the log.
	cancel()
	if err := c.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	c, err = Open(context.Background(), "ca:"+dir, Options{Stopped: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	ctx := context.Background()
	if _, err := Open(ctx, "pki", Options{}); err == nil {
		t.Error("an address without a scheme was opened")
	}
	if _, err := Open(ctx, "ca:"+t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "no authority here") {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestPassphrase(t *testing.T) {
	ctx := context.Background()
	dir := newAuthority(t, certsrv.InitOptions{Passphrase: []byte("correct")})
	if _, err := Open(ctx, "ca:"+dir, Options{}); !errors.Is(err, authority.ErrPassphraseNeeded) {
		t.Errorf("without: %v", err)
	}
	asked := 0
	ask := func(s string) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { asked++; return []byte(s), nil }
	}
	if _, err := Open(ctx, "ca:"+dir, Options{Passphrase: ask("wrong")}); !errors.Is(err, authority.ErrWrongPassphrase) {
		t.Errorf("wrong: %v", err)
	}
	c, err := Open(ctx, "ca:"+dir, Options{Passphrase: ask("correct")})
	if err != nil {
		t.Fatal(err)
	}
	if asked != 2 {
		t.Errorf("asked %d times, want once each", asked)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Dynamic files are those of the list, and nothing else that the directory has.
func TestOpenDynamic(t *testing.T) {
	ctx := context.Background()
	dir := newAuthority(t, certsrv.InitOptions{})
	c, err := Open(ctx, "ca:"+dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	names, err := certadm.Dynamic(ctx, c.Service())
	if err != nil || len(names) < 3 {
		t.Fatalf("%q, %v", names, err)
	}
	for _, name := range names {
		f, err := c.OpenDynamic(ctx, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(f)
		f.Close()
		path, perr := c.LocalPath(name)
		want, rerr := os.ReadFile(path)
		if err != nil || perr != nil || rerr != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: not the file's contents (%v, %v, %v)", name, err, perr, rerr)
		}
	}
	share := `\\srv01\Example CA$\`
	for _, name := range []string{"", share + `private\ca.key`, share + `audit.log`, share + `published\..\private\ca.key`, dir + "/config.json", strings.ToLower(names[0]) + "x"} {
		if f, err := c.OpenDynamic(ctx, name); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
}

// A link under published/ that leads out of the directory is not followed.
func TestOpenDynamicLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	ctx := context.Background()
	dir := newAuthority(t, certsrv.InitOptions{})
	c, err := Open(ctx, "ca:"+dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	crl := filepath.Join(dir, "published", "Example CA.crl")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(secret, []byte("secret"), 0o600), os.Remove(crl), os.Symlink(secret, crl)); err != nil {
		t.Fatal(err)
	}
	if f, err := c.OpenDynamic(ctx, `\\srv01\Example CA$\published\Example CA.crl`); err == nil {
		f.Close()
		t.Error("the link was followed")
	}
}

// What a restore finds missing is what the authority will insist on.
func TestRecordGap(t *testing.T) {
	ctx := context.Background()
	dir := newAuthority(t, certsrv.InitOptions{})
	c, err := Open(ctx, "ca:"+dir, Options{Stopped: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	target, err := c.Target()
	if err != nil {
		t.Fatal(err)
	}
	if l, err := target.Locations(ctx); err != nil || len(l) != 3 {
		t.Errorf("locations %v, %v", l, err)
	}
	err = target.RecordGap(ctx, backup.Gap{
		CRLNumber: 41, Revoked: []backup.GapRevocation{{Serial: "0a", Reason: schema.KeyCompromise}, {Serial: "0b", Known: true}},
		Issued:  []backup.GapCertificate{{Serial: "0c"}},
		Sources: []backup.GapSource{{Name: "old.crl"}, {Name: "new.crl", Newer: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Server().Gap()
	if err != nil || g == nil {
		t.Fatal(g, err)
	}
	if g.CRLNumber != 41 || len(g.Revoked) != 2 || g.Revoked[0].Reason != schema.KeyCompromise || strings.Join(g.Issued, " ") != "0a 0c" || g.Source != "new.crl" || g.Accepted != nil {
		t.Errorf("%+v", g)
	}
	if err := target.RecordGap(ctx, backup.Gap{Accepted: true}); err != nil {
		t.Fatal(err)
	}
	if g, err = c.Server().Gap(); err != nil || g.Accepted == nil || g.Accepted.By != account.LocalUser().Name || g.CRLNumber != 41 {
		t.Errorf("accepted: %+v, %v", g, err)
	}
	displaced, err := target.SetAside(ctx)
	if err != nil || displaced.Dir == "" {
		t.Errorf("%+v, %v", displaced, err)
	}
}

func TestServeAddress(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:8135": "adcs://127.0.0.1:8135", "[::1]:8135": "adcs://[::1]:8135", "192.0.2.7:135": "adcs://192.0.2.7",
		"0.0.0.0:8135": "adcs://127.0.0.1:8135", "[::]:8135": "adcs://127.0.0.1:8135",
	} {
		got := ServeAddress(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(listen)))
		if got != want {
			t.Errorf("%s: %s, want %s", listen, got, want)
		}
		if _, err := Parse(got); err != nil {
			t.Error(err)
		}
	}
}
