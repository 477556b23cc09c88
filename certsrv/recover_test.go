package certsrv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/sqlitelog"
)

var errCrash = errors.New("crashed on purpose")

// crashAt ends the work at the n-th step and tells its name.
func crashAt(n int, name *string) func(string) error {
	return func(step string) error {
		if n--; n == 0 {
			*name = step
			return errCrash
		}
		return nil
	}
}

// A recovery that ends at any step is made good by the next start, also when
// that crashes, too.
func TestRecoveryCrashes(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	want := issue(t, s, 3)
	full := take(t, s, certadm.BackupFull, true)
	want = append(want, issue(t, s, 2)...)
	inc := take(t, s, certadm.BackupLogsOnly, false)
	full.where.Database = strings.Replace(full.where.Database, `\Test CA.db`, `\elsewhere.db`, 1)
	issue(t, s, 2) // lost
	mustStop(t, s)
	register(t, s, full, inc)

	// the template is what a crash right after registering leaves
	crash := func(dir string, n int) (step string, done bool) {
		r := openServer(t, dir, Options{})
		r.fail = crashAt(n, &step)
		err := r.Start(t.Context())
		if err == nil {
			mustStop(t, r)
			return step, true
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("step %q: %v", step, err)
		}
		return step, false
	}
	var steps []string
	for n := 1; ; n++ {
		dir := copyDir(t, s.Dir())
		step, done := crash(dir, n)
		if done {
			break
		}
		steps = append(steps, step)
		for again := 1; ; again++ { // the repetition crashes at its first, second … step
			dir := copyDir(t, dir)
			if _, done := crash(dir, again); !done && again < 4 {
				continue
			}
			r := openServer(t, dir, Options{})
			mustStart(t, r)
			wantIssued(t, r, want)
			if p, err := readPending(r.fsys, r.at); p != nil || err != nil {
				t.Errorf("after a crash at %q: still pending: %v, %v", step, p, err)
			}
			if c := r.Config(); c.Database != "database/elsewhere.db" {
				t.Errorf("after a crash at %q: database %s", step, c.Database)
			}
			issue(t, r, 1)
			_, err := r.Service(root).BackupPrepare(t.Context(), certadm.BackupLogsOnly)
			wantCode(t, err, certadm.HrMissingFullBackup, "incremental after the restore")
			mustStop(t, r)
			break
		}
	}
	t.Logf("%d steps: %v", len(steps), steps)
	for _, must := range []string{"wal moved", "after replay", "replayed", "logs moved", "adopted", "configured", "noted", "recorded"} {
		if !slices.Contains(steps, must) {
			t.Errorf("there was no step %q", must)
		}
	}
}

func TestRestoreJumpsAhead(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	issue(t, s, 2)
	full := take(t, s, certadm.BackupFull, false)
	lost := issue(t, s, 3)
	lostIDs, err := s.Certificate(t.Context(), lost[2])
	if err != nil {
		t.Fatal(err)
	}
	crl, err := s.PublishCRL(t.Context(), root) // known to the world, not to the backup
	if err != nil {
		t.Fatal(err)
	}
	mustStop(t, s)
	d := setAside(t, s)
	if len(d.Files) < 2 {
		t.Errorf("set aside %v", d.Files)
	}
	register(t, s, full)
	mustStart(t, s)
	rec, err := s.Certificate(t.Context(), issue(t, s, 1)[0])
	if err != nil {
		t.Fatal(err)
	}
	if rec.RequestID <= lostIDs.RequestID {
		t.Errorf("request id %d was given before the restore, which had come to %d", rec.RequestID, lostIDs.RequestID)
	}
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.LastFull != nil || st.LastRecovery.IsZero() || st.PendingRestore != "" {
		t.Errorf("status after a restore: %+v", st)
	}
	if st.CRL.Number != crl.Number {
		t.Errorf("the CRL in force is %d; %d was published before the loss", st.CRL.Number, crl.Number)
	}
	next, err := s.PublishCRL(t.Context(), root)
	if err != nil || next.Number <= crl.Number+100 {
		t.Errorf("CRL number %d after %d, %v", next.Number, crl.Number, err)
	}
	id := rec.RequestID
	mustStop(t, s)
	mustStart(t, s) // and it jumps once
	rec, err = s.Certificate(t.Context(), issue(t, s, 1)[0])
	if err != nil || rec.RequestID != id+1 {
		t.Errorf("request id %d after %d, %v", rec.RequestID, id, err)
	}
	mustStop(t, s)
	if _, err := os.Stat(filepath.Join(d.Dir, "Test CA.db")); err != nil {
		t.Errorf("what was displaced is gone: %v", err)
	}
}

