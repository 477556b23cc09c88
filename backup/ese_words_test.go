package backup_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

// A verdict without a fault does not stand beside damage, wherever that is.
func TestESEVerdictBesideDamage(t *testing.T) {
	dir, f, g := certutilSet(t, func(r *esetest.Request) {
		if r.ID == 5 {
			r.Certificate.Serial = "01"
		}
	})
	check := func(what, verdict string, db *backup.DatabaseReport, proven []backup.Statement) {
		t.Helper()
		if !strings.HasPrefix(verdict, "damaged: ") || db != nil && db.Verdict != verdict || says(proven, "verdict", "") {
			t.Errorf("%s: %q, %+v, %+v", what, verdict, db, proven)
		}
	}
	rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), CACertificate: g.Authority()})
	if err != nil || rep.OK || rep.Database == nil {
		t.Fatalf("%v, %+v", err, rep)
	}
	check("a row", rep.Verdict, rep.Database, rep.Proven)
	drill, err := backup.Drill(t.Context(), backup.DrillOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), CACertificate: g.Authority()})
	if err != nil || drill.OK || drill.Database == nil {
		t.Fatalf("%v, %+v", err, drill)
	}
	check("a row, drill", drill.Verdict, drill.Database, drill.Proven)
	c, err := backup.FindCertLog(filepath.Join(dir, "mon", dataBase), "")
	if err != nil {
		t.Fatal(err)
	}
	if rep, err = c.Verify(t.Context(), backup.VerifyOptions{CACertificate: g.Authority()}); err != nil || rep.OK || rep.Database == nil {
		t.Fatalf("%v, %+v", err, rep)
	}
	check("a row, the directory", rep.Verdict, rep.Database, rep.Proven)
	increment(t, dir, "tue", f, 6, 8)
	if err := os.Remove(filepath.Join(dir, "tue", dataBase, "edb00007.log")); err != nil {
		t.Fatal(err)
	}
	if rep, err = backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "tue"), Level: backup.LevelContent}); err != nil || rep.OK {
		t.Fatalf("%v, %+v", err, rep)
	}
	check("a log of the second set", rep.Verdict, rep.Database, rep.Proven)
}

// Nobody is told that logs were checked which cannot be.
func TestESEOldLogsAreNotCalledWhole(t *testing.T) {
	g, dir := newESECA(t), t.TempDir()
	stream := func(s *esetest.LogStream) { s.Major, s.Sectors = 7, 10 }
	if _, err := esetest.WriteBackup(filepath.Join(dir, "mon"), esetest.FolderOptions{Stream: stream}, g.fill(3, nil)); err != nil {
		t.Fatal(err)
	}
	const want = "3 logs of an old version, of which the header alone was checked"
	for _, level := range []backup.Level{backup.LevelContent, backup.LevelDatabase} {
		rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "mon"), Scratch: t.TempDir(), Level: level})
		if err != nil || !rep.OK || !says(rep.Proven, "content", want) || says(rep.Proven, "files", "") != says(rep.Proven, "files", want) {
			t.Errorf("%s: %v, %+v", level, err, rep.Proven)
		}
	}
	c, err := backup.FindCertLog(filepath.Join(dir, "mon", dataBase), "")
	if err != nil {
		t.Fatal(err)
	}
	if rep, err := c.Verify(t.Context(), backup.VerifyOptions{}); err != nil || !rep.OK || !says(rep.Proven, "files", want) {
		t.Errorf("%v, %+v", err, rep.Proven)
	}
}

// A database that was not shut down and names no logs was not shut down.
func TestCertLogDirtyWithoutLogs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "CA.edb")
	if _, err := esetest.WriteDatabase(path, esetest.Options{}, newESECA(t).fill(3, nil)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	esetest.EditHeader(b, 4096, func(h []byte) { h[52], h[108] = byte(ese.DirtyShutdown), 7 }) // of a stream of logs
	copy(b[4096:8192], b[:4096])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := backup.FindCertLog(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	rep, err := c.Verify(t.Context(), backup.VerifyOptions{})
	if err != nil || says(rep.Proven, "clean", "") || !says(rep.NotProven, "chain", "not shut down") || !says(rep.NotProven, "recovery", "") {
		t.Errorf("%v, %+v, %+v", err, rep.Proven, rep.NotProven)
	}
}

// Pages of the table of requests are damaged, and there is no CA certificate that could
// be read: that is damage, and no failure of the check.
func TestCertLogUnreadableRequests(t *testing.T) {
	g, dir := newESECA(t), filepath.Join(t.TempDir(), "CertLog")
	f, err := esetest.WriteLive(dir, esetest.FolderOptions{Stream: small}, true, g.fill(eseRequests, func(r *esetest.Request) {
		if r.ID == 1 {
			r.Disposition, r.Certificate = 9, nil
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Database)
	if err != nil {
		t.Fatal(err)
	}
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	table, err := db.Table("Requests")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for row, err := range table.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 20 {
			page, _ := row.Position()
			esetest.LoseWrite(b, 4096, page)
			break
		}
	}
	if err := os.WriteFile(f.Database, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := backup.FindCertLog(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	rep, err := c.Verify(t.Context(), backup.VerifyOptions{})
	unread := func(f cadb.Finding) bool { return f.Severity == cadb.Damage && f.Code == cadb.CodeUnreadable }
	if err != nil || rep.OK || !slices.ContainsFunc(rep.Findings, unread) {
		t.Errorf("%v, %+v", err, rep)
	}
}

// Names as others write them, and links to the files.
func TestFindCertLogNames(t *testing.T) {
	real, dir := filepath.Join(t.TempDir(), "CertLog"), t.TempDir()
	if _, err := esetest.WriteLive(real, esetest.FolderOptions{Stream: small}, false, newESECA(t).fill(3, nil)); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"Example CA.edb": "EXAMPLE CA.EDB", "edb00003.log": "EDB00003.LOG", "edb00004.log": "Edb00004.Log", "edb.log": "EDB.LOG", "edb.chk": "EDB.CHK"} {
		if err := os.Symlink(filepath.Join(real, from), filepath.Join(dir, to)); err != nil {
			if runtime.GOOS == "windows" {
				t.Skip("no links here: ", err)
			}
			t.Fatal(err)
		}
	}
	// Neither a link to nothing nor a directory is a file.
	if err := errors.Join(os.Symlink(filepath.Join(dir, "nothing"), filepath.Join(dir, "edb00002.log")), os.Mkdir(filepath.Join(dir, "old.edb"), 0o700)); err != nil {
		t.Fatal(err)
	}
	c, err := backup.FindCertLog(dir, "")
	if err != nil || c.Name() != "EXAMPLE CA" || len(c.Logs) != 3 || filepath.Base(c.Logs[2]) != "EDB.LOG" || c.Checkpoint == "" {
		t.Fatalf("%+v, %v", c, err)
	}
	if rep, err := c.Verify(t.Context(), backup.VerifyOptions{}); err != nil || !rep.OK {
		t.Errorf("%v, %+v", err, rep)
	}
}
