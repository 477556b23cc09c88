package sqlitelog

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// crashed copies a database's files as a crash would leave them at this moment, and
// returns a Config for the copy. What SQLite shares between processes dies with them.
func crashed(t testing.TB, cfg Config) Config {
	t.Helper()
	dir := t.TempDir()
	to := Config{Database: filepath.Join(dir, "db", "ca.db"), LogDir: filepath.Join(dir, "log"),
		StateDir: filepath.Join(dir, "state"), GenerationSize: cfg.GenerationSize}
	for from, to := range map[string]string{filepath.Dir(cfg.Database): filepath.Dir(to.Database), cfg.LogDir: to.LogDir, cfg.StateDir: to.StateDir} {
		must(t, os.MkdirAll(to, 0o700))
		es, err := os.ReadDir(from)
		must(t, err)
		for _, e := range es {
			if !strings.HasSuffix(e.Name(), "-shm") {
				copyFile(t, filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
			}
		}
	}
	return to
}

// survives opens a database after a crash and checks that it has at least those rows that
// were acknowledged and at most those attempted, that it can be written to, and that its
// logs still make the database, from base on.
func survives(t *testing.T, cfg Config, base string, acknowledged, attempted int) {
	t.Helper()
	db, err := Open(context.Background(), cfg)
	if err != nil {
		t.Errorf("open: %v", err)
		return
	}
	defer db.Close()
	n := count(t, db.Reader())
	if n < acknowledged || n > attempted {
		t.Errorf("%d rows, %d acknowledged, %d attempted", n, acknowledged, attempted)
		return
	}
	add(t, db, 1)
	must(t, db.Close())
	if err := IntegrityCheck(context.Background(), cfg.Database); err != nil {
		t.Error(err)
	}
	got, err := replayed(t, cfg, base, 1, db.Status().Newest)
	if err != nil || got != n+1 {
		t.Errorf("%d rows after replay, %d before: %v", got, n+1, err)
	}
}

// A kill at each phase, also of the recovery from a kill at each phase.
func TestKilledAtEachPhase(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	type point struct {
		what                    string
		cfg                     Config
		acknowledged, attempted int
	}
	var points []point
	var acknowledged, attempted int
	busy := false
	recording := func(cfg *Config, prefix string) func(Event) {
		return func(e Event) {
			points = append(points, point{fmt.Sprintf("%s%s of %d, busy=%v", prefix, e.Phase, e.Generation, busy), crashed(t, *cfg), acknowledged, attempted})
		}
	}
	must(t, Create(ctx, cfg, testSchema))
	b := base(t, cfg)
	cfg.Observe = recording(&cfg, "")
	db := openDB(t, cfg)
	put := func(n int) {
		attempted += n
		add(t, db, n)
		acknowledged += n
	}
	put(3)
	roll := func() {
		_, err := db.Roll(ctx)
		must(t, err)
	}
	roll()
	put(3)
	_, release := holdReader(t, db)
	put(3)
	busy = true
	roll()
	put(3)
	release()
	roll()
	busy = false
	put(3)
	points = append(points, point{"killed between commits", crashed(t, cfg), acknowledged, attempted})
	must(t, db.Close())
	points = append(points, point{"closed", crashed(t, cfg), acknowledged, attempted})

	seen := map[Phase]bool{}
	for _, p := range points {
		t.Run(strings.ReplaceAll(p.what, " ", "_"), func(t *testing.T) {
			var nested []Config
			c := p.cfg
			c.Observe = func(e Event) {
				seen[e.Phase] = true
				switch e.Phase {
				case PhaseRecoverBegin, PhaseRecoverReplayed, PhaseRecoverEnd:
					nested = append(nested, crashed(t, c))
				}
			}
			survives(t, c, b, p.acknowledged, p.attempted)
			for _, n := range nested {
				survives(t, n, b, p.acknowledged, p.attempted)
			}
		})
	}
	for _, p := range []Phase{PhaseRecoverBegin, PhaseRecoverReplayed, PhaseRecoverEnd} {
		if !seen[p] {
			t.Errorf("no crash point led to %q", p)
		}
	}
}

// Power loss after a checkpoint that was not synced: the database file is as before. What
// counts is the published log, as long as the state file does not say otherwise.
func TestCheckpointNotSynced(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken=%v", broken), func(t *testing.T) {
			ctx := context.Background()
			cfg := testConfig(t)
			cfg.rules.trustCheckpoint = broken
			must(t, Create(ctx, cfg, testSchema))
			b := base(t, cfg)
			db := openDB(t, cfg)
			before, err := os.ReadFile(cfg.Database)
			must(t, err)
			db.sync = func() error { return errors.New("disk on fire") }
			add(t, db, 5)
			_, err = db.Roll(ctx)
			must(t, err)
			add(t, db, 5)
			if moved, err := db.Truncate(ctx, 1, filepath.Join(t.TempDir(), "aside")); !broken && (err == nil || len(moved) != 0) {
				t.Fatal(moved, err)
			}
			crash := crashed(t, cfg)
			must(t, os.WriteFile(crash.Database, before, 0o600))
			if !broken {
				survives(t, crash, b, 10, 10)
				// A sync that failed once is not believed later.
				db.sync = func() error { return nil }
				_, err = db.Roll(ctx)
				must(t, err)
				if st := db.Status(); st.CheckpointedThrough != 0 {
					t.Fatalf("%+v", st)
				}
				return
			}
			db2, err := Open(ctx, crash)
			if err == nil {
				defer db2.Close()
				err = db2.Reader().QueryRow("SELECT count(*) FROM cert").Scan(new(int))
			}
			if err == nil && count(t, db2.Reader()) == 10 {
				t.Fatal("nothing was lost: this test proves nothing")
			}
		})
	}
}

