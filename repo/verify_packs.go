package repo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// opened is the memory that a segment is opened in.
type opened struct {
	opener seal.Opener
	plain  []byte
}

// packNeed is a pack and what sets need of it.
type packNeed struct {
	id       pack.ID
	size     int64
	segments map[pack.ID]*segmentNeed
}

// done reports that all segments that sets need of the pack were read with their files, and how many bytes they have.
func (n *packNeed) done() (size int64, ok bool) {
	for _, sn := range n.segments {
		if !sn.done() {
			return 0, false
		}
		size += sn.seg.Length
	}
	return size, true
}

type segmentNeed struct {
	seg    pack.Segment
	in     pack.ID // the pack
	sets   []string
	cas    []string // whose chunks it holds: one authority's, unless somebody lies
	chunks []chunkNeed
	read   int // chunks that were read with a file, and are not in the list any more
}

// done reports that all that sets claim of the segment was read with their files.
func (sn *segmentNeed) done() bool { return sn.read > 0 && len(sn.chunks) == 0 }

// chunkNeed is a chunk that a segment must hold, as a set claims. They are kept in order, each once.
type chunkNeed struct {
	off, length uint32
	id          chunklist.ID
	ca          uint32 // number in cas
}

func (n chunkNeed) compare(o chunkNeed) int {
	return cmp.Or(cmp.Compare(n.off, o.off), cmp.Compare(n.length, o.length), bytes.Compare(n.id[:], o.id[:]), cmp.Compare(n.ca, o.ca))
}

// claimants are the sets that need the segment.
func (sn *segmentNeed) claimants() []string {
	return slices.Compact(slices.Sorted(slices.Values(sn.sets)))
}

// need is what a set of an authority claims of a segment.
func (sn *segmentNeed) need(ca string, c chunklist.Chunk) chunkNeed {
	n := slices.Index(sn.cas, ca)
	if n < 0 {
		n = len(sn.cas)
		sn.cas = append(sn.cas, ca)
	}
	return chunkNeed{c.Offset, c.Length, c.ID, uint32(n)}
}

// add notes a chunk of an authority. What different sets claim is looked at separately: one
// that lies must not have another found damaged.
func (sn *segmentNeed) add(ca string, c chunklist.Chunk) {
	n := sn.need(ca, c)
	if i, ok := slices.BinarySearchFunc(sn.chunks, n, chunkNeed.compare); !ok {
		sn.chunks = slices.Insert(sn.chunks, i, n)
	}
}

