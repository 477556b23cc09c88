package sqlitelog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// blockWriter holds up the commit loop inside of a Write until release is called, so
// that what is written meanwhile makes one group.
func blockWriter(t *testing.T, db *DB) (release func()) {
	t.Helper()
	inside, free, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- db.Write(context.Background(), func(*sql.Tx) error {
			close(inside)
			<-free
			return nil
		})
	}()
	<-inside
	return func() {
		close(free)
		must(t, <-done)
	}
}

// waiting waits until n calls are in the queue.
func waiting(db *DB, n int) {
	for {
		db.queue.mu.Lock()
		have := len(db.queue.ops)
		db.queue.mu.Unlock()
		if have == n {
			return
		}
		runtime.Gosched()
	}
}

// together runs the functions in one group, in this order, and returns their errors.
func together(t *testing.T, db *DB, fns ...func(*sql.Tx) error) []error {
	t.Helper()
	release := blockWriter(t, db)
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v", p.(*PanicError).Value)
				}
			}()
			errs[i] = db.Write(context.Background(), fn)
		}()
		waiting(db, i+1)
	}
	release()
	wg.Wait()
	return errs
}

func put(serial string) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO cert (serial) VALUES (?)", serial)
		return err
	}
}

func serials(t *testing.T, q interface {
	Query(string, ...any) (*sql.Rows, error)
}) string {
	t.Helper()
	rows, err := q.Query("SELECT serial FROM cert ORDER BY id")
	must(t, err)
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		must(t, rows.Scan(&s))
		all = append(all, s)
	}
	must(t, rows.Err())
	return strings.Join(all, " ")
}

func TestGroupCommit(t *testing.T) {
	db := newDB(t, testConfig(t))
	add(t, db, 0)
	must(t, db.Write(context.Background(), put("first")))
	// A call is answered before its group is accounted for. While the writer is
	// blocked, all groups are.
	size := func() int64 {
		defer blockWriter(t, db)()
		return db.Status().OpenBytes
	}
	before := size()
	var fns []func(*sql.Tx) error
	for i := range 20 {
		fns = append(fns, put(fmt.Sprint(i)))
	}
	for _, err := range together(t, db, fns...) {
		must(t, err)
	}
	// One commit: each page that changed is in the WAL once, and they fit in three.
	if frames := (size() - before) / (4096 + frameHeaderSize); frames < 1 || frames > 3 {
		t.Fatalf("%d frames for one group", frames)
	}
	if n := count(t, db.Reader()); n != 21 {
		t.Fatal(n)
	}
}

// What one member of a group does wrong, the others do not suffer for.
func TestGroupMembers(t *testing.T) {
	oops := errors.New("oops")
	for _, c := range []struct {
		name string
		bad  func(*sql.Tx) error
		want string // in its error
	}{
		{"an error", func(tx *sql.Tx) error { put("bad")(tx); return oops }, "oops"},
		{"a panic", func(tx *sql.Tx) error { put("bad")(tx); panic("ouch") }, "panic: ouch"},
		{"an SQL error", func(tx *sql.Tx) error {
			put("bad")(tx)
			_, err := tx.Exec("INSERT INTO nowhere VALUES (1)")
			return err
		}, "nowhere"},
		{"tx.Rollback", func(tx *sql.Tx) error { put("bad")(tx); return tx.Rollback() }, "ended by the function"},
		{"tx.Commit", func(tx *sql.Tx) error { put("bad")(tx); tx.Commit(); return nil }, "ended by the function"},
		{"COMMIT", func(tx *sql.Tx) error { put("bad")(tx); _, err := tx.Exec("COMMIT"); return err }, "constraint failed"},
		{"ROLLBACK", func(tx *sql.Tx) error { put("bad")(tx); tx.Exec("ROLLBACK"); put("worse")(tx); return nil }, "ended by the function"},
		{"an interrupt", func(tx *sql.Tx) error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			stop := context.AfterFunc(ctx, func() {})
			defer stop()
			// An interrupted INSERT makes SQLite roll back the whole transaction.
			go cancel()
			_, err := tx.ExecContext(ctx, "INSERT INTO cert (serial) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT 'bad' FROM n LIMIT 100000000")
			return err
		}, "context canceled"},
		{"Goexit", func(tx *sql.Tx) error { put("bad")(tx); runtime.Goexit(); return nil }, "Goexit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			db := newDB(t, testConfig(t))
			errs := together(t, db, put("a"), c.bad, put("b"))
			if errs[1] == nil || !strings.Contains(strings.ToLower(errs[1].Error()), strings.ToLower(c.want)) {
				t.Errorf("the bad one got: %v", errs[1])
			}
			want := "a b"
			if c.name == "Goexit" { // nobody is left to go on with the group
				want = ""
				for _, i := range []int{0, 2} {
					if !errors.Is(errs[i], errGoexit) {
						t.Errorf("member %d got: %v", i, errs[i])
					}
				}
			} else {
				must(t, errs[0])
				must(t, errs[2])
			}
			if got := serials(t, db.Reader()); got != want {
				t.Errorf("rows: %q", got)
			}
			// and it goes on
			must(t, db.Write(context.Background(), put("c")))
			if got := serials(t, db.Reader()); got != strings.TrimSpace(want+" c") {
				t.Errorf("rows afterwards: %q", got)
			}
			must(t, db.Close())
		})
	}
}

