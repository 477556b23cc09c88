package sqlitelog

import "context"

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
