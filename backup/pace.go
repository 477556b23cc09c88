package backup

import (
	"context"
	"sync"

	"github.com/certkeep/certkeep/backupset"
)

// pace keeps those who read databases from their beginning to their end side by side: a store that keeps once what sets
// share, and has to open it (package repo), opens it once for all of them, and a disk reads it once.
type pace struct {
	mu    sync.Mutex
	at    map[*walker]int64 // byte that it has come to
	moved chan struct{}     // closed when the last of them may have moved
}

// abreast is how far the first may be ahead of the last, in bytes. It is less than what a store keeps of what it opened.
const abreast = 4 << 20

func newPace() *pace { return &pace{at: map[*walker]int64{}, moved: make(chan struct{})} }

// walker is one of those who read. The others wait for it from the moment that it joins until it leaves, so that whoever
// has joined must go on, and leave, whatever happens.
type walker struct{ p *pace }

func (p *pace) join() *walker {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &walker{p}
	p.at[w] = 0
	return w
}

// leave may be called several times.
func (w *walker) leave() {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	delete(w.p.at, w)
	w.p.wake()
}

// wake lets all look again who is last. p.mu is held.
func (p *pace) wake() {
	close(p.moved)
	p.moved = make(chan struct{})
}

// reach says that a walker has come to a byte, and waits until the last is not too far behind. Places before where it
// is do not count, nor do any after it has left.
func (w *walker) reach(ctx context.Context, to int64) error {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	was, here := p.at[w]
	if !here || to <= was {
		return nil
	}
	last := p.last()
	p.at[w] = to
	if was == last {
		p.wake()
	}
	for here && to > p.last()+abreast {
		moved := p.moved
		p.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
		_, here = p.at[w] // another who reads for it may have come to the end
	}
	return nil
}

// last is where the last of them is, 0 if there is none. p.mu is held.
func (p *pace) last() int64 {
	first, last := true, int64(0)
	for _, at := range p.at {
		if first || at < last {
			first, last = false, at
		}
	}
	return last
}

// paced is a file whose reader at many places goes through it from the beginning to the end, more or less.
type paced struct {
	backupset.ReadAtCloser
	ctx context.Context
	w   *walker

	mu sync.Mutex
	at int64
}

// elsewhere is how far from the one before a place is one that is looked at by the way, in bytes.
const elsewhere = 1 << 20

// ReadAt implements io.ReaderAt.
func (r *paced) ReadAt(b []byte, off int64) (int, error) {
	if r.next(off) {
		if err := r.w.reach(r.ctx, off); err != nil {
			return 0, err
		}
	}
	n, err := r.ReadAtCloser.ReadAt(b, off)
	if off+int64(n) >= r.Size() && r.next(off) {
		r.w.leave()
	}
	return n, err
}

// next reports whether a place is the next, or one of the next.
func (r *paced) next(off int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off > r.at+elsewhere {
		return false
	}
	r.at = max(r.at, off)
	return true
}
