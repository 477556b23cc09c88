package sqlitelog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// comparePages compares a database file with a dump.
func comparePages(path string, want [][]byte) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(b) != len(want)*4096 {
		return fmt.Errorf("%s: %d bytes, want %d pages", path, len(b), len(want))
	}
	for i, p := range want {
		if !bytes.Equal(p, b[i*4096:(i+1)*4096]) {
			return fmt.Errorf("%s: page %d differs", path, i+1)
		}
	}
	return nil
}

// A copy that begins while a checkpoint is under way needs that generation's log: its
// pages may have been read before they were written.
func TestCopyFirst(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken=%v", broken), func(t *testing.T) {
			ctx := context.Background()
			cfg := testConfig(t)
			cfg.rules.lateFirst = broken
			var ev events
			cfg.Observe = ev.observe
			db := newDB(t, cfg)
			add(t, db, 5)
			_, err := db.Roll(ctx)
			must(t, err)
			add(t, db, 5)
			var c *Copy
			copied := filepath.Join(t.TempDir(), "copy.db")
			ev.set(PhaseCheckpointBegin, func(e Event) {
				ev.set(PhaseCheckpointBegin, nil)
				var err error
				c, err = db.StartCopy(ctx)
				must(t, err)
				saveCopy(t, c, copied)
			})
			_, err = db.Roll(ctx)
			must(t, err)
			add(t, db, 5)
			info, err := c.Finish(ctx)
			must(t, err)
			must(t, c.Close())
			_, err = Replay(ctx, copied, logPaths(t, cfg, info.First, info.Last), 0)
			if broken {
				// The mark in the copy gives it away.
				if !errors.Is(err, ErrLogMissing) {
					t.Fatalf("%+v %v", info, err)
				}
				return
			}
			must(t, err)
			if n := countFile(t, copied); n != 15 || info.First != 2 {
				t.Fatal(n, info)
			}
		})
	}
}

// A copy whose pages were read on both sides of a checkpoint cannot be replayed to less
// than that checkpoint's generation: some pages are already newer.
func TestCopyEarliestTarget(t *testing.T) {
	for _, broken := range []bool{false, true} {
		t.Run(fmt.Sprintf("broken=%v", broken), func(t *testing.T) {
			ctx := context.Background()
			cfg := testConfig(t)
			cfg.rules.earlyTarget = broken
			snaps := map[uint32][][]byte{}
			var db *DB
			cfg.Observe = func(e Event) {
				if e.Phase == PhaseRollPublished {
					snaps[e.Generation] = dump(t, db.Reader())
				}
			}
			db = newDB(t, cfg)
			add(t, db, 40)
			roll := func() {
				_, err := db.Roll(ctx)
				must(t, err)
			}
			roll()
			add(t, db, 5) // generation 2, in which the copy begins
			c, err := db.StartCopy(ctx)
			must(t, err)
			copied := filepath.Join(t.TempDir(), "copy.db")
			f, err := os.Create(copied)
			must(t, err)
			half := c.Size() / 8192 * 4096
			_, err = io.Copy(f, io.NewSectionReader(c, 0, half))
			must(t, err)
			roll()
			// Every row changes: pages everywhere.
			must(t, db.Write(ctx, update))
			roll() // 3
			_, err = io.Copy(f, io.NewSectionReader(c, half, c.Size()-half))
			must(t, err)
			must(t, f.Close())
			must(t, db.Write(ctx, update))
			info, err := c.Finish(ctx)
			must(t, err)
			must(t, c.Close())
			if want := (CopyInfo{First: 2, Last: 4, EarliestTarget: 3}); !broken && info != want {
				t.Fatalf("%+v", info)
			}
			for target := uint32(2); target <= 4; target++ {
				to := filepath.Join(t.TempDir(), "to.db")
				copyFile(t, copied, to)
				_, err := Replay(ctx, to, logPaths(t, cfg, 2, 4), target)
				switch {
				case !broken && target < 3:
					if !errors.Is(err, ErrTarget) {
						t.Errorf("generation %d: %v", target, err)
					}
				case broken && target < 3:
					must(t, err)
					if err := comparePages(to, snaps[target]); err == nil {
						t.Error("nothing is wrong at a target that is too early: this test proves nothing")
					} else {
						t.Log("as expected: ", err)
					}
				default:
					must(t, err)
					if err := comparePages(to, snaps[target]); err != nil {
						t.Errorf("generation %d: %v", target, err)
					}
				}
			}
		})
	}
}

func update(tx *sql.Tx) error {
	_, err := tx.Exec("UPDATE cert SET raw = randomblob(1500)")
	return err
}

// One copy at a time; its size is fixed; nothing can be read after its end.
func TestCopyLife(t *testing.T) {
	ctx := context.Background()
	db := newDB(t, testConfig(t))
	c, err := db.StartCopy(ctx)
	must(t, err)
	if _, err := db.StartCopy(ctx); !errors.Is(err, ErrCopyActive) {
		t.Fatal(err)
	}
	size := c.Size()
	add(t, db, 50)
	_, err = db.Roll(ctx)
	must(t, err)
	b := make([]byte, size+100)
	if n, err := c.ReadAt(b, 0); int64(n) != size || err != io.EOF || c.Size() != size {
		t.Fatal(n, err)
	}
	if n, err := c.ReadAt(b[:10], size); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
	// Where the file became shorter there are zeros.
	c.size += 1 << 20
	tail := bytes.Repeat([]byte{1}, 4096)
	if n, err := c.ReadAt(tail, c.size-4096); n != 4096 || err != nil || !bytes.Equal(tail, make([]byte, 4096)) {
		t.Fatal(n, err)
	}
	_, err = c.Finish(ctx)
	must(t, err)
	if _, err := c.ReadAt(b, 0); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := db.StartCopy(ctx); !errors.Is(err, ErrCopyActive) {
		t.Fatal(err)
	}
	must(t, c.Close())
	must(t, c.Close())
	if _, err := c.Finish(ctx); !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	c, err = db.StartCopy(ctx)
	must(t, err)
	must(t, c.Close())
}
