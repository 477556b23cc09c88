package backup

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// Those who read stay side by side, whoever ends early, and all come to the end.
func TestPace(t *testing.T) {
	const end = 16 * abreast
	p := newPace()
	walkers := []*walker{p.join(), p.join(), p.join(), p.join()}
	var going sync.WaitGroup
	for n, w := range walkers {
		going.Go(func() {
			defer w.leave()
			r := rand.New(rand.NewPCG(uint64(n), 1))
			upTo := int64(end)
			if n == 0 {
				upTo = end / 3 // this one ends early
			}
			for at := int64(0); at < upTo; at += 1 + r.Int64N(abreast/2) {
				if err := w.reach(t.Context(), at); err != nil {
					t.Error(err)
					return
				}
				p.mu.Lock()
				if last := p.last(); at > last+abreast {
					t.Errorf("one is at %d, and another at %d", at, last)
				}
				p.mu.Unlock()
			}
		})
	}
	going.Wait()
	if len(p.at) > 0 {
		t.Errorf("%d are still waited for", len(p.at))
	}
}

// Who waits for another goes on when that one leaves, or when its own context ends.
func TestPaceWaits(t *testing.T) {
	p := newPace()
	first, last := p.join(), p.join()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.reach(ctx, abreast); err != nil {
		t.Errorf("%v, though nobody is to be waited for", err)
	}
	if err := first.reach(ctx, abreast+1); !errors.Is(err, context.Canceled) {
		t.Errorf("it did not wait: %v", err)
	}
	done := make(chan error)
	go func() { done <- first.reach(t.Context(), 3*abreast) }()
	last.leave()
	if err := <-done; err != nil {
		t.Error(err)
	}
	last.leave()
	if err := last.reach(ctx, 100*abreast); err != nil {
		t.Errorf("it has left, and waits: %v", err)
	}
}

// Several may read for one walker, as those who check pages do: who waits goes on when another has come to the end.
func TestPaceLeftMeanwhile(t *testing.T) {
	p := newPace()
	slow, w := p.join(), p.join()
	waits := make(chan error)
	go func() { waits <- w.reach(t.Context(), 3*abreast) }()
	for { // until it is there, and waits
		p.mu.Lock()
		at := p.at[w]
		p.mu.Unlock()
		if at > 0 {
			break
		}
		runtime.Gosched()
	}
	w.leave()
	slow.leave()
	if err := <-waits; err != nil {
		t.Error(err)
	}
}

// sized is an open file of zeros.
type sized struct{ size int64 }

func (f sized) Size() int64            { return f.size }
func (sized) Read([]byte) (int, error) { return 0, errors.New("not in order") }
func (sized) Close() error             { return nil }
func (f sized) ReadAt(b []byte, off int64) (int, error) {
	return int(min(int64(len(b)), f.size-off)), nil
}

// A file is read in order beside others; what is looked at elsewhere, as a trailer is first, is not waited for.
func TestPaced(t *testing.T) {
	const size = 4 * abreast
	p := newPace()
	other, w := p.join(), p.join()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // whoever would wait fails
	r := &paced{ReadAtCloser: sized{size}, ctx: ctx, w: w}
	b := make([]byte, elsewhere/2)
	read := func(off int64) error {
		_, err := r.ReadAt(b, off)
		return err
	}
	if err := read(size - 100); err != nil {
		t.Errorf("the end was waited for: %v", err)
	}
	for at := int64(0); at <= abreast; at += int64(len(b)) {
		if err := read(at); err != nil {
			t.Errorf("at %d: %v", at, err)
		}
	}
	if err := read(abreast + int64(len(b))); !errors.Is(err, context.Canceled) {
		t.Errorf("it went on alone: %v", err)
	}
	if err := other.reach(ctx, abreast); err != nil {
		t.Error(err)
	}
	for at := int64(abreast); at < size; at += int64(len(b)) {
		if err := other.reach(ctx, at); err != nil {
			t.Error(err)
		}
		if err := read(at); err != nil {
			t.Errorf("at %d: %v", at, err)
		}
	}
	if err := other.reach(ctx, 3*size); err != nil {
		t.Errorf("who has come to the end is still waited for: %v", err)
	}
}
