package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/blobtest"
)

// linkFS is a file system without a call that renames but does not replace.
type linkFS struct{ osFS }

func (linkFS) RenameNew(oldname, newname string) error { return renameByLink(oldname, newname) }

func TestSuite(t *testing.T) {
	for name, fsys := range map[string]FS{"rename": osFS{durable.OS}, "link": linkFS{osFS{durable.OS}}} {
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, blobtest.Options{New: func(t *testing.T) func() blob.Store {
				dir := t.TempDir()
				return func() blob.Store {
					s, err := OpenFS(fsys, dir)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { noneAside(t, dir) })
					return s
				}
			}})
		})
	}
}

func noneAside(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, asideDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) || len(entries) > 0 {
		t.Errorf("left aside: %v, %v", entries, err)
	}
}

func create(t *testing.T) (*Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new", "repository")
	s, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func put(t *testing.T, s *Store, key, text string) blob.Info {
	t.Helper()
	i, err := s.Put(t.Context(), key, []byte(text), blob.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestOpen(t *testing.T) {
	s, dir := create(t)
	put(t, s, "a", "x")
	if s, err := Open(dir); err != nil || s.Location() != dir {
		t.Errorf("open: %v, %v", s, err)
	}
	if _, err := Create(dir); err != nil {
		t.Errorf("create where it is there: %v", err)
	}
	for _, missing := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "none", "none"), filepath.Join(dir, "a", "none")} {
		if _, err := Open(missing); !errors.Is(err, blob.ErrNotFound) || hint.Of(err) == "" || !strings.Contains(err.Error(), missing) {
			t.Errorf("open %s: %v, hint %q", missing, err, hint.Of(err))
		}
	}
	if _, err := Open(filepath.Join(dir, "a")); err == nil {
		t.Error("opened a file")
	}
}

// TestGone: when the disk is unplugged, nothing is "not found" but the directory, and
// nothing is written where it was.
func TestGone(t *testing.T) {
	ctx := t.Context()
	s, dir := create(t)
	put(t, s, "a/b", "x")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	gone := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, blob.ErrNotFound) || !strings.Contains(err.Error(), "directory "+dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := s.Get(ctx, "a/b", 0, -1)
	gone("get", err)
	_, err = s.Stat(ctx, "a/b")
	gone("stat", err)
	gone("delete", s.Delete(ctx, "a/b"))
	for _, err := range s.List(ctx, "a/") {
		gone("list", err)
	}
	_, err = s.Put(ctx, "a/c", nil, blob.PutOptions{})
	gone("put", err)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("made again: %v", err)
	}
	// A directory below that someone removed is made again.
	if err := errors.Join(os.Rename(dir+".away", dir), os.RemoveAll(filepath.Join(dir, "a")), os.RemoveAll(filepath.Join(dir, asideDir))); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a/b", "again")
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: Windows has no modes")
	}
	s, dir := create(t)
	i := put(t, s, "a/b/c", "x")
	for name, want := range map[string]fs.FileMode{".": 0o700, "a": 0o700, "a/b": 0o700, asideDir: 0o700, "a/b/c": 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, fi.Mode().Perm(), err, want)
		}
		if name == "a/b/c" && !fi.ModTime().Equal(i.Time) {
			t.Errorf("the file is of %v, and Info of %v", fi.ModTime(), i.Time)
		}
	}
}

// TestSweep: what a killed writer left goes after a day, and is never listed.
func TestSweep(t *testing.T) {
	s, dir := create(t)
	put(t, s, "a", "x")
	for name, age := range map[string]time.Duration{"old": leftover + time.Hour, "young": leftover - time.Hour} {
		path := filepath.Join(dir, asideDir, name)
		then := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, []byte("torn"), 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "b", "x")
	entries, err := os.ReadDir(filepath.Join(dir, asideDir))
	if err != nil || len(entries) != 1 || entries[0].Name() != "young" {
		t.Errorf("left %v, %v", entries, err)
	}
	for i, err := range s.List(t.Context(), "") {
		if err != nil || i.Key != "a" && i.Key != "b" {
			t.Errorf("listed %v, %v", i, err)
		}
	}
}

// TestForeign: what no key can name is left alone; what may hide objects is an error.
func TestForeign(t *testing.T) {
	ctx := t.Context()
	s, dir := create(t)
	put(t, s, "a/b", "x")
	for _, name := range []string{"lost+found", ".hidden", "a/Thumbs.db", "a/.nfs0001"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for i, err := range s.List(ctx, "") {
		if n++; err != nil || i.Key != "a/b" {
			t.Errorf("listed %v, %v", i, err)
		}
	}
	if n != 1 {
		t.Errorf("listed %d", n)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "a", "link")); err != nil {
		t.Skip("skipped: no symbolic links here")
	}
	failed := false
	for _, err := range s.List(ctx, "") {
		failed = failed || err != nil
	}
	if !failed {
		t.Error("a symbolic link was left out of the listing without a word")
	}
}

