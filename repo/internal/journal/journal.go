package journal

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/repo/blob"
)

// Journal is the journal of one author, as far as it was read.
type Journal struct {
	Author  string
	Entries []*Entry // in order; without those that cannot be used

	// Problems say what is wrong: entries that are missing, damaged or do not follow
	// from the one before. An entry behind a problem is used if it is signed well:
	// hiding one must not hide all later ones.
	Problems []error
}

// Head is the newest entry, zero if there is none.
func (j *Journal) Head() Head {
	if len(j.Entries) == 0 {
		return Head{}
	}
	return j.Entries[len(j.Entries)-1].Head()
}

// List finds the entries of all authors, in order.
func List(ctx context.Context, s blob.Store) (map[string][]blob.Info, error) {
	out := map[string][]blob.Info{}
	for info, err := range s.List(ctx, Dir) {
		if err != nil {
			return nil, err
		}
		if author, _, ok := ParseKey(info.Key); ok {
			out[author] = append(out[author], info)
		}
	}
	return out, nil
}

// readers is how many entries are read at once.
const readers = 32

// Read reads the entries of one author, as List found them, and checks them.
// have are entries read before: they are not read again. known is the number of an entry
// that is known to be there: a listing that is behind is made up for.
func Read(ctx context.Context, s blob.Store, repository, author string, key ed25519.PublicKey, found []blob.Info, have []*Entry, known uint64) (*Journal, error) {
	slots := map[uint64]*slot{}
	for _, e := range have {
		slots[e.Seq] = &slot{entry: e}
	}
	for _, info := range found {
		if _, seq, _ := ParseKey(info.Key); slots[seq] == nil {
			slots[seq] = &slot{info: info}
		}
	}
	for seq := uint64(1); seq <= known; seq++ {
		if slots[seq] == nil {
			slots[seq] = &slot{info: blob.Info{Key: Key(author, seq), Size: -1}}
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for seq, sl := range slots {
		if sl.entry != nil {
			continue
		}
		g.Go(func() error { return sl.read(gctx, s, repository, author, key, seq) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	j := &Journal{Author: author}
	for _, seq := range slices.Sorted(maps.Keys(slots)) {
		sl := slots[seq]
		if sl.problem != nil {
			j.Problems = append(j.Problems, sl.problem)
		}
		if sl.entry != nil {
			j.add(sl.entry)
		}
	}
	return j, nil
}

// slot is the place of an entry.
type slot struct {
	info    blob.Info // its size is -1 if the entry was not listed
	entry   *Entry
	problem error
}

func (sl *slot) read(ctx context.Context, s blob.Store, repository, author string, key ed25519.PublicKey, seq uint64) (err error) {
	if sl.info.Size < 0 {
		sl.info, err = s.Stat(ctx, sl.info.Key)
	}
	if err == nil {
		sl.entry, err = readEntry(ctx, s, repository, author, key, sl.info, seq)
	}
	switch {
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrNewer):
		sl.problem = fmt.Errorf("%s: %w", sl.info.Key, err)
	case errors.Is(err, blob.ErrNotFound): // add notices the gap
	case err != nil:
		return fmt.Errorf("%s: %w", sl.info.Key, err)
	}
	return nil
}

func readEntry(ctx context.Context, s blob.Store, repository, author string, key ed25519.PublicKey, info blob.Info, seq uint64) (*Entry, error) {
	if info.Size > MaxEntry {
		return nil, fmt.Errorf("%w: %d bytes", ErrDamaged, info.Size)
	}
	b, err := s.Get(ctx, info.Key, 0, -1)
	if err != nil {
		return nil, err
	}
	e, err := Decode(b, key)
	if err != nil {
		return nil, err
	}
	if e.Repository != repository || e.Author != author || e.Seq != seq {
		return nil, fmt.Errorf("%w: it is entry %d of %.40q in repository %.40q", ErrDamaged, e.Seq, e.Author, e.Repository)
	}
	e.Stored = info.Time
	return e, nil
}

// add appends an entry, and says if it does not follow from the last.
func (j *Journal) add(e *Entry) {
	last := j.Head()
	switch {
	case e.Seq > last.Seq+1:
		j.Problems = append(j.Problems, fmt.Errorf("journal of %s: %s missing", j.Author, numbers(last.Seq+1, e.Seq-1)))
	case e.Previous != last.Hash:
		j.Problems = append(j.Problems, fmt.Errorf("journal of %s: entry %d does not follow from entry %d: one of them was replaced", j.Author, e.Seq, last.Seq))
	}
	j.Entries = append(j.Entries, e)
}

func numbers(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("entry %d is", first)
	}
	return fmt.Sprintf("entries %d to %d are", first, last)
}

// Check compares a journal with a head that was remembered. The error says that it
// was rolled back or replaced.
func (j *Journal) Check(remembered Head) error {
	if remembered.Seq == 0 {
		return nil
	}
	i, ok := slices.BinarySearchFunc(j.Entries, remembered.Seq, func(e *Entry, seq uint64) int { return int(int64(e.Seq) - int64(seq)) })
	switch {
	case !ok && j.Head().Seq < remembered.Seq:
		return fmt.Errorf("journal of %s ends at entry %d, and entry %d was seen before: it was rolled back", j.Author, j.Head().Seq, remembered.Seq)
	case !ok:
		return fmt.Errorf("journal of %s: entry %d, seen before, is gone", j.Author, remembered.Seq)
	case j.Entries[i].Hash != remembered.Hash:
		return fmt.Errorf("journal of %s: entry %d is not the one seen before: it was replaced", j.Author, remembered.Seq)
	}
	return nil
}

// Until is the journal up to its entry last, and of that only what leads to it by hashes: who has
// its author's key can sign other entries, but none of those hashes.
func (j *Journal) Until(last Head) *Journal {
	out := &Journal{Author: j.Author}
	want := last
	for _, e := range slices.Backward(j.Entries) {
		if e.Seq > last.Seq {
			continue
		}
		if e.Seq != want.Seq || want.Seq == 0 {
			break
		}
		if e.Hash != want.Hash {
			out.Problems = append(out.Problems, fmt.Errorf("journal of %s: entry %d is not the one that was there when its author was revoked: it was replaced", j.Author, e.Seq))
			break
		}
		out.Entries = append(out.Entries, e)
		want = Head{e.Seq - 1, e.Previous}
	}
	slices.Reverse(out.Entries)
	if want.Seq > 0 && len(out.Problems) == 0 {
		out.Problems = append(out.Problems, fmt.Errorf("journal of %s: entry %d is missing, and its author was revoked: no earlier one can be relied on", j.Author, want.Seq))
	}
	return out
}

// Append writes the next entry of the journal. It fails with blob.ErrExists when
// somebody else has written one of that number: read again, and try again.
func (j *Journal) Append(ctx context.Context, s blob.Store, repository string, key ed25519.PrivateKey, now time.Time, o blob.PutOptions, records ...any) (*Entry, error) {
	last := j.Head()
	e := &Entry{Repository: repository, Author: j.Author, Seq: last.Seq + 1, Previous: last.Hash, Time: now.UTC().Round(time.Millisecond)}
	for _, r := range records {
		b, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		e.Records = append(e.Records, b)
	}
	b, err := e.Encode(key)
	if err != nil {
		return nil, err
	}
	info, err := s.Put(ctx, Key(j.Author, e.Seq), b, o)
	if errors.Is(err, blob.ErrExists) {
		// Perhaps by this very call, whose first answer was lost.
		if got, gerr := s.Get(ctx, Key(j.Author, e.Seq), 0, -1); gerr == nil && string(got) == string(b) {
			info, err = s.Stat(ctx, Key(j.Author, e.Seq))
		}
	}
	if err != nil {
		return nil, err
	}
	e.Stored = info.Time
	j.Entries = append(j.Entries, e)
	return e, nil
}
