// Package fault has a blob.Store fail, for tests: before an operation, after it, in the
// midst, twice, never, or with a listing of yesterday.
//
//	s := fault.New(mem.New(), fault.At(3, fault.Before), fault.Options{})
//
// What is chosen by [Random] depends on the seed, the operation and the key, and not on how
// goroutines happen to run.
package fault

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/repo/blob"
)

// ErrInjected is the error of a fault.
var ErrInjected = errors.New("injected fault")

// Op is an operation.
type Op int

// The operations of a Store.
const (
	Put Op = iota
	Get
	Stat
	List
	Delete
)

func (o Op) String() string { return [...]string{"put", "get", "stat", "list", "delete"}[o] }

// Act is what happens to an operation.
type Act int

// What can happen to an operation.
const (
	None   Act = iota
	Before     // it fails, and nothing was done
	After      // it was done, and the answer is lost. A listing fails half-way.
	Stall      // it does not return until its context ends; nothing was done
	Torn       // of a Put, a part of the object is there; see Options.Torn. Of a Get, Before
	Twice      // it is done twice; the answer is the first one's
	Stale      // a listing is of an earlier time; others are not touched
)

func (a Act) String() string {
	return [...]string{"nothing", "before", "after", "stall", "torn", "twice", "stale"}[a]
}

// Call is one operation of a Store.
type Call struct {
	N   int // of all the Store's calls, from 1 on
	Nth int // of this operation with this key, from 1 on
	Op  Op
	Key string // of a listing the prefix
	Act Act    // what was chosen
}

func (c Call) String() string { return fmt.Sprintf("%d. %v %s: %v", c.N, c.Op, c.Key, c.Act) }

// Chooser says what happens to a call. It is called before the operation begins, by many
// goroutines, and may wait there for something that a test does.
type Chooser func(Call) Act

// Options of New.
type Options struct {
	// Torn lets a part of an object be seen. Only a Store that breaks its word does that;
	// without it Torn is Before.
	Torn bool
	// Back is how many changes a stale listing is behind; 3 if zero.
	Back int
}

// Store has faults.
type Store struct {
	blob.Store
	choose Chooser
	o      Options

	mu    sync.Mutex
	calls []Call
	nth   map[Call]int
	// changes are what was done through this Store, for stale listings.
	changes []change
}

// change is what a listing said of a key before and after.
type change struct {
	key    string
	before *blob.Info
}

// New wraps s. A nil Chooser only counts.
func New(s blob.Store, choose Chooser, o Options) *Store {
	if o.Back == 0 {
		o.Back = 3
	}
	if choose == nil {
		choose = func(Call) Act { return None }
	}
	return &Store{Store: s, choose: choose, o: o, nth: map[Call]int{}}
}

// Unwrap is the Store without faults.
func (s *Store) Unwrap() blob.Store { return s.Store }

// Calls are all that were made, with what happened to them.
func (s *Store) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count is how many calls of an operation were made.
func (s *Store) Count(o Op) int {
	n := 0
	for _, c := range s.Calls() {
		if c.Op == o {
			n++
		}
	}
	return n
}

// call counts a call and lets the Chooser choose.
func (s *Store) call(o Op, key string) Act {
	s.mu.Lock()
	same := Call{Op: o, Key: key}
	s.nth[same]++
	c := Call{N: len(s.calls) + 1, Nth: s.nth[same], Op: o, Key: key}
	s.calls = append(s.calls, c)
	s.mu.Unlock()
	act := s.choose(c) // without the lock: it may wait
	s.mu.Lock()
	s.calls[c.N-1].Act = act
	s.mu.Unlock()
	return act
}

func failed(o Op, key string, a Act) error {
	return fmt.Errorf("%v %s: %w (%v)", o, key, ErrInjected, a)
}

// run does an operation with a fault; tear, if there is one, does a part of it.
func (s *Store) run(ctx context.Context, o Op, key string, do func() error, tear func()) error {
	act := s.call(o, key)
	switch act {
	case Before, Torn:
		if act == Torn && tear != nil && s.o.Torn {
			tear()
		}
		return failed(o, key, act)
	case Stall:
		if ctx.Done() == nil {
			return fmt.Errorf("%w: its context cannot end", failed(o, key, act))
		}
		<-ctx.Done()
		return ctx.Err()
	case After:
		if err := do(); err != nil {
			return err
		}
		return failed(o, key, act)
	case Twice:
		err := do()
		_ = do()
		return err
	}
	return do()
}

// Put is that of blob.Store, with faults.
func (s *Store) Put(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Info, error) {
	var first *blob.Info
	put := func() error {
		i, err := s.Store.Put(ctx, key, data, o)
		if first == nil {
			first = &i
		}
		if err == nil {
			s.changed(key, nil)
		}
		return err
	}
	err := s.run(ctx, Put, key, put, func() {
		if _, err := s.Store.Put(ctx, key, data[:len(data)/2], o); err == nil {
			s.changed(key, nil)
		}
	})
	if err != nil || first == nil {
		return blob.Info{}, err
	}
	return *first, nil
}

// Get is that of blob.Store, with faults.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (b []byte, err error) {
	err = s.run(ctx, Get, key, func() (e error) {
		b, e = s.Store.Get(ctx, key, off, n)
		return e
	}, nil)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Stat is that of blob.Store, with faults.
func (s *Store) Stat(ctx context.Context, key string) (i blob.Info, err error) {
	err = s.run(ctx, Stat, key, func() (e error) {
		i, e = s.Store.Stat(ctx, key)
		return e
	}, nil)
	if err != nil {
		return blob.Info{}, err
	}
	return i, nil
}

// Delete is that of blob.Store, with faults.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.run(ctx, Delete, key, func() error {
		before, gone := s.Store.Stat(ctx, key)
		err := s.Store.Delete(ctx, key)
		if err == nil && gone == nil {
			s.changed(key, &before)
		}
		return err
	}, nil)
}

func (s *Store) changed(key string, before *blob.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes, change{key, before})
}

// List is that of blob.Store, with faults.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		act := s.call(List, prefix)
		switch act {
		case Before, Torn:
			yield(blob.Info{}, failed(List, prefix, act))
			return
		case Stall:
			if ctx.Done() == nil {
				yield(blob.Info{}, fmt.Errorf("%w: its context cannot end", failed(List, prefix, act)))
				return
			}
			<-ctx.Done()
			yield(blob.Info{}, ctx.Err())
			return
		case None, Twice:
			s.Store.List(ctx, prefix)(yield)
			return
		}
		var all []blob.Info
		for i, err := range s.Store.List(ctx, prefix) {
			if err != nil {
				yield(blob.Info{}, err)
				return
			}
			all = append(all, i)
		}
		if act == Stale {
			all = s.earlier(all, prefix)
		} else {
			all = all[:len(all)/2]
		}
		for _, i := range all {
			if !yield(i, nil) {
				return
			}
		}
		if act == After {
			yield(blob.Info{}, failed(List, prefix, act))
		}
	}
}

// earlier takes the last changes out of a listing.
func (s *Store) earlier(all []blob.Info, prefix string) []blob.Info {
	was := map[string]blob.Info{}
	for _, i := range all {
		was[i.Key] = i
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := len(s.changes) - 1; n >= max(0, len(s.changes)-s.o.Back); n-- {
		c := s.changes[n]
		delete(was, c.key)
		if c.before != nil && strings.HasPrefix(c.key, prefix) {
			was[c.key] = *c.before
		}
	}
	all = all[:0]
	for _, i := range was {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b blob.Info) int { return strings.Compare(a.Key, b.Key) })
	return all
}
