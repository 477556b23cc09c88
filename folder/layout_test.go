package folder_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/gofrs/flock"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// write makes files in a directory, and the directories that they are in.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600))
	}
}

// tree lists what is in a directory, with the content of small files.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		rel = filepath.ToSlash(rel)
		if !d.Type().IsRegular() {
			out[rel+" "+d.Type().String()] = ""
			return nil
		}
		b, err := os.ReadFile(path)
		out[rel] = string(b)
		return err
	}))
	return out
}

func names(m map[string]string) (s []string) {
	for name := range m {
		s = append(s, name)
	}
	slices.Sort(s)
	return s
}

// TestLayout: exactly certutil's files in DataBase, ours beside it (items 72
// and 75 of the checklist).
func TestLayout(t *testing.T) {
	dir := t.TempDir()
	store := folder.Root(dir, folder.Options{})
	full := backupsettest.Full(3, 4, 100)
	incr := backupsettest.Incremental(full, 5, 100)
	must(t, full.Put(t.Context(), store, backupset.CreateOptions{Name: "full"}), store.PutReceipt(t.Context(), full.Manifest.ID, full.Receipt(true)),
		incr.Put(t.Context(), store, backupset.CreateOptions{Name: "incr"}))
	want := []string{
		"full d---------",
		"full/Companions d---------", "full/Companions/ca.crt",
		"full/DataBase d---------", "full/DataBase/Sample CA.db", "full/DataBase/certbkxp.dat", "full/DataBase/log00003.log", "full/DataBase/log00004.log",
		"full/DynamicFiles d---------", "full/DynamicFiles/Sample CA.crl", "full/DynamicFiles/empty.crt",
		"full/certkeep-receipt.json", "full/certkeep.json",
		"incr d---------", "incr/DataBase d---------", "incr/DataBase/log00005.log", "incr/certkeep.json",
	}
	if got := names(tree(t, dir)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if runtime.GOOS == "windows" {
		return
	}
	must(t, filepath.WalkDir(filepath.Join(dir, "full"), func(path string, d fs.DirEntry, err error) error {
		if fi, err := d.Info(); err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, fi.Mode(), err)
		}
		return err
	}))
}

// TestRefuse: a DataBase that is not empty, in any letter case, is refused and
// not touched (item 74); anything else in the folder is in nobody's way.
func TestRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		files   map[string]string
		refused string
	}{
		"by certutil":     {map[string]string{"b/DataBase/CA.edb": "x", "b/CA.p12": "key"}, "DataBase"},
		"in letters":      {map[string]string{"b/database/anything": "x"}, "database"},
		"manifest alone":  {map[string]string{"b/certkeep.json": "x"}, "certkeep.json"},
		"a key":           {map[string]string{"b/CA.p12": "key", "b/sub/x": "y"}, ""},
		"other set":       {map[string]string{"a/DataBase/CA.edb": "x"}, ""},
		"empty directory": {map[string]string{"b/x": ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, c.files)
			must(t, os.MkdirAll(filepath.Join(dir, "b"), 0o700))
			before := tree(t, dir)
			store := folder.Root(dir, folder.Options{})
			full := backupsettest.Full(1, 1, 50)
			err := full.Put(t.Context(), store, backupset.CreateOptions{Name: "b"})
			if c.refused == "" {
				must(t, err)
				after := tree(t, dir)
				for name, content := range before {
					if after[name] != content {
						t.Errorf("%s is %q, and was %q", name, after[name], content)
					}
				}
				return
			}
			var ce *certadm.Error
			if !errors.As(err, &ce) || ce.Code != certadm.ErrorDirNotEmpty || ce.Op != "backup" || !strings.HasSuffix(ce.Path, c.refused) ||
				!strings.Contains(ce.Hint, "--force") || !errors.Is(err, backupset.ErrExists) {
				t.Errorf("%#v", err)
			}
			if after := tree(t, dir); !slices.Equal(names(after), names(before)) {
				t.Errorf("touched: %q became %q", names(before), names(after))
			}
		})
	}
}