// Nothing is acknowledged before the state file knows the WAL: else Open would take what
// is in it for never acknowledged.
func TestStateBeforeAcknowledging(t *testing.T) {
	for _, broken := range []bool{false, true} {
		ctx := context.Background()
		cfg := testConfig(t)
		cfg.rules.lateState = broken
		db := newDB(t, cfg)
		add(t, db, 5)
		crash := crashed(t, cfg)
		db2 := openDB(t, crash)
		if n := count(t, db2.Reader()); (n == 5) == broken {
			t.Errorf("broken=%v: %d rows", broken, n)
		}
		must(t, db2.Close())
		_, err := db.Roll(ctx)
		must(t, err)
	}
}

// openError opens and expects a refusal that names the file, changes nothing and has a hint.
func openError(t *testing.T, cfg Config, file string, lost bool) {
	t.Helper()
	before := tree(t, cfg)
	_, err := Open(context.Background(), cfg)
	var se *StateError
	if !errors.As(err, &se) || se.Path != file || se.Hint == "" || errors.Is(err, ErrLogLost) != lost {
		t.Fatalf("got: %v", err)
	}
	if after := tree(t, cfg); after != before {
		t.Fatalf("files were changed from\n%s\nto\n%s", before, after)
	}
	t.Log(err)
}

// tree lists all files with their contents' digests.
func tree(t *testing.T, cfg Config) string {
	t.Helper()
	var s strings.Builder
	for _, dir := range []string{filepath.Dir(cfg.Database), cfg.LogDir, cfg.StateDir} {
		es, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range es {
			if e.Name() == lockFile {
				continue
			}
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			must(t, err)
			fmt.Fprintf(&s, "%s %d %x\n", e.Name(), len(b), sha256.Sum256(b))
		}
	}
	return s.String()
}

// crashedDB makes a database with two closed generations and five rows in an open one,
// as a crash leaves it; 15 rows in all.
func crashedDB(t *testing.T) Config {
	t.Helper()
	cfg := testConfig(t)
	db := newDB(t, cfg)
	for range 2 {
		add(t, db, 5)
		_, err := db.Roll(context.Background())
		must(t, err)
	}
	add(t, db, 5)
	return crashed(t, cfg)
}

func TestVanishedWAL(t *testing.T) {
	for _, empty := range []bool{false, true} {
		cfg := crashedDB(t)
		if empty {
			must(t, os.Truncate(cfg.wal(), 0))
		} else {
			must(t, os.Remove(cfg.wal()))
		}
		openError(t, cfg, cfg.wal(), true)

		cfg.AcceptLoss = true
		var ev events
		cfg.Observe = ev.observe
		old, err := readState(withDefaults(t, cfg))
		must(t, err)
		db := openDB(t, cfg)
		if n := count(t, db.Reader()); n != 10 {
			t.Fatal(n)
		}
		st := db.Status()
		if st.Signature == old.Signature || st.LossAccepted.IsZero() || st.LossAside != "" || st.Open != 4 {
			t.Fatalf("%+v", st)
		}
		if ev.last(PhaseLossAccepted).Generation != 4 {
			t.Error("not told")
		}
		add(t, db, 1)
		must(t, db.Close())
		logs, err := db.Logs()
		must(t, err)
		if len(logs) != 1 || logs[0].Generation != 4 {
			t.Fatalf("%+v", logs)
		}
		// The logs of before and after are not one chain.
		h, _, err := readLogHeader(withDefaults(t, cfg).FS, filepath.Join(cfg.LogDir, LogName(2)))
		must(t, err)
		if err := CheckChain([]Header{h, logs[0].Header}); !errors.Is(err, ErrLogForeign) {
			t.Fatal(err)
		}
		cfg.AcceptLoss = false
		db = openDB(t, cfg)
		if n := count(t, db.Reader()); n != 11 {
			t.Fatal(n)
		}
		must(t, db.Close())
	}
}

