package certsrv

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/sqlitelog"
)

// A database that is read again after the logs were listed is not covered by
// them: nothing may be truncated, and the session counts for nothing, until they
// are listed and read anew.
func TestDatabaseReadAgain(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	issue(t, s, 2)
	_, b := prepare(t, s, certadm.BackupFull)
	set := gather(t, b, certadm.BackupFull)
	issue(t, s, 2)
	readFile(t, b, set.where.Database)
	if err := b.TruncateLogs(t.Context()); certadm.CodeOf(err) != certadm.EUnexpected || !strings.Contains(err.Error(), "list and read them again") {
		t.Errorf("truncate: %v", err)
	}
	again := gather(t, b, certadm.BackupFull) // reads it once more
	if again.high <= set.high {
		t.Errorf("logs to %d, and to %d after the second reading", set.high, again.high)
	}
	if err := b.TruncateLogs(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}
	st, err := s.Status(t.Context())
	if err != nil || st.LastFull == nil || st.LastFull.Last != again.high {
		t.Errorf("last full backup %+v, %v", st.LastFull, err)
	}
}

func TestReadAgainDoesNotCount(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	_, b := prepare(t, s, certadm.BackupFull)
	set := gather(t, b, certadm.BackupFull)
	readFile(t, b, set.where.Database)
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}
	if st, err := s.Status(t.Context()); err != nil || st.LastFull != nil {
		t.Errorf("it counts as a full backup: %+v, %v", st.LastFull, err)
	}
}

// The restored database of the second reading is the one of its logs.
func TestRestoreOfSecondReading(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	want := issue(t, s, 2)
	_, b := prepare(t, s, certadm.BackupFull)
	gather(t, b, certadm.BackupFull)
	want = append(want, issue(t, s, 2)...)
	set := gather(t, b, certadm.BackupFull)
	if err := b.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustStop(t, s)
	setAside(t, s)
	register(t, s, set)
	mustStart(t, s)
	wantIssued(t, s, want)
}

