package sqlitelog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultGenerationSize is used when Config.GenerationSize is 0.
const DefaultGenerationSize = 8 << 20

// DB is an open database. Its methods may be called from any goroutine.
type DB struct {
	cfg  Config
	lock *dirLock

	writerPool *sql.DB
	writer     *sql.Conn // all commits; used under gate
	checkPool  *sql.DB
	check      *sql.Conn // checkpoints; used under gate
	readers    *sql.DB
	src        *os.File     // the database file, for copies; see source.go
	sync       func() error // syncs it
	wal        *os.File     // the WAL, for reading

	queue       queue
	allowCommit atomic.Bool
	wakeRoller  chan struct{}
	stop        context.CancelFunc
	done        sync.WaitGroup
	closeOnce   sync.Once
	closeErr    error

	rolling sync.Mutex // one roll at a time; taken before gate
	gate    sync.Mutex // held while a group is committed, and by a roll while writers are stopped
	gated

	settling sync.Mutex // one sync of the database file at a time
	syncErr  error      // it failed once; guarded by settling
	flushing sync.Mutex // one write of the state file at a time; taken before mu
	mu       sync.Mutex // the fields of known
	known
}

// gated is guarded by DB.gate.
type gated struct {
	begun    bool       // the open generation's mark is committed and the state file knows
	unsynced *published // a log that has its name, perhaps not durably
	overlap  uint32     // frames in the WAL that closed logs have: the last checkpoint was busy
	retryAt  int64      // after a failed roll, the WAL's length at which the next is tried
	broken   error      // nothing can be acknowledged any more
}

// known is guarded by DB.mu. Under both mutexes gate is taken first.
type known struct {
	st             state
	dirty          bool   // the state file is older than st
	markFrame      uint32 // of the open generation, if its mark is committed
	lastCheckpoint uint32 // the last generation whose checkpoint began
	written        uint32 // the last one whose checkpoint ended; st.Checkpointed is on disk as well
	walBytes       int64
	databasePages  uint32
	oldest, newest uint32
	copy           *Copy
}

// Open opens a database made by Create or Adopt, finishing whatever the last process
// was in the middle of. It compares the state file with the WAL, the logs and the
// database file before SQLite sees any of them; if they do not belong together it returns
// a *StateError and changes nothing. ErrLocked if it is open elsewhere.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	lock, err := acquire(cfg)
	if err != nil {
		return nil, err
	}
	rec, err := reconcile(ctx, cfg)
	if errors.Is(err, ErrLogLost) && cfg.AcceptLoss {
		rec, err = acceptLoss(ctx, cfg, rec, err)
	}
	if err != nil && !cfg.rules.noStateCheck {
		return nil, errors.Join(err, lock.release())
	}
	db := &DB{cfg: cfg, lock: lock, wakeRoller: make(chan struct{}, 1)}
	db.st = rec.st
	db.lastCheckpoint, db.written = rec.st.Open-1, rec.st.Checkpointed
	for _, l := range rec.logs {
		if l.err == nil && l.Header.Signature == rec.st.Signature {
			if db.oldest == 0 {
				db.oldest = l.Generation
			}
			db.newest = l.Generation
		}
	}
	if err := db.connect(ctx, rec); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", cfg.Database, err), db.disconnect(), lock.release())
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	db.stop = stop
	db.queue.init()
	db.done.Add(2)
	go db.commitLoop()
	go db.rollLoop(run)
	return db, nil
}

// connect lets SQLite see the files.
func (db *DB) connect(ctx context.Context, rec recovered) (err error) {
	if db.writerPool, db.writer, err = openWriter(ctx, db.cfg, "rw", commitParams()...); err != nil {
		return err
	}
	if db.checkPool, db.check, err = openWriter(ctx, db.cfg, "rw", checkpointParams(db.cfg.rules)...); err != nil {
		return err
	}
	for _, c := range []*sql.Conn{db.writer, db.check} {
		if !db.cfg.rules.closeWithoutRoll {
			if err := persistWAL(c); err != nil {
				return err
			}
		}
		var here state
		if err := here.readLayout(ctx, c); err != nil {
			return err
		}
		if here.PageSize != db.st.PageSize || here.MarkPage != db.st.MarkPage {
			return fmt.Errorf("the mark is in page %d of %d bytes, not in %d of %d",
				here.MarkPage, here.PageSize, db.st.MarkPage, db.st.PageSize)
		}
	}
	if err := guardCommits(db.writer, db.allowCommit.Load); err != nil {
		return err
	}
	if err := guardCommits(db.check, func() bool { return false }); err != nil {
		return err
	}
	if db.wal, err = os.Open(db.cfg.wal()); err != nil {
		return err
	}
	if db.src, err = openSource(db.cfg.Database); err != nil {
		return err
	}
	db.sync = db.src.Sync
	frames, err := db.frames(ctx)
	if err != nil {
		return err
	}
	// Our own reading of the WAL and SQLite's must agree before anything is built on it.
	if frames != rec.frames && !db.cfg.rules.noStateCheck {
		return fmt.Errorf("SQLite finds %d committed frames in the WAL, this package %d", frames, rec.frames)
	}
	if db.begun = rec.st.WAL != nil; db.begun {
		db.markFrame, db.overlap = rec.st.WAL.Frame, rec.st.WAL.Frame-1
		db.walBytes = db.walSize(frames)
	}
	if db.readers, err = openReaders(db.cfg); err != nil {
		return err
	}
	return db.readPageCount(ctx)
}

// readPageCount learns how large the database is. Under gate, or before there is any other.
func (db *DB) readPageCount(ctx context.Context) error {
	var n uint32
	if err := db.writer.QueryRowContext(ctx, "PRAGMA page_count").Scan(&n); err != nil {
		return err
	}
	db.mu.Lock()
	db.databasePages = n
	db.mu.Unlock()
	return nil
}

