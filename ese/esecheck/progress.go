package esecheck

import (
	"io"
	"sync"
)

// countingReader tells the checker how much was read.
type countingReader struct {
	mu sync.Mutex
	c  *checker
	r  io.ReaderAt
}

func (r *countingReader) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.r.ReadAt(b, off)
	if r.c.in.Progress != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.c.progress(int64(n))
	}
	return n, err
}
