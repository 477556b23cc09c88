package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/durable/durabletest"
	"github.com/certkeep/certkeep/internal/need"
)

// files are SQLite's files at some moment.
type files struct{ db, synced, wal []byte }

// recorder is a durable.FS that keeps, for each operation, what SQLite's files were when
// it began and when it had ended.
type recorder struct {
	*durabletest.Disk
	t   testing.TB
	cfg Config

	mu     sync.Mutex
	synced []byte
	at     map[int][]files // by the number of operations in the log
}

func (r *recorder) note() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var f files
	f.db, _ = os.ReadFile(r.cfg.Database)
	f.wal, _ = os.ReadFile(r.cfg.wal())
	f.synced = r.synced
	n := len(r.Ops())
	r.at[n] = append(r.at[n], f)
}

func (r *recorder) around(f func()) { r.note(); f(); r.note() }

func (r *recorder) OpenFile(name string, flag int, perm os.FileMode) (f durable.File, err error) {
	r.around(func() { f, err = r.Disk.OpenFile(name, flag, perm) })
	if err != nil {
		return nil, err
	}
	return &recorderFile{f, r}, nil
}
func (r *recorder) Rename(o, n string) (err error) {
	r.around(func() { err = r.Disk.Rename(o, n) })
	return err
}
func (r *recorder) Remove(n string) (err error) {
	r.around(func() { err = r.Disk.Remove(n) })
	return err
}
func (r *recorder) SyncDir(n string) (err error) {
	r.around(func() { err = r.Disk.SyncDir(n) })
	return err
}

type recorderFile struct {
	durable.File
	r *recorder
}

func (f *recorderFile) Write(p []byte) (n int, err error) {
	f.r.around(func() { n, err = f.File.Write(p) })
	return n, err
}
func (f *recorderFile) WriteAt(p []byte, off int64) (n int, err error) {
	f.r.around(func() { n, err = f.File.WriteAt(p, off) })
	return n, err
}
func (f *recorderFile) Sync() (err error) {
	f.r.around(func() { err = f.File.Sync() })
	return err
}

// lyingFS says that it has synced and has not.
type lyingFS struct {
	durable.FS
	dirs bool // it lies about directories, else about files
}

func (l lyingFS) SyncDir(name string) error {
	if l.dirs {
		return nil
	}
	return l.FS.SyncDir(name)
}

func (l lyingFS) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	f, err := l.FS.OpenFile(name, flag, perm)
	if err != nil || l.dirs {
		return f, err
	}
	return lyingFile{f}, nil
}

type lyingFile struct{ durable.File }

func (lyingFile) Sync() error { return nil }

// TestPowerLoss replays every prefix of this package's own writes with unsynced ones
// dropped, together with SQLite's files as they were then: the database as it was last
// synced, and as it was written. The last two runs show that the test can fail.
func TestPowerLoss(t *testing.T) {
	for _, c := range []struct {
		name   string
		lie    func(durable.FS) durable.FS
		should bool // survive
	}{
		{"honest", func(f durable.FS) durable.FS { return f }, true},
		{"file syncs are lies", func(f durable.FS) durable.FS { return lyingFS{f, false} }, false},
		{"directory syncs are lies", func(f durable.FS) durable.FS { return lyingFS{f, true} }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			failed := powerLoss(t, c.lie, c.should)
			if (failed == 0) != c.should {
				t.Fatalf("%d states are not survived", failed)
			}
		})
	}
}

