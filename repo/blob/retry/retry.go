// Package retry repeats what a blob.Store failed at, where that may help. It is the only
// place that does: the Stores try once.
//
// It waits longer from one try to the next, up to a bound, and by chance more or less, so
// that many machines do not come back at the same moment.
package retry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/certkeep/certkeep/internal/pause"
	"github.com/certkeep/certkeep/repo/blob"
)

// Options of New. The zero value is good.
type Options struct {
	// Tries is how often a thing is tried, the first time included; 6 if zero. A listing
	// that goes on counts anew.
	Tries int
	// First is the mean wait before the second try, 250 ms if zero; it doubles each
	// time, up to Most, 15 s if zero.
	First, Most time.Duration
	// Timeout is how long one try of anything but a listing may take; no bound if zero.
	Timeout time.Duration
	// Sleep waits; a test sets it. It returns the context's error if that ends first.
	Sleep func(ctx context.Context, d time.Duration) error
	// Random is in [0, 1); a test sets it.
	Random func() float64
	// Note is told of each failure that is to be repeated.
	Note func(op, key string, err error, wait time.Duration)
}

// Store repeats.
type Store struct {
	blob.Store
	o Options
}

// New wraps s.
func New(s blob.Store, o Options) *Store {
	if o.Tries <= 0 {
		o.Tries = 6
	}
	if o.First <= 0 {
		o.First = 250 * time.Millisecond
	}
	if o.Most <= 0 {
		o.Most = 15 * time.Second
	}
	if o.Sleep == nil {
		o.Sleep = pause.For
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Note == nil {
		o.Note = func(string, string, error, time.Duration) {}
	}
	return &Store{s, o}
}

// Unwrap is what is being repeated.
func (s *Store) Unwrap() blob.Store { return s.Store }

// final are errors that another try would not change.
var final = []error{
	blob.ErrNotFound, blob.ErrExists, blob.ErrTooLarge, blob.ErrShort, blob.ErrReadOnly, blob.ErrUnsupported, blob.ErrDenied, blob.ErrKey,
}

// Worth reports whether an error may go away. A Store that knows has a method for it:
// Retryable() bool.
func Worth(err error) bool {
	for _, f := range final {
		if errors.Is(err, f) {
			return false
		}
	}
	var r interface{ Retryable() bool }
	if errors.As(err, &r) {
		return r.Retryable()
	}
	return err != nil
}

// again waits before the next try, the one after n failures. It returns false, if there is to
// be none, and the error to return.
func (s *Store) again(ctx context.Context, op, key string, n int, err error) (bool, error) {
	if ctx.Err() != nil || !Worth(err) {
		return false, err
	}
	if n >= s.o.Tries {
		return false, fmt.Errorf("%w (tried %d times)", err, n)
	}
	wait := s.o.Most
	if n < 30 {
		wait = min(s.o.Most, s.o.First<<(n-1))
	}
	wait = wait/2 + time.Duration(s.o.Random()*float64(wait))
	s.o.Note(op, key, err, wait)
	if s.o.Sleep(ctx, wait) != nil {
		return false, errors.Join(ctx.Err(), err)
	}
	return true, nil
}

// do tries act until it succeeds or is not worth it.
func (s *Store) do(ctx context.Context, op, key string, act func(ctx context.Context, failed int) error) error {
	for n := 1; ; n++ {
		err := s.once(ctx, n-1, act)
		if err == nil {
			return nil
		}
		if more, err := s.again(ctx, op, key, n, err); !more {
			return err
		}
	}
}

func (s *Store) once(ctx context.Context, failed int, act func(ctx context.Context, failed int) error) error {
	if s.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.o.Timeout)
		defer cancel()
	}
	return act(ctx, failed)
}

// Put is that of blob.Store. A try whose answer was lost may have stored the object: if it is
// there after a failure, with the same content, it is taken for this one.
func (s *Store) Put(ctx context.Context, key string, data []byte, o blob.PutOptions) (i blob.Info, err error) {
	err = s.do(ctx, "put", key, func(ctx context.Context, failed int) (err error) {
		i, err = s.Store.Put(ctx, key, data, o)
		if failed == 0 || !errors.Is(err, blob.ErrExists) {
			return err
		}
		there, e := s.Store.Get(ctx, key, 0, -1)
		switch {
		case e != nil && Worth(e):
			return e // and so the next try is another Put
		case e != nil || !bytes.Equal(there, data):
			return err
		}
		i, e = s.Store.Stat(ctx, key)
		return e
	})
	if err != nil {
		return blob.Info{}, err
	}
	return i, nil
}

// Get is that of blob.Store.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (b []byte, err error) {
	if off < 0 {
		return s.Store.Get(ctx, key, off, n) // an error of the caller's
	}
	err = s.do(ctx, "get", key, func(ctx context.Context, _ int) (err error) {
		b, err = s.Store.Get(ctx, key, off, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Stat is that of blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (i blob.Info, err error) {
	err = s.do(ctx, "stat", key, func(ctx context.Context, _ int) (err error) {
		i, err = s.Store.Stat(ctx, key)
		return err
	})
	return i, err
}

// Delete is that of blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.do(ctx, "delete", key, func(ctx context.Context, _ int) error { return s.Store.Delete(ctx, key) })
}

// List is that of blob.Store. After a failure it lists again from the beginning, and goes on
// after what it has yielded.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		last, failed := "", 0
		for {
			var err error
			for i, e := range s.Store.List(ctx, prefix) {
				if err = e; err != nil {
					break
				}
				if i.Key <= last {
					continue
				}
				last, failed = i.Key, 0
				if !yield(i, nil) {
					return
				}
			}
			if err == nil {
				return
			}
			failed++
			if more, err := s.again(ctx, "list", prefix, failed, err); !more {
				yield(blob.Info{}, err)
				return
			}
		}
	}
}
