// Package several keeps each set in several Stores at once. A set counts as kept when a
// quorum of them has it; a Store that fails drops out of the run, and is named.
//
// An incremental set is only kept where the set that it continues is: no Store ends up with
// a chain that has a hole. Where fewer than the quorum have confirmed that parent, it is
// listed as unconfirmed, so that a full backup is taken.
package several

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/certkeep/certkeep/backupset"
)

// Store keeps sets in several Stores. It is a backupset.Store.
type Store struct {
	stores []*member
	quorum int
}

var _ backupset.Store = (*Store)(nil)

// member is one of the Stores, and what went wrong with it.
type member struct {
	backupset.Store
	name string

	mu  sync.Mutex
	err error
}

func (m *member) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
	}
}

func (m *member) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// New makes a Store out of several. quorum is how many must have a set; 0 means all of
// them.
func New(stores []backupset.Store, quorum int) (*Store, error) {
	if quorum == 0 {
		quorum = len(stores)
	}
	if quorum < 1 || quorum > len(stores) {
		return nil, fmt.Errorf("a quorum of %d out of %d", quorum, len(stores))
	}
	s := &Store{quorum: quorum}
	for i, st := range stores {
		name := fmt.Sprintf("store %d", i+1)
		if l, ok := st.(interface{ Location() string }); ok {
			name = l.Location()
		}
		s.stores = append(s.stores, &member{Store: st, name: name})
	}
	return s, nil
}

// AddMissing names a Store that could not even be opened: it counts as one that failed.
func (s *Store) AddMissing(name string, err error) {
	s.stores = append(s.stores, &member{name: name, err: err})
}

// Missed is a Store that has not got what the others have.
type Missed struct {
	Store string
	Err   error
}

// Missed lists the Stores that failed since New.
func (s *Store) Missed() (out []Missed) {
	for _, m := range s.stores {
		if err := m.failed(); err != nil {
			out = append(out, Missed{m.name, err})
		}
	}
	return out
}

// each calls f for the Stores that have not failed, at the same time, and drops those where
// it fails, unless the context has ended: that is no Store's fault. The error is the context's, or
// says that fewer than the quorum are left.
func (s *Store) each(ctx context.Context, what string, f func(i int, m *member) error) error {
	var wg sync.WaitGroup
	var ended atomic.Bool
	for i, m := range s.stores {
		if m.failed() != nil {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := f(i, m)
			switch {
			case err == nil:
			case ctx.Err() != nil:
				ended.Store(true)
			default:
				m.fail(err)
			}
		}()
	}
	wg.Wait()
	if ended.Load() {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return s.enough(what)
}

func (s *Store) enough(what string) error {
	left := 0
	var errs []error
	for _, m := range s.stores {
		if err := m.failed(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		} else {
			left++
		}
	}
	if left >= s.quorum {
		return nil
	}
	if len(s.stores) == 1 {
		return errors.Join(errs...)
	}
	return fmt.Errorf("%s: %d of %d stores are left, and %d are needed: %w", what, left, len(s.stores), s.quorum, errors.Join(errs...))
}

// List implements backupset.Store: the sets that any Store has. One that fewer than the quorum have
// confirmed is unconfirmed. A Store has one vote on a set, however often it has it; Stores
// whose manifests of one id differ do not agree, and all of them are listed.
func (s *Store) List(ctx context.Context) ([]backupset.Entry, error) {
	lists := make([][]backupset.Entry, len(s.stores))
	err := s.each(ctx, "listing sets", func(i int, m *member) (err error) {
		lists[i], err = m.List(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	b := ballot{votes: map[version]int{}, index: map[version]int{}, ids: map[string]bool{}}
	for _, list := range lists {
		b.count(list)
	}
	for _, list := range lists {
		b.unreadable(list)
	}
	for i, e := range b.out {
		if e.Confirmed && b.votes[versionOf(e)] < s.quorum {
			b.out[i].Confirmed = false
		}
	}
	backupset.Sort(b.out)
	return b.out, nil
}

// version is what Stores vote on.
type version struct{ id, sha256 string }

func versionOf(e backupset.Entry) version {
	if e.Manifest == nil {
		return version{id: e.ID}
	}
	return version{e.ID, e.Manifest.SHA256}
}

type ballot struct {
	votes map[version]int
	index map[version]int // in out
	ids   map[string]bool
	out   []backupset.Entry
}

// count counts the votes of one Store.
func (b *ballot) count(list []backupset.Entry) {
	voted := map[version]bool{}
	for _, e := range list {
		if e.ID == "" || e.Manifest == nil {
			continue
		}
		v := versionOf(e)
		i, ok := b.index[v]
		if !ok {
			i = len(b.out)
			b.index[v], b.ids[e.ID] = i, true
			b.out = append(b.out, e)
		}
		if !e.Confirmed {
			continue
		}
		if !voted[v] {
			voted[v] = true
			b.votes[v]++
		}
		if !b.out[i].Confirmed {
			b.out[i] = e
		}
	}
}

// unreadable adds what one Store cannot read, unless another can.
func (b *ballot) unreadable(list []backupset.Entry) {
	for _, e := range list {
		if e.ID != "" && (e.Manifest != nil || b.ids[e.ID]) {
			continue
		}
		if e.ID != "" {
			b.ids[e.ID] = true
		}
		b.out = append(b.out, e)
	}
}

// Open implements backupset.Store: out of the first Store that has the set.
func (s *Store) Open(ctx context.Context, id string) (backupset.Set, error) {
	var errs []error
	for _, m := range s.stores {
		if m.Store == nil {
			continue
		}
		set, err := m.Open(ctx, id)
		if err == nil {
			return set, nil
		}
		errs = append(errs, err)
	}
	for _, err := range errs { // that it is damaged says more than that it is not elsewhere
		if !errors.Is(err, backupset.ErrNotFound) {
			return nil, err
		}
	}
	return nil, errs[0]
}

// PutReceipt implements backupset.Store: in the Stores that have the set.
func (s *Store) PutReceipt(ctx context.Context, id string, r backupset.Receipt) error {
	var mu sync.Mutex
	var missing error
	there := 0
	err := s.each(ctx, "receipt of "+id, func(_ int, m *member) error {
		_, err := m.Open(ctx, id)
		if errors.Is(err, backupset.ErrNotFound) {
			mu.Lock()
			defer mu.Unlock()
			missing = err
			return nil
		}
		if err == nil {
			own := r // PutReceipt fills it in
			err = m.PutReceipt(ctx, id, own)
		}
		if err == nil {
			mu.Lock()
			there++
			mu.Unlock()
		}
		return err
	})
	if err == nil && there == 0 && missing != nil {
		return missing
	}
	if err == nil && there < s.quorum {
		err = fmt.Errorf("receipt of %s: %d stores have the set, and %d are needed", id, there, s.quorum)
	}
	return err
}
