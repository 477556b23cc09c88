package sqlitelog

import (
	"errors"
	"fmt"
)

// Errors to ask for with errors.Is.
var (
	// ErrLocked: another process, or another DB in this one, has the database open.
	ErrLocked = errors.New("the database is in use")
	// ErrClosed: the DB has been closed.
	ErrClosed = errors.New("the database is closed")
	// ErrLogLost: the open generation's WAL, or another file that the state file
	// knows, is gone, damaged or not the one it was. See Config.AcceptLoss.
	ErrLogLost = errors.New("the log of the open generation is lost")
	// ErrNotFound: there is no closed log of that generation.
	ErrNotFound = errors.New("no such generation")
	// ErrCopyActive: one copy at a time.
	ErrCopyActive = errors.New("a copy of the database is already being taken")

	// ErrLogDamaged: a log's bytes do not have the digest or the checksums they should.
	ErrLogDamaged = errors.New("log damaged")
	// ErrLogTruncated: a log is shorter, or longer, than its header says.
	ErrLogTruncated = errors.New("log has the wrong length")
	// ErrNotLog: not a log at all, or of a later version.
	ErrNotLog = errors.New("not a log file")
	// ErrLogForeign: a log of another database, or of the same before a restore.
	ErrLogForeign = errors.New("log of another database")
	// ErrLogMissing: a generation is missing from a chain.
	ErrLogMissing = errors.New("log missing from the chain")
	// ErrLogOrder: a log does not continue the one before it, or is under another's name.
	ErrLogOrder = errors.New("log does not continue the chain")
	// ErrTarget: the generation asked for is one that the set cannot be replayed to.
	ErrTarget = errors.New("cannot replay to this generation")
	// ErrWALPresent: a database file has a "-wal" beside it and must not be touched.
	ErrWALPresent = errors.New("the database has a WAL beside it")
)

// StateError says why Open refused a database: what is on disk is not what
// the state file says. It is ErrLogLost to errors.Is unless Kind is set to another.
type StateError struct {
	Path string // the file that is wrong
	What string // what is wrong with it
	Hint string // what can be done
	Kind error  // ErrLogLost, nil for files that no flag can make up for
}

func (e *StateError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.What) }

// Unwrap returns e.Kind.
func (e *StateError) Unwrap() error { return e.Kind }

// LogError says which log file is wrong and how.
type LogError struct {
	Path string // the file; empty when CheckLog was given only a reader
	What string // details: frame numbers, digests
	Kind error  // one of the ErrLog… errors
}

func (e *LogError) Error() string {
	s := e.Kind.Error()
	if e.Path != "" {
		s = e.Path + ": " + s
	}
	if e.What != "" {
		s += ": " + e.What
	}
	return s
}

// Unwrap returns e.Kind.
func (e *LogError) Unwrap() error { return e.Kind }
