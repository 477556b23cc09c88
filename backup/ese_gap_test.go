package backup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese/esetest"
	"github.com/certkeep/certkeep/folder"
)

// A CRL that was published after the last log had been closed, and before the set was
// complete, tells of revocations that the restored database lacks.
func TestRestoreESEGapOfItsOwnCRL(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	for _, tt := range []struct {
		made time.Time
		want int
	}{{now.Add(time.Hour), 1}, {now.AddDate(0, 0, -1), 0}} {
		_, f, g := certutilSet(t, func(r *esetest.Request) {
			if r.ID == 29 { // as the copy has it
				r.Disposition, r.Revoked, r.RevokedFrom = schema.Issued, time.Time{}, time.Time{}
			}
		})
		a := &adcs{signature: 1, first: 3, last: 5, files: map[string][]byte{"Corp CA.edb": mustRead(t, f.Database)}}
		for _, path := range f.Logs {
			a.files[filepath.Base(path)] = mustRead(t, path)
		}
		// The same authority at another time; what it revokes is of that time, too.
		later, err := esetest.NewGenerator(3, tt.made)
		if err != nil {
			t.Fatal(err)
		}
		var serial string
		for n := range uint32(29) {
			r, err := later.Request(n + 1)
			if err != nil {
				t.Fatal(err)
			}
			if r.Certificate != nil {
				serial = r.Certificate.Serial
			}
		}
		crl, err := later.CRL(9)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if _, err := backup.Take(t.Context(), backup.TakeOptions{Service: a, Store: folder.Root(dir, folder.Options{}), Name: "mon", Companions: []backup.Companion{{Name: "Corp CA.crl", Data: crl.Raw}}}); err != nil {
			t.Fatal(err)
		}
		target := newControlled(t, g.Authority().Raw)
		target.id.Engine, target.id.Name, target.id.SanitizedName, target.logName = "ese", "Corp CA", "Corp CA", "edb%05X.log"
		rep, err := backup.Restore(t.Context(), restoreOptions(t, dir, "mon", target))
		if err != nil {
			t.Fatal(err)
		}
		if r := rep.Gap.Revoked; len(r) != tt.want || tt.want > 0 && r[0].Serial != serial || rep.Gap.CRLNumber != 9 {
			t.Errorf("CRL of %v: %+v", tt.made, rep.Gap)
		}
	}
}

// When a folder was copied is not until when everything is in it.
func TestESEDateOfCopyIsNoPromise(t *testing.T) {
	dir, f, _ := certutilSet(t, nil)
	rep, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "mon"), Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	begun := f.Stream.Created(5).Time().Add(20 * time.Minute).Format("2006-01-02T15:04") // the backup
	if !says(rep.NotProven, "later", "at some time from "+begun) {
		t.Errorf("begun %s, %+v", begun, rep.NotProven)
	}
	// As far as the next log says when it was, it is said.
	increment(t, dir, "tue", f, 6, 7)
	rep, err = backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "tue"), Scratch: t.TempDir(), Until: backup.Until{Generation: 6}})
	if err != nil || !says(rep.NotProven, "later", "what happened after "+f.Stream.Created(7).Time().Format(time.RFC3339Nano)) {
		t.Errorf("%v, %+v", err, rep.NotProven)
	}
}

// Logs from outside the sets end when the next one begins, and the last one when its file
// was written.
func TestUntilTimeESEMoreLogs(t *testing.T) {
	dir, f, _ := certutilSet(t, nil)
	more := t.TempDir()
	increment(t, more, "x", f, 6, 8)
	logs, err := filepath.Glob(filepath.Join(more, "x", dataBase, "*.log"))
	if err != nil || len(logs) != 3 {
		t.Fatal(logs, err)
	}
	// The set is as old as its logs.
	set, err := filepath.Glob(filepath.Join(dir, "mon", dataBase, "*"))
	if err != nil {
		t.Fatal(err)
	}
	begun := func(g uint32) time.Time { return f.Stream.Created(g).Time() }
	for _, path := range set {
		if err := os.Chtimes(path, begun(6), begun(6)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(logs[2], begun(9), begun(9)); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Time]uint32{begun(6): 5, begun(7).Add(-1): 5, begun(7): 6, begun(8): 7, begun(9).Add(-1): 7, begun(9): 8} {
		rep, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), MoreLogs: logs, Until: backup.Until{Time: at}})
		if err != nil || !rep.OK || rep.Database.Generation != want {
			t.Errorf("until %v: %v, %+v, want generation %d", at, err, rep.Database, want)
		}
	}
	if _, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), MoreLogs: logs, Until: backup.Until{Time: begun(6).Add(-1)}}); err == nil || !strings.Contains(err.Error(), "changing while it was copied") {
		t.Errorf("%v", err)
	}
}
