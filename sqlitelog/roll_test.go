package sqlitelog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// events records phases, and lets a test act in one of them.
type events struct {
	mu   sync.Mutex
	seen []Event
	on   map[Phase]func(Event)
}

func (e *events) observe(ev Event) {
	e.mu.Lock()
	e.seen = append(e.seen, ev)
	f := e.on[ev.Phase]
	e.mu.Unlock()
	if f != nil {
		f(ev)
	}
}

func (e *events) set(p Phase, f func(Event)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.on == nil {
		e.on = map[Phase]func(Event){}
	}
	e.on[p] = f
}

func (e *events) last(p Phase) Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := len(e.seen) - 1; i >= 0; i-- {
		if e.seen[i].Phase == p {
			return e.seen[i]
		}
	}
	return Event{}
}

// base copies the database file before anything is in it.
func base(t testing.TB, cfg Config) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "base.db")
	copyFile(t, cfg.Database, p)
	return p
}

// replayed replays all logs in cfg's LogDir over a copy of dst and counts the rows.
func replayed(t testing.TB, cfg Config, dst string, first, last uint32) (int, error) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "replayed.db")
	copyFile(t, dst, to)
	if _, err := Replay(context.Background(), to, logPaths(t, cfg, first, last), 0); err != nil {
		return 0, err
	}
	if err := IntegrityCheck(context.Background(), to); err != nil {
		return 0, err
	}
	return countFile(t, to), nil
}

// The gate: a commit between the copying of the WAL and the end of the checkpoint
// would be in the database file and in no log.
func TestGate(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken=%v", broken), func(t *testing.T) {
			cfg := testConfig(t)
			cfg.rules.noGate = broken
			var ev events
			cfg.Observe = ev.observe
			must(t, Create(context.Background(), cfg, testSchema))
			b := base(t, cfg)
			db := openDB(t, cfg)
			add(t, db, 5)
			wrote := make(chan error, 1)
			ev.set(PhaseRollCopied, func(Event) {
				ev.set(PhaseRollCopied, nil)
				go func() { wrote <- db.Write(context.Background(), insert) }()
				if broken {
					must(t, <-wrote)
					wrote <- nil
				} else {
					waiting(db, 0) // it is in a group, and that waits for the gate
				}
			})
			_, err := db.Roll(context.Background())
			must(t, err)
			must(t, <-wrote)
			n := count(t, db.Reader())
			must(t, db.Close())
			got, err := replayed(t, cfg, b, 1, db.Status().Newest)
			must(t, err)
			if n != 6 || (got == n) == broken {
				t.Fatalf("%d rows, %d after replay", n, got)
			}
		})
	}
}

// holdReader begins a read that keeps the WAL from being reset, and returns its end.
func holdReader(t testing.TB, db *DB) (rows int, release func()) {
	t.Helper()
	c, err := db.Reader().Conn(context.Background())
	must(t, err)
	_, err = c.ExecContext(context.Background(), "BEGIN")
	must(t, err)
	must(t, c.QueryRowContext(context.Background(), "SELECT count(*) FROM cert").Scan(&rows))
	return rows, func() {
		var again int
		must(t, c.QueryRowContext(context.Background(), "SELECT count(*) FROM cert").Scan(&again))
		if again != rows {
			t.Errorf("the reader saw %d rows, then %d", rows, again)
		}
		_, err := c.ExecContext(context.Background(), "ROLLBACK")
		must(t, err)
		must(t, c.Close())
	}
}

// A busy checkpoint: the log stays published, the next one repeats its frames, writers
// go on, and nothing is lost.
func TestBusyCheckpoint(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	var ev events
	cfg.Observe = ev.observe
	must(t, Create(ctx, cfg, testSchema))
	b := base(t, cfg)
	db := openDB(t, cfg)
	add(t, db, 5)
	n, release := holdReader(t, db)
	if n != 5 {
		t.Fatal(n)
	}
	add(t, db, 5) // behind the reader's back, so that not all can be moved
	_, err := db.Roll(ctx)
	must(t, err)
	if !ev.last(PhaseCheckpointEnd).Busy || db.Status().CheckpointedThrough != 0 {
		t.Fatalf("%+v %+v", ev.last(PhaseCheckpointEnd), db.Status())
	}
	c, err := db.StartCopy(ctx)
	must(t, err)
	if c.First() != 1 {
		t.Errorf("a copy begun after the busy checkpoint of generation 1 starts at %d", c.First())
	}
	must(t, c.Close())
	add(t, db, 5)
	_, err = db.Roll(ctx)
	must(t, err)
	logs, err := db.Logs()
	must(t, err)
	if len(logs) != 2 || logs[1].Header.MarkFrame <= logs[0].Header.Frames {
		t.Fatalf("%+v", logs)
	}
	for _, l := range logs {
		f, size, err := db.OpenLog(l.Generation)
		must(t, err)
		h, err := CheckLog(ctx, f, size)
		must(t, err)
		if h != l.Header {
			t.Fatalf("%+v", h)
		}
		must(t, f.Close())
	}
	// Nothing that a busy checkpoint left may be truncated.
	if moved, err := db.Truncate(ctx, 9, filepath.Join(t.TempDir(), "aside")); err != nil || len(moved) != 0 {
		t.Fatal(moved, err)
	}
	release()
	add(t, db, 5) // begins generation 3 by trying the checkpoint again
	if st := db.Status(); st.OpenBytes > 4*(4096+frameHeaderSize)*5 {
		t.Errorf("the WAL still has %d bytes", st.OpenBytes)
	}
	must(t, db.Close())
	if got, err := replayed(t, cfg, b, 1, 3); err != nil || got != 20 {
		t.Fatal(got, err)
	}
	// and what would be if the log were taken back
	cfg = testConfig(t)
	cfg.rules.retryBusy = true
	db = newDB(t, cfg)
	add(t, db, 5)
	_, release = holdReader(t, db)
	add(t, db, 5)
	g, err := db.Roll(ctx)
	must(t, err)
	if _, _, err := db.OpenLog(g); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	release()
}

