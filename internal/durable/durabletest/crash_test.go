package durabletest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/certkeep/certkeep/internal/durable"
)

func put(d durable.FS, name, text string, sync bool) error {
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	if sync {
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close())
}

// left collects what the file holds in each state: "" when it is missing.
func left(t *testing.T, d *Disk, name string, since string) map[string]bool {
	t.Helper()
	got := map[string]bool{}
	d.CrashStates(func(s State) {
		if since != "" && !s.Reached(since) {
			return
		}
		b, err := durable.ReadFile(s.Disk(), name, 1000)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			got[""] = true
		case err != nil:
			t.Fatalf("%v: %v", s, err)
		default:
			got["="+string(b)] = true
		}
	})
	return got
}

// TestFindsMistakes shows that each of the usual mistakes leaves a state in
// which the content is neither old nor new.
func TestFindsMistakes(t *testing.T) {
	for _, c := range []struct {
		name string
		act  func(d *Disk) error
		want string // a state that must be found
	}{
		{"written in place", func(d *Disk) error { return put(d, "/f", "new content", true) }, "="},
		{"torn", func(d *Disk) error { return put(d, "/f", "new content", true) }, "=new c"},
		{"not synced", func(d *Disk) error {
			return errors.Join(put(d, "/tmp", "new content", false), d.Rename("/tmp", "/f"), d.SyncDir("/"))
		}, "="},
		{"zeros", func(d *Disk) error {
			return errors.Join(put(d, "/tmp", "new", false), d.Rename("/tmp", "/f"), d.SyncDir("/"))
		}, "=\x00\x00\x00"},
		{"removed first", func(d *Disk) error {
			return errors.Join(put(d, "/tmp", "new content", true), d.Remove("/f"), d.Rename("/tmp", "/f"), d.SyncDir("/"))
		}, ""},
		{"directory not synced", func(d *Disk) error {
			err := errors.Join(put(d, "/tmp", "new content", true), d.Rename("/tmp", "/f"))
			d.Mark("done")
			return err
		}, "=old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := New()
			if err := errors.Join(put(d, "/f", "old", true), d.Settle(), c.act(d)); err != nil {
				t.Fatal(err)
			}
			since := ""
			if c.want == "=old" {
				since = "done"
			}
			if got := left(t, d, "/f", since); !got[c.want] {
				t.Errorf("no state with %q among %q", c.want, keys(got))
			}
		})
	}
}

func TestSyncedIsThere(t *testing.T) {
	d := New()
	if err := errors.Join(d.Mkdir("/d", 0o700), d.SyncDir("/"), put(d, "/d/f", "new", true), d.SyncDir("/d")); err != nil {
		t.Fatal(err)
	}
	d.Mark("done")
	if err := errors.Join(put(d, "/d/g", "other", false), d.Mkdir("/e", 0o700)); err != nil {
		t.Fatal(err)
	}
	if got := left(t, d, "/d/f", "done"); len(got) != 1 || !got["=new"] {
		t.Errorf("after the sync: %q", keys(got))
	}
	// A synced file in a directory whose own entry is not synced may be gone.
	d = New()
	if err := errors.Join(d.Mkdir("/d", 0o700), put(d, "/d/f", "new", true), d.SyncDir("/d")); err != nil {
		t.Fatal(err)
	}
	d.Mark("done")
	if got := left(t, d, "/d/f", "done"); !got[""] || !got["=new"] {
		t.Errorf("in a directory that was not synced: %q", keys(got))
	}
}

// TestFailedSync: what a failed sync did not write stays lost, although the
// next one succeeds.
func TestFailedSync(t *testing.T) {
	d := New()
	f, err := d.OpenFile("/f", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, "data"); err != nil {
		t.Fatal(err)
	}
	d.Inject(Fault{Op: 1, Err: syscall.EIO, Only: func(o Op) bool { return o.Kind == OpSync }})
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	if err := errors.Join(f.Sync(), d.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	d.Mark("done")
	if got := left(t, d, "/f", "done"); !got["="] {
		t.Errorf("the bytes came back: %q", keys(got))
	}
}

func TestRemoveAllInParts(t *testing.T) {
	d := New()
	if err := errors.Join(d.MkdirAll("/d/e", 0o700), put(d, "/d/a", "a", true), put(d, "/d/e/b", "b", true), d.Settle(),
		d.RemoveAll("/d")); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	d.CrashStates(func(s State) { got[strings.Join(s.Names(), " ")] = true })
	for _, want := range []string{"/", "/ /d /d/a /d/e /d/e/b", "/ /d /d/e /d/e/b", "/ /d", "/ /d /d/e"} {
		if !got[want] {
			t.Errorf("no state %q among %q", want, keys(got))
		}
	}
}

func TestFaults(t *testing.T) {
	d := New()
	f, err := d.OpenFile("/f", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	d.Inject(Fault{Op: 2, Err: syscall.ENOSPC, Only: NeedsSpace, Short: true, Sticky: true})
	if n, err := f.Write([]byte("1234")); n != 4 || err != nil || d.Fired() {
		t.Fatalf("first write: %d, %v", n, err)
	}
	for range 2 {
		if n, err := f.Write([]byte("5678")); n != 2 || !errors.Is(err, syscall.ENOSPC) || !d.Fired() {
			t.Fatalf("failing write: %d, %v", n, err)
		}
	}
	if _, err := d.Stat("/f"); err != nil {
		t.Errorf("stat needs no space: %v", err)
	}
	d.Heal()
	if n, err := f.Write([]byte("9")); n != 1 || err != nil {
		t.Fatalf("after healing: %d, %v", n, err)
	}
	b := make([]byte, 20)
	n, err := f.ReadAt(b, 0)
	if string(b[:n]) != "123456569" || err != io.EOF {
		t.Errorf("content %q, %v", b[:n], err)
	}
	d.Inject(Fault{Op: 1, Err: syscall.EIO})
	if err := f.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("close: %v", err)
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed although close failed: %v", err)
	}
}

// TestCopy puts states into the real file system, from a disk in memory and
// from one over a directory.
func TestCopy(t *testing.T) {
	over := t.TempDir()
	real, err := Over(durable.OS, over)
	if err != nil {
		t.Fatal(err)
	}
	for root, d := range map[string]*Disk{"/": New(), over: real} {
		sub := filepath.Join(root, "sub")
		if err := errors.Join(d.MkdirAll(sub, 0o700), durable.WriteFile(d, filepath.Join(sub, "f"), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
		d.Mark("done")
		n := 0
		d.CrashStates(func(s State) {
			if !s.Reached("done") {
				return
			}
			n++
			dir := t.TempDir()
			if err := s.Copy(dir); err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "sub", "f")); err != nil || string(b) != "x" {
				t.Errorf("%v: %q, %v", s, b, err)
			}
			if b, err := durable.ReadFile(s.Disk(), filepath.Join(sub, "f"), 10); err != nil || string(b) != "x" {
				t.Errorf("%v: %q, %v", s, b, err)
			}
		})
		if n != 1 {
			t.Errorf("%d states after all was synced", n)
		}
	}
}

func keys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }
