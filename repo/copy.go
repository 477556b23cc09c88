package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// InitLike makes a repository in an empty place with the keys of another: the same restore
// recipients open it, the same hosts may write to it, and sets are copied between the two as
// they are (see Copy). No restore identity is needed.
func InitLike(ctx context.Context, o Options, like *Repository) error {
	if err := vacant(ctx, o); err != nil {
		return err
	}
	if err := like.refresh(ctx); err != nil {
		return err
	}
	r := newRepository(o)
	r.id, r.root = like.id, like.root
	s := like.now()
	if len(s.problems) > 0 {
		return fmt.Errorf("%s: the journals cannot be relied on: %w", like.Location(), errors.Join(s.problems...))
	}
	refs := []Ref{}
	for _, e := range s.epochs {
		refs = append(refs, e.RootSeed)
	}
	for _, slot := range s.slots {
		refs = append(refs, slot.Object)
	}
	for _, ref := range refs {
		if err := like.copyMeta(ctx, r, ref); err != nil && !(errors.Is(err, blob.ErrNotFound) && ref != s.epoch().RootSeed) {
			return err
		}
	}
	like.mu.Lock()
	root := like.journals[journal.Root]
	like.mu.Unlock()
	for _, e := range root.Entries {
		b, err := like.blob.Get(ctx, journal.Key(journal.Root, e.Seq), 0, -1)
		if err != nil {
			return err
		}
		if err := r.put(ctx, journal.Key(journal.Root, e.Seq), b); err != nil {
			return err
		}
	}
	return r.announce(ctx)
}

// copyMeta copies an object of metadata as it is.
func (r *Repository) copyMeta(ctx context.Context, to *Repository, ref Ref) error {
	b, err := r.getMeta(ctx, ref)
	if err != nil {
		return err
	}
	_, err = to.putMeta(ctx, b)
	return err
}

// CopyOptions are the options of Copy.
type CopyOptions struct {
	Progress func(set string, done, total int64) // segments
}

// CopyResult is what Copy did.
type CopyResult struct {
	Copied []string // ids
	There  []string // were there before
	Bytes  int64    // stored
}

// ErrOtherKeys: two repositories have different keys.
var ErrOtherKeys = errors.New("the repositories have different keys")

// Copy copies sets of one repository into another as they are, sealed, with their receipts, in
// the order given. No restore identity is needed; but both repositories must have the same
// keys (see InitLike). ErrOtherKeys if they have not.
func Copy(ctx context.Context, dst, src *Repository, ids []string, o CopyOptions) (res CopyResult, err error) {
	if err := dst.role(RoleBackup); err != nil {
		return res, err
	}
	if err := errors.Join(src.refresh(ctx), dst.refresh(ctx)); err != nil {
		return res, err
	}
	if !dst.root.Equal(src.root) || dst.now().epoch().Recipient != src.now().epoch().Recipient {
		return res, hint.With(fmt.Errorf("%s and %s: %w", src.Location(), dst.Location(), ErrOtherKeys),
			"copy with a restore identity, which seals the sets anew; or make the other with certkeep init --like")
	}
	m := &mover{dst: dst, src: src, o: o}
	for _, id := range ids {
		found := src.now().find(id)
		if len(found) != 1 {
			return res, fmt.Errorf("%s: set %.80q: %w", src.Location(), id, backupset.ErrNotFound)
		}
		if len(dst.now().find(id)) > 0 {
			res.There = append(res.There, id)
			continue
		}
		var n int64
		err := dst.during(ctx, func(l *lease) (err error) {
			n, err = m.copy(ctx, l, found[0])
			return err
		})
		if err != nil {
			return res, fmt.Errorf("set %s: %w", id, err)
		}
		res.Copied, res.Bytes = append(res.Copied, id), res.Bytes+n
	}
	return res, nil
}