func powerLoss(t *testing.T, lie func(durable.FS) durable.FS, all bool) (failed int) {
	ctx := context.Background()
	root := t.TempDir()
	cfg := Config{Database: filepath.Join(root, "db", "ca.db"), LogDir: filepath.Join(root, "own", "log"), StateDir: filepath.Join(root, "own", "state")}
	must(t, Create(ctx, cfg, testSchema))
	b := base(t, cfg)
	disk, err := durabletest.Over(durable.OS, filepath.Join(root, "own"))
	must(t, err)
	rec := &recorder{Disk: disk, t: t, cfg: cfg, at: map[int][]files{}}
	rec.synced, err = os.ReadFile(cfg.Database)
	must(t, err)
	cfg.FS = lie(rec)
	acked, tried := map[string]int{}, 0
	aside := filepath.Join(root, "own", "aside")

	open := func() *DB {
		db, err := Open(ctx, cfg)
		must(t, err)
		sync := db.sync
		db.sync = func() error {
			err := sync()
			now, rerr := os.ReadFile(cfg.Database)
			must(t, rerr)
			rec.mu.Lock()
			rec.synced = now
			rec.mu.Unlock()
			return err
		}
		return db
	}
	put := func(db *DB, n int) {
		tried += n
		add(t, db, n)
		mark := fmt.Sprint(len(acked))
		acked[mark] = tried
		disk.Mark(mark)
		rec.note()
	}
	roll := func(db *DB) {
		_, err := db.Roll(ctx)
		must(t, err)
	}
	db := open()
	put(db, 2)
	roll(db)
	put(db, 2)
	_, release := holdReader(t, db)
	put(db, 1)
	roll(db)
	release()
	put(db, 1)
	roll(db)
	_, err = db.Truncate(ctx, 2, aside)
	must(t, err)
	must(t, db.Close())
	db = open()
	put(db, 1)
	must(t, db.Close())

	type candidate struct {
		s durabletest.State
		f files
	}
	var candidates []candidate
	disk.CrashStates(func(s durabletest.State) {
		seen := map[string]bool{}
		for _, f := range rec.at[s.Ops] {
			for _, db := range [][]byte{f.db, f.synced} {
				if k := string(db) + string(f.wal); len(db) > 0 && !seen[k] {
					seen[k] = true
					candidates = append(candidates, candidate{s, files{db: db, wal: f.wal}})
				}
			}
		}
	})
	step := 1
	if most := 150; !need.Heavy() && len(candidates) > most {
		step = (len(candidates) + most - 1) / most
		t.Logf("of %d states every %dth; all with CERTKEEP_TEST_HEAVY=1", len(candidates), step)
	}
	for i := 0; i < len(candidates); i += step {
		c := candidates[i]
		want := 0
		for mark, n := range acked {
			if c.s.Reached(mark) {
				want = max(want, n)
			}
		}
		if err := afterPowerLoss(t, c.s, c.f, b, want, tried); err != nil {
			failed++
			if all {
				t.Errorf("%v: %v", c.s, err)
				continue
			}
			t.Logf("as expected: %v: %v", c.s, err)
			break
		}
	}
	return failed
}

// afterPowerLoss opens what is left.
func afterPowerLoss(t *testing.T, s durabletest.State, f files, base string, acknowledged, tried int) error {
	ctx := context.Background()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, s.Copy(dir))
	cfg := Config{Database: filepath.Join(dir, "db", "ca.db"), LogDir: filepath.Join(dir, "log"), StateDir: filepath.Join(dir, "state")}
	must(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	must(t, os.WriteFile(cfg.Database, f.db, 0o600))
	if f.wal != nil {
		must(t, os.WriteFile(cfg.wal(), f.wal, 0o600))
	}
	db, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	var n int
	if err := db.Reader().QueryRow("SELECT count(*) FROM cert").Scan(&n); err != nil {
		return err
	}
	if n < acknowledged || n > tried {
		return fmt.Errorf("%d rows, %d acknowledged, %d tried", n, acknowledged, tried)
	}
	if err := db.Write(ctx, insert); err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	// The logs, those set aside and those not, make the database.
	var logs []string
	for g := uint32(1); g <= db.Status().Newest; g++ {
		p := filepath.Join(cfg.LogDir, LogName(g))
		if _, err := os.Stat(p); err != nil {
			p = filepath.Join(dir, "aside", LogName(g))
		}
		logs = append(logs, p)
	}
	to := filepath.Join(dir, "replayed.db")
	copyFile(t, base, to)
	if _, err := Replay(ctx, to, logs, 0); err != nil {
		return err
	}
	if got := countFile(t, to); got != n+1 {
		return fmt.Errorf("%d rows after replay, %d before", got, n+1)
	}
	return nil
}

