package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese/esetest"
	"github.com/certkeep/certkeep/folder"
)

// beyond is a full set and an incremental one of an authority whose logs have come to
// eight digits: edbFFFFE.log to edb00100000.log, and edb00100001.log to edb00100003.log.
func beyond(t *testing.T) (dir string, f *esetest.Folder) {
	t.Helper()
	dir = t.TempDir()
	f, err := esetest.WriteBackup(filepath.Join(dir, "mon"), esetest.FolderOptions{Low: 0xffffe, High: 0x100000, Stream: func(s *esetest.LogStream) {
		s.Sectors, s.Segments = 10, map[uint32]int{0x100000: 3}
	}}, newESECA(t).fill(10, nil))
	if err != nil {
		t.Fatal(err)
	}
	increment(t, dir, "tue", f, 0x100001, 0x100003)
	return dir, f
}

// Names of eight digits sort before those of five as text, and follow them all the same.
func TestESEEightDigits(t *testing.T) {
	dir, _ := beyond(t)
	for _, level := range backup.Levels {
		rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "tue"), Level: level, Scratch: t.TempDir()})
		if err != nil || !rep.OK || len(rep.Sets) != 2 || rep.Sets[0].First != 0xffffe || rep.Sets[0].Last != 0x100000 || rep.Sets[1].First != 0x100001 || rep.Sets[1].Last != 0x100003 {
			t.Fatalf("%s: %v, %+v", level, err, rep)
		}
		if level == backup.LevelDatabase && (rep.Database.Generation != 0x100003 || rep.Database.EarliestTarget != 0x100000) {
			t.Errorf("%+v", rep.Database)
		}
	}
	for until, want := range map[string]uint32{"edbFFFFF.log": 0, "1048575": 0, "edb00100000.log": 0x100000, "00100002": 0x100002, "0x100001": 0x100001, "edb00100003.log": 0x100003, "00100004": 0} {
		u, err := backup.ParseUntil(until)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "tue"), Scratch: t.TempDir(), Until: u})
		var te *backup.TargetError
		if want == 0 {
			if !errors.As(err, &te) || te.Earliest != 0x100000 || te.Latest != 0x100003 || !strings.Contains(te.Error(), "(0010000") {
				t.Errorf("until %s: %v", until, err)
			}
			continue
		}
		if err != nil || !rep.OK || rep.Database.Generation != want {
			t.Errorf("until %s: %v, %+v", until, err, rep)
		}
	}
}

// What is missing, or in another's place, is found on both sides of the border.
func TestESEEightDigitsDamage(t *testing.T) {
	for name, tt := range map[string]struct {
		set    string
		change func(dir string) error
		code   string
		says   string
	}{
		"the last of five digits is missing": {"mon", func(d string) error { return os.Remove(filepath.Join(d, "edbFFFFF.log")) }, cadb.CodeMissing, "1048575"},
		"the first of eight is missing":      {"mon", func(d string) error { return os.Remove(filepath.Join(d, "edb00100000.log")) }, cadb.CodeChain, "1048576 to 1048576 are in no set"},
		"one of eight is missing":            {"tue", func(d string) error { return os.Remove(filepath.Join(d, "edb00100002.log")) }, cadb.CodeMissing, "1048578 (00100002)"},
		"swapped": {"mon", func(d string) error {
			a, b := filepath.Join(d, "edbFFFFF.log"), filepath.Join(d, "edb00100000.log")
			return errors.Join(os.Rename(a, a+"x"), os.Rename(b, a), os.Rename(a+"x", b))
		}, cadb.CodeChain, "its name says generation"},
		"under a name of the other length as well": {"mon", func(d string) error {
			b, err := os.ReadFile(filepath.Join(d, "edbFFFFF.log"))
			return errors.Join(err, os.WriteFile(filepath.Join(d, "edb000FFFFF.log"), b, 0o600))
		}, cadb.CodeDuplicate, "the same generation"},
	} {
		dir, _ := beyond(t)
		if err := tt.change(filepath.Join(dir, tt.set, dataBase)); err != nil {
			t.Fatal(err)
		}
		rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "tue"), Scratch: t.TempDir()})
		if err != nil || rep.OK || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool {
			return f.Severity == cadb.Damage && f.Code == tt.code && strings.Contains(f.String(), tt.says)
		}) {
			t.Errorf("%s: %v, %+v", name, err, rep)
		}
	}
}

// Merged, the chain has its logs under their own names.
func TestMergeESEEightDigits(t *testing.T) {
	dir, _ := beyond(t)
	to := t.TempDir()
	if _, err := backup.Merge(t.Context(), backup.MergeOptions{Source: source(dir, "tue"), Until: backup.Until{Generation: 0x100001}, Scratch: t.TempDir(), To: source(to, "").Store, Name: "all"}); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(to, "all", dataBase, "edb*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range logs {
		logs[i] = filepath.Base(logs[i])
	}
	if want := []string{"edb00100000.log", "edb00100001.log", "edbFFFFE.log", "edbFFFFF.log"}; !slices.Equal(logs, want) {
		t.Errorf("%v", logs)
	}
}

// A backup, and one that continues it beyond the border, with what each truncates.
func TestTakeADCSEightDigits(t *testing.T) {
	a := &adcs{signature: 1, first: 0xffffd, last: 0xfffff}
	svc, dir := overTheWire(t, a), t.TempDir()
	store := folder.Root(dir, folder.Options{})
	take := func(name string, want backupset.Type, removed ...uint32) {
		t.Helper()
		res, err := backup.Take(t.Context(), backup.TakeOptions{Service: svc, Store: store, Name: name, CAPolicy: backupset.NotAttempted, Templates: backupset.NotAttempted})
		if err != nil {
			t.Fatal(err)
		}
		m := res.Manifest
		if m.Type != want || m.FirstGeneration != removed[0] || m.LastGeneration != removed[len(removed)-1] || !slices.Equal(res.Receipt.Truncation.Removed, removed) {
			t.Errorf("%s: %s, %q, %x to %x, truncated %x", name, m.Type, res.Reason, m.FirstGeneration, m.LastGeneration, res.Receipt.Truncation.Removed)
		}
	}
	take("mon", backupset.Full, 0xffffd, 0xffffe, 0xfffff)
	a.last = 0x100001
	take("tue", backupset.Incremental, 0x100000, 0x100001)
	a.last = 0x100003
	take("wed", backupset.Incremental, 0x100002, 0x100003)
	rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: backup.Source{Store: store}, Scratch: t.TempDir()})
	if err != nil || !rep.OK || len(rep.Sets) != 3 {
		t.Errorf("%+v, %v", rep, err)
	}
	if err := os.Remove(filepath.Join(dir, "tue", dataBase, "edb00100000.log")); err != nil {
		t.Fatal(err)
	}
	if rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: backup.Source{Store: store}, Scratch: t.TempDir()}); err != nil || rep.OK {
		t.Errorf("%+v, %v", rep, err)
	}
}
