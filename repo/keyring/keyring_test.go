package keyring_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob/mem"
	"github.com/certkeep/certkeep/repo/keyring"
)

func newHost(t *testing.T, ring *keyring.Keyring) (*mem.Store, *repo.HostKey) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	store := mem.New()
	h, err := repo.Init(t.Context(), repo.Options{Blob: store}, repo.InitOptions{Host: "h",
		Recipients: []repo.Recipient{repo.NewRecipient(id.Recipient().String(), "", id.Recipient())}})
	if err == nil {
		err = ring.Save(h)
	}
	if err != nil {
		t.Fatal(err)
	}
	return store, h
}

// Two processes that back an authority up for the first time end with the same keys for it.
func TestSaveMerges(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("AppData", t.TempDir())
	ring, err := keyring.Default("")
	if err != nil {
		t.Fatal(err)
	}
	store, h := newHost(t, ring)
	ca := func(name string) backupset.CA { return backupset.CA{Name: name, SanitizedName: name, Host: "HOST"} }
	put := func(names ...string) {
		t.Helper()
		var rs []*repo.Repository
		for range names {
			own, err := ring.Host(h.Repository)
			if err != nil {
				t.Fatal(err)
			}
			r, err := repo.Open(context.Background(), repo.Options{Blob: store, Host: own, SaveHost: ring.Save})
			if err != nil {
				t.Fatal(err)
			}
			rs = append(rs, r)
		}
		for i, name := range names {
			s := backupsettest.Full(1, 1, 10)
			s.Manifest.CA = ca(name)
			if err := s.Put(t.Context(), rs[i], backupset.CreateOptions{CA: s.Manifest.CA}); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("a", "A", "b")
	put("b", "a")
	got, err := ring.Host(h.Repository)
	if err != nil || len(got.CAs) != 2 {
		t.Fatalf("%d authorities, %v", len(got.CAs), err)
	}
	r, err := repo.Open(t.Context(), repo.Options{Blob: store, Host: got})
	if err != nil {
		t.Fatal(err)
	}
	if es, err := r.List(t.Context()); err != nil || len(es) != 5 {
		t.Errorf("%d sets are listed, %v", len(es), err)
	}
}

func TestHost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.json")
	ring, err := keyring.Default(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Host("0123456789abcdef"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no key: %v", err)
	}
	_, h := newHost(t, ring)
	if got, err := ring.Host(h.Repository); err != nil || got.Host != h.Host {
		t.Errorf("%v, %v", got, err)
	}
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.Host(h.Repository); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("not a key: %v", err)
	}
}

func TestHeads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.json")
	ring, err := keyring.Default(file)
	if err != nil {
		t.Fatal(err)
	}
	one, two := ring.Heads("/one"), ring.Heads("/two")
	if h, err := one.Load(); err != nil || h != nil {
		t.Errorf("before anything was seen: %v, %v", h, err)
	}
	seen := repo.Heads{"root": {Seq: 3, Hash: "x"}}
	if err := one.Save(seen); err != nil {
		t.Fatal(err)
	}
	if h, err := one.Load(); err != nil || h["root"] != seen["root"] {
		t.Errorf("%v, %v", h, err)
	}
	if h, err := two.Load(); err != nil || h != nil {
		t.Errorf("another place: %v, %v", h, err)
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.heads.json"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := os.WriteFile(names[0], []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Load(); err == nil {
		t.Error("what is not certkeep's was taken for nothing seen")
	}
}
