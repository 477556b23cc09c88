package repo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// Levels of verification.
const (
	LevelInventory = "inventory" // every object is there, and has its size
	LevelSealed    = "sealed"    // every object has its hash; no key is needed
	LevelContent   = "content"   // everything opens, and is what its id says
)

// VerifyOptions are the options of Verify.
type VerifyOptions struct {
	Sets  []string // ids; empty means all
	Level string
	// Part of Parts shares of the packs is read; 0 means all of them. Inventory and
	// metadata are always looked at as a whole.
	Part, Parts int
	Progress    func(done, total int64) // bytes of packs; called by several goroutines, one at a time
}

// VerifyResult is what Verify found.
type VerifyResult struct {
	Sets     int
	Objects  int   // looked at
	Bytes    int64 // read
	Segments int   // opened, at the level of contents
	Chunks   int64 // held against their ids
	Hidden   int   // sets whose authority's keys are not at hand: they are verified as far as goes without
	Findings []Finding
	// Sound are the sets without a finding.
	Sound []string
}

// Finding is damage.
type Finding struct {
	Set    string // its id; empty if it concerns the repository
	Object string // key of the object, if it is one
	Err    error
}

// Verify verifies sets as they lie in the repository. It changes nothing; see Record.
func (r *Repository) Verify(ctx context.Context, o VerifyOptions) (*VerifyResult, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	if o.Parts > maxShares || o.Part < 0 || o.Parts > 0 && (o.Part < 1 || o.Part > o.Parts) {
		return nil, fmt.Errorf("there is no share %d of %d", o.Part, o.Parts)
	}
	if o.Level == LevelContent && !r.Readable() {
		return nil, ErrNoIdentity
	}
	v := &verifier{r: r, o: o, res: &VerifyResult{}, need: map[pack.ID]*packNeed{}, segments: map[pack.ID]*segmentNeed{}, bad: map[string]bool{}, seen: map[string]bool{}}
	v.memory.New = func() any { return new(opened) }
	for _, err := range r.now().problems {
		v.find("", "", err)
	}
	sets, err := v.sets()
	if err != nil {
		return nil, err
	}
	if o.Level == LevelInventory {
		if err := v.list(ctx); err != nil {
			return nil, err
		}
	}
	if err := v.keys(ctx); err != nil {
		return nil, err
	}
	if err := v.all(ctx, sets); err != nil {
		return nil, err
	}
	if err := v.packs(ctx); err != nil {
		return nil, err
	}
	v.res.Sets = len(sets)
	v.sort(sets)
	for _, s := range sets {
		if !v.bad[s.Set] {
			v.res.Sound = append(v.res.Sound, s.Set)
		}
	}
	return v.res, nil
}

type verifier struct {
	r *Repository
	o VerifyOptions

	there map[string]int64 // objects of metadata, by key, at the level of the inventory

	mu       sync.Mutex // of the rest
	res      *VerifyResult
	seen     map[string]bool // objects of metadata looked at
	need     map[pack.ID]*packNeed
	segments map[pack.ID]*segmentNeed // of all packs
	bad      map[string]bool          // sets with findings
	done     int64
	total    int64

	memory sync.Pool // of *opened
}

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

type segmentNeed struct {
	seg    pack.Segment
	sets   []string
	cas    []string // whose chunks it holds: one authority's, unless somebody lies
	chunks []chunkNeed
}

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

func (v *verifier) find(set, object string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Findings = append(v.res.Findings, Finding{set, object, err})
	if set != "" {
		v.bad[set] = true
	}
}

func (v *verifier) sets() ([]*storedSet, error) {
	s := v.r.now()
	var out []*storedSet
	if len(v.o.Sets) == 0 {
		for _, set := range s.sets {
			if set.live() {
				out = append(out, set)
			}
		}
		return out, nil
	}
	for _, id := range v.o.Sets {
		found := s.find(id)
		if len(found) == 0 {
			return nil, fmt.Errorf("%s: set %.80q: %w", v.r.blob.Location(), id, backupset.ErrNotFound)
		}
		out = append(out, found...)
	}
	return out, nil
}