// TestForce: what is replaced is gone, what is the user's stays.
func TestForce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"b/DATABASE/OLD.EDB": "x", "b/DATABASE/edb00001.log": "x", "b/database/y": "y", "b/DynamicFiles/old.crl": "x", "b/Companions/old": "x",
		"b/certkeep-receipt.json": "x", "b/CA.p12": "key", "b/notes/readme.txt": "text"})
	store := folder.Root(dir, folder.Options{})
	full := backupsettest.Full(1, 1, 50)
	must(t, full.Put(t.Context(), store, backupset.CreateOptions{Name: "b", Force: true}))
	got := tree(t, filepath.Join(dir, "b"))
	want := []string{"CA.p12", "Companions d---------", "Companions/ca.crt", "DataBase d---------", "DataBase/Sample CA.db", "DataBase/certbkxp.dat", "DataBase/log00001.log",
		"DynamicFiles d---------", "DynamicFiles/Sample CA.crl", "DynamicFiles/empty.crt", "certkeep.json", "notes d---------", "notes/readme.txt"}
	if !slices.Equal(names(got), want) || got["CA.p12"] != "key" || got["notes/readme.txt"] != "text" {
		t.Errorf("got  %q\nwant %q", names(got), want)
	}
	if es, err := os.ReadDir(dir); err != nil || len(es) != 1 {
		t.Errorf("beside it: %v, %v", es, err)
	}
	set, err := store.Open(t.Context(), "b")
	must(t, err, full.Same(t.Context(), set))
	if extra, err := set.Extra(t.Context()); err != nil || !slices.Equal(extra, []string{"CA.p12", "notes/"}) {
		t.Errorf("extra: %q, %v", extra, err)
	}
}

// TestSelf: the directory itself can be the set, as on a drive of its own.
func TestSelf(t *testing.T) {
	dir := t.TempDir()
	store := folder.Root(dir, folder.Options{})
	full := backupsettest.Full(1, 1, 50)
	incr := backupsettest.Incremental(full, 2, 50)
	must(t, full.Put(t.Context(), store, backupset.CreateOptions{Name: folder.Self}), store.PutReceipt(t.Context(), full.Manifest.ID, full.Receipt(true)),
		incr.Put(t.Context(), store, backupset.CreateOptions{Name: "incr"}))
	es, err := store.List(t.Context())
	if err != nil || len(es) != 2 || es[0].Name != folder.Self || !es[0].Confirmed || es[1].Name != "incr" {
		t.Fatalf("%+v, %v", es, err)
	}
	if c, err := backupset.Newest(es, nil, backupset.ResolveOptions{}); err != nil || len(c) != 2 {
		t.Errorf("%v, %v", c, err)
	}
	if err := full.Put(t.Context(), store, backupset.CreateOptions{Name: folder.Self}); !errors.Is(err, certadm.ErrorDirNotEmpty) {
		t.Errorf("again: %v", err)
	}
	set, err := store.Open(t.Context(), folder.Self)
	must(t, err, full.Same(t.Context(), set))
}

