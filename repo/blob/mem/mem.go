// Package mem is a blob.Store in memory, for tests: as strict as the strictest of the
// others, with a clock that a test sets.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certkeep/certkeep/repo/blob"
)

// Store keeps objects in memory. It honours RetainUntil.
type Store struct {
	mu      sync.Mutex
	objects map[string]object
	within  map[string]int // how many objects a directory holds
	clock   func() time.Time
}

type object struct {
	data   []byte
	time   time.Time
	retain time.Time
}

// New returns an empty Store that goes by this machine's clock.
func New() *Store {
	return &Store{objects: map[string]object{}, within: map[string]int{}, clock: time.Now}
}

// SetClock sets the clock that Info.Time and retention go by.
func (s *Store) SetClock(clock func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = clock
}

// Put is that of [blob.Store].
func (s *Store) Put(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Info, error) {
	if err := blob.ValidatePut(key, data); err != nil {
		return blob.Info{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return blob.Info{}, err
	}
	if _, ok := s.objects[key]; ok {
		return blob.Info{}, fmt.Errorf("%s: %w", key, blob.ErrExists)
	}
	if other, ok := s.inTheWay(key); ok {
		return blob.Info{}, fmt.Errorf("%s: there is %s, and no key may be another's directory", key, other)
	}
	x := object{data: bytes.Clone(data), time: s.now(), retain: o.RetainUntil}
	s.set(key, &x)
	return x.info(key), nil
}

// inTheWay finds an object that would be key's directory, or says that key is one.
func (s *Store) inTheWay(key string) (string, bool) {
	for dir := range parents(key) {
		if _, ok := s.objects[dir]; ok {
			return dir, true
		}
	}
	return key + "/", s.within[key] > 0
}

func parents(key string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range len(key) {
			if key[i] == '/' && !yield(key[:i]) {
				return
			}
		}
	}
}

// set makes, replaces or removes an object.
func (s *Store) set(key string, x *object) {
	_, was := s.objects[key]
	delete(s.objects, key)
	n := 0
	if x != nil {
		s.objects[key] = *x
		n++
	}
	if was {
		n--
	}
	for dir := range parents(key) {
		s.within[dir] += n
	}
}

func (s *Store) now() time.Time { return s.clock().Round(0).UTC() }

func (x object) info(key string) blob.Info {
	return blob.Info{Key: key, Size: int64(len(x.data)), Time: x.time}
}

func (s *Store) find(ctx context.Context, key string) (object, error) {
	if err := blob.ValidateKey(key); err != nil {
		return object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return object{}, err
	}
	x, ok := s.objects[key]
	if !ok {
		return object{}, fmt.Errorf("%s: %w", key, blob.ErrNotFound)
	}
	return x, nil
}

// Get is that of [blob.Store].
func (s *Store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	x, err := s.find(ctx, key)
	if err != nil {
		return nil, err
	}
	n, err = blob.Span(key, int64(len(x.data)), off, n)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(x.data[off : off+n]), nil
}

// Stat is that of [blob.Store].
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	x, err := s.find(ctx, key)
	if err != nil {
		return blob.Info{}, err
	}
	return x.info(key), nil
}

// List is that of [blob.Store]; it lists what is there when it begins.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := blob.ValidatePrefix(prefix); err != nil {
			yield(blob.Info{}, err)
			return
		}
		s.mu.Lock()
		all := maps.Clone(s.objects)
		s.mu.Unlock()
		maps.DeleteFunc(all, func(key string, _ object) bool { return !strings.HasPrefix(key, prefix) })
		if err := ctx.Err(); err != nil {
			yield(blob.Info{}, err)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if err := ctx.Err(); err != nil {
				yield(blob.Info{}, err)
				return
			}
			if !yield(all[key].info(key), nil) {
				return
			}
		}
	}
}

// Delete is that of [blob.Store]. Before the time until which the object is to be
// retained it is denied.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.ValidateKey(key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if x, ok := s.objects[key]; ok && s.now().Before(x.retain) {
		return fmt.Errorf("%s: to be retained until %s: %w", key, x.retain.Format(time.RFC3339), blob.ErrDenied)
	}
	s.set(key, nil)
	return nil
}

// Replace puts data in the place of an object, or makes it, as no Store does: what a
// thief of the storage would do. Nil data removes it.
func (s *Store) Replace(key string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data == nil {
		s.set(key, nil)
		return
	}
	x := s.objects[key]
	if x.time.IsZero() {
		x.time = s.now()
	}
	x.data = bytes.Clone(data)
	s.set(key, &x)
}

// Clone copies the Store as it is now.
func (s *Store) Clone() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Store{objects: maps.Clone(s.objects), within: maps.Clone(s.within), clock: s.clock}
}

// Location is that of [blob.Store].
func (s *Store) Location() string { return "memory" }
