package sqlitelog

import "context"

// Copy is a fuzzy copy of the database file: its bytes as they are at the moment of
// reading, while checkpoints go on. It is of use only together with the logs that
// Finish names. It is an io.ReaderAt.
type Copy struct{}

// CopyInfo says which logs a copy needs.
type CopyInfo struct {
	// First is the generation the set starts with, Last the one that ends it.
	First, Last uint32
	// EarliestTarget is the least generation to which the copy may be replayed:
	// its pages may already be as of that one.
	EarliestTarget uint32
}

// StartCopy begins a copy. Only one at a time: ErrCopyActive.
func (db *DB) StartCopy(ctx context.Context) (*Copy, error) { panic("not written yet") }

// First is the generation at which the set starts.
func (c *Copy) First() uint32 { panic("not written yet") }

// Size is the length of the copy; it does not change while the copy is read.
func (c *Copy) Size() int64 { panic("not written yet") }

// ReadAt reads from the database file. Where the file has become shorter than Size it
// gives zeros.
func (c *Copy) ReadAt(p []byte, off int64) (int, error) { panic("not written yet") }

// Finish ends the reading and closes the open generation, whose header then says where
// the set starts and its earliest target, so that a set without a manifest still knows.
// It may be called again if it failed.
func (c *Copy) Finish(ctx context.Context) (CopyInfo, error) { panic("not written yet") }

// Close ends the copy, finished or not. The logs it needs may be truncated from then on.
func (c *Copy) Close() error { panic("not written yet") }
