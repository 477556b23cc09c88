package cadb

import (
	"io"
	"sync/atomic"
)

// readAhead reads a file in blocks, so that pages that follow each other, as those of
// a table do, cost one call of the operating system for a block and not each.
type readAhead struct {
	r      io.ReaderAt
	size   int64
	blocks [aheadBlocks]atomic.Pointer[block]
}

const (
	aheadSize   = 64 << 10 // bytes of a block
	aheadBlocks = 64       // of them are kept
)

// block is not changed after it was read.
type block struct {
	number int64
	b      []byte
}

func newReadAhead(r io.ReaderAt, size int64) *readAhead { return &readAhead{r: r, size: size} }

func (a *readAhead) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 || len(b) > aheadSize || off+int64(len(b)) > a.size {
		return a.r.ReadAt(b, off)
	}
	for n < len(b) {
		at := off + int64(n)
		x, err := a.block(at / aheadSize)
		if err != nil {
			// One bad sector must not take its neighbours along.
			m, err := a.r.ReadAt(b[n:], at)
			return n + m, err
		}
		n += copy(b[n:], x.b[at%aheadSize:])
	}
	return n, nil
}

func (a *readAhead) block(number int64) (*block, error) {
	slot := &a.blocks[number%aheadBlocks]
	if x := slot.Load(); x != nil && x.number == number {
		return x, nil
	}
	x := &block{number, make([]byte, min(aheadSize, a.size-number*aheadSize))}
	if n, err := a.r.ReadAt(x.b, number*aheadSize); n < len(x.b) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	slot.Store(x)
	return x, nil
}
