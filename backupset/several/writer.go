package several

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/certkeep/certkeep/backupset"
)

// writer writes a set into several Stores.
type writer struct {
	s  *Store
	ws []backupset.Writer // nil where the Store has dropped out

	mu   sync.Mutex
	done bool
}

// Create implements backupset.Store.
func (s *Store) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	w := &writer{s: s, ws: make([]backupset.Writer, len(s.stores))}
	// A name that is taken in one is a refusal, not a failure of that Store.
	var refused error
	var mu sync.Mutex
	err := s.each("beginning a set", func(i int, m *member) error {
		got, err := m.Create(ctx, o)
		if errors.Is(err, backupset.ErrExists) || ctx.Err() != nil && err != nil {
			mu.Lock()
			defer mu.Unlock()
			refused = err
			return nil
		}
		w.ws[i] = got
		return err
	})
	if refused != nil {
		err = refused
	}
	if err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// CreateFile implements backupset.Writer.
func (w *writer) CreateFile(ctx context.Context, role backupset.Role, name string, size int64) (io.WriteCloser, error) {
	if w.isDone() {
		return nil, fs.ErrClosed
	}
	// What no Store takes is refused before any has it.
	if err := backupset.ValidateName(name); err != nil {
		return nil, err
	}
	f := &fileWriter{w: w, ctx: ctx, outs: make([]*out, len(w.ws))}
	var mu sync.Mutex
	var refused error
	err := w.s.each("file "+name, func(i int, m *member) error {
		wc, err := w.ws[i].CreateFile(ctx, role, name, size)
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			if refused == nil {
				refused = err
			}
			return nil
		}
		f.outs[i] = &out{m: m, wc: wc, in: make(chan []byte, ahead), done: make(chan struct{})}
		go f.outs[i].run()
		return nil
	})
	if err == nil {
		err = f.agree(w, refused)
	}
	if err != nil {
		for _, o := range f.outs {
			if o != nil {
				o.given.Store(true)
			}
		}
		f.end()
		return nil, err
	}
	return f, nil
}

// agree decides what it means that a Store refused a file: if all did, the file is to blame; if
// some did, those Stores.
func (f *fileWriter) agree(w *writer, refused error) error {
	if refused == nil {
		return nil
	}
	took := false
	for _, o := range f.outs {
		took = took || o != nil
	}
	if !took {
		return refused
	}
	for i, o := range f.outs {
		if o == nil && w.ws[i] != nil && w.s.stores[i].failed() == nil {
			w.s.stores[i].fail(refused)
		}
	}
	return w.s.enough("beginning a file")
}

// ahead is how many writes a Store may be behind the fastest.
const ahead = 4

// fileWriter writes a file into several Stores at the same time.
type fileWriter struct {
	w      *writer
	ctx    context.Context
	outs   []*out // nil where the Store has dropped out
	closed bool
}

// out is the file in one Store.
type out struct {
	m    *member
	wc   io.WriteCloser
	in   chan []byte
	done chan struct{}
	err  error

	given atomic.Bool // given up by the caller: not this Store's fault
}

func (o *out) run() {
	defer close(o.done)
	for b := range o.in {
		if o.err == nil {
			if _, o.err = o.wc.Write(b); o.err != nil {
				o.m.fail(o.err)
			}
		}
	}
	if err := o.wc.Close(); o.err == nil && err != nil && !o.given.Load() {
		o.err = err
		o.m.fail(err)
	}
}

// Write implements io.Writer. Its errors are those of a context that ended, or of too few Stores
// being left.
func (f *fileWriter) Write(p []byte) (int, error) {
	if f.closed || f.w.isDone() {
		return 0, fs.ErrClosed
	}
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	b := append([]byte(nil), p...) // the caller uses p again; the Stores only read
	for _, o := range f.outs {
		if o == nil || o.m.failed() != nil {
			continue
		}
		select {
		case o.in <- b:
		case <-f.ctx.Done():
			return 0, f.ctx.Err()
		}
	}
	if err := f.w.s.enough("writing"); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements io.Closer: it returns when all Stores have the file, or have dropped out.
func (f *fileWriter) Close() error {
	if f.closed || f.w.isDone() {
		return fs.ErrClosed
	}
	f.closed = true
	f.end()
	return f.w.s.enough("writing")
}

func (f *fileWriter) end() {
	for _, o := range f.outs {
		if o != nil {
			close(o.in)
		}
	}
	for _, o := range f.outs {
		if o != nil {
			select {
			case <-o.done:
			case <-f.ctx.Done(): // a Store that hangs ends with its own context
			}
		}
	}
}

// Commit implements backupset.Writer. It fails unless the quorum has the set.
func (w *writer) Commit(ctx context.Context, m *backupset.Manifest) error {
	if w.isDone() {
		return fs.ErrClosed
	}
	if err := w.s.enough("keeping the set"); err != nil {
		return err
	}
	if err := w.dropWithoutParent(ctx, m); err != nil {
		return err
	}
	var mu sync.Mutex
	var kept *backupset.Manifest
	var first error
	ok := 0
	err := w.s.each("keeping set "+m.ID, func(i int, _ *member) error {
		own := *m
		err := w.ws[i].Commit(ctx, &own)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			kept = &own
			ok++
		} else if first == nil {
			first = err
		}
		return err
	})
	if ok == 0 && first != nil {
		return first // the same everywhere: the manifest is to blame, or the context
	}
	if kept != nil {
		m.Schema, m.SHA256, m.Start, m.End = kept.Schema, kept.SHA256, kept.Start, kept.End
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.done = true
	w.mu.Unlock()
	return nil
}

// dropWithoutParent drops the Stores that lack what the set continues, where others have it.
func (w *writer) dropWithoutParent(ctx context.Context, m *backupset.Manifest) error {
	if m.Parent == "" {
		return nil
	}
	lacks := make([]error, len(w.s.stores))
	var there atomic.Bool
	err := w.s.each("keeping set "+m.ID, func(i int, s *member) error {
		_, err := s.Open(ctx, m.Parent)
		if err == nil {
			there.Store(true)
		}
		lacks[i] = err
		return ctx.Err()
	})
	if err != nil || !there.Load() { // it is nowhere: that is for the caller to know
		return err
	}
	return w.s.each("keeping set "+m.ID, func(i int, _ *member) error {
		if errors.Is(lacks[i], backupset.ErrNotFound) {
			return fmt.Errorf("the set that it continues: %w", lacks[i])
		}
		return nil
	})
}

// Abort implements backupset.Writer. Where a Store dropped out, what it has of the set goes
// as well.
func (w *writer) Abort() error {
	w.mu.Lock()
	w.done = true
	w.mu.Unlock()
	var errs []error
	for i, each := range w.ws {
		if each == nil {
			continue
		}
		if err := each.Abort(); err != nil && w.s.stores[i].failed() == nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (w *writer) isDone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}