func TestStopDuringBackup(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	issue(t, s, 1)
	svc, b := prepare(t, s, certadm.BackupFull)
	name, _ := s.Locations().Find(certadm.FileDatabase)
	f, err := b.OpenFile(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	mustStop(t, s)
	_, err = f.Read(make([]byte, 10))
	wantCode(t, err, certadm.ErrorServiceNotActive, "read")
	_, err = b.Logs(t.Context())
	wantCode(t, err, certadm.ErrorServiceNotActive, "logs")
	mustStart(t, s)
	if _, err := f.Read(make([]byte, 10)); err == nil {
		t.Error("the old session reads on after a restart")
	}
	if err := b.End(t.Context()); err == nil {
		t.Error("a backup that was broken off ended well")
	}
	wantCode(t, b.End(t.Context()), certadm.HrInvalidHandle, "end again")
	again, err := svc.BackupPrepare(t.Context(), certadm.BackupFull)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// A chain that another program broke is not continued.
func TestBrokenChain(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	issue(t, s, 1)
	full := take(t, s, certadm.BackupFull, true)
	issue(t, s, 1)
	gen, err := s.run.db.Roll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issue(t, s, 1)
	if _, err := s.run.db.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	svc, b := prepare(t, s, certadm.BackupLogsOnly)
	if err := os.Remove(filepath.Join(s.at.path(logDir), sqlitelog.LogName(gen))); err != nil {
		t.Fatal(err)
	}
	_, err = b.Logs(t.Context())
	wantCode(t, err, certadm.HrMissingLogFile, "logs with a gap")
	if err := svc.Close(); err != nil {
		t.Error(err)
	}
	if gen != full.high+1 {
		t.Fatalf("the first generation after the backup is %d", gen)
	}
	mustStop(t, s)
	mustStart(t, s)
	_, err = s.Service(root).BackupPrepare(t.Context(), certadm.BackupLogsOnly)
	wantCode(t, err, certadm.HrMissingFullBackup, "an incremental backup of a broken chain")
	take(t, s, certadm.BackupFull, true) // a full one mends it
	take(t, s, certadm.BackupLogsOnly, true)
}

// An old log that is damaged does not keep a full backup from being taken.
func TestDamagedOldLog(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	issue(t, s, 1)
	gen, err := s.run.db.Roll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issue(t, s, 1)
	if _, err := s.run.db.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(s.at.path(logDir), sqlitelog.LogName(gen))
	if err := os.Truncate(name, 5000); err != nil {
		t.Fatal(err)
	}
	set := take(t, s, certadm.BackupFull, true)
	if set.low <= gen {
		t.Errorf("the set has generations %d to %d, and %d is damaged", set.low, set.high, gen)
	}
}

func TestTruncatedLogsAreKept(t *testing.T) {
	for _, keep := range []time.Duration{48 * time.Hour, -1} {
		clock := newManual()
		s := startServer(t, InitOptions{}, Options{Clock: clock, KeepTruncated: keep})
		issue(t, s, 1)
		set := take(t, s, certadm.BackupFull, true)
		kept := func() []string {
			l, err := filepath.Glob(filepath.Join(s.at.path(asideLogsDir), "*", "*.log"))
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		if keep < 0 {
			if l := kept(); len(l) != 0 {
				t.Errorf("kept %v", l)
			}
			continue
		}
		l := kept()
		for _, name := range l {
			if b, err := os.ReadFile(name); err != nil || string(b) != string(set.logs[filepath.Base(name)]) {
				t.Errorf("%s is not the log that was backed up (%v)", name, err)
			}
		}
		if len(l) == 0 {
			t.Error("nothing was kept")
		}
		<-clock.asked
		for range 2 { // a day each
			clock.advance(24*time.Hour + time.Minute)
			<-clock.asked
		}
		if l := kept(); len(l) != 0 {
			t.Errorf("still there: %v", l)
		}
	}
}

func TestCircularLogging(t *testing.T) {
	s := newServer(t, InitOptions{CircularLogging: true}, Options{})
	rolled := make(chan struct{}, 100)
	s.circulated = func() { rolled <- struct{}{} }
	mustStart(t, s)
	issue(t, s, 1)
	if _, err := s.run.db.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-rolled
	logs, err := s.run.db.Logs()
	if err != nil || len(logs) != 0 {
		t.Errorf("logs %v, %v", logs, err)
	}
	_, err = s.Service(root).BackupPrepare(t.Context(), certadm.BackupLogsOnly)
	wantCode(t, err, certadm.HrInvalidBackup, "incremental with circular logging")
	issue(t, s, 1)
	set := take(t, s, certadm.BackupFull, false)
	if len(set.logs) == 0 {
		t.Error("a full backup without logs")
	}
}

func TestNoSecretsInTheLists(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	for _, name := range []string{"published/notes.txt", "published/.x.crl.partial"} {
		if err := os.WriteFile(s.at.path(name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	svc := s.Service(with(account.Operator))
	l, err := certadm.Dynamic(t.Context(), svc)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`\\ca1\Test CA$\published\Test CA.crl`, `\\ca1\Test CA$\published\Test CA.crt`, `\\ca1\Test CA$\config.json`}
	if !slices.Equal(l, want) {
		t.Errorf("dynamic files %q, want %q", l, want)
	}
	_, b := prepare(t, s, certadm.BackupFull)
	share := s.config().uncName("")
	for _, name := range append(want, share+`private\ca.key`, share+`accounts.json`, share+`audit.log`, share+`system\backups.json`,
		share+`log\..\private\ca.key`, "", `\\ca1\Test CA$\log\log00001.log`) {
		if f, err := b.OpenFile(t.Context(), name, 0); err == nil {
			t.Errorf("%q can be opened: %v", name, f)
		}
	}
	_, err = s.Service(with(account.Enroll)).(certadm.Lister).DynamicFiles(t.Context())
	wantCode(t, err, certadm.EAccessDenied, "lists for an enrollee")
}

// A backup rests while requests are being issued, and does not otherwise.
func TestBackupRestsUnderLoad(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	issue(t, s, 1)
	_, b := prepare(t, s, certadm.BackupFull)
	name, _ := s.Locations().Find(certadm.FileDatabase)
	ctx, cancel := context.WithCancel(t.Context())
	f, err := b.OpenFile(ctx, name, 0)
	if err != nil {
		t.Fatal(err)
	}
	rests := func() bool {
		bf := f.(*backupFile)
		bf.asked = time.Now().Add(-10 * time.Millisecond) // worked so long on what it read last
		begin := time.Now()
		if _, err := f.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return time.Since(begin) >= 2*10*time.Millisecond
	}
	s.run.issuing.Add(1000)
	if !rests() {
		t.Error("no rest under load")
	}
	cancel()
	f.(*backupFile).asked = time.Now().Add(-40 * time.Millisecond)
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while resting: %v", err)
	}
	s.run.issuing.Add(-1000)
}

func TestClosedConnection(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	svc, b := prepare(t, s, certadm.BackupFull)
	name, _ := s.Locations().Find(certadm.FileDatabase)
	f, err := b.OpenFile(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(f)
	wantCode(t, err, certadm.HrInvalidHandle, "read")
	wantCode(t, f.Close(), certadm.HrInvalidHandle, "close")
	if err := svc.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	take(t, s, certadm.BackupFull, true)
}
