package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
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
	// Files, at the level of contents and if all packs are read, is called when it is known what the sets need, to
	// read their files through, from the store that it gets. What was read there, and was what its id says, is not
	// read again. An error ends the verification.
	Files    func(ctx context.Context, from backupset.Store) error
	Progress func(done, total int64) // bytes of packs; called by several goroutines, one at a time
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
	// What was read before is to be read anew.
	r.packs.forget()
	r.segments.forget()
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
	if o.Files != nil && o.Level == LevelContent && o.Parts == 0 {
		if err := o.Files(ctx, watched{r, v}); err != nil {
			return nil, err
		}
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