// list lists the objects of metadata.
func (v *verifier) list(ctx context.Context) error {
	v.there = map[string]int64{}
	for info, err := range v.r.blob.List(ctx, metaDir) {
		if err != nil {
			return err
		}
		v.there[info.Key] = info.Size
	}
	return nil
}

// all looks at the metadata of sets, several at a time: a store may be far away.
func (v *verifier) all(ctx context.Context, sets []*storedSet) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(setReaders)
	for _, s := range sets {
		g.Go(func() error { return v.set(gctx, s) })
	}
	return g.Wait()
}

// setReaders is how many sets are looked at at once. Each takes the memory of a chunk list and a table.
const setReaders = 8

// sort puts findings in the order of sets: what concerns all comes first.
func (v *verifier) sort(sets []*storedSet) {
	at := map[string]int{"": -1}
	for i, s := range sets {
		at[s.Set] = i
	}
	slices.SortStableFunc(v.res.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(at[a.Set], at[b.Set]), cmp.Compare(a.Object, b.Object))
	})
}

// keys looks at the objects without which nothing opens, whatever the sets.
func (v *verifier) keys(ctx context.Context) error {
	return v.metas(ctx, "", v.r.now().keyRefs())
}

// metas looks at objects of metadata, several at a time.
func (v *verifier) metas(ctx context.Context, set string, refs []Ref) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(segmentsAtOnce)
	for _, ref := range refs {
		g.Go(func() error { return v.meta(gctx, set, ref) })
	}
	return g.Wait()
}

// set looks at the metadata of a set, and notes which segments it needs.
func (v *verifier) set(ctx context.Context, s *storedSet) error {
	if v.r.now().cas[s.CA] == nil { // keys has looked at those that are
		v.find(s.Set, "", fmt.Errorf("the keys of authority %s are in no journal: %w", s.CA, backupset.ErrDamaged))
	}
	if err := v.metas(ctx, s.Set, s.refs()); err != nil {
		return err
	}
	table, err := v.r.readTable(ctx, s.now.Table)
	if err != nil {
		return v.damage(ctx, s.Set, s.now.Table.key(), err)
	}
	v.r.packs.warm(ctx, table)
	for _, e := range table {
		if e.Used == 0 {
			continue
		}
		if err := v.segment(ctx, s, e); err != nil {
			return err
		}
	}
	if v.o.Level == LevelInventory {
		return nil
	}
	ss, err := v.r.openManifest(ctx, s)
	if errors.Is(err, errForeign) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.res.Hidden++
		return nil
	}
	if err == nil {
		err = ss.load(ctx)
	}
	if err == nil && s.receipt != nil {
		_, err = ss.receipt(ctx)
	}
	if err != nil {
		return v.damage(ctx, s.Set, "", err)
	}
	return v.layout(ctx, s, ss)
}

// damage notes damage, and returns what is no damage.
func (v *verifier) damage(ctx context.Context, set, object string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, backupset.ErrDamaged) || errors.Is(err, ErrKey) || isDamage(err) {
		v.find(set, object, err)
		return nil
	}
	return err
}

// meta looks at an object of metadata.
func (v *verifier) meta(ctx context.Context, set string, ref Ref) error {
	key := ref.key()
	v.mu.Lock()
	seen := v.seen[key]
	v.seen[key] = true
	if !seen {
		v.res.Objects++
	}
	v.mu.Unlock()
	if seen {
		return nil
	}
	if v.o.Level != LevelInventory {
		if _, err := v.r.getMeta(ctx, ref); err != nil {
			return v.damage(ctx, set, key, err)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.res.Bytes += ref.Size
		return nil
	}
	switch size, ok := v.there[key]; {
	case !ok:
		v.find(set, key, fmt.Errorf("%s is missing: %w", key, backupset.ErrDamaged))
	case size != ref.Size:
		v.find(set, key, fmt.Errorf("%s has %d bytes, not %d: %w", key, size, ref.Size, backupset.ErrDamaged))
	}
	return nil
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
		sn = &segmentNeed{seg: seg}
		n.segments[seg.ID], v.segments[seg.ID] = sn, sn
	}
	sn.sets = append(sn.sets, s.Set)
	return nil
}

