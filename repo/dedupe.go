package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// chunkSize is the length of chunks in bytes: whole pages of every database, so that a
// changed page costs little. docs/benchmarks.md has the curve, and benchmarks make it another.
var chunkSize = 16 << 10

// How many chunks are known by their ids alone, about 60 bytes each: those that an interrupted run
// has left, and those that the run itself stores, so that memory does not grow with the database.
const (
	maxKnown   = 1 << 20
	maxLearned = 1 << 18
)

// bases is how many of the newest sets of an authority a run compares its files with.
const bases = 4

// known is where a run looks for chunks that are stored already: in sets that this host
// wrote for the same authority, at the same place of the same file; in what an interrupted
// run of this host has left; and in what the run itself has stored.
//
// A list of another host is never looked at: it could name chunks that are not what it
// says, and nobody who can check that is on this machine.
type known struct {
	b     *builder
	bases []*base

	mu   sync.Mutex // of byID, and of the bases' index
	byID map[chunklist.ID]chunklist.Chunk
}

// base is a set to compare with.
type base struct {
	set   *sealedSet
	index map[uint32]uint32 // its segments' numbers → ours
}

// newKnown is for a run that began at a time of the store's clock, and has seen which packs are there since.
func (r *Repository) newKnown(ctx context.Context, b *builder, ca string, began time.Time, there map[pack.ID]bool) (_ *known, err error) {
	k := &known{b: b, byID: map[chunklist.ID]chunklist.Chunk{}}
	s := r.now()
	me := r.o.Host
	if me == nil {
		return k, nil
	}
	var newest uint64
	var own []*storedSet
	for _, set := range slices.Backward(s.sets) {
		if set.author == me.Host && set.CA == ca && set.live() {
			newest = max(newest, set.seq)
			own = append(own, set)
		}
	}
	if k.bases, err = r.bases(ctx, own[:min(len(own), bases)], there); err != nil {
		return nil, err
	}
	for _, p := range slices.Backward(s.partials) {
		// A prune gives up older ones.
		if p.author == me.Host && p.CA == ca && p.seq > newest && began.Sub(p.stored) < partialLife {
			if err := r.resume(ctx, k, p, there); err != nil {
				return nil, err
			}
		}
	}
	return k, nil
}

// bases opens sets to compare with, all at once. One that is damaged is left out: its chunks are stored again.
func (r *Repository) bases(ctx context.Context, sets []*storedSet, there map[pack.ID]bool) (out []*base, err error) {
	for o := range inOrder(ctx, sets, bases, func(ctx context.Context, set *storedSet) (*sealedSet, error) {
		ss, err := r.open(ctx, set)
		if err != nil {
			return nil, err
		}
		return ss, r.missing(ctx, there, ss.table)
	}) {
		if err := ignoreDamage(o.err); err != nil {
			return nil, err
		}
		if o.err == nil {
			out = append(out, &base{o.got, map[uint32]uint32{}})
		}
	}
	return out, nil
}

// resume makes known what an interrupted run has stored, as far as it is still there.
func (r *Repository) resume(ctx context.Context, k *known, p *partial, there map[pack.ID]bool) error {
	keys, err := r.keysOf(ctx, p.CA)
	if err != nil || keys == nil {
		return err
	}
	table, err := r.readTable(ctx, p.Table)
	if err != nil {
		return ignoreDamage(err)
	}
	index := map[uint32]uint32{}
	for _, ref := range p.Lists {
		chunks, err := r.readList(ctx, keys, ref, len(table))
		if err != nil {
			return ignoreDamage(err)
		}
		for _, c := range chunks {
			if e := table[c.Segment]; there[e.Pack] && len(k.byID) < maxKnown {
				k.byID[c.ID] = k.adopt(index, c, e)
			}
		}
	}
	return nil
}

func ignoreDamage(err error) error {
	if errors.Is(err, backupset.ErrDamaged) {
		return nil
	}
	return err
}

// adopt gives a chunk the number that its segment has in our table.
func (k *known) adopt(index map[uint32]uint32, c chunklist.Chunk, e chunklist.Entry) chunklist.Chunk {
	n, ok := index[c.Segment]
	if !ok {
		n = k.b.reuse(e)
		index[c.Segment] = n
	}
	c.Segment = n
	return c
}

// packsThere says which packs there are.
func (r *Repository) packsThere(ctx context.Context) (map[pack.ID]bool, error) {
	listed, err := r.listPacks(ctx)
	there := make(map[pack.ID]bool, len(listed))
	for _, p := range listed {
		there[p.id] = true
	}
	return there, err
}

// missing says which segment of a table is not there.
func (r *Repository) missing(ctx context.Context, there map[pack.ID]bool, table []chunklist.Entry) error {
	for _, e := range table {
		if e.Used == 0 || there[e.Pack] {
			continue
		}
		in, _, err := r.packs.find(ctx, e) // moved by a prune?
		if err != nil {
			return err
		}
		if !there[in] {
			if _, err := r.blob.Stat(ctx, pack.Key(in)); errors.Is(err, blob.ErrNotFound) {
				return fmt.Errorf("pack %s is missing: %w", in, backupset.ErrDamaged)
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// file looks for the chunks of one file.
type knownFile struct {
	k     *known
	lists []*listReader
	of    []*base
}

// file is where the chunks of a file of that name may be.
func (k *known) file(role backupset.Role, name string) *knownFile {
	f := &knownFile{k: k}
	for _, b := range k.bases {
		if l := b.set.file(role, name); l != nil {
			f.lists, f.of = append(f.lists, b.set.list(l)), append(f.of, b)
		}
	}
	return f
}

// find finds the n-th chunk of the file.
func (f *knownFile) find(ctx context.Context, n int64, id chunklist.ID, length int) (chunklist.Chunk, bool, error) {
	for i, l := range f.lists {
		if l == nil {
			continue
		}
		c, ok, err := l.at(ctx, n)
		if err != nil {
			if ignoreDamage(err) != nil {
				return c, false, err
			}
			f.lists[i] = nil // its chunks are stored again
			continue
		}
		if ok && c.ID == id && int(c.Length) == length {
			return f.k.take(f.of[i], c), true, nil
		}
	}
	c, ok := f.k.lookup(id, length)
	return c, ok, nil
}

// take refers to a chunk of a base.
func (k *known) take(b *base, c chunklist.Chunk) chunklist.Chunk {
	k.mu.Lock()
	c = k.adopt(b.index, c, b.set.table[c.Segment])
	k.mu.Unlock()
	k.b.use(c)
	return c
}

// lookup refers to a chunk that is known by its id.
func (k *known) lookup(id chunklist.ID, length int) (chunklist.Chunk, bool) {
	k.mu.Lock()
	c, ok := k.byID[id]
	k.mu.Unlock()
	if !ok || int(c.Length) != length {
		return c, false
	}
	k.b.use(c)
	return c, true
}

// learn makes a chunk known that the run itself has stored.
func (k *known) learn(c chunklist.Chunk) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.byID) < maxLearned {
		k.byID[c.ID] = c
	}
}