// frames asks SQLite how many committed frames the WAL has. Under gate.
func (db *DB) frames(ctx context.Context) (uint32, error) {
	_, n, _, err := checkpoint(ctx, db.check, "NOOP")
	return n, err
}

func (db *DB) walSize(frames uint32) int64 {
	if frames == 0 {
		return 0
	}
	return walHeader{pageSize: db.st.PageSize}.size(frames)
}

// same checks that SQLite's files are still those under their names. When another program
// has deleted the WAL or replaced the database, SQLite goes on writing to files that
// nobody will ever find again.
func (db *DB) same() error {
	for _, f := range []*os.File{db.wal, db.src} {
		there, err := os.Stat(f.Name())
		if err != nil {
			return &StateError{Path: f.Name(), What: "it was removed while the database was open: " + err.Error(), Hint: hintLoss, Kind: ErrLogLost}
		}
		here, err := f.Stat()
		if err != nil {
			return err
		}
		if !os.SameFile(here, there) {
			return &StateError{Path: f.Name(), What: "it was replaced by another file while the database was open", Hint: hintLoss, Kind: ErrLogLost}
		}
	}
	return nil
}

// Reader is a pool of read-only connections. It must not be closed by the caller, and
// works until Close. A long read makes the WAL longer but does not stop writers.
func (db *DB) Reader() *sql.DB { return db.readers }

// Status is what is known without reading anything.
type Status struct {
	Signature Signature
	// Open is the generation being written.
	Open uint32
	// OpenBytes is the present length of the WAL, as far as it is committed.
	OpenBytes int64
	// Oldest and Newest are the closed generations on disk; 0 when there are none.
	Oldest, Newest uint32
	// CheckpointedThrough is the last generation that is wholly in the database file.
	CheckpointedThrough uint32
	PageSize            uint32
	// DatabaseSize in bytes, including pages that are still only in the WAL, as of
	// the last closing.
	DatabaseSize int64
	// LossAccepted is when Config.AcceptLoss last took effect; zero if never since
	// the signature was made. LossAside is the name, in the database's directory, to
	// which the foreign WAL was renamed, if there was one.
	LossAccepted time.Time
	LossAside    string
}

// Status returns the present state.
func (db *DB) Status() Status {
	db.mu.Lock()
	defer db.mu.Unlock()
	s := Status{
		Signature: db.st.Signature, Open: db.st.Open, OpenBytes: db.walBytes,
		Oldest: db.oldest, Newest: db.newest, CheckpointedThrough: db.st.Checkpointed,
		PageSize: db.st.PageSize, DatabaseSize: int64(db.databasePages) * int64(db.st.PageSize),
		LossAside: db.st.LossAside,
	}
	if db.st.LossAccepted != nil {
		s.LossAccepted = *db.st.LossAccepted
	}
	return s
}

// flush writes the state file if it is older than what is known.
func (db *DB) flush() error {
	db.flushing.Lock()
	defer db.flushing.Unlock()
	db.mu.Lock()
	st, dirty := db.st, db.dirty
	db.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := writeState(db.cfg, st); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	db.mu.Lock()
	if db.st == st { // what it points to is never changed in place
		db.dirty = false
	}
	db.mu.Unlock()
	return nil
}

// settle syncs the database file after a checkpoint, and writes the state file if it is
// older than what is known. A failed sync is final: the system may have dropped the pages
// and would report success the next time. Then the logs since the last good one count as
// needed until the next Open, which replays them.
func (db *DB) settle() error {
	db.settling.Lock()
	defer db.settling.Unlock()
	db.mu.Lock()
	g, stale := db.written, db.written != db.st.Checkpointed
	db.mu.Unlock()
	if stale && db.syncErr == nil {
		if err := db.sync(); err != nil {
			db.syncErr = fmt.Errorf("sync %s: %w", db.cfg.Database, err)
		} else {
			db.mu.Lock()
			db.st.Checkpointed, db.dirty = g, true
			db.mu.Unlock()
		}
	}
	return errors.Join(db.syncErr, db.flush())
}

// Close closes the open generation if anything was written to it, then the database.
// Readers must have ended. If the generation cannot be closed, because the disk is full for
// example, the error says so; the WAL then stays where it is and the next Open goes on with it.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		db.queue.close()
		db.stop()
		db.done.Wait()
		var errs []error
		db.gate.Lock()
		begun := db.begun
		db.gate.Unlock()
		if db.cfg.rules.closeWithoutRoll {
			begun = false
		}
		if begun {
			if _, err := db.roll(context.Background(), nil); err != nil {
				errs = append(errs, fmt.Errorf("closing generation %d: %w", db.Status().Open, err))
			}
		}
		errs = append(errs, db.settle())
		db.mu.Lock()
		empty := db.st.WAL == nil && db.st.Checkpointed == db.st.Open-1
		db.mu.Unlock()
		if err := db.disconnect(); err != nil {
			errs = append(errs, err)
		} else if empty {
			errs = append(errs, db.cfg.removeWAL())
		}
		db.closeErr = errors.Join(append(errs, db.lock.release())...)
	})
	return db.closeErr
}

// disconnect closes whatever is open, readers first.
func (db *DB) disconnect() error {
	var errs []error
	closeAll := func(pool *sql.DB, conn *sql.Conn) {
		if conn != nil {
			errs = append(errs, conn.Close())
		}
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	closeAll(db.readers, nil)
	closeAll(db.checkPool, db.check)
	closeAll(db.writerPool, db.writer)
	if db.wal != nil {
		errs = append(errs, db.wal.Close())
	}
	if db.src != nil {
		errs = append(errs, closeSource(db.src))
	}
	return errors.Join(errs...)
}