// The same for one that is alone, which has no savepoint.
func TestAlone(t *testing.T) {
	db := newDB(t, testConfig(t))
	oops := errors.New("oops")
	for name, bad := range map[string]func(*sql.Tx) error{
		"error":       func(tx *sql.Tx) error { put("bad")(tx); return oops },
		"tx.Rollback": func(tx *sql.Tx) error { put("bad")(tx); return tx.Rollback() },
		"tx.Commit":   func(tx *sql.Tx) error { put("bad")(tx); tx.Commit(); return nil },
		"COMMIT":      func(tx *sql.Tx) error { put("bad")(tx); tx.Exec("COMMIT"); return nil },
		"ROLLBACK":    func(tx *sql.Tx) error { put("bad")(tx); tx.Exec("ROLLBACK"); put("worse")(tx); return nil },
	} {
		if err := db.Write(context.Background(), bad); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := serials(t, db.Reader()); got != "" {
			t.Errorf("%s: rows %s", name, got)
		}
	}
	must(t, db.Write(context.Background(), put("good")))
}

func TestWriteContext(t *testing.T) {
	db := newDB(t, testConfig(t))
	release := blockWriter(t, db)
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error, 1)
	go func() { got <- db.Write(ctx, put("never")) }()
	waiting(db, 1)
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := db.Write(ctx, put("never")); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	release()

	// Once begun it is waited for, and the answer is the truth.
	ctx, cancel = context.WithCancel(context.Background())
	err := db.Write(ctx, func(tx *sql.Tx) error {
		cancel()
		return put("yes")(tx)
	})
	must(t, err)
	if got := serials(t, db.Reader()); got != "yes" {
		t.Fatal(got)
	}
	must(t, db.Close())
	if err := db.Write(context.Background(), put("x")); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	must(t, db.Close()) // again
}

// Every connection has automatic checkpoints off; and what happens otherwise.
func TestNoAutomaticCheckpoint(t *testing.T) {
	ctx := context.Background()
	db := newDB(t, testConfig(t))
	reader, err := db.Reader().Conn(ctx)
	must(t, err)
	defer reader.Close()
	for _, c := range []*sql.Conn{db.writer, db.check, reader} {
		n := -1
		must(t, c.QueryRowContext(ctx, "PRAGMA wal_autocheckpoint").Scan(&n))
		if n != 0 {
			t.Fatal(n)
		}
	}
	reader.Close()

	cfg := testConfig(t)
	cfg.rules.autocheckpoint = true
	db = newDB(t, cfg)
	add(t, db, 10)
	// What SQLite has moved into the database file is in no log: that must not go unseen.
	if _, err := db.Roll(ctx); !errors.Is(err, ErrLogLost) {
		t.Fatal(err)
	}
}

// Readers see what is committed, and cannot write. With immutable=1 they do not see the WAL.
func TestReaders(t *testing.T) {
	for _, immutable := range []bool{false, true} {
		cfg := testConfig(t)
		cfg.rules.immutableReaders = immutable
		db := newDB(t, cfg)
		must(t, db.Write(context.Background(), put("a")))
		var n int
		must(t, db.Reader().QueryRow("SELECT count(*) FROM cert").Scan(&n))
		if want := map[bool]int{false: 1, true: 0}[immutable]; n != want {
			t.Errorf("immutable %v: %d rows", immutable, n)
		}
		if _, err := db.Reader().Exec("DELETE FROM cert"); err == nil {
			t.Error("a reader can write")
		}
	}
}
