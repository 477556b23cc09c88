package certsrv

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/durable/durabletest"
)

// Whatever is moved aside is in one place or the other after a power loss.
func TestMoveAllLosesNothing(t *testing.T) {
	d := durabletest.New()
	files := []string{"/log/log00001.log", "/log/log00002.log", "/database/a.db"}
	for _, dir := range []string{"/log", "/database"} {
		if err := d.Mkdir(dir, dirMode); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		if err := durable.WriteFile(d, f, []byte(f), fileMode); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Settle(); err != nil {
		t.Fatal(err)
	}
	const dir = "/aside/displaced/x"
	moved, err := moveAll(d, append([]string{"/database/a.db-wal"}, files...), dir)
	if err != nil || len(moved) != len(files) {
		t.Fatalf("moved %v, %v", moved, err)
	}
	d.Mark("moved")
	d.CrashStates(func(s durabletest.State) {
		disk := s.Disk()
		for _, f := range files {
			there, _ := exists(disk, f)
			aside, _ := exists(disk, filepath.Join(dir, filepath.Base(f)))
			if !there && !aside || s.Reached("moved") && there {
				t.Fatalf("%v: %s: there %v, aside %v", s, f, there, aside)
			}
			// and the move can be done again
		}
		if _, err := moveAll(disk, files, dir); err != nil {
			t.Fatalf("%v: again: %v", s, err)
		}
	})
}

func TestMoveAllKeepsWhatIsThere(t *testing.T) {
	d := durabletest.New()
	for _, dir := range []string{"/a", "/b"} {
		if err := d.Mkdir(dir, dirMode); err != nil {
			t.Fatal(err)
		}
	}
	for i, content := range []string{"one", "two"} {
		if err := durable.WriteFile(d, "/a/f", []byte(content), fileMode); err != nil {
			t.Fatal(err)
		}
		moved, err := moveAll(d, []string{"/a/f"}, "/b")
		if want := []string{"f", "f.1"}[i]; err != nil || !slices.Equal(moved, []string{want}) {
			t.Fatalf("moved %v, %v", moved, err)
		}
	}
	if b, _ := durable.ReadFile(d, "/b/f", 100); string(b) != "one" {
		t.Errorf("the first was overwritten with %q", b)
	}
}

func TestSweep(t *testing.T) {
	now := time.Date(2026, 1, 20, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	s := &Server{at: layout{dir}, fsys: durable.OS, log: discard()}
	s.conf = testConfig()
	s.conf.KeepTruncated = Duration(7 * 24 * time.Hour)
	old, young := asideName(asideLogsDir, now.Add(-7*24*time.Hour)), asideName(asideLogsDir, now.Add(-7*24*time.Hour+time.Millisecond))
	displaced := asideName(asideOldDir, now.Add(-1000*time.Hour))
	for _, name := range []string{old, young, displaced, asideLogsDir + "/notes"} {
		if err := os.MkdirAll(s.at.path(name), dirMode); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.at.path(name), "log00001.log"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.sweep(now); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{old: false, young: true, displaced: true, asideLogsDir + "/notes": true} {
		if got, _ := exists(s.fsys, s.at.path(name)); got != want {
			t.Errorf("%s is there: %v", name, got)
		}
	}
	s.opts.KeepTruncated = -1 // at once
	if err := s.sweep(now); err != nil {
		t.Fatal(err)
	}
	if got, _ := exists(s.fsys, s.at.path(young)); got {
		t.Error("still there")
	}
}
