package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// Open implements backupset.Set. It takes a restore identity. Every chunk is held against
// its id as it is read.
func (s *sealedSet) Open(ctx context.Context, f backupset.File) (backupset.ReadAtCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	l := s.file(f.Role, f.Name)
	if l == nil {
		return nil, fmt.Errorf("set %s: %.200q: %w", s.s.Set, f.Name, backupset.ErrNotFound)
	}
	if !s.r.Readable() {
		return nil, hint.With(fmt.Errorf("set %s: %s: %w", s.s.Set, f.Name, ErrNoIdentity), "name its file with --identity, or in CERTKEEP_IDENTITY_FILE")
	}
	rctx, cancel := context.WithCancel(ctx)
	r := &reader{s: s, f: l, ctx: rctx, cancel: cancel, lists: s.list(l)}
	r.ids.New = func() any { return s.keys.ids() }
	return r, nil
}

// How much of a file is opened before it is asked for, in bytes, and in how many stretches at most: where few pages were
// changed, stretches are short, and most lie in the same segments.
var ahead = 24 << 20 // a variable for tests

const maxQueued = 48

// reader is an open file. Reading in order opens segments ahead.
type reader struct {
	s      *sealedSet
	f      *fileLayout
	ctx    context.Context
	cancel context.CancelFunc
	ids    sync.Pool // of *ids: each is for one goroutine at a time

	mu     sync.Mutex // of the rest
	lists  *listReader
	closed bool

	pos   int64
	next  int64          // chunk that the next stretch begins with
	warm  bool           // the headers of its packs are being read
	queue []*stretch     // opened, or on the way
	ahead int            // bytes of them
	buf   []byte         // what is left of the stretch being read
	done  func()         // with that
	going sync.WaitGroup // those on the way
}

// stretch are chunks of a file that follow each other and lie in one segment.
type stretch struct {
	first  int64 // chunk
	chunks []chunklist.Chunk
	size   int // bytes
	entry  chunklist.Entry
	ready  chan struct{}
	data   []byte // the chunks one behind another; not to be written to
	done   func() // with data, or with the error: to be called once
	err    error
}

// Size implements backupset.ReadAtCloser.
func (r *reader) Size() int64 { return r.f.Size }

