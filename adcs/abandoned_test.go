package adcs

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/durable/durabletest"
)

func isAsideRename(o durabletest.Op) bool {
	return o.Kind == durabletest.OpRename && !strings.Contains(o.Name, "aside.json")
}

// cutOff sets files aside until the nth one is in use.
func cutOff(t *testing.T, nth int, files map[string]string) (*fake, *durabletest.Disk, backup.Displaced) {
	t.Helper()
	f := newFake(t).stopped()
	f.root = "/"
	disk := newDisk(t, f)
	f.write(t, below(certLog, files))
	disk.Inject(durabletest.Fault{Op: nth, Err: errInUse, Only: isAsideRename})
	d, err := f.open(t, Options{}).SetAside(t.Context())
	if !errors.Is(err, certadm.ErrorSharingViolation) {
		t.Fatal(err)
	}
	disk.Heal()
	return f, disk, d
}

func setAsideLater(t *testing.T, f *fake) (backup.Displaced, error) {
	t.Helper()
	return f.open(t, Options{Now: func() time.Time { return testTime.Add(time.Hour) }}).SetAside(t.Context())
}

var interruptedFiles = map[string]string{"example ca.edb": "database", "edb.chk": "checkpoint", "edb.log": "current", "edb0001a.log": "1a"}