// While a reader holds the WAL, generations close only when it has doubled.
func TestBusyDoubling(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	cfg.GenerationSize = 64 << 10
	var ev events
	rolled := make(chan struct{}, 100)
	ev.set(PhaseRollEnd, func(Event) { rolled <- struct{}{} })
	cfg.Observe = ev.observe
	db := newDB(t, cfg)
	add(t, db, 1)
	_, release := holdReader(t, db)
	sizes := []int64{}
	for len(sizes) < 4 {
		add(t, db, 1)
		select {
		case <-rolled:
			sizes = append(sizes, ev.last(PhaseRollCopied).Bytes)
		default:
		}
	}
	release()
	for i, s := range sizes[1:] {
		if s < 2*(sizes[i]-HeaderSize) {
			t.Fatalf("closed at %v bytes", sizes)
		}
	}
	_, err := db.Roll(ctx)
	must(t, err)
}

// The checkpoint does not wait for readers, since writers wait for it.
func TestReadersDoNotStallWriters(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken=%v", broken), func(t *testing.T) {
			cfg := testConfig(t)
			cfg.rules.waitForReaders = broken
			var ev events
			cfg.Observe = ev.observe
			db := newDB(t, cfg)
			add(t, db, 2)
			_, release := holdReader(t, db)
			add(t, db, 2)
			begun := make(chan struct{})
			ev.set(PhaseCheckpointBegin, func(Event) { ev.set(PhaseCheckpointBegin, nil); close(begun) })
			done := make(chan error, 1)
			go func() { _, err := db.Roll(context.Background()); done <- err }()
			<-begun
			if broken {
				time.Sleep(100 * time.Millisecond) // it would be done by now if it did not wait
				release()
				must(t, <-done)
			} else {
				must(t, <-done) // with the reader still there
				add(t, db, 1)
				release()
			}
			if ev.last(PhaseCheckpointEnd).Busy == broken {
				t.Errorf("busy %v: it waited: %v", !broken, broken)
			}
		})
	}
}

// Close rolls first: SQLite's own closing checkpoint would move what is in no log.
func TestCloseRolls(t *testing.T) {
	for _, broken := range []bool{false, true} {
		cfg := testConfig(t)
		cfg.rules.closeWithoutRoll = broken
		must(t, Create(context.Background(), cfg, testSchema))
		b := base(t, cfg)
		db := openDB(t, cfg)
		add(t, db, 5)
		must(t, db.Close())
		if broken {
			if _, err := Open(context.Background(), cfg); !errors.Is(err, ErrLogLost) {
				t.Fatal(err)
			}
			continue
		}
		if got, err := replayed(t, cfg, b, 1, 1); err != nil || got != 5 {
			t.Fatal(got, err)
		}
		for _, s := range []string{"-wal", "-shm"} {
			if _, err := os.Stat(cfg.Database + s); !os.IsNotExist(err) {
				t.Error(s, err)
			}
		}
		db = openDB(t, cfg)
		must(t, db.Close()) // nothing was written: no generation
		if st := db.Status(); st.Open != 2 || st.Newest != 1 {
			t.Fatalf("%+v", st)
		}
	}
}

// A roll of an empty generation makes a log all the same.
func TestRollEmpty(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	must(t, Create(ctx, cfg, testSchema))
	b := base(t, cfg)
	db := openDB(t, cfg)
	for want := uint32(1); want <= 3; want++ {
		if g, err := db.Roll(ctx); g != want || err != nil {
			t.Fatal(g, err)
		}
	}
	add(t, db, 1)
	must(t, db.Close())
	if got, err := replayed(t, cfg, b, 1, 4); err != nil || got != 1 {
		t.Fatal(got, err)
	}
}

// Generations close by themselves at their size.
func TestRollsByItself(t *testing.T) {
	cfg := testConfig(t)
	cfg.GenerationSize = 100 << 10
	var ev events
	rolled := make(chan struct{}, 100)
	ev.set(PhaseRollEnd, func(Event) { rolled <- struct{}{} })
	cfg.Observe = ev.observe
	db := newDB(t, cfg)
	for range 3 {
		for len(rolled) == 0 {
			add(t, db, 1)
		}
		<-rolled
	}
	if st := db.Status(); st.Newest < 3 || st.Oldest != 1 {
		t.Fatalf("%+v", st)
	}
}

