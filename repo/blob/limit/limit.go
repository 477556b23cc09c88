// Package limit bounds how many bytes a second go to and from a blob.Store, so that a
// backup leaves room on the line for others.
//
// An object is sent or fetched at once, at the line's speed, and the next one waits
// for it: the bound holds for the mean over a few objects, and for all goroutines
// together.
package limit

import (
	"context"
	"sync"
	"time"

	"github.com/certkeep/certkeep/internal/pause"
	"github.com/certkeep/certkeep/repo/blob"
)

// Options says how much.
type Options struct {
	// Up and Down are bytes a second for what is put and what is got. Zero is no
	// limit.
	Up, Down int64
	// Now and Sleep are the clock; a test sets them. Sleep returns the context's error
	// if that ends first.
	Now   func() time.Time
	Sleep func(ctx context.Context, d time.Duration) error
}

// New wraps s.
func New(s blob.Store, o Options) blob.Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = pause.For
	}
	return &store{s, &bucket{o: o, rate: o.Up}, &bucket{o: o, rate: o.Down}}
}

type store struct {
	blob.Store
	up, down *bucket
}

func (s *store) Unwrap() blob.Store { return s.Store }

func (s *store) Put(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Info, error) {
	if err := s.up.take(ctx, int64(len(data))); err != nil {
		return blob.Info{}, err
	}
	return s.Store.Put(ctx, key, data, o)
}

func (s *store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	ahead := max(0, min(n, blob.MaxSize))
	if err := s.down.take(ctx, ahead); err != nil {
		return nil, err
	}
	b, err := s.Store.Get(ctx, key, off, n)
	// What was not known before, or did not come, counts for the next one.
	s.down.charge(int64(len(b)) - ahead)
	return b, err
}

// bucket hands out the line: whoever takes it pays for it by the time until the next
// one may.
type bucket struct {
	o    Options
	rate int64

	mu   sync.Mutex
	next time.Time // when the line is free again
}

func (b *bucket) take(ctx context.Context, n int64) error {
	if b.rate <= 0 {
		return ctx.Err()
	}
	b.mu.Lock()
	now := b.o.Now()
	if b.next.Before(now) {
		b.next = now
	}
	wait := b.next.Sub(now)
	b.next = b.next.Add(b.cost(n))
	b.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	err := b.o.Sleep(ctx, wait)
	if err != nil {
		b.charge(-n)
	}
	return err
}

// charge counts n bytes more, or gives them back.
func (b *bucket) charge(n int64) {
	if b.rate <= 0 || n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.o.Now(); n > 0 && b.next.Before(now) {
		b.next = now
	}
	b.next = b.next.Add(b.cost(n))
}

// cost in floating point: bytes times nanoseconds overflow 63 bits.
func (b *bucket) cost(n int64) time.Duration {
	return time.Duration(float64(n) / float64(b.rate) * float64(time.Second))
}
