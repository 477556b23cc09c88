package repo

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"filippo.io/age"

	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// segmentSize is how much is sealed together, in bytes: age needs about a mebibyte to be
// fast, and a reader opens that much to read one chunk. Tests make it smaller.
var segmentSize = chunklist.MaxChunk

// builder makes segments and packs of new chunks, and stores them:
//
//	add → sealers (one for each core) → pack → uploads
//
// Each step waits for the next, so that memory is bounded: a segment for each sealer
// and two waiting, and the packs for which there is memory: one being filled, and one for
// each upload.
type builder struct {
	r      *Repository
	to     age.Recipient
	ctx    context.Context
	cancel context.CancelCauseFunc

	toSeal  chan *segment
	sealers sync.WaitGroup
	uploads sync.WaitGroup
	used    chan []byte   // memory of packs that were stored: taken first, so that a quick store needs little
	more    chan struct{} // how many more packs may have memory
	pool    sync.Pool     // of segments' memory

	filling sync.Mutex // of the pack being filled
	packing *pack.Builder
	inPack  []*segment

	mu      sync.Mutex // of what follows
	current *segment
	table   []chunklist.Entry
	stored  int64
	fresh   []*segment // stored since the last partial record
	err     error
}

// segment is one that is being made.
type segment struct {
	index  uint32 // in the table
	plain  []byte
	chunks []chunklist.Chunk
}

func newBuilder(ctx context.Context, r *Repository, to age.Recipient) *builder {
	b := &builder{r: r, to: to, toSeal: make(chan *segment, 2), used: make(chan []byte, r.o.Uploads+1), more: make(chan struct{}, r.o.Uploads+1)}
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	b.pool.New = func() any { return make([]byte, 0, segmentSize) }
	for range cap(b.more) {
		b.more <- struct{}{}
	}
	for range runtime.GOMAXPROCS(0) {
		b.sealers.Add(1)
		go b.seal(b.toSeal)
	}
	return b
}

// add puts a chunk into the segment that is being filled, and says where it is.
func (b *builder) add(id chunklist.ID, data []byte) (chunklist.Chunk, error) {
	b.mu.Lock()
	if b.err != nil {
		defer b.mu.Unlock()
		return chunklist.Chunk{}, b.err
	}
	var full *segment
	if b.current != nil && len(b.current.plain)+len(data) > segmentSize {
		full, b.current = b.current, nil
	}
	if b.current == nil {
		if len(b.table) >= chunklist.MaxSegments {
			defer b.mu.Unlock()
			return chunklist.Chunk{}, b.failed(errors.New("the set has more segments than a table can hold"))
		}
		b.current = &segment{index: uint32(len(b.table)), plain: b.pool.Get().([]byte)[:0]}
		b.table = append(b.table, chunklist.Entry{})
	}
	s := b.current
	c := chunklist.Chunk{Segment: s.index, Offset: uint32(len(s.plain)), Length: uint32(len(data)), ID: id}
	s.plain = append(s.plain, data...)
	s.chunks = append(s.chunks, c)
	b.table[s.index].Mark(c.Offset, c.Length)
	b.mu.Unlock()
	if full != nil {
		return c, b.send(full)
	}
	return c, nil
}

func (b *builder) send(s *segment) error {
	select {
	case b.toSeal <- s:
		return nil
	case <-b.ctx.Done():
		return b.fail(context.Cause(b.ctx))
	}
}

// reuse refers to a segment that is stored already; its line of the table is made on first
// use.
func (b *builder) reuse(e chunklist.Entry) uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	e.Used = 0
	b.table = append(b.table, e)
	return uint32(len(b.table) - 1)
}

// use marks the parts of a segment that a chunk lies in.
func (b *builder) use(c chunklist.Chunk) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.table[c.Segment].Mark(c.Offset, c.Length)
}

func (b *builder) seal(segments <-chan *segment) {
	defer b.sealers.Done()
	var sealer seal.Sealer
	for s := range segments {
		if b.ctx.Err() != nil {
			continue
		}
		sealed, err := sealer.Seal(s.plain, b.to)
		if err != nil {
			_ = b.fail(err)
			continue
		}
		//lint:ignore SA6002 a slice's header is small beside its mebibyte
		b.pool.Put(s.plain[:0])
		s.plain = nil
		b.packed(s, pack.Sum(sealed), sealed)
	}
}

// packed puts a sealed segment into the pack, and stores that when it is full.
func (b *builder) packed(s *segment, id pack.ID, sealed []byte) {
	b.filling.Lock()
	defer b.filling.Unlock()
	if b.packing == nil {
		memory, err := b.packMemory()
		if err != nil {
			_ = b.fail(err)
			return
		}
		p := pack.NewBuilder(memory)
		b.packing = &p
	}
	b.inPack = append(b.inPack, s)
	full := b.packing.Add(id, sealed)
	b.mu.Lock()
	b.table[s.index].Segment = id
	b.mu.Unlock()
	if full {
		b.upload()
	}
}

// packMemory waits for the memory of a pack.
func (b *builder) packMemory() ([]byte, error) {
	select {
	case memory := <-b.used:
		return memory, nil
	default:
	}
	select {
	case memory := <-b.used:
		return memory, nil
	case <-b.more:
		return nil, nil // it comes with the first segment
	case <-b.ctx.Done():
		return nil, context.Cause(b.ctx)
	}
}

// upload stores the pack beside the caller, who holds b.filling.
func (b *builder) upload() {
	p, in := b.packing, b.inPack
	b.packing, b.inPack = nil, nil
	b.uploads.Add(1)
	go func() {
		defer b.uploads.Done()
		memory := p.Memory()
		defer func() { b.used <- memory }() // there is room: for as many as there may be
		id, object, _ := p.Build()
		if err := b.r.put(b.ctx, pack.Key(id), object); err != nil {
			_ = b.fail(err)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range in {
			b.table[s.index].Pack = id
		}
		b.stored += int64(len(object))
		b.fresh = append(b.fresh, in...)
	}()
}

// finish stores what is left, and waits until everything is.
func (b *builder) finish() error {
	b.mu.Lock()
	last := b.current
	b.current = nil
	b.mu.Unlock()
	if last != nil {
		_ = b.send(last) // the error is kept
	}
	b.close()
	b.filling.Lock()
	if b.packing != nil && b.ctx.Err() == nil {
		b.upload()
	}
	b.filling.Unlock()
	b.uploads.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// close ends the sealers. It may be called again.
func (b *builder) close() {
	b.mu.Lock()
	if b.toSeal != nil {
		close(b.toSeal)
		b.toSeal = nil
	}
	b.mu.Unlock()
	b.sealers.Wait()
}

// abort gives up, and returns when nothing goes on any more.
func (b *builder) abort() {
	b.cancel(context.Canceled)
	b.close()
	b.uploads.Wait()
}

func (b *builder) fail(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed(err)
}

// failed keeps the first error. b.mu is held.
func (b *builder) failed(err error) error {
	if b.err == nil {
		b.err = err
		b.cancel(err)
	}
	return b.err
}

// takeFresh takes what was stored since it was last called, if it is at least so many
// segments.
func (b *builder) takeFresh(atLeast int) (fresh []*segment, table []chunklist.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.fresh) < atLeast {
		return nil, nil
	}
	fresh, b.fresh = b.fresh, nil
	return fresh, append([]chunklist.Entry(nil), b.table...)
}