func withDefaults(t *testing.T, cfg Config) Config {
	t.Helper()
	cfg, err := cfg.withDefaults()
	must(t, err)
	return cfg
}

// A foreign WAL is never shown to SQLite, which would take it.
func TestForeignWAL(t *testing.T) {
	ctx := context.Background()
	cfg, other := crashedDB(t), crashedDB(t)
	o, err := Open(ctx, other)
	must(t, err)
	must(t, o.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE cert SET serial = 'foreign'")
		return err
	}))
	other = crashed(t, other)
	must(t, o.Close())
	copyFile(t, other.wal(), cfg.wal())
	openError(t, cfg, cfg.wal(), true)

	broken := crashed(t, cfg)
	broken.rules.noStateCheck = true
	db, err := Open(ctx, broken)
	must(t, err)
	var n int
	must(t, db.Reader().QueryRow("SELECT count(*) FROM cert WHERE serial = 'foreign'").Scan(&n))
	if n == 0 {
		t.Fatal("SQLite did not take it: this test proves nothing")
	}
	db.Close()

	// A WAL of the same database, but of an earlier time.
	same := crashedDB(t)
	db = openDB(t, same)
	early := crashed(t, same)
	add(t, db, 1)
	_, err = db.Roll(ctx)
	must(t, err)
	add(t, db, 1)
	late := crashed(t, same)
	copyFile(t, early.wal(), late.wal())
	openError(t, late, late.wal(), true)

	// Accepting the loss sets it aside.
	foreign, err := os.ReadFile(cfg.wal())
	must(t, err)
	cfg.AcceptLoss = true
	db = openDB(t, cfg)
	if n := count(t, db.Reader()); n != 10 {
		t.Fatal(n)
	}
	aside, err := os.ReadFile(filepath.Join(filepath.Dir(cfg.Database), db.Status().LossAside))
	must(t, err)
	if string(aside) != string(foreign) {
		t.Error("what was set aside is not the WAL")
	}
}

// A torn tail is what a crash leaves; damage before acknowledged commits is not.
func TestDamagedWAL(t *testing.T) {
	cfg := crashedDB(t)
	size := int64(4096 + frameHeaderSize)
	frames, err := withDefaults(t, cfg).checkWAL(context.Background(), mustState(t, cfg))
	must(t, err)
	if frames < 10 {
		t.Fatal(frames)
	}

	torn := crashed(t, cfg)
	must(t, os.Truncate(torn.wal(), walHeaderSize+int64(frames)*size-100))
	db := openDB(t, torn)
	if n := count(t, db.Reader()); n != 14 {
		t.Fatal(n)
	}
	must(t, db.Close())

	for name, at := range map[string]int64{"WAL header": 20, "first commit": walHeaderSize + 100, "in the middle": walHeaderSize + 3*size + 100} {
		t.Run(name, func(t *testing.T) {
			c := crashed(t, cfg)
			flip(t, c.wal(), at)
			openError(t, c, c.wal(), true)
		})
	}
}

func mustState(t *testing.T, cfg Config) *state {
	t.Helper()
	st, err := readState(withDefaults(t, cfg))
	must(t, err)
	return &st
}