// segment notes that a set needs a segment.
func (v *verifier) segment(ctx context.Context, s *storedSet, e chunklist.Entry) error {
	in, seg, err := v.r.packs.find(ctx, e)
	if err != nil {
		return v.damage(ctx, s.Set, pack.Key(e.Pack), err)
	}
	h, err := v.r.packs.header(ctx, in, -1)
	if err != nil {
		return v.damage(ctx, s.Set, pack.Key(e.Pack), err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.need[in]
	if n == nil {
		n = &packNeed{id: in, size: h.size, segments: map[pack.ID]*segmentNeed{}}
		v.need[in] = n
	}
	sn := n.segments[seg.ID]
	if sn == nil {
		sn = &segmentNeed{seg: seg, in: in}
		n.segments[seg.ID], v.segments[seg.ID] = sn, sn
	}
	sn.sets = append(sn.sets, s.Set)
	return nil
}

// chunks notes what segments must hold for the chunks of a file from the n-th on.
func (v *verifier) chunks(s *storedSet, ss *sealedSet, f *fileLayout, n int64, list []chunklist.Chunk) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, c := range list {
		sn := v.segments[ss.table[c.Segment].Segment]
		if sn == nil {
			return fmt.Errorf("%s: chunk %d is in no segment of the table: %w", f.Name, n+int64(i), backupset.ErrDamaged)
		}
		sn.add(s.CA, c)
	}
	return nil
}

// packs looks at the packs that are needed.
func (v *verifier) packs(ctx context.Context) error {
	if v.o.Level == LevelInventory {
		v.res.Objects += len(v.need)
		return nil
	}
	var needs []*packNeed
	for _, n := range v.need {
		if !v.share(n.id) {
			continue
		}
		if size, done := n.done(); done {
			v.res.Objects++
			v.res.Bytes += size
			continue
		}
		v.total += n.size
		needs = append(needs, n)
	}
	slices.SortFunc(needs, func(a, b *packNeed) int { return slices.Compare(a.id[:], b.id[:]) })
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(packReaders)
	for _, n := range needs {
		g.Go(func() error { return v.pack(gctx, n) })
	}
	return g.Wait()
}

// packReaders is how many packs are verified at once. Each takes the memory of a pack; a store that is far away needs
// more of them than there are cores.
const packReaders = 3

// share reports whether a pack is in the share to be read.
func (v *verifier) share(id pack.ID) bool {
	if v.o.Parts <= 1 {
		return true
	}
	h := fnv.New64a()
	_, _ = h.Write(id[:]) // never fails
	return int(h.Sum64()%uint64(v.o.Parts)) == v.o.Part-1
}

func (v *verifier) pack(ctx context.Context, n *packNeed) error {
	key := pack.Key(n.id)
	all := func(err error) error {
		for _, sn := range n.segments {
			if err := v.blame(ctx, key, sn, err); err != nil {
				return err
			}
		}
		return nil
	}
	b, err := v.r.blob.Get(ctx, key, 0, -1)
	if errors.Is(err, blob.ErrNotFound) {
		return v.moved(ctx, n)
	}
	if err != nil {
		return all(err)
	}
	segments, need, err := pack.ParseHeader(b, n.id, int64(len(b)))
	if err == nil && need > 0 {
		err = fmt.Errorf("pack %s: %w", n.id, pack.ErrDamaged)
	}
	if err != nil {
		return all(err)
	}
	for _, s := range segments {
		if err := v.sealed(ctx, key, n.segments[s.ID], s, b[s.Offset:s.Offset+s.Length]); err != nil {
			return err
		}
	}
	v.went(int64(len(b)), int64(len(b)))
	return nil
}

// blame notes damage of a segment for all sets that need it; there are none if sn is nil.
func (v *verifier) blame(ctx context.Context, key string, sn *segmentNeed, err error) error {
	if sn == nil {
		return nil
	}
	err = damage(err)
	for _, set := range sn.claimants() {
		if err := v.damage(ctx, set, key, err); err != nil {
			return err
		}
	}
	return nil
}

// moved looks at the segments of a pack that is gone: a prune has moved them meanwhile, or they are lost. (Those that a
// prune has rewritten are not found again, but it waits for its grace before it deletes what they were.)
func (v *verifier) moved(ctx context.Context, n *packNeed) error {
	key, read := pack.Key(n.id), int64(0)
	for id, sn := range n.segments {
		b, _, err := v.r.sealedSegment(ctx, chunklist.Entry{Segment: id, Pack: n.id})
		switch {
		case err == nil:
			read += int64(len(b))
			err = v.sealed(ctx, key, sn, sn.seg, b)
		case errors.Is(err, blob.ErrNotFound):
			err = v.blame(ctx, key, sn, fmt.Errorf("%s is missing: %w", key, backupset.ErrDamaged))
		default:
			err = v.blame(ctx, key, sn, err)
		}
		if err != nil {
			return err
		}
	}
	v.went(n.size, read)
	return nil
}

// went counts a pack, which was looked at, and what was read of it.
func (v *verifier) went(size, read int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Objects++
	v.res.Bytes += read
	v.done += size
	if v.o.Progress != nil {
		v.o.Progress(v.done, v.total)
	}
}

// sealed looks at a segment; nobody needs it if sn is nil.
func (v *verifier) sealed(ctx context.Context, key string, sn *segmentNeed, s pack.Segment, b []byte) error {
	if pack.Sum(b) != s.ID {
		return v.blame(ctx, key, sn, fmt.Errorf("segment %s: its hash is another: %w", s.ID, backupset.ErrDamaged))
	}
	if v.o.Level != LevelContent || sn == nil || sn.done() {
		return nil
	}
	m := v.memory.Get().(*opened)
	defer v.memory.Put(m)
	plain, err := m.opener.Open(b, m.plain, seal.LimitSegment, v.r.data...)
	if err != nil {
		return v.blame(ctx, key, sn, fmt.Errorf("segment %s: %w", s.ID, err))
	}
	m.plain = plain
	makers := make([]*ids, len(sn.cas))
	for n, ca := range sn.cas {
		keys, err := v.r.keysOf(ctx, ca)
		if err != nil {
			return err
		}
		if keys == nil {
			return fmt.Errorf("authority %s: %w", ca, ErrKey)
		}
		makers[n] = keys.ids()
	}
	var wrong []chunkNeed
	for _, c := range sn.chunks {
		switch {
		case int64(c.off)+int64(c.length) > int64(len(plain)):
			err = fmt.Errorf("segment %s ends before its chunks do: %w", s.ID, backupset.ErrDamaged)
		case makers[c.ca].of(plain[c.off:c.off+c.length]) != c.id:
			err = fmt.Errorf("segment %s: the chunk at %d is not what its id says: %w", s.ID, c.off, backupset.ErrDamaged)
		default:
			continue
		}
		wrong = append(wrong, c)
	}
	if len(wrong) > 0 {
		return v.claimants(ctx, key, sn, wrong, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Segments++
	v.res.Chunks += int64(len(sn.chunks))
	return nil
}

// claimants finds the sets that claim what is wrong of a segment.
func (v *verifier) claimants(ctx context.Context, key string, sn *segmentNeed, wrong []chunkNeed, why error) error {
	for _, id := range sn.claimants() {
		for _, s := range v.r.now().find(id) {
			ss, err := v.r.open(ctx, s)
			if err != nil {
				if err := v.damage(ctx, id, key, err); err != nil {
					return err
				}
				continue
			}
			hit := false
			err = ss.each(ctx, func(_ *fileLayout, c chunklist.Chunk) error {
				if !hit && ss.table[c.Segment].Segment == sn.seg.ID && slices.Contains(sn.cas, s.CA) {
					_, hit = slices.BinarySearchFunc(wrong, sn.need(s.CA, c), chunkNeed.compare)
				}
				return nil
			})
			if err == nil && hit {
				err = why
			}
			if err != nil {
				if err := v.damage(ctx, id, key, err); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
