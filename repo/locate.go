package repo

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"

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
	headers map[pack.ID]map[pack.ID]pack.Segment
	scanned bool
}

// header is a pack's header. blob.ErrNotFound if there is no such pack.
func (p *packs) header(ctx context.Context, id pack.ID) (map[pack.ID]pack.Segment, error) {
	p.mu.Lock()
	h := p.headers[id]
	p.mu.Unlock()
	if h != nil {
		return h, nil
	}
	info, err := p.r.blob.Stat(ctx, pack.Key(id))
	if err != nil {
		return nil, err
	}
	return p.read(ctx, id, info.Size)
}

func (p *packs) read(ctx context.Context, id pack.ID, size int64) (map[pack.ID]pack.Segment, error) {
	segments, err := pack.ReadHeader(ctx, p.r.blob, id, size)
	if err != nil {
		return nil, damage(err)
	}
	h := make(map[pack.ID]pack.Segment, len(segments))
	for _, s := range segments {
		h[s.ID] = s
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.headers[id] = h
	return h, nil
}

// find finds a segment: where it was put, or where a prune moved it, or by looking through
// all packs.
func (p *packs) find(ctx context.Context, e chunklist.Entry) (pack.ID, pack.Segment, error) {
	try := []pack.ID{e.Pack}
	for n := 0; n < len(try) && n < 1000; n++ {
		h, err := p.header(ctx, try[n])
		switch {
		case errors.Is(err, blob.ErrNotFound):
			try = append(try, p.r.now().moved[try[n]]...)
			continue
		case err != nil:
			return pack.ID{}, pack.Segment{}, err
		}
		if s, ok := h[e.Segment]; ok {
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
		for info, err := range p.r.blob.List(ctx, pack.Dir) {
			if err != nil {
				return pack.ID{}, pack.Segment{}, err
			}
			id, ok := pack.ParseKey(info.Key)
			if !ok {
				continue
			}
			p.mu.Lock()
			known := p.headers[id] != nil
			p.mu.Unlock()
			if known {
				continue
			}
			if _, err := p.read(ctx, id, info.Size); err != nil && !errors.Is(err, backupset.ErrDamaged) && !errors.Is(err, blob.ErrNotFound) {
				return pack.ID{}, pack.Segment{}, err
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.scanned = true
	for id, h := range p.headers {
		if s, ok := h[want]; ok {
			return id, s, nil
		}
	}
	return pack.ID{}, pack.Segment{}, fmt.Errorf("segment %s is missing: %w", want, backupset.ErrDamaged)
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

// segment reads a segment and opens it.
func (r *Repository) segment(ctx context.Context, e chunklist.Entry) ([]byte, error) {
	if !r.Readable() {
		return nil, ErrNoIdentity
	}
	sealed, err := r.sealedSegment(ctx, e)
	if err != nil {
		return nil, err
	}
	plain, err := seal.Open(sealed, seal.LimitSegment, r.data...)
	if err != nil {
		return nil, damage(fmt.Errorf("segment %s: %w", e.Segment, err))
	}
	return plain, nil
}

func (r *Repository) sealedSegment(ctx context.Context, e chunklist.Entry) ([]byte, error) {
	for try := 0; ; try++ {
		in, seg, err := r.packs.find(ctx, e)
		if err != nil {
			return nil, err
		}
		b, err := pack.Read(ctx, r.blob, in, seg)
		if errors.Is(err, blob.ErrNotFound) && try == 0 {
			r.packs.forget() // a prune has moved it just now
			if err := r.refresh(ctx); err != nil {
				return nil, err
			}
			continue
		}
		return b, damage(err)
	}
}

// segmentCacheSize is how much of opened segments is kept, in bytes. Reading a file in
// order needs one segment of each run that its chunks come from.
const segmentCacheSize = 32 << 20

// segmentCache keeps opened segments, and opens each once though several ask for it.
type segmentCache struct {
	limit int64

	mu    sync.Mutex
	size  int64
	order *list.List // of *cached, the least recently used last
	byID  map[pack.ID]*list.Element
}

type cached struct {
	id    pack.ID
	ready chan struct{}
	plain []byte
	err   error
}

func newSegmentCache(limit int64) *segmentCache {
	return &segmentCache{limit: limit, order: list.New(), byID: map[pack.ID]*list.Element{}}
}

// get is the opened segment, by load if it is not there yet.
func (c *segmentCache) get(ctx context.Context, id pack.ID, load func() ([]byte, error)) ([]byte, error) {
	for {
		c.mu.Lock()
		el, ok := c.byID[id]
		if !ok {
			break
		}
		c.order.MoveToFront(el)
		c.mu.Unlock()
		e := el.Value.(*cached)
		select {
		case <-e.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if e.err == nil || !errors.Is(e.err, context.Canceled) && !errors.Is(e.err, context.DeadlineExceeded) {
			return e.plain, e.err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// The one who was loading it lost interest; this one has not.
	}
	e := &cached{id: id, ready: make(chan struct{})}
	el := c.order.PushFront(e)
	c.byID[id] = el
	c.mu.Unlock()

	e.plain, e.err = load()

	c.mu.Lock()
	defer c.mu.Unlock()
	if e.err != nil { // to be tried again by who asks next
		c.drop(el)
	} else {
		c.size += int64(len(e.plain))
		for c.size > c.limit && c.order.Back() != el {
			last := c.order.Back()
			select {
			case <-last.Value.(*cached).ready:
				c.drop(last)
				continue
			default:
			}
			break // it is being loaded
		}
	}
	close(e.ready)
	return e.plain, e.err
}

// drop takes one out. c.mu is held.
func (c *segmentCache) drop(el *list.Element) {
	e := el.Value.(*cached)
	if c.byID[e.id] != el {
		return
	}
	delete(c.byID, e.id)
	c.order.Remove(el)
	if e.err == nil {
		c.size -= int64(len(e.plain))
	}
}