// Close implements backupset.ReadAtCloser.
func (r *reader) Close() error {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.going.Wait()
	for _, st := range r.queue {
		st.done()
	}
	if r.done != nil {
		r.done()
	}
	r.queue, r.buf, r.done = nil, nil, nil
	return nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, fs.ErrClosed
	}
	for len(r.buf) == 0 {
		if r.done != nil {
			r.done()
			r.done = nil
		}
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if r.pos >= r.f.Size {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
		st := r.queue[0]
		select {
		case <-st.ready:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
		if st.err != nil {
			return 0, st.err
		}
		r.queue = r.queue[1:]
		r.ahead -= st.size
		r.buf, r.done = st.data, st.done
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	r.pos += int64(n)
	return n, nil
}

// fill starts opening what comes next. r.mu is held.
func (r *reader) fill() error {
	if !r.warm {
		r.warm = true
		r.going.Go(func() { r.s.r.packs.warm(r.ctx, r.lists.table) })
	}
	for r.ahead < ahead && len(r.queue) < maxQueued && r.next < r.f.chunks() && (len(r.queue) == 0 || r.s.r.inUse.room()) {
		st, err := r.stretch(r.next)
		if err != nil {
			if len(r.queue) > 0 {
				return nil // to be met when it is reached
			}
			return err
		}
		r.next += int64(len(st.chunks))
		r.queue = append(r.queue, st)
		r.ahead += st.size
		r.s.r.inUse.add(st.entry.Segment)
		r.going.Add(1)
		go func() {
			defer r.going.Done()
			defer close(st.ready)
			ids := r.ids.Get().(*ids)
			defer r.ids.Put(ids)
			var release func()
			st.data, release, st.err = r.s.read(r.ctx, r.f, st, ids)
			st.done = func() {
				if release != nil {
					release()
				}
				r.s.r.inUse.remove(st.entry.Segment)
			}
		}()
	}
	if len(r.queue) == 0 {
		return fmt.Errorf("set %s: %s: %w: its chunks end early", r.s.s.Set, r.f.Name, backupset.ErrDamaged)
	}
	return nil
}

// stretch finds the chunks from n on that lie in one segment.
func (r *reader) stretch(n int64) (*stretch, error) {
	st := &stretch{first: n, ready: make(chan struct{})}
	for ; n < r.f.chunks() && st.size < segmentSize; n++ {
		c, ok, err := r.lists.at(r.ctx, n)
		if err != nil || !ok {
			if len(st.chunks) > 0 {
				break
			}
			return nil, err
		}
		if len(st.chunks) > 0 && c.Segment != st.chunks[0].Segment {
			break
		}
		st.chunks = append(st.chunks, c)
		st.size += int(c.Length)
	}
	if len(st.chunks) == 0 {
		return nil, fmt.Errorf("set %s: %s: %w: chunk %d is missing", r.s.s.Set, r.f.Name, backupset.ErrDamaged, n)
	}
	st.entry = r.lists.table[st.chunks[0].Segment]
	return st, nil
}

// read opens the segment of a stretch, takes its chunks, and checks their ids. done is to be called, once, when
// the data is not read any more; it is nil if there was an error.
func (s *sealedSet) read(ctx context.Context, f *fileLayout, st *stretch, ids *ids) (data []byte, done func(), err error) {
	seg, release, err := s.r.segments.get(ctx, st.entry.Segment, func(memory []byte) ([]byte, pack.ID, error) { return s.r.segment(ctx, st.entry, memory) })
	if err != nil {
		return nil, nil, fmt.Errorf("set %s: %s: %w", s.s.Set, f.Name, err)
	}
	data, err = s.chunks(seg.plain, f, st, ids)
	if err != nil {
		release()
		return nil, nil, err
	}
	if s.held != nil {
		s.held(s.s.CA, st.entry.Segment, seg.pack, st.chunks)
	}
	return data, release, nil
}

// chunks takes the chunks of a stretch out of its segment: as a part of it, where they follow each other.
func (s *sealedSet) chunks(plain []byte, f *fileLayout, st *stretch, ids *ids) ([]byte, error) {
	inOrder := true
	for i, c := range st.chunks[1:] {
		inOrder = inOrder && c.Offset == st.chunks[i].Offset+st.chunks[i].Length
	}
	var data []byte
	if !inOrder {
		data = make([]byte, 0, st.size)
	}
	for i, c := range st.chunks {
		if int64(c.Offset)+int64(c.Length) > int64(len(plain)) {
			return nil, fmt.Errorf("set %s: %s: chunk %d: %w: its segment ends before", s.s.Set, f.Name, st.first+int64(i), backupset.ErrDamaged)
		}
		b := plain[c.Offset : c.Offset+c.Length]
		if ids.of(b) != c.ID {
			return nil, fmt.Errorf("set %s: %s: chunk %d: %w: it is not what its id says", s.s.Set, f.Name, st.first+int64(i), backupset.ErrDamaged)
		}
		if !inOrder {
			data = append(data, b...)
		}
	}
	if inOrder { // as a run wrote them: nothing needs to be copied
		first, last := st.chunks[0], st.chunks[len(st.chunks)-1]
		data = plain[first.Offset : last.Offset+last.Length]
	}
	return data, nil
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("reading before the beginning")
	}
	n := 0
	for n < len(p) && off < r.f.Size {
		if err := r.ctx.Err(); err != nil {
			return n, err
		}
		b, done, err := r.chunkAt(off / r.f.ChunkSize)
		if err != nil {
			return n, err
		}
		m := copy(p[n:], b[off%r.f.ChunkSize:])
		done()
		n += m
		off += int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (r *reader) chunkAt(n int64) (b []byte, done func(), err error) {
	st, err := r.one(n)
	if err != nil {
		return nil, nil, err
	}
	defer r.going.Done()
	ids := r.ids.Get().(*ids)
	defer r.ids.Put(ids)
	return r.s.read(r.ctx, r.f, st, ids)
}

// one is a chunk as a stretch. r.going.Done is to be called when it was read.
func (r *reader) one(n int64) (*stretch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fs.ErrClosed
	}
	c, ok, err := r.lists.at(r.ctx, n)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("set %s: %s: %w: chunk %d is missing", r.s.s.Set, r.f.Name, backupset.ErrDamaged, n)
	}
	r.going.Add(1)
	return &stretch{first: n, chunks: []chunklist.Chunk{c}, entry: r.lists.table[c.Segment]}, nil
}
