package sqlitelog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"

	"modernc.org/sqlite"
)

func init() {
	// With POSIX locks, closing any descriptor of the database file drops SQLite's own
	// locks on it, and a second program may then delete the live WAL. OFD locks (Linux)
	// do not have this flaw. The setting is for the whole process and only possible
	// before SQLite takes its first lock, hence in init. An error means another
	// operating system, or that the user of this package decided before us: then the
	// copy's descriptor stays open instead (see copySource).
	_, _ = sqlite.OFDLocking(true)
}

// dsn makes a SQLite URI of a path. mode is "ro", "rw" or "rwc".
func dsn(path, mode string, params ...string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	abs = filepath.ToSlash(abs)
	if !strings.HasPrefix(abs, "/") {
		abs = "/" + abs // C:/dir becomes file:///C:/dir
	}
	u := url.URL{Scheme: "file", Path: abs}
	q := url.Values{"mode": {mode}}
	for _, p := range params {
		k, v, _ := strings.Cut(p, "=")
		q.Add(k, v)
	}
	return u.String() + "?" + q.Encode(), nil
}

// pragmas of every connection. wal_autocheckpoint: a checkpoint that Roll does not know of
// would move pages into the database file, and then let the WAL be overwritten, before any
// log has them.
func pragmas(rules rules, more ...string) []string {
	p := []string{"_pragma=wal_autocheckpoint(0)", "_pragma=temp_store(MEMORY)"}
	if rules.autocheckpoint {
		p[0] = "_pragma=wal_autocheckpoint(1)"
	}
	if runtime.GOOS == "darwin" {
		// fsync there does not reach the disk
		p = append(p, "_pragma=fullfsync(1)", "_pragma=checkpoint_fullfsync(1)")
	}
	return append(p, more...)
}

// openWriter opens a pool of one connection, and that connection.
func openWriter(ctx context.Context, cfg Config, mode string, params ...string) (*sql.DB, *sql.Conn, error) {
	name, err := dsn(cfg.Database, mode, append(pragmas(cfg.rules, params...), "_txlock=immediate", "_defensive=1")...)
	if err != nil {
		return nil, nil, err
	}
	pool, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, nil, err
	}
	pool.SetMaxOpenConns(1)
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, pool.Close())
	}
	return pool, conn, nil
}

// commitParams are for the connection that commits. FULL: each commit is synced before
// it is acknowledged. Waiting for locks is only ever for strangers, since all writing here
// happens under one gate.
func commitParams() []string {
	return []string{"_pragma=busy_timeout(5000)", "_pragma=synchronous(FULL)", "_pragma=cache_size(-16384)"}
}

// checkpointParams are for the connection that checkpoints. It does so with writers stopped,
// so it waits for nothing: not for a reader, and not for the disk. What it moves into the
// database file is in a published log that is on disk; DB.settle syncs the database file
// when writers go on, and until then that log counts as needed.
func checkpointParams(rules rules) []string {
	busy := 0
	if rules.waitForReaders {
		busy = 3600_000
	}
	return []string{fmt.Sprintf("_pragma=busy_timeout(%d)", busy), "_pragma=synchronous(OFF)"}
}

// openReaders opens the read-only pool. mode=ro and not immutable=1, which would ignore
// the WAL and so everything since the last checkpoint.
func openReaders(cfg Config) (*sql.DB, error) {
	name, err := dsn(cfg.Database, "ro", append(pragmas(cfg.rules,
		"_pragma=busy_timeout(5000)", "_pragma=cache_size(-4096)"), "_query_only=1")...)
	if err != nil {
		return nil, err
	}
	if cfg.rules.immutableReaders {
		name += "&immutable=1"
	}
	pool, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(cfg.MaxReaders)
	pool.SetMaxIdleConns(cfg.MaxReaders)
	return pool, nil
}

// raw calls fn with the driver's connection.
func raw[T any](c *sql.Conn, fn func(T) error) error {
	return c.Raw(func(dc any) error {
		t, ok := dc.(T)
		if !ok {
			return fmt.Errorf("sqlite driver: %w", driver.ErrSkip)
		}
		return fn(t)
	})
}

// persistWAL keeps SQLite from deleting the WAL when the last connection is closed. Close
// rolls first, so there is nothing in it; but if that failed, on a full disk say, the
// WAL is the only log of what was acknowledged.
func persistWAL(c *sql.Conn) error {
	return raw(c, func(fc sqlite.FileControl) error {
		_, err := fc.FileControlPersistWAL("main", 1)
		return err
	})
}

// guardCommits makes every commit on c fail unless allow says so at that moment. Without it
// a statement run after SQLite had given up the transaction by itself (disk full, interrupt),
// or a COMMIT slipped into fn, would commit on its own.
func guardCommits(c *sql.Conn, allow func() bool) error {
	return raw(c, func(h sqlite.HookRegisterer) error {
		h.RegisterCommitHook(func() int32 {
			if allow() {
				return 0
			}
			return 1
		})
		return nil
	})
}

// checkpoint runs PRAGMA wal_checkpoint. log is the number of frames in the WAL, done how
// many of them are in the database file; busy, that the mode could not be carried out in full.
func checkpoint(ctx context.Context, c *sql.Conn, mode string) (busy bool, log, done uint32, err error) {
	var b, l, d int64
	err = c.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&b, &l, &d)
	return b != 0, uint32(max(l, 0)), uint32(max(d, 0)), err
}
