package durabletest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/internal/durable"
)

// step is a random operation; run carries it out below root, on the open file
// or on names.
type step struct {
	op    string
	a, b  string
	n     int64
	flags int
}

func drawStep(t *rapid.T) step {
	name := rapid.SampledFrom([]string{"a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "x/y"})
	return step{
		op: rapid.SampledFrom([]string{"open", "open", "read", "readat", "write", "write", "writeat", "truncate", "seek", "close", "rename",
			"remove", "removeall", "mkdir", "mkdir", "mkdirall", "readdir", "stat", "sync", "syncdir"}).Draw(t, "op"),
		a: name.Draw(t, "a"),
		b: name.Draw(t, "b"),
		n: rapid.Int64Range(1, 20).Draw(t, "n"),
		flags: rapid.SampledFrom([]int{os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREATE,
			os.O_RDWR | os.O_CREATE | os.O_EXCL, os.O_WRONLY | os.O_CREATE | os.O_TRUNC}).Draw(t, "flags"),
	}
}

func (s step) run(d *Disk, root string, f *durable.File) (any, error) {
	a := filepath.Join(root, s.a)
	switch s.op {
	case "rename":
		return nil, d.Rename(a, filepath.Join(root, s.b))
	case "remove":
		return nil, d.Remove(a)
	case "removeall":
		return nil, d.RemoveAll(a)
	case "mkdir":
		return nil, d.Mkdir(a, 0o700)
	case "mkdirall":
		return nil, d.MkdirAll(a, 0o700)
	case "syncdir":
		if fi, err := d.Stat(a); err == nil && !fi.IsDir() {
			return nil, nil // refused in memory, because it is a mistake
		}
		return nil, d.SyncDir(a)
	case "readdir":
		es, err := d.ReadDir(a)
		return fmt.Sprint(es), err
	case "stat":
		fi, err := d.Stat(a)
		if err != nil || fi.IsDir() {
			return nil, err
		}
		return []any{fi.Name(), fi.Size(), fi.Mode()}, nil
	case "open":
		if *f != nil {
			return nil, nil
		}
		g, err := d.OpenFile(a, s.flags, 0o600)
		if err == nil {
			*f = g
		}
		return nil, err
	}
	if *f == nil {
		return nil, nil
	}
	buf := make([]byte, s.n)
	switch s.op {
	case "read":
		k, err := (*f).Read(buf)
		return buf[:k], err
	case "readat":
		k, err := (*f).ReadAt(buf, 2)
		return buf[:k], err
	case "write":
		for i := range buf {
			buf[i] = byte(s.n)
		}
		return (*f).Write(buf)
	case "writeat":
		return (*f).WriteAt([]byte("abc"), s.n)
	case "truncate":
		return nil, (*f).Truncate(s.n)
	case "seek":
		return (*f).Seek(s.n, io.SeekStart)
	case "sync":
		return nil, (*f).Sync()
	case "close":
		g := *f
		*f = nil
		return nil, g.Close()
	}
	panic(s.op)
}

// unsynced spares the disk.
type unsynced struct{ durable.FS }

type unsyncedFile struct{ durable.File }

func (unsynced) SyncDir(name string) error { _, err := os.ReadDir(name); return err }
func (unsyncedFile) Sync() error           { return nil }
func (u unsynced) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := u.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

// TestLikeTheRealOne does the same random operations in memory and in a real
// file system, and wants the same results; and then that the log, replayed,
// gives what is there.
func TestLikeTheRealOne(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the file system in memory behaves as Unix does")
	}
	top := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(top, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		real, err := Over(unsynced{durable.OS}, dir)
		if err != nil {
			t.Fatal(err)
		}
		memory := New()
		var rf, mf durable.File
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			s := drawStep(t)
			rv, rerr := s.run(real, dir, &rf)
			mv, merr := s.run(memory, "/", &mf)
			if fmt.Sprint(rv) != fmt.Sprint(mv) || (rerr == nil) != (merr == nil) || (rerr == io.EOF) != (merr == io.EOF) ||
				errors.Is(rerr, fs.ErrNotExist) != errors.Is(merr, fs.ErrNotExist) {
				t.Fatalf("%+v: %v, %v on disk; %v, %v in memory", s, rv, rerr, mv, merr)
			}
		}
		if rf != nil {
			defer rf.Close()
		}
		want := content(t, durable.OS, dir)
		for what, got := range map[string]string{
			"memory":           content(t, memory.base, "/"),
			"log of the disk":  replayed(real),
			"log of memory":    replayed(memory),
			"log, all at once": settled(t, memory),
		} {
			if got != want {
				t.Fatalf("%s:\n%s\non disk:\n%s", what, got, want)
			}
		}
	})
}

func content(t *rapid.T, base durable.FS, dir string) string {
	s := snapshot{}
	if err := s.read(base, dir, "/"); err != nil {
		t.Fatal(err)
	}
	return s.text("/")
}

func (s snapshot) text(root string) string {
	out := ""
	for _, n := range (State{tree: s}).Names() {
		if rel, _ := filepath.Rel(root, n); s[n].isDir() {
			out += rel + "/\n"
		} else {
			out += fmt.Sprintf("%s %x\n", rel, s[n].data)
		}
	}
	return out
}

// replayed is what the log says if nothing is lost.
func replayed(d *Disk) string {
	m := newModel(d.start)
	for _, o := range d.ops {
		m.apply(o)
	}
	return m.tree(d.dir, choice{chosen: m.pending}, fate{others: all}).text(d.dir)
}

// settled is what a new recording begins with.
func settled(t *rapid.T, d *Disk) string {
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	return replayed(d)
}