// Another program that deletes the WAL or replaces the database while it is open is
// noticed before anything more is acknowledged.
func TestFilesTakenAway(t *testing.T) {
	for _, name := range []string{"WAL removed", "WAL replaced", "database replaced"} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			db := newDB(t, cfg)
			add(t, db, 2)
			file := cfg.Database + "-wal"
			if name == "database replaced" {
				file = cfg.Database
			}
			b, err := os.ReadFile(file)
			must(t, err)
			if err := os.Remove(file); err != nil {
				t.Skip("an open file cannot be removed here: ", err)
			}
			if name != "WAL removed" {
				must(t, os.WriteFile(file, b, 0o600))
			}
			for range 2 {
				var se *StateError
				if err := db.Write(context.Background(), insert); !errors.As(err, &se) || se.Path != file {
					t.Fatal(err)
				}
			}
			if _, err := db.Roll(context.Background()); !errors.Is(err, ErrLogLost) {
				t.Fatal(err)
			}
			if err := db.Close(); err == nil {
				t.Error("closed without an error")
			}
		})
	}
}

// A second process, or a second DB in this one, is kept out.
func TestLock(t *testing.T) {
	cfg := testConfig(t)
	db := newDB(t, cfg)
	if _, err := Open(context.Background(), cfg); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	if err := Create(context.Background(), cfg, testSchema); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	if err := Adopt(context.Background(), cfg, 1, [32]byte{}); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	must(t, db.Close())
	db = openDB(t, cfg)
	must(t, db.Close())

	// SQLite's own locks would let it in, in the middle of a generation.
	cfg.rules.noLock = true
	db = openDB(t, cfg)
	add(t, db, 1)
	other, err := Open(context.Background(), cfg)
	must(t, err)
	must(t, other.Close())
}

func TestTruncate(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	must(t, Create(ctx, cfg, testSchema))
	b := base(t, cfg)
	db := openDB(t, cfg)
	for range 4 {
		add(t, db, 2)
		_, err := db.Roll(ctx)
		must(t, err)
	}
	aside := filepath.Join(t.TempDir(), "deep", "aside")
	moved, err := db.Truncate(ctx, 2, aside)
	if err != nil || fmt.Sprint(moved) != "[1 2]" {
		t.Fatal(moved, err)
	}
	if st := db.Status(); st.Oldest != 3 || st.Newest != 4 {
		t.Fatalf("%+v", st)
	}
	if _, _, err := db.OpenLog(2); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	// What a copy needs stays.
	c, err := db.StartCopy(ctx)
	must(t, err)
	add(t, db, 2)
	_, err = c.Finish(ctx)
	must(t, err)
	moved, err = db.Truncate(ctx, 99, aside)
	if err != nil || fmt.Sprint(moved) != "[3 4]" {
		t.Fatal(moved, err)
	}
	must(t, c.Close())
	add(t, db, 2)
	moved, err = db.Truncate(ctx, 99, aside)
	if err != nil || fmt.Sprint(moved) != "[5]" {
		t.Fatal(moved, err)
	}
	if st := db.Status(); st.Oldest != 0 || st.Newest != 0 || st.Open != 6 {
		t.Fatalf("%+v", st)
	}
	must(t, db.Close())
	// A power loss may leave a log in both places; another log of that name is not overwritten.
	copyFile(t, filepath.Join(cfg.LogDir, LogName(6)), filepath.Join(aside, LogName(6)))
	db = openDB(t, cfg)
	if moved, err = db.Truncate(ctx, 99, aside); err != nil || fmt.Sprint(moved) != "[6]" {
		t.Fatal(moved, err)
	}
	add(t, db, 1)
	_, err = db.Roll(ctx)
	must(t, err)
	copyFile(t, filepath.Join(aside, LogName(6)), filepath.Join(aside, LogName(7)))
	if moved, err = db.Truncate(ctx, 99, aside); !errors.Is(err, os.ErrExist) || len(moved) != 0 {
		t.Fatal(moved, err)
	}
	copyFile(t, filepath.Join(cfg.LogDir, LogName(7)), filepath.Join(aside, LogName(7)))
	add(t, db, 0)
	must(t, db.Close())
	cfg.LogDir = aside
	if got, err := replayed(t, cfg, b, 1, 7); err != nil || got != 13 {
		t.Fatal(got, err)
	}
}

// dump is every page of the database as SQLite sees it.
func dump(t testing.TB, db *sql.DB) [][]byte {
	t.Helper()
	rows, err := db.Query("SELECT data FROM sqlite_dbpage ORDER BY pgno")
	must(t, err)
	defer rows.Close()
	var pages [][]byte
	for rows.Next() {
		var p []byte
		must(t, rows.Scan(&p))
		pages = append(pages, p)
	}
	must(t, rows.Err())
	return pages
}
