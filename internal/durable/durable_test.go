package durable_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/durable/durabletest"
)

const limit = 1 << 20

var (
	older = []byte(strings.Repeat("old ", 50))
	newer = []byte(strings.Repeat("newer ", 70))
)

// disk has a directory /d with a file "f" of the old content, unless old is nil.
func disk(t *testing.T, old []byte) *durabletest.Disk {
	t.Helper()
	d := durabletest.New()
	if err := d.Mkdir("/d", 0o700); err != nil {
		t.Fatal(err)
	}
	if old != nil {
		if err := durable.WriteFile(d, "/d/f", old, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	return d
}

// writers are the two ways to write a file.
var writers = map[string]func(d durable.FS) error{
	"WriteFile": func(d durable.FS) error { return durable.WriteFile(d, "/d/f", newer, 0o600) },
	"Create": func(d durable.FS) error {
		a, err := durable.Create(d, "/d/f", 0o600)
		if err != nil {
			return err
		}
		defer a.Abort()
		for chunk := range bytes.Lines(bytes.ReplaceAll(newer, []byte(" "), []byte("\n"))) {
			if _, err := a.Write(bytes.ReplaceAll(chunk, []byte("\n"), []byte(" "))); err != nil {
				return err
			}
		}
		return a.Commit()
	},
}

// check wants the old or the new content under the final name, nothing else;
// after an acknowledgement the new.
func check(t *testing.T, d *durabletest.Disk, s any, old []byte, acknowledged, failed bool) {
	t.Helper()
	b, err := durable.ReadFile(d, "/d/f", limit)
	switch isNew := err == nil && bytes.Equal(b, newer); {
	case acknowledged && !isNew:
		t.Errorf("%v: acknowledged, but there is %q, %v", s, b, err)
	case isNew && !failed:
	case errors.Is(err, fs.ErrNotExist) && old == nil:
	case err == nil && old != nil && bytes.Equal(b, old):
	case isNew: // failed too late to be undone
	default:
		t.Errorf("%v: neither old nor new: %q, %v", s, b, err)
	}
}

func TestPowerLoss(t *testing.T) {
	for name, write := range writers {
		for what, old := range map[string][]byte{"new": nil, "replaced": older} {
			t.Run(name+"/"+what, func(t *testing.T) {
				d := disk(t, old)
				if err := write(d); err != nil {
					t.Fatal(err)
				}
				d.Mark("acknowledged")
				n := d.CrashStates(func(s durabletest.State) {
					check(t, s.Disk(), s, old, s.Reached("acknowledged"), false)
					for _, left := range s.Names() {
						if left != "/" && left != "/d" && left != "/d/f" && !strings.HasSuffix(left, durable.AsideSuffix) {
							t.Errorf("%v: left %s", s, left)
						}
					}
				})
				if n < 6 {
					t.Errorf("only %d states", n)
				}
			})
		}
	}
}

// TestFaults fails each operation in turn: the error is told, the content is
// old or new, and nothing is left beside it.
func TestFaults(t *testing.T) {
	for name, write := range writers {
		for _, fault := range []durabletest.Fault{
			{Err: syscall.EIO},
			{Err: syscall.ENOSPC, Short: true},
			{Err: syscall.ENOSPC, Short: true, Sticky: true, Only: durabletest.NeedsSpace},
		} {
			for n := 1; ; n++ {
				d := disk(t, older)
				fault.Op = n
				d.Inject(fault)
				err := write(d)
				if !d.Fired() {
					if err != nil || n < 4 {
						t.Fatalf("%s: operation %d: %v", name, n, err)
					}
					break
				}
				d.Heal()
				if !errors.Is(err, fault.Err) {
					t.Errorf("%s: operation %d failed, and the error is %v", name, n, err)
				}
				check(t, d, err, older, false, true)
				es, _ := d.ReadDir("/d")
				if len(es) != 1 {
					t.Errorf("%s: operation %d failed, left %v", name, n, es)
				}
				d.CrashStates(func(s durabletest.State) { check(t, s.Disk(), s, older, false, true) })
			}
		}
	}
}

func TestAbort(t *testing.T) {
	d := disk(t, older)
	a, err := durable.Create(d, "/d/f", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(newer); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Abort(), a.Abort()); err != nil {
		t.Errorf("abort: %v", err)
	}
	if err := a.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("commit after abort: %v", err)
	}
	es, _ := d.ReadDir("/d")
	if b, err := durable.ReadFile(d, "/d/f", limit); err != nil || !bytes.Equal(b, older) || len(es) != 1 {
		t.Errorf("after abort: %q, %v, %v", b, err, es)
	}
}

func TestReadFileLimit(t *testing.T) {
	d := disk(t, []byte("12345"))
	if b, err := durable.ReadFile(d, "/d/f", 5); err != nil || string(b) != "12345" {
		t.Errorf("at the limit: %q, %v", b, err)
	}
	if _, err := durable.ReadFile(d, "/d/f", 4); err == nil || !strings.Contains(err.Error(), "/d/f") {
		t.Errorf("beyond the limit: %v", err)
	}
	if _, err := durable.ReadFile(d, "/d/g", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// TestOS is the same on the real file system.
func TestOS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := errors.Join(durable.OS.MkdirAll(dir, 0o700), durable.OS.MkdirAll(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, strings.Repeat("ä", 120))
	for _, content := range []string{"one", "two", ""} {
		if err := durable.WriteFile(durable.OS, name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(name); err != nil || string(b) != content {
			t.Errorf("%q, %v; want %q", b, err, content)
		}
	}
	if err := durable.OS.MkdirAll(filepath.Join(name, "x"), 0o700); err == nil {
		t.Error("made a directory in a file")
	}
	if f, err := durable.OS.OpenFile(filepath.Join(dir, "none"), os.O_RDONLY, 0); f != nil || err == nil {
		t.Errorf("opened a missing file: %v, %v", f, err)
	}
	es, err := durable.OS.ReadDir(dir)
	if err != nil || len(es) != 1 {
		t.Errorf("left %v, %v", es, err)
	}
	if err := durable.OS.SyncDir(dir); err != nil {
		t.Errorf("sync of a directory: %v", err)
	}
}

// TestMkdirAllIsDurable: every directory that MkdirAll made is there after a
// power loss.
func TestMkdirAllIsDurable(t *testing.T) {
	real := t.TempDir()
	d, err := durabletest.Over(durable.OS, real)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.MkdirAll(filepath.Join(real, "x", "y", "z"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.Mark("made")
	d.CrashStates(func(s durabletest.State) {
		if _, err := s.Disk().Stat(filepath.Join(real, "x", "y", "z")); err != nil && s.Reached("made") {
			t.Errorf("%v: %v", s, err)
		}
	})
	if d.Count(durabletest.OpSyncDir) != 3 {
		t.Errorf("%d directories synced", d.Count(durabletest.OpSyncDir))
	}
}

var _ io.Writer = (*durable.Aside)(nil)