func (m *mover) copy(ctx context.Context, l *lease, s *storedSet) (stored int64, err error) {
	dst, src := m.dst, m.src
	m.set, m.stored = s.Set, 0
	if err := dst.refresh(ctx); err != nil {
		return 0, err
	}
	table, err := src.readTable(ctx, s.now.Table)
	if err != nil {
		return 0, err
	}
	if err := m.segments(ctx, table); err != nil {
		return 0, err
	}
	rec := s.setRecord
	rec.objects, rec.Origin, rec.New = s.now, s.hash, 0
	refs := append([]Ref{s.Manifest, s.now.Layout}, s.now.Lists...)
	for o := range inOrder(ctx, refs, segmentsAtOnce, func(ctx context.Context, ref Ref) (any, error) { return nil, src.copyMeta(ctx, dst, ref) }) {
		if o.err != nil {
			return 0, o.err
		}
		m.stored += o.item.Size
	}
	if rec.Table, err = dst.putTable(ctx, table); err != nil {
		return 0, err
	}
	rec.Stored = m.stored + rec.Table.Size
	records := []any{rec}
	if dst.now().cas[s.CA] == nil {
		ca := src.now().cas[s.CA]
		if ca == nil {
			return 0, fmt.Errorf("the keys of its authority are in no journal: %w", backupset.ErrDamaged)
		}
		if err := src.copyMeta(ctx, dst, ca.Object); err != nil {
			return 0, err
		}
		records = append([]any{*ca}, records...)
	}
	if s.receipt != nil {
		if err := src.copyMeta(ctx, dst, s.receipt.Object); err != nil {
			return 0, err
		}
		records = append(records, *s.receipt)
	}
	if err := dst.whole(ctx, l, table); err != nil {
		return 0, err
	}
	if _, err := dst.publish(ctx, l, s.Set, table, records...); err != nil {
		return 0, err
	}
	m.learn(table)
	return rec.Stored, nil
}

// mover copies sealed segments.
type mover struct {
	dst, src *Repository
	o        CopyOptions
	there    map[pack.ID]pack.ID // segments in the destination → where; nil before they were looked for

	set     string // being copied
	stored  int64
	b       pack.Builder
	waiting []int // lines of the table whose pack is being filled
}

// segments copies those of a table that are not there, and makes the table say where they
// are.
func (m *mover) segments(ctx context.Context, table []chunklist.Entry) error {
	if m.there == nil {
		if err := m.look(ctx); err != nil {
			return err
		}
	}
	var need []int
	for i, e := range table {
		if e.Used == 0 {
			continue
		}
		if in, ok := m.there[e.Segment]; ok {
			table[i].Pack = in
			continue
		}
		need = append(need, i)
	}
	n := 0
	for o := range inOrder(ctx, need, segmentsAtOnce, func(ctx context.Context, i int) ([]byte, error) {
		b, _, err := m.src.sealedSegment(ctx, table[i])
		return b, err
	}) {
		if o.err != nil {
			return o.err
		}
		n++
		m.waiting = append(m.waiting, o.item)
		if m.b.Add(table[o.item].Segment, o.got) {
			if err := m.flush(ctx, table); err != nil {
				return err
			}
		}
		if m.o.Progress != nil {
			m.o.Progress(m.set, int64(n), int64(len(need)))
		}
	}
	return m.flush(ctx, table)
}

func (m *mover) flush(ctx context.Context, table []chunklist.Entry) error {
	if m.b.Len() == 0 {
		return nil
	}
	id, size, err := m.dst.putPack(ctx, &m.b)
	if err != nil {
		return err
	}
	m.stored += size
	for _, i := range m.waiting {
		table[i].Pack = id
	}
	m.waiting = nil
	return nil
}

// look finds the segments of the sets in the destination that this host wrote. Others' tables
// are not relied on: one could name a segment that is not there. It is done once for all sets: what
// a prune deletes since is noticed before a set is published.
func (m *mover) look(ctx context.Context) error {
	packs, err := m.dst.packsThere(ctx)
	if err != nil {
		return err
	}
	me, _, err := m.dst.author()
	if err != nil {
		return err
	}
	var tables []Ref
	for _, s := range m.dst.now().sets {
		if s.live() && s.author == me {
			tables = append(tables, s.now.Table)
		}
	}
	m.there = map[pack.ID]pack.ID{}
	for o := range inOrder(ctx, tables, smallAtOnce, m.dst.readTable) {
		if err := ignoreDamage(o.err); err != nil {
			m.there = nil
			return err
		}
		m.learn(slices.DeleteFunc(o.got, func(e chunklist.Entry) bool { return !packs[e.Pack] }))
	}
	return nil
}

// learn notes where the segments of a table are.
func (m *mover) learn(table []chunklist.Entry) {
	for _, e := range table {
		if e.Used != 0 {
			m.there[e.Segment] = e.Pack
		}
	}
}