// layout reads the chunk lists of a set; at the level of contents it notes which chunks each
// segment must hold.
func (v *verifier) layout(ctx context.Context, s *storedSet, ss *sealedSet) error {
	for i := range ss.layout.Files {
		f := &ss.layout.Files[i]
		l := ss.list(f)
		for n := int64(0); n < f.chunks(); n += chunklist.MaxChunks {
			_, _, err := l.at(ctx, n)
			if err == nil && v.o.Level == LevelContent {
				err = v.chunks(s, ss, f, n, l.have)
			}
			if err != nil {
				if err := v.damage(ctx, s.Set, "", err); err != nil {
					return err
				}
				break
			}
		}
	}
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
		err = damage(err)
		if errors.Is(err, blob.ErrNotFound) {
			err = fmt.Errorf("%w: %w", err, backupset.ErrDamaged)
		}
		for _, sn := range n.segments {
			for _, set := range sn.claimants() {
				if err := v.damage(ctx, set, key, err); err != nil {
					return err
				}
			}
		}
		return nil
	}
	b, err := v.r.blob.Get(ctx, key, 0, -1)
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
	v.mu.Lock()
	defer v.mu.Unlock()
	v.res.Objects++
	v.res.Bytes += int64(len(b))
	v.done += int64(len(b))
	if v.o.Progress != nil {
		v.o.Progress(v.done, v.total)
	}
	return nil
}

// sealed looks at a segment; nobody needs it if sn is nil.
func (v *verifier) sealed(ctx context.Context, key string, sn *segmentNeed, s pack.Segment, b []byte) error {
	bad := func(err error) error {
		if sn == nil {
			return nil
		}
		for _, set := range sn.claimants() {
			if err := v.damage(ctx, set, key, damage(err)); err != nil {
				return err
			}
		}
		return nil
	}
	if pack.Sum(b) != s.ID {
		return bad(fmt.Errorf("segment %s: its hash is another: %w", s.ID, backupset.ErrDamaged))
	}
	if v.o.Level != LevelContent || sn == nil {
		return nil
	}
	m := v.memory.Get().(*opened)
	defer v.memory.Put(m)
	plain, err := m.opener.Open(b, m.plain, seal.LimitSegment, v.r.data...)
	if err != nil {
		return bad(fmt.Errorf("segment %s: %w", s.ID, err))
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

// NextShare is which share of parts to read next at a level: the one after the last.
func (r *Repository) NextShare(level string, parts int) int {
	last, at := 0, time.Time{}
	for _, p := range r.now().proofs {
		if p.Level == level && p.Parts == parts && !p.stored.Before(at) {
			last, at = p.Part, p.stored
		}
	}
	return last%max(parts, 1) + 1
}

// Record keeps the outcome of a verification beside the sets, for list. It takes the key of
// a host, or a restore identity.
func (r *Repository) Record(ctx context.Context, level string, part, parts int, sound, damaged []string) error {
	s := r.now()
	names := func(ids []string) (out []setName) {
		for _, id := range ids {
			for _, set := range s.find(id) {
				out = append(out, set.name())
			}
		}
		return out
	}
	var records []any
	if n := names(sound); len(n) > 0 {
		records = append(records, proofRecord{typeProof, n, level, part, parts, true, r.o.Now().UTC()})
	}
	if n := names(damaged); len(n) > 0 {
		records = append(records, proofRecord{typeProof, n, level, part, parts, false, r.o.Now().UTC()})
	}
	if len(records) == 0 {
		return nil
	}
	_, err := r.append(ctx, nil, records...)
	return err
}
