package ese

import (
	"errors"
	"fmt"
)

// Errors of files and what is in them. All are wrapped with what and where.
var (
	// ErrNotLog says that a file is no log, or of a version that is not known.
	ErrNotLog = errors.New("not an ESE log")

	// ErrNotDatabase says that a file is no ESE database.
	ErrNotDatabase = errors.New("not an ESE database")

	// ErrNotCheckpoint says that a file is no checkpoint.
	ErrNotCheckpoint = errors.New("not an ESE checkpoint")

	// ErrVersion says that a database is of a format that is not known.
	ErrVersion = errors.New("unknown version of the database format")

	// ErrChecksum says that something was changed since it was written
	// (JET_errReadVerifyFailure, -1018; of logs JET_errLogReadVerifyFailure, -612).
	ErrChecksum = errors.New("wrong checksum")

	// ErrSignature says that two logs are not of the same log stream
	// (JET_errBadLogSignature, -530).
	ErrSignature = errors.New("another database's log")

	// ErrSequence says that a log does not follow the one before it
	// (JET_errMissingPreviousLogFile, -509).
	ErrSequence = errors.New("log does not follow the one before it")

	// ErrLogSums says that a log is not the one that the next was written after
	// (JET_errLogSequenceChecksumMismatch, -590).
	ErrLogSums = errors.New("log is not the one that its successor was written after")

	// ErrCorrupt says that something cannot be what the engine wrote, although its
	// checksum may be right (JET_errDatabaseCorrupted, -1206).
	ErrCorrupt = errors.New("damaged structure")

	// ErrTrailer says that the last page of a streaming backup is missing, or not
	// of this database (JET_errBadPatchPage, -535).
	ErrTrailer = errors.New("no trailer of a backup")

	// ErrUnsupported says that a value is stored in a way that this package does
	// not read: compressed by another method, or encrypted.
	ErrUnsupported = errors.New("not supported")

	// ErrNoTable and ErrNoColumn say that there is none of that name.
	ErrNoTable  = errors.New("no such table")
	ErrNoColumn = errors.New("no such column")

	// ErrNoLongValue says that a row refers to a long value that is not there. In a
	// copy whose logs are not replayed, it may stand in those.
	ErrNoLongValue = errors.New("no such long value")

	// ErrType says that a column is not of the type that was asked for.
	ErrType = errors.New("column of another type")
)

// PageError is an error of a page.
type PageError struct {
	Page   uint32
	Offset int64 // of the page in the file, in bytes
	Err    error
}

func (e *PageError) Error() string {
	return fmt.Sprintf("page %d at offset %d: %v", e.Page, e.Offset, e.Err)
}
func (e *PageError) Unwrap() error { return e.Err }

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrUnsupported)
}