// The database file is known by its mark.
func TestDatabaseReplaced(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	must(t, Create(ctx, cfg, testSchema))
	old := base(t, cfg)
	db := openDB(t, cfg)
	add(t, db, 5)
	_, err := db.Roll(ctx)
	must(t, err)
	add(t, db, 5)
	crash := crashed(t, cfg)
	must(t, db.Close())
	closed := crashed(t, cfg)
	foreign := crashedDB(t)

	for name, replace := range map[string]func(path string){
		"missing":        func(p string) { must(t, os.Remove(p)) },
		"an old copy":    func(p string) { copyFile(t, old, p) },
		"another's":      func(p string) { copyFile(t, foreign.Database, p) },
		"something else": func(p string) { must(t, os.WriteFile(p, make([]byte, 50000), 0o600)) },
		"cut off":        func(p string) { must(t, os.Truncate(p, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, from := range []Config{crash, closed} {
				c := crashed(t, from)
				replace(c.Database)
				openError(t, c, c.Database, false)
				c.AcceptLoss = true // does not help
				openError(t, c, c.Database, false)
			}
		})
	}
}

// A state file that is gone or damaged, and logs that do not fit it.
func TestStateAndLogsDisagree(t *testing.T) {
	foreign := crashedDB(t)
	for name, c := range map[string]struct {
		change func(cfg Config) (file string)
	}{
		"no state": {func(cfg Config) string {
			must(t, os.Remove(cfg.statePath()))
			return cfg.statePath()
		}},
		"damaged state": {func(cfg Config) string {
			flip(t, cfg.statePath(), 200)
			return cfg.statePath()
		}},
		"a foreign log of the open generation": {func(cfg Config) string {
			p := filepath.Join(cfg.LogDir, LogName(3))
			o := openDB(t, foreign)
			must(t, o.Close())
			copyFile(t, filepath.Join(foreign.LogDir, LogName(3)), p)
			return p
		}},
		"a damaged log of the open generation": {func(cfg Config) string {
			p := filepath.Join(cfg.LogDir, LogName(3))
			must(t, os.WriteFile(p, make([]byte, 5000), 0o600))
			return p
		}},
		"a later log": {func(cfg Config) string {
			later := crashed(t, cfg)
			db := openDB(t, later)
			for range 2 {
				_, err := db.Roll(context.Background())
				must(t, err)
			}
			must(t, db.Close())
			p := filepath.Join(cfg.LogDir, LogName(4))
			copyFile(t, filepath.Join(later.LogDir, LogName(4)), p)
			return p
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := crashedDB(t)
			file := c.change(cfg)
			openError(t, cfg, file, true)
			cfg.AcceptLoss = true
			db := openDB(t, cfg)
			if n := count(t, db.Reader()); n != 10 {
				t.Errorf("%d rows", n)
			}
			add(t, db, 1)
			must(t, db.Close())
		})
	}
}

// A log that recovery needs.
func TestRecoveryNeedsLog(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	db := newDB(t, cfg)
	db.sync = func() error { return errors.New("no") }
	for range 3 {
		add(t, db, 2)
		_, err := db.Roll(ctx)
		must(t, err)
	}
	add(t, db, 2)
	crash := crashed(t, cfg)
	log := filepath.Join(crash.LogDir, LogName(2))

	c := crashed(t, crash)
	must(t, os.Remove(filepath.Join(c.LogDir, LogName(2))))
	openError(t, c, filepath.Join(c.LogDir, LogName(2)), true)
	c = crashed(t, crash)
	flip(t, filepath.Join(c.LogDir, LogName(2)), 9000)
	openError(t, c, filepath.Join(c.LogDir, LogName(2)), true)
	foreign := crashedDB(t)
	copyFile(t, filepath.Join(foreign.LogDir, LogName(2)), log)
	openError(t, crash, log, true)
}

// Create leaves nothing half-made and refuses to overwrite.
func TestCreate(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	for _, bad := range []string{"CREATE TABLE", "PRAGMA auto_vacuum = 1; VACUUM", "SELECT nothing"} {
		if err := Create(ctx, cfg, bad); err == nil {
			t.Fatal(bad)
		}
		es, err := os.ReadDir(filepath.Dir(cfg.Database))
		must(t, err)
		if len(es) != 0 {
			t.Fatal(es)
		}
	}
	// what an interrupted one leaves does not matter
	must(t, os.WriteFile(cfg.Database+newSuffix, []byte("half"), 0o600))
	st := sampleState()
	st.Open, st.Checkpointed, st.WAL, st.Adopt = 1, 0, nil, nil
	must(t, writeState(withDefaults(t, cfg), st))
	must(t, Create(ctx, cfg, testSchema))
	if err := Create(ctx, cfg, testSchema); !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	db := openDB(t, cfg)
	add(t, db, 1)
	must(t, db.Close())
	must(t, os.Remove(cfg.Database))
	var se *StateError
	if err := Create(ctx, cfg, testSchema); !errors.As(err, &se) {
		t.Fatal(err)
	}
	must(t, os.Remove(cfg.statePath()))
	if err := Create(ctx, cfg, testSchema); !errors.Is(err, os.ErrExist) {
		t.Fatal(err) // the logs
	}
	if err := Create(ctx, Config{}, testSchema); err == nil {
		t.Fatal("no paths")
	}
}