// severalGenerations takes a full backup and goes on for some generations.
func severalGenerations(t *testing.T, s *Server) (full, inc *taken, counts map[uint32]int) {
	t.Helper()
	counts = make(map[uint32]int)
	n := len(issue(t, s, 2))
	full = take(t, s, certadm.BackupFull, true)
	counts[full.high] = n
	for range 3 {
		n += len(issue(t, s, 2))
		gen, err := s.run.db.Roll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		counts[gen] = n
	}
	inc = take(t, s, certadm.BackupLogsOnly, false)
	return full, inc, counts
}

func TestPointInTime(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	full, inc, counts := severalGenerations(t, s)
	all := serials(t, s, schema.Issued)
	mustStop(t, s)
	for gen, n := range counts {
		r := openServer(t, copyDir(t, s.Dir()), Options{})
		setAside(t, r)
		part := *inc
		part.high = gen
		if gen >= inc.low {
			register(t, r, full, &part)
		} else {
			register(t, r, full)
		}
		mustStart(t, r)
		wantIssued(t, r, all[:n])
		mustStop(t, r)
	}
}

// A target at which the pages of the copy do not agree is refused.
func TestTargetTooEarly(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	issue(t, s, 2)
	svc, b := prepare(t, s, certadm.BackupFull)
	defer svc.Close()
	name, _ := s.Locations().Find(certadm.FileDatabase)
	f, err := b.OpenFile(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	half := make([]byte, f.Size()/2)
	if _, err := f.Read(half); err != nil {
		t.Fatal(err)
	}
	for range 3 { // checkpoints while the copy is being read
		issue(t, s, 1)
		if _, err := s.run.db.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	set := gather(t, b, certadm.BackupFull)
	if err := b.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustStop(t, s)
	last := set.logs[sqlitelog.LogName(set.high)]
	h, err := sqlitelog.ReadHeader(strings.NewReader(string(last)))
	if err != nil || h.EarliestTarget <= set.low {
		t.Fatalf("header of the last log: earliest target %d, %v", h.EarliestTarget, err)
	}
	for _, c := range []struct {
		high uint32
		ok   bool
	}{{h.EarliestTarget - 1, false}, {h.EarliestTarget, true}} {
		for _, withLast := range []bool{true, false} { // the log that tells may not be there
			r := openServer(t, copyDir(t, s.Dir()), Options{})
			setAside(t, r)
			part := *set
			part.high = c.high
			if !withLast {
				part.logs = make(map[string][]byte)
				for n, d := range set.logs {
					if g, _ := sqlitelog.ParseLogName(n); g <= c.high {
						part.logs[n] = d
					}
				}
			}
			register(t, r, &part)
			err := r.Start(t.Context())
			if c.ok && withLast {
				if err != nil {
					t.Errorf("target %d: %v", c.high, err)
				}
				continue
			}
			wantCode(t, err, certadm.HrRestoreLogTooLow, fmt.Sprintf("target %d, with the last log %v", c.high, withLast))
			if p, _ := readPending(r.fsys, r.at); p == nil {
				t.Error("the instruction is gone after a failure")
			}
		}
	}
}

func TestRestoreRefusesStrangers(t *testing.T) {
	a := startServer(t, InitOptions{Name: "CA one"}, Options{})
	b := startServer(t, InitOptions{Name: "CA one"}, Options{}) // the same name, another authority
	issue(t, a, 2)
	issue(t, b, 2)
	fullA, fullB := take(t, a, certadm.BackupFull, true), take(t, b, certadm.BackupFull, true)
	incB := take(t, b, certadm.BackupLogsOnly, true)
	mustStop(t, a)
	setAside(t, a)
	r, err := a.Service(root).RestorePrepare(t.Context(), certadm.RestoreFull)
	if err != nil {
		t.Fatal(err)
	}
	put(t, a, fullA)
	if err := r.Register(t.Context(), fullA.registration(fullA)); err != nil {
		t.Fatal(err)
	}
	if err := r.RegisterComplete(t.Context(), certadm.SOK); err != nil {
		t.Fatal(err)
	}
	// An incremental set with another signature.
	put(t, a, incB)
	wantCode(t, r.Register(t.Context(), incB.registration(fullA)), certadm.HrBadLogSignature, "another authority's incremental set")
	if err := r.RegisterComplete(t.Context(), certadm.EFail); err != nil {
		t.Fatal(err)
	}
	// A whole set of another authority is in itself consistent: its CA
	// certificate gives it away.
	setAside(t, a)
	register(t, a, fullB)
	err = a.Start(t.Context())
	wantCode(t, err, certadm.HrBadDbSignature, "another authority's database")
	if !errors.Is(err, errOtherAuthority) {
		t.Errorf("error %v", err)
	}
}

func TestGapBetweenSets(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	want := issue(t, s, 1)
	full := take(t, s, certadm.BackupFull, true)
	want = append(want, issue(t, s, 1)...)
	first := take(t, s, certadm.BackupLogsOnly, true)
	want = append(want, issue(t, s, 1)...)
	second := take(t, s, certadm.BackupLogsOnly, true)
	mustStop(t, s)
	setAside(t, s)
	register(t, s, full, second)
	wantCode(t, s.Start(t.Context()), certadm.HrMissingLogFile, "a set is missing between")
	// The missing one can be added.
	r, err := s.Service(root).RestorePrepare(t.Context(), certadm.RestoreFull)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, first)
	if err := r.Register(t.Context(), first.registration(full)); err != nil {
		t.Fatal(err)
	}
	if err := r.RegisterComplete(t.Context(), certadm.SOK); err != nil {
		t.Fatal(err)
	}
	mustStart(t, s)
	wantIssued(t, s, want)
}

// Extra, newer logs in the log directory are not replayed, and not deleted.
func TestNewerLogsAreKept(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	want := issue(t, s, 2)
	full := take(t, s, certadm.BackupFull, true)
	issue(t, s, 2)
	inc := take(t, s, certadm.BackupLogsOnly, false)
	mustStop(t, s)
	register(t, s, full) // over the live files
	mustStart(t, s)
	wantIssued(t, s, want)
	kept, err := filepath.Glob(filepath.Join(s.at.path(asideOldDir), "*", sqlitelog.LogName(inc.high)))
	if err != nil || len(kept) != 1 {
		t.Errorf("the newer log: %v, %v", kept, err)
	}
}

func TestRegistrationIsJudged(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	issue(t, s, 1)
	full := take(t, s, certadm.BackupFull, false)
	mustStop(t, s)
	r, err := s.Service(root).RestorePrepare(t.Context(), certadm.RestoreFull)
	if err != nil {
		t.Fatal(err)
	}
	full.where.Database = strings.Replace(full.where.Database, `\Test CA.db`, `\elsewhere.db`, 1)
	put(t, s, full)
	share := s.config().uncName("")
	for what, c := range map[string]struct {
		change func(*certadm.Registration)
		code   certadm.HRESULT
	}{
		"the key as database":      {func(r *certadm.Registration) { r.Map[0].NewDatabase = share + `private\ca.key` }, certadm.HrInvalidPath},
		"a database in private":    {func(r *certadm.Registration) { r.Map[0].NewDatabase = share + `Private\x.db` }, certadm.HrInvalidPath},
		"the accounts":             {func(r *certadm.Registration) { r.Map[0].NewDatabase = share + `accounts.json` }, certadm.HrInvalidPath},
		"outside":                  {func(r *certadm.Registration) { r.Map[0].NewDatabase = share + `..\x.db` }, certadm.HrInvalidPath},
		"another machine":          {func(r *certadm.Registration) { r.Map[0].NewDatabase = `\\other\Test CA$\database\x.db` }, certadm.HrInvalidPath},
		"no such database":         {func(r *certadm.Registration) { r.Map[0].NewDatabase = share + `database\x.db` }, certadm.ErrorFileNotFound},
		"logs outside":             {func(r *certadm.Registration) { r.LogPath = share + `..\log` }, certadm.HrInvalidPath},
		"checkpoint outside":       {func(r *certadm.Registration) { r.CheckpointPath = `C:\x` }, certadm.HrInvalidPath},
		"no such logs":             {func(r *certadm.Registration) { r.BackupLogPath = share + `nowhere` }, certadm.HrMissingLogFile},
		"a range that ends beyond": {func(r *certadm.Registration) { r.HighLog += 1000 }, certadm.HrMissingLogFile},
		"generation 0":             {func(r *certadm.Registration) { r.LowLog = 0 }, certadm.EInvalidArg},
	} {
		reg := full.registration(full)
		c.change(&reg)
		wantCode(t, r.Register(t.Context(), reg), c.code, what)
	}
	name := s.at.path("database/text.db")
	if err := durable.WriteFile(durable.OS, name, []byte("not a database, but long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	reg := full.registration(full)
	reg.Map[0].NewDatabase = share + `database\text.db`
	wantCode(t, r.Register(t.Context(), reg), certadm.HrInvalidDatabase, "text as a database")
	if p, err := readPending(s.fsys, s.at); p != nil || err != nil {
		t.Errorf("something was registered: %v, %v", p, err)
	}
	mustStart(t, s)
}

// A WAL that another database left beside the copied one is not shown to
// anybody, and not deleted.
func TestStrayWAL(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	want := issue(t, s, 2)
	full := take(t, s, certadm.BackupFull, true)
	issue(t, s, 2)
	mustStop(t, s)
	setAside(t, s)
	put(t, s, full)
	wal := walOf(s.at.path(s.config().Database))
	if err := os.WriteFile(wal, []byte("a stray WAL"), 0o600); err != nil {
		t.Fatal(err)
	}
	register(t, s, full)
	mustStart(t, s)
	wantIssued(t, s, want)
	found := false
	filepath.WalkDir(s.at.path(asideOldDir), func(name string, _ os.DirEntry, _ error) error {
		b, _ := os.ReadFile(name)
		found = found || string(b) == "a stray WAL"
		return nil
	})
	if !found {
		t.Error("the stray WAL was not kept")
	}
}

// The log of a machine that died becomes one more generation.
func TestRestoreWithSalvagedLog(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	want := issue(t, s, 2)
	full := take(t, s, certadm.BackupFull, true)
	want = append(want, issue(t, s, 3)...)
	wal := filepath.Join(t.TempDir(), "salvaged-wal")
	b, err := os.ReadFile(walOf(s.at.path(s.config().Database))) // as after kill -9
	if err == nil {
		err = os.WriteFile(wal, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	issue(t, s, 1) // lost
	mustStop(t, s)
	setAside(t, s)
	put(t, s, full)
	prev, err := sqlitelog.ReadHeader(strings.NewReader(string(full.logs[sqlitelog.LogName(full.high)])))
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(s.at.path(logDir), sqlitelog.LogName(full.high+1))
	if _, err := sqlitelog.Salvage(t.Context(), wal, prev, out); err != nil {
		t.Fatal(err)
	}
	full.high++
	register(t, s, full)
	mustStart(t, s)
	wantIssued(t, s, want)
}

func TestTakeBackARestore(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	want := issue(t, s, 2)
	full := take(t, s, certadm.BackupFull, true)
	mustStop(t, s)
	full.where.Database = strings.Replace(full.where.Database, `\Test CA.db`, `\elsewhere.db`, 1)
	register(t, s, full)
	// A restore that cannot be carried out can be taken back later.
	if err := os.Truncate(s.at.path("database/elsewhere.db"), 100); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err == nil {
		t.Fatal("started from a torn database")
	}
	r, err := s.Service(root).RestorePrepare(t.Context(), certadm.RestoreFull)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.Register(t.Context(), full.registration(full)), certadm.HrRestoreMapExists, "a second full set")
	if err := r.RegisterComplete(t.Context(), certadm.HrDatabaseCorrupted); err != nil {
		t.Fatal(err)
	}
	mustStart(t, s)
	wantIssued(t, s, want)
}
