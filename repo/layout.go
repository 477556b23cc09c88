package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// layout says which chunks the files of a set are made of. It is JSON, sealed to the
// authority's metadata key.
type layout struct {
	Schema int          `json:"schema"`
	Set    string       `json:"set"`
	Files  []fileLayout `json:"files"`
}

// fileLayout is a file: its chunks are those of its lists, one behind another. Every chunk has
// ChunkSize bytes but the last.
type fileLayout struct {
	Role      backupset.Role `json:"role"`
	Name      string         `json:"name"`
	Size      int64          `json:"size"`
	ChunkSize int64          `json:"chunk_size"`
	Lists     []Ref          `json:"lists,omitempty"` // each but the last has chunklist.MaxChunks
	List      string         `json:"list,omitempty"`  // of a small file, in place of Lists
}

func (f *fileLayout) chunks() int64 {
	if f.ChunkSize <= 0 {
		return 0
	}
	return (f.Size + f.ChunkSize - 1) / f.ChunkSize
}

// maxInline is up to how many chunks a file's list stands in the layout itself.
const maxInline = 32

func (l *layout) validate() error {
	if l.Schema > schema {
		return ErrNewer
	}
	if l.Schema != schema {
		return fmt.Errorf("layout: schema %d: %w", l.Schema, backupset.ErrDamaged)
	}
	for i := range l.Files {
		f := &l.Files[i]
		bad := fmt.Errorf("layout of %.80q: %w", f.Name, backupset.ErrDamaged)
		if f.Size < 0 || f.ChunkSize <= 0 || f.ChunkSize > chunklist.MaxChunk || f.chunks() > 1<<36 {
			return bad
		}
		if f.List == "" && int64(len(f.Lists)) != (f.chunks()+chunklist.MaxChunks-1)/chunklist.MaxChunks {
			return bad
		}
	}
	return nil
}

// sealedSet is what the repository knows of a set: all but its contents. It is of the time it
// was opened at: where a prune has put the chunks elsewhere since, or a receipt has come, the set is
// to be opened again.
type sealedSet struct {
	r        *Repository
	s        *storedSet
	keys     *caKeys
	manifest *backupset.Manifest
	// held, if not nil, is told of chunks that were read and are what their ids say, and in which pack they were.
	held func(ca string, segment, in pack.ID, chunks []chunklist.Chunk)

	mu     sync.Mutex // of load
	layout *layout
	table  []chunklist.Entry
}

// open reads a set's manifest, layout and table. ErrNoHost if there is no key for it.
func (r *Repository) open(ctx context.Context, s *storedSet) (*sealedSet, error) {
	ss, err := r.openManifest(ctx, s)
	if err != nil {
		return nil, err
	}
	return ss, ss.load(ctx)
}

// errForeign: the set is of an authority whose keys are not at hand.
var errForeign = fmt.Errorf("%w: it is of an authority whose keys are not here", ErrKey)

// openManifest reads a set's manifest alone, which is kept: manifests never change.
func (r *Repository) openManifest(ctx context.Context, s *storedSet) (*sealedSet, error) {
	keys, err := r.keysOf(ctx, s.CA)
	if err != nil {
		return nil, err
	}
	if keys == nil {
		return nil, fmt.Errorf("set %s: %w", s.Set, errForeign)
	}
	r.mu.Lock()
	m := r.manifests[s.Manifest]
	r.mu.Unlock()
	if m == nil {
		b, err := r.getSealed(ctx, s.Manifest, seal.LimitLarge, keys.metadata)
		if err != nil {
			return nil, fmt.Errorf("set %s: manifest: %w", s.Set, err)
		}
		if m, err = backupset.DecodeManifest(b); err != nil {
			return nil, fmt.Errorf("set %s: %w", s.Set, err)
		}
		r.mu.Lock()
		r.manifests[s.Manifest] = m
		r.mu.Unlock()
	}
	if m.ID != s.Set {
		return nil, fmt.Errorf("set %s: the manifest is of %s: %w", s.Set, m.ID, backupset.ErrDamaged)
	}
	return &sealedSet{r: r, s: s, keys: keys, manifest: m}, nil
}

// load reads layout and table, unless they were read.
func (s *sealedSet) load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.layout != nil {
		return nil
	}
	var l *layout
	var table []chunklist.Entry
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { l, err = s.readLayout(gctx); return err })
	g.Go(func() (err error) { table, err = s.r.readTable(gctx, s.s.now.Table); return err })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("set %s: %w", s.s.Set, err)
	}
	s.layout, s.table = l, table
	return nil
}

