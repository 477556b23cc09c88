package folder_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
)

// restoreMap is certbkxp.dat as certutil writes it, in an order of its own.
func restoreMap(t testing.TB) string {
	t.Helper()
	b, err := certadm.EncodeList(certadm.FileList{
		{Type: certadm.FileCheckpointDir, Path: `\\SRV\C$\Windows\system32\CertLog`},
		{Type: certadm.FileDatabase, Path: `\\SRV\C$\Windows\system32\CertLog\My CA.edb`},
		{Type: certadm.FileLogDir, Path: `\\SRV\C$\Windows\system32\CertLog`},
	})
	must(t, err)
	return string(b)
}

// TestCertutil reads folders that others wrote, in all letters.
func TestCertutil(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"full/DataBase/My CA.edb": "database", "full/DataBase/edb0001a.log": "log 1a", "full/DataBase/edb0001b.log": "log 1b",
		"full/DataBase/certbkxp.dat": restoreMap(t), "full/My CA.p12": "key", "full/DataBase/edb.chk": "?",
		"incr1/DATABASE/EDB0001C.LOG": "log 1c", "incr2/database/edb0001d.log": "log 1d", "incr2/database/sub/x": "?",
		"notes/readme.txt": "text", "hollow/DataBase/readme.txt": "text",
		"badmap/DataBase/X.edb": "x", "badmap/DataBase/edb00001.log": "x", "badmap/DataBase/certbkxp.dat": "odd",
	})
	must(t, os.MkdirAll(filepath.Join(dir, "empty", "DataBase"), 0o700))
	store := folder.Root(dir, folder.Options{})
	es, err := store.List(t.Context())
	must(t, err)
	var got []string
	for _, e := range es {
		got = append(got, e.Name)
		if e.Err != nil || e.Confirmed || !e.Manifest.Synthesized || e.ID != "folder:"+e.Name {
			t.Errorf("%+v", e)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, []string{"badmap", "full", "incr1", "incr2"}) {
		t.Fatalf("listed %q", got)
	}

	set, err := store.Open(t.Context(), "folder:full")
	must(t, err)
	m := set.Manifest()
	if m.Type != backupset.Full || m.Engine != "ese" || m.CA.SanitizedName != "My CA" || m.FirstGeneration != 0x1a || m.LastGeneration != 0x1b ||
		len(m.Files) != 4 || len(m.Locations) != 3 || m.Locations[1].Tag != certadm.FileDatabase || m.End.IsZero() {
		t.Errorf("%+v", m)
	}
	if c := m.Completeness; c.Database != backupset.Present || c.Logs != backupset.Present || c.RestoreMap != backupset.Present ||
		c.PrivateKey != backupset.Present || c.DynamicFiles != backupset.Absent || c.Configuration != backupset.NotAttempted {
		t.Errorf("%+v", c)
	}
	if extra, err := set.Extra(t.Context()); err != nil || !slices.Equal(extra, []string{"DataBase/edb.chk", "My CA.p12"}) {
		t.Errorf("extra: %q, %v", extra, err)
	}
	if _, err := set.Receipt(); !errors.Is(err, backupset.ErrUnconfirmed) {
		t.Errorf("receipt: %v", err)
	}
	if err := store.PutReceipt(t.Context(), "full", backupset.Receipt{}); !errors.Is(err, backupset.ErrUnconfirmed) {
		t.Errorf("put receipt: %v", err)
	}
	for _, f := range m.Files {
		must(t, backupset.Check(t.Context(), set, f))
	}

	set, err = store.Open(t.Context(), "incr2")
	must(t, err)
	if m := set.Manifest(); m.Type != backupset.Incremental || m.Completeness.Database != backupset.Absent || m.Completeness.PrivateKey != backupset.Absent {
		t.Errorf("%+v", m)
	}
	r, err := set.Open(t.Context(), backupset.File{Role: backupset.RoleLog, Name: "EDB0001D.log"})
	must(t, err)
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "log 1d" {
		t.Errorf("%q, %v", b, err)
	}
	if extra, err := set.Extra(t.Context()); err != nil || !slices.Equal(extra, []string{"DataBase/sub/"}) {
		t.Errorf("extra: %q, %v", extra, err)
	}
	es = slices.DeleteFunc(es, func(e backupset.Entry) bool { return e.Name == "badmap" })
	if c, err := backupset.Resolve(es, "incr2", backupset.ResolveOptions{}); err != nil || len(c) != 3 || c[1].Name != "incr1" {
		t.Errorf("chain: %v, %v", c, err)
	}

	set, err = store.Open(t.Context(), "badmap")
	must(t, err)
	if m := set.Manifest(); m.Locations != nil || m.Completeness.RestoreMap != backupset.Present {
		t.Errorf("a restore map that cannot be read: %+v", m)
	}
}

// TestLostManifest: our own folder, without its manifest, is still a backup.
func TestLostManifest(t *testing.T) {
	dir := t.TempDir()
	store := folder.Root(dir, folder.Options{})
	full := backupsettest.Full(1, 2, 50)
	must(t, full.Put(t.Context(), store, backupset.CreateOptions{Name: "b"}), store.PutReceipt(t.Context(), "b", full.Receipt(true)),
		os.Remove(filepath.Join(dir, "b", folder.ManifestName)))
	es, err := store.List(t.Context())
	if err != nil || len(es) != 1 || es[0].Err != nil || es[0].Confirmed {
		t.Fatalf("%+v, %v", es, err)
	}
	m := es[0].Manifest
	if !m.Synthesized || m.Engine != "sqlite" || m.LastGeneration != 2 || len(m.Files) != len(full.Manifest.Files) || m.Completeness.DynamicFiles != backupset.Present {
		t.Errorf("%+v", m)
	}
	set, err := store.Open(t.Context(), "b")
	must(t, err)
	for _, f := range m.Files {
		r, err := set.Open(t.Context(), f)
		must(t, err)
		if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, full.Content(f)) {
			t.Errorf("%s: %d bytes, %v", f.Name, len(b), err)
		}
		must(t, r.Close())
	}
}

// TestLinks: nothing that is not a plain file or directory is opened.
func TestLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("making links needs a privilege on Windows")
	}
	outside := t.TempDir()
	write(t, outside, map[string]string{"secret": "secret", "DataBase/CA.edb": "secret", "DataBase/edb00001.log": "x"})
	good := func(t *testing.T) (string, *folder.Store) {
		dir := t.TempDir()
		write(t, dir, map[string]string{"b/DataBase/CA.edb": "x", "b/DataBase/edb00001.log": "x"})
		return filepath.Join(dir, "b"), folder.Root(dir, folder.Options{})
	}
	replace := func(t *testing.T, link, target string) {
		must(t, os.RemoveAll(link), os.Symlink(target, link))
	}
	for name, f := range map[string]func(t *testing.T, b string, s *folder.Store) (string, error){
		"file": func(t *testing.T, b string, s *folder.Store) (string, error) {
			replace(t, filepath.Join(b, "DataBase", "CA.edb"), filepath.Join(outside, "secret"))
			_, err := s.Open(t.Context(), "b")
			return "CA.edb", err
		},
		"DataBase": func(t *testing.T, b string, s *folder.Store) (string, error) {
			replace(t, filepath.Join(b, "DataBase"), filepath.Join(outside, "DataBase"))
			_, err := s.Open(t.Context(), "b")
			return "DataBase", err
		},
		"set": func(t *testing.T, b string, s *folder.Store) (string, error) {
			replace(t, b, outside)
			if es, err := s.List(t.Context()); err != nil || len(es) > 0 {
				t.Errorf("listed %v, %v", es, err)
			}
			if _, err := s.Create(t.Context(), backupset.CreateOptions{Name: "b", Force: true}); !errors.Is(err, backupset.ErrDamaged) {
				t.Errorf("write through a link: %v", err)
			}
			_, err := s.Open(t.Context(), "b")
			return "b", err
		},
		"manifest": func(t *testing.T, b string, s *folder.Store) (string, error) {
			replace(t, filepath.Join(b, folder.ManifestName), filepath.Join(outside, "secret"))
			_, err := s.Open(t.Context(), "b")
			return folder.ManifestName, err
		},
		"device": func(t *testing.T, b string, s *folder.Store) (string, error) {
			replace(t, filepath.Join(b, "DataBase", "CA.edb"), os.DevNull)
			_, err := s.Open(t.Context(), "b")
			return "CA.edb", err
		},
		"swapped after opening": func(t *testing.T, b string, s *folder.Store) (string, error) {
			set, err := s.Open(t.Context(), "b")
			must(t, err)
			file := set.Manifest().Files[0]
			r, err := set.Open(t.Context(), file) // it knows the directory now
			must(t, err, r.Close())
			replace(t, filepath.Join(b, "DataBase", "CA.edb"), filepath.Join(outside, "secret"))
			_, err = set.Open(t.Context(), file)
			return "CA.edb", err
		},
		"pipe, swapped after opening": func(t *testing.T, b string, s *folder.Store) (string, error) {
			set, err := s.Open(t.Context(), "b")
			must(t, err)
			file := set.Manifest().Files[0]
			r, err := set.Open(t.Context(), file)
			must(t, err, r.Close(), os.Remove(filepath.Join(b, "DataBase", "CA.edb")))
			mkfifo(t, filepath.Join(b, "DataBase", "CA.edb"))
			_, err = set.Open(t.Context(), file) // must not wait for a writer
			return "CA.edb", err
		},
		"receipt": func(t *testing.T, b string, s *folder.Store) (string, error) {
			full := backupsettest.Full(1, 1, 50)
			must(t, full.Put(t.Context(), s, backupset.CreateOptions{Name: "b", Force: true}))
			replace(t, filepath.Join(b, folder.ReceiptName), filepath.Join(outside, "secret"))
			set, err := s.Open(t.Context(), "b")
			must(t, err)
			_, err = set.Receipt()
			return folder.ReceiptName, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, s := good(t)
			said, err := f(t, b, s)
			if !errors.Is(err, backupset.ErrDamaged) || !strings.Contains(err.Error(), said) {
				t.Errorf("%v; want one about %s", err, said)
			}
		})
	}
}

