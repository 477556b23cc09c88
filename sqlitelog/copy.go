package sqlitelog

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
)

// Copy is a fuzzy copy of the database file: its bytes as they are at the moment of
// reading, while checkpoints go on. It is of use only together with the logs that
// Finish names. It is an io.ReaderAt.
type Copy struct {
	db    *DB
	first uint32
	size  int64

	mu    sync.RWMutex // held for reading by ReadAt
	ended bool
}

// CopyInfo says which logs a copy needs.
type CopyInfo struct {
	// First is the generation the set starts with, Last the one that ends it.
	First, Last uint32
	// EarliestTarget is the least generation to which the copy may be replayed:
	// its pages may already be as of that one.
	EarliestTarget uint32
}

// StartCopy begins a copy. Only one at a time: ErrCopyActive.
func (db *DB) StartCopy(ctx context.Context) (*Copy, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := db.same(); err != nil {
		return nil, err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.copy != nil {
		return nil, ErrCopyActive
	}
	fi, err := db.src.Stat()
	if err != nil {
		return nil, err
	}
	// The pages of a generation whose checkpoint has not finished may be in the file or
	// not, so its log is needed. The size is fixed now; pages that are added later are
	// in the logs as well.
	c := &Copy{db: db, first: db.written + 1, size: fi.Size()}
	if db.cfg.rules.lateFirst {
		c.first = db.st.Open
	}
	db.copy = c
	return c, nil
}

// First is the generation at which the set starts.
func (c *Copy) First() uint32 { return c.first }

// Size is the length of the copy; it does not change while the copy is read.
func (c *Copy) Size() int64 { return c.size }

// ReadAt reads from the database file, until Finish or Close is called. Where the file
// has become shorter than Size it gives zeros.
func (c *Copy) ReadAt(p []byte, off int64) (int, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.ended {
		return 0, os.ErrClosed
	}
	if off < 0 {
		return 0, errors.New("copy: negative offset")
	}
	if off >= c.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > c.size-off {
		p, end = p[:c.size-off], io.EOF
	}
	n, err := c.db.src.ReadAt(p, off)
	if n < len(p) && err == io.EOF {
		clear(p[n:])
		n, err = len(p), nil
	}
	if err == nil {
		err = end
	}
	return n, err
}

// end ends the reading, and waits for reads that are under way.
func (c *Copy) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
}

// Finish ends the reading and closes the open generation, whose header then says where
// the set starts and its earliest target, so that a set without a manifest still knows.
// It may be called again if it failed.
func (c *Copy) Finish(ctx context.Context) (CopyInfo, error) {
	c.end()
	db := c.db
	db.mu.Lock()
	if db.copy != c {
		db.mu.Unlock()
		return CopyInfo{}, os.ErrClosed
	}
	// A page may have been read after the checkpoint of this generation wrote it, so at
	// no earlier one do all pages agree.
	info := CopyInfo{First: c.first, EarliestTarget: max(c.first, db.lastCheckpoint)}
	if db.cfg.rules.earlyTarget {
		info.EarliestTarget = c.first
	}
	db.mu.Unlock()
	var err error
	info.Last, err = db.roll(ctx, func(h *Header) {
		h.CopyFirst, h.EarliestTarget = info.First, info.EarliestTarget
	})
	return info, err
}

// Close ends the copy, finished or not. The logs it needs may be truncated from then on.
func (c *Copy) Close() error {
	c.end()
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	if c.db.copy == c {
		c.db.copy = nil
	}
	return nil
}