func (s *sealedSet) readLayout(ctx context.Context) (*layout, error) {
	b, err := s.r.getSealed(ctx, s.s.now.Layout, seal.LimitLarge, s.keys.metadata)
	if err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	var l layout
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("layout: %w", backupset.ErrDamaged)
	}
	if err := l.validate(); err != nil {
		return nil, err
	}
	if l.Set != s.s.Set {
		return nil, fmt.Errorf("the layout is of %.80q: %w", l.Set, backupset.ErrDamaged)
	}
	return &l, nil
}

// file is the layout of a file, nil if the set has none of that name.
func (s *sealedSet) file(role backupset.Role, name string) *fileLayout {
	for i := range s.layout.Files {
		if f := &s.layout.Files[i]; f.Role == role && f.Name == name {
			return f
		}
	}
	return nil
}

// putTable stores a table of segments. No key is needed to read it.
func (r *Repository) putTable(ctx context.Context, table []chunklist.Entry) (Ref, error) {
	ref, err := r.putMeta(ctx, seal.Compress(chunklist.EncodeTable(table), nil))
	if errors.Is(err, ErrNoted) && len(table) < chunklist.MaxSegments {
		// The same, with another hash: a line of which nothing is used.
		own := chunklist.Entry{Segment: pack.ID(random(len(pack.ID{})))}
		ref, err = r.putMeta(ctx, seal.Compress(chunklist.EncodeTable(append(slices.Clone(table), own)), nil))
	}
	return ref, err
}

// readTable reads what putTable stored.
func (r *Repository) readTable(ctx context.Context, ref Ref) ([]chunklist.Entry, error) {
	b, err := r.getMeta(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("table of segments: %w", err)
	}
	plain, err := seal.Expand(b, limitTable)
	if err != nil {
		return nil, damage(fmt.Errorf("table of segments: %w", err))
	}
	t, err := chunklist.DecodeTable(plain)
	return t, damage(err)
}

// limitTable bounds a table, in bytes.
const limitTable = 512 << 20

func (r *Repository) readList(ctx context.Context, keys *caKeys, ref Ref, segments int) ([]chunklist.Chunk, error) {
	b, err := r.getSealed(ctx, ref, seal.LimitLarge, keys.metadata)
	if err != nil {
		return nil, fmt.Errorf("chunk list: %w", err)
	}
	chunks, err := chunklist.Decode(b, segments)
	return chunks, damage(err)
}

// listReader reads the chunk lists of a file, one at a time.
type listReader struct {
	s     *sealedSet
	f     *fileLayout
	table []chunklist.Entry
	part  int64 // which list chunks holds; -1 before the first
	have  []chunklist.Chunk
}

func (s *sealedSet) list(f *fileLayout) *listReader {
	return &listReader{s: s, f: f, table: s.table, part: -1}
}

// at is the n-th chunk of the file; false if it has fewer.
func (l *listReader) at(ctx context.Context, n int64) (chunklist.Chunk, bool, error) {
	if n >= l.f.chunks() {
		return chunklist.Chunk{}, false, nil
	}
	if part := n / chunklist.MaxChunks; part != l.part {
		if err := l.read(ctx, part); err != nil {
			return chunklist.Chunk{}, false, err
		}
	}
	return l.have[n%chunklist.MaxChunks], true, nil
}

func (l *listReader) read(ctx context.Context, part int64) (err error) {
	l.part = -1
	if l.f.List != "" {
		l.have, err = chunklist.Decode([]byte(l.f.List), len(l.table))
	} else {
		l.have, err = l.s.r.readList(ctx, l.s.keys, l.f.Lists[part], len(l.table))
	}
	if err != nil {
		return damage(fmt.Errorf("set %s: %s: %w", l.s.s.Set, l.f.Name, err))
	}
	if want := min(l.f.chunks()-part*chunklist.MaxChunks, chunklist.MaxChunks); int64(len(l.have)) != want {
		return fmt.Errorf("set %s: %s: a chunk list has %d chunks, not %d: %w", l.s.s.Set, l.f.Name, len(l.have), want, backupset.ErrDamaged)
	}
	for i, c := range l.have {
		n := part*chunklist.MaxChunks + int64(i)
		if want := min(l.f.ChunkSize, l.f.Size-n*l.f.ChunkSize); int64(c.Length) != want {
			return fmt.Errorf("set %s: %s: chunk %d has %d bytes, not %d: %w", l.s.s.Set, l.f.Name, n, c.Length, want, backupset.ErrDamaged)
		}
	}
	l.part = part
	return nil
}
