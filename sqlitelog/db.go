package sqlitelog

import (
	"context"
	"database/sql"
	"os"
	"time"
)

// DefaultGenerationSize is used when Config.GenerationSize is 0.
const DefaultGenerationSize = 8 << 20

// DB is an open database. Its methods may be called from any goroutine.
type DB struct{}

// Create makes a new database from a schema (SQL statements), with a new signature
// and generation 1 open. The database must not exist; it is there whole or not at all.
// The schema must not change page_size, journal_mode or auto_vacuum.
func Create(ctx context.Context, cfg Config, schema string) error { panic("not written yet") }

// Open opens a database made by Create or Adopt, finishing whatever the last process
// was in the middle of. It compares the state file with the WAL, the logs and the
// database file before SQLite sees any of them; if they do not belong together it returns
// a *StateError and changes nothing. ErrLocked if it is open elsewhere.
func Open(ctx context.Context, cfg Config) (*DB, error) { panic("not written yet") }

// Write runs fn in a transaction and returns nil only when that is committed and
// on disk. Calls that arrive together share one commit; fn has a savepoint of its
// own, and if it returns an error its changes alone are undone and the error returned.
//
// fn runs in another goroutine. It must not call tx.Commit or tx.Rollback, and it
// may be run a second time, if SQLite gave up the shared transaction because of another's
// statement: it should set its results anew each time. A panic in fn comes out of Write.
// Once fn has begun, the end of ctx does not end the wait for its outcome.
func (db *DB) Write(ctx context.Context, fn func(tx *sql.Tx) error) error { panic("not written yet") }

// Reader is a pool of read-only connections. It must not be closed by the caller, and
// works until Close. A long read makes the WAL longer but does not stop writers.
func (db *DB) Reader() *sql.DB { panic("not written yet") }

// Roll closes the open generation and returns its number. An empty one is closed as well,
// with only its first commit in it.
func (db *DB) Roll(ctx context.Context) (generation uint32, err error) { panic("not written yet") }

// Close closes the open generation if anything was written to it, then the database.
func (db *DB) Close() error { panic("not written yet") }

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
	// DatabaseSize in bytes, including pages that are still only in the WAL.
	DatabaseSize int64
	// LossAccepted is when Config.AcceptLoss last took effect; zero if never since
	// the signature was made. LossAside is where the foreign WAL was put, if there was one.
	LossAccepted time.Time
	LossAside    string
}

// Status returns the present state.
func (db *DB) Status() Status { panic("not written yet") }

// LogFile is a closed generation on disk.
type LogFile struct {
	Generation uint32
	Path       string
	Size       int64
	Header     Header
}

// Logs lists the closed generations on disk, ascending. A file whose header cannot be
// read, or that bears another's name, is an error (*LogError), but the others are
// still returned.
func (db *DB) Logs() ([]LogFile, error) { panic("not written yet") }

// OpenLog opens a closed generation for reading and returns its size. ErrNotFound if it
// is not (or no longer) there.
func (db *DB) OpenLog(generation uint32) (*os.File, int64, error) { panic("not written yet") }

// Truncate moves closed generations up to and including through into asideDir (which it
// makes), oldest first, and returns those it really moved, also with an error. It never
// moves the open generation, one that is not yet wholly in the database file, or one
// that a Copy still needs.
func (db *DB) Truncate(ctx context.Context, through uint32, asideDir string) ([]uint32, error) {
	panic("not written yet")
}
