package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// packs finds segments. What is known of a pack is kept: packs never change.
type packs struct {
	r *Repository

	mu      sync.Mutex
	headers map[pack.ID]*header
	scanned bool
}

// header is what the header of a pack says.
type header struct {
	loading
	segments map[pack.ID]pack.Segment
	size     int64 // of the pack
}

// header is a pack's header, which is read once though several ask for it. Its size is that of the object, -1
// if it is not known. blob.ErrNotFound if there is no such pack.
func (p *packs) header(ctx context.Context, id pack.ID, size int64) (*header, error) {
	for {
		p.mu.Lock()
		h := p.headers[id]
		if h == nil {
			break
		}
		p.mu.Unlock()
		if again, err := h.wait(ctx); !again {
			return h, err
		}
	}
	h := &header{loading: loading{ready: make(chan struct{})}, size: size}
	p.headers[id] = h
	p.mu.Unlock()
	defer close(h.ready)
	if h.err = p.read(ctx, id, h); h.err != nil { // to be tried again by who asks next
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.headers[id] == h {
			delete(p.headers, id)
		}
	}
	return h, h.err
}

func (p *packs) read(ctx context.Context, id pack.ID, h *header) error {
	if h.size < 0 {
		info, err := p.r.blob.Stat(ctx, pack.Key(id))
		if err != nil {
			return err
		}
		h.size = info.Size
	}
	segments, err := pack.ReadHeader(ctx, p.r.blob, id, h.size)
	if err != nil {
		return damage(err)
	}
	h.segments = make(map[pack.ID]pack.Segment, len(segments))
	for _, s := range segments {
		h.segments[s.ID] = s
	}
	return nil
}

// warm reads the headers of the packs that a table names, several at a time, so that find need not wait
// for one after another. What goes wrong find meets again.
func (p *packs) warm(ctx context.Context, table []chunklist.Entry) {
	var g errgroup.Group
	g.SetLimit(headersAtOnce)
	asked := map[pack.ID]bool{}
	for _, e := range table {
		if e.Used != 0 && !asked[e.Pack] {
			asked[e.Pack] = true
			g.Go(func() error { _, _ = p.header(ctx, e.Pack, -1); return nil })
		}
	}
	_ = g.Wait() // it has no errors
}

// find finds a segment: where it was put, or where a prune moved it, or by looking through
// all packs.
func (p *packs) find(ctx context.Context, e chunklist.Entry) (pack.ID, pack.Segment, error) {
	try := []pack.ID{e.Pack}
	for n := 0; n < len(try) && n < 1000; n++ {
		h, err := p.header(ctx, try[n], -1)
		switch {
		case errors.Is(err, blob.ErrNotFound):
			try = append(try, p.r.now().moved[try[n]]...)
			continue
		case err != nil:
			return pack.ID{}, pack.Segment{}, err
		}
		if s, ok := h.segments[e.Segment]; ok {
			return try[n], s, nil
		}
		try = append(try, p.r.now().moved[try[n]]...)
	}
	return p.search(ctx, e.Segment)
}

// search looks through all packs.
func (p *packs) search(ctx context.Context, want pack.ID) (pack.ID, pack.Segment, error) {
	p.mu.Lock()
	scanned := p.scanned
	p.mu.Unlock()
	if !scanned {
		if err := p.scan(ctx); err != nil {
			return pack.ID{}, pack.Segment{}, err
		}
	}
	p.mu.Lock()
	p.scanned = true
	all := maps.Clone(p.headers)
	p.mu.Unlock()
	for id, h := range all {
		_, _ = h.wait(ctx) // what cannot be read has no segments
		if err := ctx.Err(); err != nil {
			return pack.ID{}, pack.Segment{}, err
		}
		if s, ok := h.segments[want]; ok {
			return id, s, nil
		}
	}
	return pack.ID{}, pack.Segment{}, fmt.Errorf("segment %s is missing: %w", want, backupset.ErrDamaged)
}

// scan reads the headers of all packs. Those that are damaged have no segments.
func (p *packs) scan(ctx context.Context) error {
	listed, err := p.r.listPacks(ctx)
	if err != nil {
		return err
	}
	for o := range inOrder(ctx, listed, headersAtOnce, func(ctx context.Context, i packInfo) (*header, error) { return p.header(ctx, i.id, i.info.Size) }) {
		if o.err != nil && !errors.Is(o.err, backupset.ErrDamaged) && !errors.Is(o.err, blob.ErrNotFound) {
			return o.err
		}
	}
	return nil
}

// packInfo is a pack as it was listed.
type packInfo struct {
	id   pack.ID
	info blob.Info
}

func (r *Repository) listPacks(ctx context.Context) (listed []packInfo, err error) {
	for info, err := range r.blob.List(ctx, pack.Dir) {
		if err != nil {
			return nil, err
		}
		if id, ok := pack.ParseKey(info.Key); ok {
			listed = append(listed, packInfo{id, info})
		}
	}
	return listed, nil
}

// putPack stores a pack of segments that have been in another pack, and empties b. Its id follows
// from them; where a pack of that id is already, an interrupted run's, nothing keeps a prune from deleting that
// one, nor does its id say that its segments are what they should be. So it is not
// relied on: the segments get a pack with another id.
func (r *Repository) putPack(ctx context.Context, b *pack.Builder) (pack.ID, int64, error) {
	for n := 0; ; n++ {
		again := *b
		id, object, _ := b.Build()
		err := r.put(ctx, pack.Key(id), object)
		if errors.Is(err, blob.ErrExists) && n < pack.MaxRepeats {
			*b = again
			b.Repeat()
			continue
		}
		return id, int64(len(object)), err
	}
}

// forget drops what is known of packs that were found missing.
func (p *packs) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.headers)
	p.scanned = false
}

// openers keep the memory that segments are opened in.
var openers = sync.Pool{New: func() any { return new(seal.Opener) }}

// segment reads a segment and opens it, in the memory that it gets. in is the pack that it lies in.
func (r *Repository) segment(ctx context.Context, e chunklist.Entry, memory []byte) (_ []byte, in pack.ID, err error) {
	if !r.Readable() {
		return nil, in, ErrNoIdentity
	}
	sealed, in, err := r.sealedSegment(ctx, e)
	if err != nil {
		return nil, in, err
	}
	o := openers.Get().(*seal.Opener)
	defer openers.Put(o)
	plain, err := o.Open(sealed, memory, seal.LimitSegment, r.data...)
	if err != nil {
		return nil, in, damage(fmt.Errorf("segment %s: %w", e.Segment, err))
	}
	return plain, in, nil
}

func (r *Repository) sealedSegment(ctx context.Context, e chunklist.Entry) (_ []byte, in pack.ID, _ error) {
	for try := 0; ; try++ {
		in, seg, err := r.packs.find(ctx, e)
		if err != nil {
			return nil, in, err
		}
		b, err := pack.Read(ctx, r.blob, in, seg)
		if errors.Is(err, blob.ErrNotFound) && try == 0 {
			r.packs.forget() // a prune has moved it just now
			if err := r.refresh(ctx); err != nil {
				return nil, in, err
			}
			continue
		}
		return b, in, damage(err)
	}
}
