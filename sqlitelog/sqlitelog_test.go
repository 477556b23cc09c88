package sqlitelog

import (
	"context"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"testing"
)

const testSchema = `
CREATE TABLE cert (id INTEGER PRIMARY KEY, serial TEXT NOT NULL, raw BLOB);
CREATE INDEX cert_serial ON cert (serial);
`

func testConfig(t testing.TB) Config {
	dir := t.TempDir()
	return Config{
		Database: filepath.Join(dir, "db", "ca.db"),
		LogDir:   filepath.Join(dir, "log"),
		StateDir: filepath.Join(dir, "state"),
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newDB makes a database in cfg and opens it.
func newDB(t testing.TB, cfg Config) *DB {
	t.Helper()
	must(t, Create(context.Background(), cfg, testSchema))
	return openDB(t, cfg)
}

func openDB(t testing.TB, cfg Config) *DB {
	t.Helper()
	db, err := Open(context.Background(), cfg)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// add inserts n rows of some size.
func add(t testing.TB, db *DB, n int) {
	t.Helper()
	for range n {
		must(t, db.Write(context.Background(), insert))
	}
}

func insert(tx *sql.Tx) error {
	_, err := tx.Exec("INSERT INTO cert (serial, raw) VALUES (hex(randomblob(16)), randomblob(1500))")
	return err
}

func count(t testing.TB, db *sql.DB) (n int) {
	t.Helper()
	must(t, db.QueryRow("SELECT count(*) FROM cert").Scan(&n))
	return n
}

// countFile counts the rows of a database file that has no WAL.
func countFile(t testing.TB, path string) int {
	t.Helper()
	name, err := dsn(path, "ro", "immutable=1")
	must(t, err)
	db, err := sql.Open("sqlite", name)
	must(t, err)
	defer db.Close()
	return count(t, db)
}

// saveCopy reads a copy into a file.
func saveCopy(t testing.TB, c *Copy, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	_, err = io.Copy(f, io.NewSectionReader(c, 0, c.Size()))
	must(t, err)
	must(t, f.Close())
}

func logPaths(t testing.TB, cfg Config, first, last uint32) (paths []string) {
	for g := first; g <= last; g++ {
		paths = append(paths, filepath.Join(cfg.LogDir, LogName(g)))
	}
	return paths
}

func TestRoundTrip(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	db := newDB(t, cfg)
	add(t, db, 20)
	if g, err := db.Roll(ctx); g != 1 || err != nil {
		t.Fatal(g, err)
	}
	add(t, db, 20)
	c, err := db.StartCopy(ctx)
	must(t, err)
	copied := filepath.Join(t.TempDir(), "copy.db")
	saveCopy(t, c, copied)
	add(t, db, 20)
	info, err := c.Finish(ctx)
	must(t, err)
	must(t, c.Close())
	if info != (CopyInfo{First: 2, Last: 2, EarliestTarget: 2}) {
		t.Fatal(info)
	}
	add(t, db, 20)
	if n := count(t, db.Reader()); n != 80 {
		t.Fatal(n)
	}
	must(t, db.Close())

	res, err := Replay(ctx, copied, logPaths(t, cfg, 2, 2), 0)
	must(t, err)
	if n := countFile(t, copied); n != 60 {
		t.Fatal(n, res)
	}
	res, err = Replay(ctx, copied, logPaths(t, cfg, 2, 3), 0)
	must(t, err)
	must(t, IntegrityCheck(ctx, copied))
	if n := countFile(t, copied); n != 80 {
		t.Fatal(n, res)
	}

	db = openDB(t, cfg)
	if n := count(t, db.Reader()); n != 80 {
		t.Fatal(n)
	}
	add(t, db, 1)
	t.Logf("%+v", db.Status())
}