// TestFlippedBytes: any changed byte of a set is found, and its file named.
func TestFlippedBytes(t *testing.T) {
	dir := t.TempDir()
	store := folder.Root(dir, folder.Options{})
	full := backupsettest.Full(1, 2, 40)
	must(t, full.Put(t.Context(), store, backupset.CreateOptions{Name: "b"}), store.PutReceipt(t.Context(), "b", full.Receipt(true)))
	examine := func() error {
		es, err := store.List(t.Context())
		must(t, err)
		if len(es) != 1 {
			t.Fatalf("%d sets", len(es))
		}
		if es[0].Err != nil {
			if es[0].Confirmed {
				t.Error("damaged, but confirmed")
			}
			return es[0].Err
		}
		set, err := store.Open(t.Context(), "b")
		must(t, err)
		for _, f := range set.Manifest().Files {
			if err := backupset.Check(t.Context(), set, f); err != nil {
				return err
			}
		}
		return nil
	}
	must(t, examine())
	for name, content := range tree(t, dir) {
		if strings.HasSuffix(name, " d---------") {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		step := 1
		if strings.HasSuffix(name, ".json") {
			step = 29 // package backupset tries every byte
		}
		for i := 0; i < len(content); i += step {
			b := []byte(content)
			b[i] ^= 1 << (i % 8)
			must(t, os.WriteFile(path, b, 0o600))
			if err := examine(); !errors.Is(err, backupset.ErrDamaged) || !strings.Contains(err.Error(), filepath.Base(name)) {
				t.Fatalf("%s: byte %d: %v", name, i, err)
			}
		}
		for _, cut := range []string{content[:len(content)/2], content + "x"} {
			must(t, os.WriteFile(path, []byte(cut), 0o600))
			if err := examine(); cut != content && !errors.Is(err, backupset.ErrDamaged) {
				t.Fatalf("%s: %d bytes instead of %d: %v", name, len(cut), len(content), err)
			}
		}
		if !strings.HasSuffix(name, ".json") {
			must(t, os.Remove(path))
			if err := examine(); !errors.Is(err, backupset.ErrNotFound) || !strings.Contains(err.Error(), filepath.Base(name)) {
				t.Fatalf("%s: removed: %v", name, err)
			}
		}
		must(t, os.WriteFile(path, []byte(content), 0o600))
	}
	must(t, examine())
}

// TestDamagedListed: damaged sets are listed with their error, and do not hide
// others; a copied folder is the same set.
func TestDamagedListed(t *testing.T) {
	dir := t.TempDir()
	store := folder.Root(dir, folder.Options{})
	full := backupsettest.Full(1, 1, 50)
	must(t, full.Put(t.Context(), store, backupset.CreateOptions{Name: "good"}))
	must(t, os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(filepath.Join(dir, "good"))))
	must(t, store.PutReceipt(t.Context(), full.Manifest.ID, full.Receipt(true)))
	write(t, dir, map[string]string{"bad/certkeep.json": "{}", "bad/DataBase/CA.edb": "x",
		"newer/certkeep.json": "x", "broken/DataBase/CA.edb": "x", "broken/DataBase/edb00001.log": "x"})
	es, err := store.List(t.Context())
	must(t, err)
	state := map[string]string{}
	for _, e := range es {
		state[e.Name] = e.State()
		if e.Err != nil && !strings.Contains(e.Err.Error(), filepath.Join(dir, e.Name)) {
			t.Errorf("%s: %v", e.Name, e.Err)
		}
	}
	if state["bad"] != "damaged" || state["newer"] != "damaged" || state["broken"] != "unconfirmed" || len(es) != 5 {
		t.Errorf("%v", state)
	}
	if state["good"]+state["copy"] != "confirmedunconfirmed" && state["copy"]+state["good"] != "confirmedunconfirmed" {
		t.Errorf("%v", state)
	}
	set, err := folder.Root(dir, folder.Options{}).Open(t.Context(), full.Manifest.ID)
	must(t, err, full.Same(t.Context(), set))
	if _, err := set.Receipt(); err != nil {
		t.Errorf("of two copies the one without receipt was taken: %v", err)
	}
	if _, err := store.Open(t.Context(), "bad"); !errors.Is(err, backupset.ErrDamaged) || !strings.Contains(err.Error(), "certkeep.json") {
		t.Errorf("bad: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "copy", folder.ManifestName))
	must(t, err)
	other := *full.Manifest
	other.CA.Host = "ELSEWHERE"
	b2, err := other.Encode()
	must(t, err, os.WriteFile(filepath.Join(dir, "copy", folder.ManifestName), b2, 0o600))
	if _, err := folder.Root(dir, folder.Options{}).Open(t.Context(), full.Manifest.ID); !errors.Is(err, backupset.ErrAmbiguous) {
		t.Errorf("two different sets of one id: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "copy", folder.ManifestName), b[:len(b)-1], 0o600))
	must(t, func() error {
		_, err := folder.Root(dir, folder.Options{}).Open(t.Context(), full.Manifest.ID)
		return err
	}())
}