// TestSetAsideAbandoned: a restore stopped at a file that is in use, and the
// operator went back. What has come since is set aside whole by the next restore,
// and is in its answer.
func TestSetAsideAbandoned(t *testing.T) {
	for name, c := range map[string]struct {
		nth  int // 3 is edb.log
		back func(t *testing.T, f *fake, moved string)
	}{
		"moved back": {3, func(t *testing.T, f *fake, moved string) {
			for _, name := range []string{"example ca.edb", "edb.chk"} {
				if err := f.fsys.Rename(filepath.Join(moved, name), f.native(certLog+name)); err != nil {
					t.Fatal(err)
				}
			}
		}},
		"one moved back, the other made anew": {3, func(t *testing.T, f *fake, moved string) {
			if err := f.fsys.Rename(filepath.Join(moved, "example ca.edb"), f.native(certLog+"example ca.edb")); err != nil {
				t.Fatal(err)
			}
		}},
		"copied back":      {3, func(*testing.T, *fake, string) {}},
		"nothing was gone": {1, func(*testing.T, *fake, string) {}},
	} {
		t.Run(name, func(t *testing.T) {
			f, _, d := cutOff(t, c.nth, interruptedFiles)
			c.back(t, f, d.Dir)
			weeks := map[string]string{"example ca.edb": "database, later", "edb.chk": "checkpoint, later", "edb.log": "current, later", "edb0001b.log": "1b", "edb0001c.log": "1c"}
			if err := f.fsys.Remove(f.native(certLog + "edb0001a.log")); err != nil { // a backup has it
				t.Fatal(err)
			}
			f.write(t, below(certLog, weeks))
			got, err := setAsideLater(t, f)
			if err != nil || !strings.HasSuffix(got.Dir, asideMark+"20261125T130000Z") {
				t.Fatalf("%+v, %v", got, err)
			}
			if diff := cmp.Diff(slices.Sorted(maps.Keys(weeks)), slices.Sorted(slices.Values(got.Files))); diff != "" {
				t.Errorf("displaced (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(below("certlog.certkeep-20261125T130000Z/", weeks), withPrefix(f.files(t, `C:\Windows\system32`), "certlog.certkeep-20261125T130000Z/")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func withPrefix(files map[string]string, prefix string) map[string]string {
	maps.DeleteFunc(files, func(name, _ string) bool { return !strings.HasPrefix(name, prefix) })
	return files
}

// The run had no checkpoint to move, and there is one now.
func TestSetAsideCheckpointSince(t *testing.T) {
	f, _, _ := cutOff(t, 2, map[string]string{"example ca.edb": "database", "edb.log": "current"})
	f.write(t, map[string]string{certLog + "edb.chk": "checkpoint"})
	if d, err := setAsideLater(t, f); err != nil || !strings.HasSuffix(d.Dir, "130000Z") || len(d.Files) != 2 {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestSetAsideUnplanned: an interrupted run goes on, and what its plan did not know
// is the authority's own and in the answer; but not what a restore put there.
func TestSetAsideUnplanned(t *testing.T) {
	f, _, d := cutOff(t, 3, interruptedFiles)
	f.write(t, map[string]string{certLog + "edb0001b.log": "1b", certLog + "example ca.edb": "database"})
	got, err := setAsideLater(t, f)
	want := []string{"example ca.edb", "edb.chk", "edb.log", "edb0001a.log", filepath.Join(d.Dir, "again-1", "edb0001b.log")}
	if diff := cmp.Diff(want, got.Files); err != nil || diff != "" || got.Dir != d.Dir {
		t.Errorf("%v, in %s (-want +got):\n%s", err, got.Dir, diff)
	}
	f.write(t, map[string]string{certLog + "edb0001b.log": "restored"})
	if got, err = setAsideLater(t, f); err != nil || !slices.Equal(got.Files, want) {
		t.Errorf("after a restore that failed: %+v, %v", got, err)
	}
	// A restore's files that are in use are the restore's all the same.
	f.write(t, map[string]string{certLog + "example ca.edb": "restored", certLog + "edb0001c.log": "restored"})
	f.fsys.(*durabletest.Disk).Inject(durabletest.Fault{Op: 2, Err: errInUse, Only: isAsideRename})
	if _, err = setAsideLater(t, f); !errors.Is(err, errInUse) {
		t.Fatal(err)
	}
	f.fsys.(*durabletest.Disk).Heal()
	f.write(t, map[string]string{certLog + "edb0001d.log": "restored"})
	if got, err = setAsideLater(t, f); err != nil || !slices.Equal(got.Files, want) || len(f.files(t, certLog)) != 0 {
		t.Errorf("after one that was interrupted: %+v, %v", got, err)
	}
}

func TestSameContent(t *testing.T) {
	f := newFake(t)
	f.root = "/"
	disk := newDisk(t, f)
	big := strings.Repeat("0123456789abcdef", 1<<13)
	f.write(t, map[string]string{`C:\empty`: "", `C:\big`: big, `C:\equal`: big, `C:\end`: big[:len(big)-1] + "x", `C:\longer`: big + "x"})
	h := f.open(t, Options{})
	same := func(ctx context.Context, a, b string) (bool, error) {
		return h.sameContent(ctx, f.native(a), f.native(b))
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{{`C:\empty`, `C:\empty`, true}, {`C:\big`, `C:\equal`, true}, {`C:\big`, `C:\end`, false}, {`C:\big`, `C:\longer`, false}, {`C:\empty`, `C:\big`, false}} {
		if got, err := same(t.Context(), c.a, c.b); err != nil || got != c.want {
			t.Errorf("%s and %s: %v, %v", c.a, c.b, got, err)
		}
	}
	if _, err := same(t.Context(), `C:\big`, `C:\none`); err == nil {
		t.Error("a file that is not there was compared")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := same(ctx, `C:\big`, `C:\equal`); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	disk.Inject(durabletest.Fault{Op: 1, Err: syscall.EIO, Only: func(o durabletest.Op) bool { return o.Kind == durabletest.OpRead }})
	if _, err := same(t.Context(), `C:\big`, `C:\equal`); !errors.Is(err, syscall.EIO) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

// The database was moved back, and the checkpoint is where it was moved to.
func TestSetAsideDatabaseBack(t *testing.T) {
	f, _, d := cutOff(t, 3, interruptedFiles)
	if err := f.fsys.Rename(filepath.Join(d.Dir, "example ca.edb"), f.native(certLog+"example ca.edb")); err != nil {
		t.Fatal(err)
	}
	f.write(t, map[string]string{certLog + "edb0001b.log": "1b"})
	if d, err := setAsideLater(t, f); err != nil || !strings.HasSuffix(d.Dir, "130000Z") || len(d.Files) != 4 {
		t.Errorf("%+v, %v", d, err)
	}
}
