// Package sqlitelog is SQLite with log generations: a database in WAL mode whose
// write-ahead log is closed every few megabytes, kept as a numbered file, and so
// can be backed up while it is being written, in full or only what is new.
//
// # How it works
//
// SQLite in WAL mode appends whole changed pages to "DATABASE-wal" and moves them
// into the database file at a checkpoint. This package turns automatic checkpoints
// off. To close a generation ([DB.Roll]) it stops the writers, copies the WAL to
// logNNNNN.log, makes that durable, and only then checkpoints, which empties the
// WAL. The closed logs together are every change that the database has ever seen, as
// whole pages; so a copy of the database file taken while all this goes on, however
// torn, followed by the right closed logs in order, is the database again:
//
//	copy, err := db.StartCopy(ctx)   // remembers where the set has to start
//	io.Copy(w, io.NewSectionReader(copy, 0, copy.Size()))
//	info, err := copy.Finish(ctx)    // closes the open generation
//	for g := info.First; g <= info.Last; g++ {
//		f, size, err := db.OpenLog(g)
//		...
//	}
//
// and on the other side
//
//	Replay(ctx, "copy.db", logs, 0)
//	IntegrityCheck(ctx, "copy.db")
//	Adopt(ctx, cfg, through, previous)  // if it is to be written to again
//
// # What ties the pieces together
//
// SQLite itself would take any WAL: its frames have checksums but no identity, and it
// silently stops at the first bad one. Here each log has a [Header] with the database's
// [Signature], the generation, a digest of its bytes and a digest of the header before,
// which in turn covers the bytes before. The first commit of every generation also
// writes signature, generation and previous digest into a table of one row, so that
// even a bare "-wal" file salvaged from a dead machine can be placed in the chain
// ([Salvage]). A state file remembers which generation is open and which WAL belongs
// to it; it is compared before SQLite sees any file ([Open]).
//
// The package knows nothing of what the tables mean.
package sqlitelog
