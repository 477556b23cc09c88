package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// minRewritten is the share of a segment that must be dead before it is worth rewriting.
const minRewritten = 0.5

// rewrite puts the chunks that are still needed of mostly dead segments into new segments,
// and gives the sets concerned new layouts. It takes a restore identity: segments must be
// opened, and only the root may say where the chunks of other hosts' sets are.
func (p *pruner) rewrite(ctx context.Context, c *census) error {
	w := &rewriter{p: p, r: p.r, c: c, old: map[pack.ID]*oldSegment{}}
	for id, bits := range c.segments {
		if deadShare(bits) >= minRewritten {
			w.old[id] = &oldSegment{moved: map[chunkNeed]chunklist.Chunk{}}
		}
	}
	if len(w.old) == 0 {
		return nil
	}
	p.o.Progress("rewriting segments")
	if err := w.collect(ctx); err != nil {
		return err
	}
	if err := w.move(ctx); err != nil {
		return err
	}
	for _, s := range w.sets {
		if err := w.publish(ctx, s); err != nil {
			return fmt.Errorf("set %s: %w", s.s.Set, err)
		}
	}
	return nil
}

// deadShare is how much of a segment is not in use, as far as its parts tell: what lies behind
// the last part in use may never have been there.
func deadShare(bits uint64) float64 {
	if bits == 0 {
		return 0
	}
	last := 64
	for bits>>(last-1) == 0 {
		last--
	}
	return float64(last-chunklist.Parts(bits)) / float64(last)
}

type rewriter struct {
	p    *pruner
	r    *Repository
	c    *census
	old  map[pack.ID]*oldSegment
	sets []*sealedSet // that refer to them
	b    *builder
}

// oldSegment is one that is given up.
type oldSegment struct {
	entry  chunklist.Entry
	chunks []chunkNeed                   // in use, in order
	moved  map[chunkNeed]chunklist.Chunk // where they are now
	failed bool                          // it cannot be read; left as it is
}

// needOf is what a set says of a chunk. Two sets that say different things of the same place are both
// taken at their word, each for itself: one of them lies, and must not spoil the other.
func needOf(c chunklist.Chunk) chunkNeed { return chunkNeed{off: c.Offset, length: c.Length, id: c.ID} }

// collect finds the chunks in use of the old segments.
func (w *rewriter) collect(ctx context.Context) error {
	for _, set := range w.c.s.sets {
		if !set.live() {
			continue
		}
		ss, err := w.r.open(ctx, set)
		if err != nil {
			return err
		}
		hit := false
		for _, e := range ss.table {
			o := w.old[e.Segment]
			if o != nil && e.Used != 0 {
				o.entry, hit = e, true
			}
		}
		if !hit {
			continue
		}
		w.sets = append(w.sets, ss)
		err = ss.each(ctx, func(_ *fileLayout, c chunklist.Chunk) error {
			if o := w.old[ss.table[c.Segment].Segment]; o != nil {
				if i, ok := slices.BinarySearchFunc(o.chunks, needOf(c), chunkNeed.compare); !ok {
					o.chunks = slices.Insert(o.chunks, i, needOf(c))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// each calls f for every chunk of a set.
func (s *sealedSet) each(ctx context.Context, f func(*fileLayout, chunklist.Chunk) error) error {
	for i := range s.layout.Files {
		file := &s.layout.Files[i]
		l := s.list(file)
		for n := int64(0); n < file.chunks(); n++ {
			c, _, err := l.at(ctx, n)
			if err == nil {
				err = f(file, c)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// move writes the chunks into new segments.
func (w *rewriter) move(ctx context.Context) error {
	to, err := w.r.recipient()
	if err != nil {
		return err
	}
	w.b = newBuilder(ctx, w.r, to)
	defer w.b.abort()
	for _, o := range w.old {
		if len(o.chunks) == 0 { // only a run on its way, or an interrupted one, needs it
			o.failed = true
			continue
		}
		plain, _, err := w.r.segment(ctx, o.entry, nil)
		if ignoreDamage(err) != nil {
			return err
		}
		if err != nil {
			w.p.res.Damaged = append(w.p.res.Damaged, err)
			o.failed = true
			continue
		}
		for _, c := range o.chunks {
			if int64(c.off)+int64(c.length) > int64(len(plain)) {
				continue // only who says so has that chunk, and it never was there
			}
			now, err := w.b.add(c.id, plain[c.off:c.off+c.length])
			if err != nil {
				return err
			}
			o.moved[c] = now
		}
		w.p.res.Rewritten += int64(len(plain))
	}
	if err := w.b.finish(); err != nil {
		return err
	}
	return w.p.lease.good(ctx)
}

// publish gives a set a new layout.
func (w *rewriter) publish(ctx context.Context, s *sealedSet) error {
	table := slices.Clone(s.table)
	for i := range table {
		table[i].Used = 0
	}
	numbers := map[uint32]uint32{} // of new segments → in the set's table
	place := func(c chunklist.Chunk) chunklist.Chunk {
		o := w.old[s.table[c.Segment].Segment]
		if o == nil || o.failed {
			table[c.Segment].Mark(c.Offset, c.Length)
			return c
		}
		now, ok := o.moved[needOf(c)]
		if !ok {
			table[c.Segment].Mark(c.Offset, c.Length)
			return c
		}
		n, ok := numbers[now.Segment]
		if !ok {
			n = uint32(len(table))
			e := w.b.table[now.Segment]
			e.Used = 0
			table = append(table, e)
			numbers[now.Segment] = n
		}
		now.Segment = n
		table[n].Mark(now.Offset, now.Length)
		return now
	}
	rec := layoutRecord{Type: typeLayout, Set: s.s.name(), Of: s.s.hash}
	l := layout{Schema: schema, Set: s.s.Set}
	to := s.keys.metadata.Recipient()
	for i := range s.layout.Files {
		f := s.layout.Files[i]
		f.Lists = nil
		reader := s.list(&s.layout.Files[i])
		var chunks []chunklist.Chunk
		for n := int64(0); n < f.chunks(); n++ {
			c, _, err := reader.at(ctx, n)
			if err != nil {
				return err
			}
			chunks = append(chunks, place(c))
			if f.List == "" && (len(chunks) == chunklist.MaxChunks || n == f.chunks()-1) {
				ref, err := w.r.putSealed(ctx, chunklist.Encode(chunks), to)
				if err != nil {
					return err
				}
				f.Lists, rec.Lists = append(f.Lists, ref), append(rec.Lists, ref)
				chunks = chunks[:0]
			}
		}
		if f.List != "" {
			f.List = string(chunklist.Encode(chunks))
		}
		l.Files = append(l.Files, f)
	}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if rec.Layout, err = w.r.putSealed(ctx, b, to); err != nil {
		return err
	}
	if rec.Table, err = w.r.putTable(ctx, table); err != nil {
		return err
	}
	if err := w.p.lease.good(ctx); err != nil {
		return err
	}
	_, err = w.r.appendAs(ctx, journal.Root, w.r.rootKey, nil, rec)
	return err
}
