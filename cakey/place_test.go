package cakey

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// tree makes files, and directories where a name ends with a slash.
func tree(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil && name[len(name)-1] == '/' {
			err = os.MkdirAll(path, 0o700)
		} else if err == nil {
			err = os.WriteFile(path, []byte("x"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlace(t *testing.T) {
	for _, c := range []struct {
		name  string
		tree  []string
		file  string
		inSet bool
		err   error // other than ErrInSet
	}{
		{name: "an empty directory", file: "ca.pfx"},
		{name: "beside sets", tree: []string{"2026-11-25/certkeep.json"}, file: "ca.pfx"},
		{name: "a set", tree: []string{"certkeep.json"}, file: "ca.pfx", inSet: true},
		{name: "a set of which only the receipt is left", tree: []string{"certkeep-receipt.json"}, file: "ca.pfx", inSet: true},
		{name: "a set with its names in other letters", tree: []string{"CERTKEEP.JSON"}, file: "ca.pfx", inSet: true},
		{name: "deep in a set", tree: []string{"s/certkeep.json", "s/Companions/keys/safe/"}, file: "s/Companions/keys/safe/ca.pfx", inSet: true},
		{name: "a set that is being installed", tree: []string{".certkeep-install/certkeep.json"}, file: "ca.pfx", inSet: true},
		{name: "certutil's set", tree: []string{"DataBase/CA.edb"}, file: "ca.pfx", inSet: true},
		{name: "certutil's database directory", tree: []string{"DataBase/CA.edb"}, file: "DataBase/ca.pfx", inSet: true},
		{name: "certutil's incremental set", tree: []string{"database/edb0000A.LOG"}, file: "ca.pfx", inSet: true},
		{name: "a restore map alone", tree: []string{"DataBase/certbkxp.dat"}, file: "ca.pfx", inSet: true},
		{name: "the embedded authority", tree: []string{"database/CA.db", "database/CA.db-wal", "log/log00001.log"}, file: "ca.pfx"},
		{name: "a database of something else", tree: []string{"DataBase/orders.mdf"}, file: "ca.pfx"},
		{name: "a file called DataBase", tree: []string{"DataBase"}, file: "ca.pfx"},
		{name: "no directory", file: "none/ca.pfx", err: fs.ErrNotExist},
		{name: "an existing file", tree: []string{"ca.pfx"}, file: "ca.pfx", err: fs.ErrExist},
		{name: "an existing directory", tree: []string{"ca.pfx/"}, file: "ca.pfx", err: fs.ErrExist},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tempDir(t)
			tree(t, dir, c.tree...)
			got, err := checkPlace(filepath.Join(dir, filepath.FromSlash(c.file)))
			switch {
			case c.inSet:
				var h interface{ Hint() string }
				if !errors.Is(err, ErrInSet) || !errors.As(err, &h) || h.Hint() == "" {
					t.Errorf("%v; want a refusal with a hint", err)
				}
			case c.err != nil:
				if !errors.Is(err, c.err) {
					t.Errorf("%v; want %v", err, c.err)
				}
			case err != nil || filepath.Base(got) != "ca.pfx":
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	if _, err := checkPlace(""); err == nil {
		t.Error("no name was accepted")
	}
}

// TestPlaceBehindLink: a link that leads into a set is no way around.
func TestPlaceBehindLink(t *testing.T) {
	dir := tempDir(t)
	tree(t, dir, "set/certkeep.json", "set/Companions/", "good/")
	if err := os.Symlink(filepath.Join(dir, "set", "Companions"), filepath.Join(dir, "way")); err != nil {
		t.Skipf("skipped: symbolic links cannot be made here: %v", err)
	}
	if _, err := checkPlace(filepath.Join(dir, "way", "ca.pfx")); !errors.Is(err, ErrInSet) {
		t.Errorf("%v", err)
	}
	if err := os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "good", "ca.pfx")); err != nil {
		t.Fatal(err)
	}
	if _, err := checkPlace(filepath.Join(dir, "good", "ca.pfx")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a dangling link: %v", err)
	}
}

// TestNeverOver: a file that appears while the key is being exported is kept.
func TestNeverOver(t *testing.T) {
	key := ecKey(t)
	chain := chainOf(t, key)
	good := mustPFX(t, InMemory(key, chain...), password)
	file := filepath.Join(tempDir(t), "ca.pfx")
	src := sourceFunc(func() (*PFX, error) {
		tree(t, filepath.Dir(file), "ca.pfx")
		return &PFX{good, chain[0].Raw}, nil
	})
	if _, err := Export(t.Context(), src, ExportOptions{File: file, Password: password}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	b, err := os.ReadFile(file)
	es, _ := os.ReadDir(filepath.Dir(file))
	if err != nil || string(b) != "x" || len(es) != 1 {
		t.Errorf("%q, %v, %v", b, es, err)
	}
}
