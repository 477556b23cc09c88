package sqlitelog

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Adopt makes a replayed database file live: a new signature, generation through+1 open, a
// new state file in place of any old one. previous is the Sum of the last log replayed, and
// only kept for the record. There must be no WAL beside the database (ErrWALPresent), and no
// log in LogDir whose number the database will need again; logs up to through may still be
// there and are then not seen as its own. Adopt can be run again after an interruption.
func Adopt(ctx context.Context, cfg Config, through uint32, previous [32]byte) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if through >= MaxGeneration {
		return fmt.Errorf("adopt %s: there is no generation after %d", cfg.Database, through)
	}
	for _, dir := range []string{cfg.LogDir, cfg.StateDir} {
		if err := cfg.FS.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	lock, err := acquire(cfg)
	if err != nil {
		return err
	}
	return errors.Join(adopt(ctx, cfg, through, previous), lock.release())
}

func adopt(ctx context.Context, cfg Config, through uint32, previous [32]byte) error {
	if fi, err := os.Lstat(cfg.wal()); err == nil && fi.Size() > 0 {
		return fmt.Errorf("%s: %w", cfg.Database, ErrWALPresent)
	} else if err != nil && !os.IsNotExist(err) {
		return err
	}
	logs, err := listLogs(cfg)
	if err != nil {
		return err
	}
	for _, l := range logs {
		if l.Generation > through {
			return fmt.Errorf("%s: a log that the restored database would have to overwrite; move it away", l.Path)
		}
	}
	st := state{Signature: newSignature(), Open: through + 1, Checkpointed: through, Previous: previous, MarkPage: 2}
	if st.PageSize, err = readPageSize(cfg.Database); err != nil {
		return err
	}
	m, err := fileMark(cfg.Database, st.MarkPage, st.PageSize)
	if err != nil {
		return fmt.Errorf("%s: %w", cfg.Database, err)
	}
	st.Adopt = &adoptState{m.signature, m.generation, m.previous}
	if err := removePartials(cfg); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := writeState(cfg, st); err != nil {
		return err
	}
	return finishAdopt(cfg, &st)
}

// finishAdopt gives the database file the mark that the state file wants it to have. The
// state file comes first and says what mark there was, so that this can be repeated, and so
// that no other file is ever given our mark.
func finishAdopt(cfg Config, st *state) error {
	if st.Adopt == nil {
		return nil
	}
	f, err := os.OpenFile(cfg.Database, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	was := mark{st.Adopt.Signature, st.Adopt.Generation, st.Adopt.Previous}
	is := mark{st.Signature, st.Checkpointed, st.Previous}
	m, err := readMark(f, st.MarkPage, st.PageSize)
	switch {
	case err != nil || m != was && m != is:
		err = &StateError{Path: cfg.Database, What: "it is not the database that was being adopted",
			Hint: "put the right file back, or restore the database from a backup"}
	case m == was:
		err = writeMark(f, st.MarkPage, st.PageSize, is)
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	st.Adopt = nil
	return writeState(cfg, *st)
}

// readPageSize reads the page size out of a database file's header.
func readPageSize(path string) (uint32, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	b := make([]byte, 100)
	_, err = f.ReadAt(b, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("%s: %w", path, noEOF(err))
	}
	n := uint32(binary.BigEndian.Uint16(b[16:]))
	if n == 1 {
		n = maxPageSize
	}
	if !bytes.HasPrefix(b, []byte("SQLite format 3\x00")) || !validPageSize(n) {
		return 0, fmt.Errorf("%s: not an SQLite database", path)
	}
	return n, nil
}

// IntegrityCheck runs SQLite's integrity_check on a database file that is not open
// elsewhere, without writing anything, also no -shm. It refuses a file with a WAL beside it
// (ErrWALPresent) unless that is empty, because it would not look into the WAL.
func IntegrityCheck(ctx context.Context, path string) error {
	if fi, err := os.Lstat(path + "-wal"); err == nil && fi.Size() > 0 {
		return fmt.Errorf("%s: %w", path, ErrWALPresent)
	}
	return integrityCheck(ctx, path)
}

func integrityCheck(ctx context.Context, path string) (err error) {
	if _, err := readPageSize(path); err != nil {
		return err
	}
	name, err := dsn(path, "ro", "immutable=1", "_query_only=1")
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, "PRAGMA integrity_check(20)")
	if err != nil {
		return fmt.Errorf("%s: integrity check: %w", path, err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return fmt.Errorf("%s: integrity check: %w", path, err)
		}
		if s != "ok" {
			found = append(found, s)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: integrity check: %w", path, err)
	}
	if len(found) > 0 {
		return fmt.Errorf("%s: integrity check: %s", filepath.Base(path), strings.Join(found, "; "))
	}
	return nil
}
