package sqlitelog

import (
	"context"
	"io"
	"time"
)

// CheckLog reads a whole log: header, digest, every frame up to the closing commit, and
// that the row which the first commit wrote names this database, generation and
// predecessor. Errors are *LogError without a path.
func CheckLog(ctx context.Context, r io.ReaderAt, size int64) (Header, error) {
	panic("not written yet")
}

// CheckChain checks that headers, in this order, are one line of logs: one signature,
// no generation missing, each naming the Sum of the one before. The Previous of the
// first is not looked at.
func CheckChain(headers []Header) error { panic("not written yet") }

// Replayed is what Replay did.
type Replayed struct {
	Signature    Signature
	First, Last  uint32    // generations replayed
	Sum          [32]byte  // of the last header: what Adopt wants as previous
	Closed       time.Time // when the last was closed
	Frames       int64     // read
	Pages        int64     // written
	DatabaseSize int64     // bytes, afterwards
	Salvaged     bool      // the last log came from Salvage
}

// Replay brings a copy of a database forward: it writes the pages in logs, files in
// ascending order, into dst, up to and including generation through (0: all). All logs
// are checked whole, and that they continue each other and the copy, before a byte is
// changed; on an error from these checks dst is as it was. After an interruption it can
// simply be run again. dst must have no "-wal" beside it (ErrWALPresent).
func Replay(ctx context.Context, dst string, logs []string, through uint32) (Replayed, error) {
	panic("not written yet")
}

// Adopt makes a replayed database file live: a new signature, generation through+1 open, a
// new state file. previous is the Sum of the last log replayed. The files of cfg's
// LogDir must have been moved away before; Adopt refuses if it holds any log. It can be
// run again after an interruption.
func Adopt(ctx context.Context, cfg Config, through uint32, previous [32]byte) error {
	panic("not written yet")
}

// IntegrityCheck runs SQLite's integrity_check on a database file that has no WAL and is
// not open elsewhere, without writing anything.
func IntegrityCheck(ctx context.Context, path string) error { panic("not written yet") }

// Salvaged is what Salvage found.
type Salvaged struct {
	Header Header
	// Frames that are committed, and frames or parts of frames after the last commit,
	// which belong to a transaction that was never acknowledged.
	Frames, TornFrames uint32
	// TornBytes is the length of what follows the last commit.
	TornBytes int64
	// Through is the generation that was open when the WAL was written. It is
	// larger than Header.Generation when checkpoints had been busy, so that the WAL also
	// holds what the logs in between did.
	Through uint32
}

// Salvage turns the bare "-wal" of a dead database into out, a log that Replay takes
// after the log of header previous. The WAL must be the one that continued it: the row
// that its first commit wrote says so, else ErrLogForeign or ErrLogOrder. It is used up
// to its last whole commit; a torn tail is normal and reported.
func Salvage(ctx context.Context, wal string, previous Header, out string) (Salvaged, error) {
	panic("not written yet")
}