// TestSweep: what a crash has left is removed by the next write; what another
// process is writing is not, nor what only looks alike.
func TestSweep(t *testing.T) {
	const (
		left    = ".monday.certkeep-partial-aaaaaaaa"
		writing = ".tuesday.certkeep-partial-bbbbbbbb"
		foreign = ".wednesday.certkeep-partial-cccccccc"
		inside  = ".certkeep-partial-dddddddd"
	)
	dir := t.TempDir()
	write(t, dir, map[string]string{left + "/DataBase/CA.db": "x", left + ".lock": "", writing + "/DataBase/CA.db": "x", foreign + "/thesis.doc": "x",
		".certkeep-partial-eeeeeeee.lock": "", "mine/" + inside + "/certkeep.json": "x", "mine/key.p12": "x", ".x.certkeep-partial-1": "x", "x.certkeep-partial-ffffffff/DataBase/y": "x"})
	lock := flock.New(filepath.Join(dir, writing+".lock"))
	if ok, err := lock.TryLock(); !ok || err != nil {
		t.Skipf("cannot lock files here: %v", err)
	}
	defer lock.Close()
	store := folder.Root(dir, folder.Options{})
	w, err := store.Create(t.Context(), backupset.CreateOptions{Name: "mine"})
	must(t, err)
	defer w.Abort()
	w2, err := folder.Root(dir, folder.Options{}).Create(t.Context(), backupset.CreateOptions{Name: "mine"})
	must(t, err, w2.Abort(), w.Abort()) // the second does not sweep up the first
	got := names(tree(t, dir))
	want := []string{foreign + " d---------", foreign + "/thesis.doc", writing + " d---------", writing + ".lock", writing + "/DataBase d---------", writing + "/DataBase/CA.db",
		".x.certkeep-partial-1", "mine d---------", "mine/key.p12", "x.certkeep-partial-ffffffff d---------", "x.certkeep-partial-ffffffff/DataBase d---------", "x.certkeep-partial-ffffffff/DataBase/y"}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if es, err := store.List(t.Context()); err != nil || len(es) != 0 {
		t.Errorf("listed %v, %v", es, err)
	}
}

// TestResolve finds out what a path is.
func TestResolve(t *testing.T) {
	dir := t.TempDir()
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // as on macOS
	}
	store := folder.Root(filepath.Join(dir, "sets"), folder.Options{})
	full := backupsettest.Full(1, 1, 50)
	must(t, full.Put(t.Context(), store, backupset.CreateOptions{Name: "full"}))
	write(t, dir, map[string]string{"key/CA.p12": "x", "empty/x/y/z": "", "file": "", "certutil/DataBase/CA.edb": "x", "certutil/DataBase/edb00001.log": "x",
		"ca/database/CA.db": "SQLite format 3", "ca/log/log00001.log": ""})
	for _, c := range []struct{ path, dir, name, want, says string }{
		{"sets", "sets", "", "", ""},
		{"sets/full", "sets", "full", "", ""},
		{"sets/./full/../full/", "sets", "full", "", ""},
		{"certutil", "", "certutil", "", ""},
		{"key", "", "", "0x80070002", "only a key"},
		{"empty", "", "", "0x80070002", "not found"},
		{"missing", "", "", "0x80070002", "missing"},
		{"file", "", "", "0x80070002", "not a folder"},
		{"sets/full/DataBase", "", "", "0x80070002", "DataBase directory"},
		{"ca", "", "", "0x80070002", "not found"}, // an authority's own directory is no backup
	} {
		s, name, err := folder.Resolve(t.Context(), filepath.Join(dir, c.path))
		if c.want == "" {
			if err != nil || s.Dir() != filepath.Join(dir, c.dir) || name != c.name {
				t.Errorf("%s: %v, %q, %v", c.path, s, name, err)
			}
		} else if !errors.Is(err, certadm.ErrorFileNotFound) || !errors.Is(err, backupset.ErrNotFound) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	s, name, err := folder.Split(filepath.Join(dir, "new", "set"), folder.Options{})
	if err != nil || s.Dir() != filepath.Join(dir, "new") || name != "set" {
		t.Errorf("split: %v, %q, %v", s, name, err)
	}
	must(t, full.Put(t.Context(), s, backupset.CreateOptions{Name: name})) // makes the directory that it is in
	if s, name, err := folder.Split("/", folder.Options{}); err != nil || name != folder.Self {
		t.Errorf("split /: %v, %q, %v", s, name, err)
	}
	if runtime.GOOS != "windows" {
		must(t, os.Symlink(filepath.Join(dir, "sets", "full"), filepath.Join(dir, "link")))
		if s, name, err := folder.Resolve(t.Context(), filepath.Join(dir, "link")); err != nil || s.Dir() != filepath.Join(dir, "sets") || name != "full" {
			t.Errorf("through a link that the user named: %v, %q, %v", s, name, err)
		}
	}
}