// TestInTheWay: no key is another's directory.
func TestInTheWay(t *testing.T) {
	s, dir := create(t)
	put(t, s, "a/b", "x")
	for _, key := range []string{"a", "a/b/c", "a/b/c/d"} {
		if _, err := s.Put(t.Context(), key, nil, blob.PutOptions{}); err == nil || errors.Is(err, blob.ErrExists) {
			t.Errorf("put %s beside a/b: %v", key, err)
		}
	}
	noneAside(t, dir)
}

func TestTooLarge(t *testing.T) {
	ctx := t.Context()
	s, dir := create(t)
	put(t, s, "a", "x")
	if err := os.Truncate(filepath.Join(dir, "a"), blob.MaxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, "a", 0, -1); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("get of all: %v", err)
	}
	if b, err := s.Get(ctx, "a", blob.MaxSize-9, 10); err != nil || len(b) != 10 {
		t.Errorf("get of the end: %d, %v", len(b), err)
	}
}

// TestCancelledAmidst: a Put that is called off between two pieces leaves nothing.
func TestCancelledAmidst(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := OpenFS(cancelFS{osFS{durable.OS}, cancel}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, "a", make([]byte, 3*piece), blob.PutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("stat: %v", err)
	}
	noneAside(t, dir)
}

// cancelFS ends a context at the first write.
type cancelFS struct {
	osFS
	cancel context.CancelFunc
}

func (c cancelFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := c.osFS.OpenFile(name, flag, perm)
	return cancelFile{f, c.cancel}, err
}

type cancelFile struct {
	durable.File
	cancel context.CancelFunc
}

func (f cancelFile) Write(b []byte) (int, error) {
	f.cancel()
	return f.File.Write(b)
}

func TestCheck(t *testing.T) {
	s, dir := create(t)
	found := func() map[string]blob.Finding {
		t.Helper()
		fs, err := s.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]blob.Finding{}
		for _, f := range fs {
			m[f.Code] = f
			if !f.OK && f.Hint == "" || f.Text == "" {
				t.Errorf("%+v", f)
			}
		}
		return m
	}
	m := found()
	if !m["conditional-write"].OK || m["object-lock"].OK {
		t.Errorf("%+v", m)
	}
	if runtime.GOOS != "windows" {
		if !m["permissions"].OK {
			t.Errorf("%+v", m)
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if m := found(); m["permissions"].OK {
			t.Errorf("mode 0755: %+v", m)
		}
	}
	noneAside(t, dir)
	s.fsys = replaceFS{osFS{durable.OS}}
	if m := found(); m["conditional-write"].OK {
		t.Errorf("a file system that replaces: %+v", m)
	}
}

type replaceFS struct{ osFS }

func (r replaceFS) RenameNew(o, n string) error { return r.Rename(o, n) }

func TestRenameNew(t *testing.T) {
	for name, rename := range map[string]func(o, n string) error{"rename": osFS{durable.OS}.RenameNew, "link": renameByLink} {
		dir := t.TempDir()
		at := func(n string) string { return filepath.Join(dir, n) }
		for _, n := range []string{"a", "b"} {
			if err := os.WriteFile(at(n), []byte(n), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := rename(at("a"), at("b")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s over a file: %v", name, err)
		}
		if err := rename(at("none"), at("c")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of none: %v", name, err)
		}
		if err := rename(at("a"), at("none/c")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s into none: %v", name, err)
		}
		if err := rename(at("a"), at("c")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n, want := range map[string]string{"b": "b", "c": "a"} {
			if b, err := os.ReadFile(at(n)); err != nil || string(b) != want {
				t.Errorf("%s: %s holds %q, %v", name, n, b, err)
			}
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
			t.Errorf("%s: left %v, %v", name, entries, err)
		}
	}
	// A link that was made by a request whose answer was lost.
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(os.WriteFile(a, nil, 0o600), os.Link(a, b), link(a, b)); err != nil {
		t.Errorf("a link that is there: %v", err)
	}
}

func BenchmarkPut(b *testing.B) {
	const size = 16 << 20
	data := make([]byte, size)
	for n := range data {
		data[n] = byte(n * n >> 7)
	}
	b.Run("plain", func(b *testing.B) {
		b.SetBytes(size)
		dir := b.TempDir()
		for n := range b.N {
			f, err := os.Create(filepath.Join(dir, fmt.Sprint(n)))
			if err != nil {
				b.Fatal(err)
			}
			_, err = f.Write(data)
			if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("store", func(b *testing.B) {
		b.SetBytes(size)
		s, err := Open(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		for n := range b.N {
			if _, err := s.Put(b.Context(), fmt.Sprintf("packs/%02x/%d", n%256, n), data, blob.PutOptions{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSmall(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	const count = 4096
	for n := range count {
		name := s.path(fmt.Sprintf("meta/%02x/%d", n%256, n))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, make([]byte, 500), 0o600)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			n := 0
			for _, err := range s.List(b.Context(), "") {
				if n++; err != nil {
					b.Fatal(err)
				}
			}
			if n != count {
				b.Fatal(n)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/count, "µs/object")
	})
	b.Run("get", func(b *testing.B) {
		for n := range b.N {
			if _, err := s.Get(b.Context(), fmt.Sprintf("meta/%02x/%d", n%256, n%count), 0, -1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