// TestFaults makes each operation on this package's own files fail once, or from then on
// until the disk has space again. Whatever fails tells; nothing acknowledged is lost; and the
// database goes on afterwards without being opened anew.
func TestFaults(t *testing.T) {
	step := 3
	if need.Heavy() {
		step = 1
	} else {
		t.Logf("every %d. operation; all with CERTKEEP_TEST_HEAVY=1", step)
	}
	for _, sticky := range []bool{false, true} {
		fired := true
		for n := 1; fired; n += step {
			fired = faults(t, n, sticky)
		}
	}
}

func faults(t *testing.T, n int, sticky bool) bool {
	ctx := context.Background()
	root := t.TempDir()
	cfg := Config{Database: filepath.Join(root, "db", "ca.db"), LogDir: filepath.Join(root, "own", "log"), StateDir: filepath.Join(root, "own", "state")}
	must(t, Create(ctx, cfg, testSchema))
	b := base(t, cfg)
	disk, err := durabletest.Over(durable.OS, filepath.Join(root, "own"))
	must(t, err)
	cfg.FS = disk
	db := openDB(t, cfg)
	defer db.Close()
	acked := 0
	what := fmt.Sprintf("operation %d fails, sticky=%v", n, sticky)
	failures := 0
	attempt := func(f func() error) {
		for range 3 {
			err := f()
			if err == nil {
				return
			}
			failures++
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("%s: %v", what, err)
			}
			if sticky {
				disk.Heal()
			}
		}
		t.Fatalf("%s: it does not go on", what)
	}
	put := func() {
		attempt(func() error {
			err := db.Write(ctx, insert)
			if err == nil {
				acked++
			}
			return err
		})
	}
	roll := func() { attempt(func() error { _, err := db.Roll(ctx); return err }) }
	disk.Inject(durabletest.Fault{Op: n, Err: syscall.ENOSPC, Short: true, Sticky: sticky, Only: func(o durabletest.Op) bool {
		return o.Kind.Changes() || o.Kind == durabletest.OpClose
	}})
	put()
	put()
	roll()
	put()
	_, release := holdReader(t, db)
	put()
	roll()
	release()
	put()
	attempt(func() error { _, err := db.Truncate(ctx, 1, filepath.Join(root, "own", "aside")); return err })
	put()
	fired := disk.Fired()
	disk.Heal()
	crash := crashed(t, cfg)
	es, err := os.ReadDir(filepath.Join(root, "own", "aside"))
	must(t, err)
	for _, e := range es {
		copyFile(t, filepath.Join(root, "own", "aside", e.Name()), filepath.Join(crash.LogDir, e.Name()))
	}
	if got := count(t, db.Reader()); got != acked {
		t.Fatalf("%s: %d rows, %d acknowledged", what, got, acked)
	}
	survives(t, crash, b, acked, acked)
	if err := db.Close(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if t.Failed() {
		t.Fatal(what)
	}
	return fired
}

// A log that has its name although the directory could not be synced counts as published:
// after a crash it would, and what is acknowledged in its generation later would be lost.
func TestPublishedNotSynced(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken=%v", broken), func(t *testing.T) {
			ctx := context.Background()
			cfg := testConfig(t)
			must(t, Create(ctx, cfg, testSchema))
			b := base(t, cfg)
			disk, err := durabletest.Over(durable.OS, filepath.Dir(cfg.LogDir))
			must(t, err)
			cfg.FS = disk
			cfg.rules.forgetPublished = broken
			db := openDB(t, cfg)
			add(t, db, 5)
			disk.Inject(durabletest.Fault{Op: 1, Err: syscall.EIO, Sticky: true, Only: func(o durabletest.Op) bool {
				return o.Kind == durabletest.OpSyncDir && o.Name == cfg.LogDir
			}})
			if _, err := db.Roll(ctx); !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			acked := 5
			if err := db.Write(ctx, insert); err == nil {
				acked++
			} else if !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			if !broken {
				survives(t, crashed(t, cfg), b, acked, acked)
				disk.Heal()
				add(t, db, 1)
				must(t, db.Close())
				return
			}
			db2 := openDB(t, crashed(t, cfg))
			if n := count(t, db2.Reader()); n != 5 || acked != 6 {
				t.Fatalf("%d of %d: this test proves nothing", n, acked)
			}
			db.Close() // it cannot
		})
	}
}
