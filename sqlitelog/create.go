package sqlitelog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/certkeep/certkeep/internal/durable"
)

// newSuffix ends the name of a database that Create has not finished.
const newSuffix = ".new"

// Create makes a new database from a schema (SQL statements), with a new signature
// and generation 1 open. The database must not exist; it is there whole or not at all,
// and an interrupted Create can be run again. The schema must not change page_size,
// journal_mode or auto_vacuum.
func Create(ctx context.Context, cfg Config, schema string) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(cfg.Database), cfg.LogDir, cfg.StateDir} {
		if err := cfg.FS.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	lock, err := acquire(cfg)
	if err != nil {
		return err
	}
	defer lock.release()

	if _, err := os.Lstat(cfg.Database); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s: %w", cfg.Database, fs.ErrExist), err)
	}
	// The state file is written before the database gets its name, so one may be left
	// of an earlier try; but not one of a database that was in use.
	switch st, err := readState(cfg); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("%s: %w", cfg.statePath(), err)
	case st.Open != 1 || st.WAL != nil:
		return &StateError{Path: cfg.Database, What: "is missing, but its state file shows that it was in use",
			Hint: "restore it from a backup, or remove " + cfg.statePath() + " to begin anew"}
	}
	logs, err := listLogs(cfg)
	if err != nil {
		return err
	}
	if len(logs) > 0 {
		return fmt.Errorf("%s: %w: logs of an earlier database", cfg.LogDir, fs.ErrExist)
	}

	st := state{Signature: newSignature(), Open: 1}
	tmp := cfg.Database + newSuffix
	remove := func() error {
		var errs []error
		for _, s := range []string{"", "-wal", "-shm", "-journal"} {
			if err := os.Remove(tmp + s); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	}
	if err := remove(); err != nil {
		return err
	}
	if err := build(ctx, cfg, tmp, schema, &st); err != nil {
		return errors.Join(fmt.Errorf("create %s: %w", cfg.Database, err), remove())
	}
	if err := syncFile(tmp); err != nil {
		return errors.Join(err, remove())
	}
	if err := writeState(cfg, st); err != nil {
		return errors.Join(err, remove())
	}
	if err := os.Rename(tmp, cfg.Database); err != nil {
		return errors.Join(err, remove())
	}
	return durable.OS.SyncDir(filepath.Dir(cfg.Database))
}

// build makes the database file at tmp.
func build(ctx context.Context, cfg Config, tmp, schema string, st *state) (err error) {
	cfg.Database = tmp
	pool, conn, err := openWriter(ctx, cfg, "rwc", commitParams()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(), pool.Close()) }()
	exec := func(query string, args ...any) {
		if err == nil {
			_, err = conn.ExecContext(ctx, query, args...)
		}
	}
	// The mark comes first, so that it is page 2: a copy reads it early, and then it says
	// how old the oldest page of the copy can be.
	exec(markSchema)
	m := st.mark()
	m.generation = 0
	exec("INSERT INTO "+markTable+" (id, mark) VALUES (1, ?)", m.encode())
	exec(schema)
	exec("PRAGMA journal_mode = WAL")
	if err != nil {
		return err
	}
	return st.readLayout(ctx, conn)
}

// readLayout asks SQLite for what the state file has to know, and refuses what this
// package cannot do.
func (st *state) readLayout(ctx context.Context, conn *sql.Conn) error {
	var journal string
	var vacuum int
	for _, q := range []struct {
		query string
		into  any
	}{
		{"PRAGMA journal_mode", &journal},
		{"PRAGMA auto_vacuum", &vacuum},
		{"PRAGMA page_size", &st.PageSize},
		{"SELECT rootpage FROM sqlite_schema WHERE name = '" + markTable + "'", &st.MarkPage},
	} {
		if err := conn.QueryRowContext(ctx, q.query).Scan(q.into); err != nil {
			return fmt.Errorf("%s: %w", q.query, err)
		}
	}
	if journal != "wal" {
		return fmt.Errorf("the journal mode is %s, not wal", journal)
	}
	if vacuum != 0 {
		return errors.New("auto_vacuum is on, which moves pages that must stay where they are")
	}
	if !validPageSize(st.PageSize) || st.MarkPage < 2 {
		return fmt.Errorf("page size %d, mark in page %d", st.PageSize, st.MarkPage)
	}
	return nil
}

// syncFile makes a file durable that SQLite wrote.
func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
