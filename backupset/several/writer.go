package several

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/certkeep/certkeep/backupset"
)

// writer writes a set into several Stores.
type writer struct {
	s  *Store
	ws []backupset.Writer // nil where the Store has dropped out

	mu    sync.Mutex
	done  bool
	spoil error // a failure that is no Store's: the set cannot be kept
	files []*fileWriter
}

// spoiled notes a failure that is no Store's, and returns it.
func (w *writer) spoiled(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spoil == nil {
		w.spoil = err
	}
	return err
}

// Create implements backupset.Store.
func (s *Store) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	w := &writer{s: s, ws: make([]backupset.Writer, len(s.stores))}
	// A name that is taken in one is a refusal, not a failure of that Store.
	var refused error
	var mu sync.Mutex
	err := s.each(ctx, "beginning a set", func(i int, m *member) error {
		got, err := m.Create(ctx, o)
		if errors.Is(err, backupset.ErrExists) {
			mu.Lock()
			defer mu.Unlock()
			refused = err
			return nil
		}
		if err == nil {
			w.ws[i] = got
		}
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
	f := &fileWriter{w: w, ctx: ctx, name: name, size: size, outs: make([]*out, len(w.ws)), quit: make(chan struct{})}
	var mu sync.Mutex
	var refused error
	err := w.s.each(ctx, "file "+name, func(i int, m *member) error {
		wc, err := w.ws[i].CreateFile(ctx, role, name, size)
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if refused == nil {
				refused = err
			}
			return nil
		}
		f.outs[i] = &out{m: m, wc: wc, in: make(chan []byte, ahead), done: make(chan struct{})}
		go f.outs[i].run(ctx, f.quit)
		return nil
	})
	if err == nil {
		err = f.agree(w, refused)
	}
	if err != nil {
		f.drop()
		if ctx.Err() != nil { // some may have begun it
			err = w.spoiled(err)
		}
		return nil, err
	}
	w.mu.Lock()
	w.files = append(w.files, f)
	w.mu.Unlock()
	return f, nil
}

// Commit implements backupset.Writer. It fails unless the quorum has the set.
func (w *writer) Commit(ctx context.Context, m *backupset.Manifest) error {
	if w.isDone() {
		return fs.ErrClosed
	}
	w.mu.Lock()
	spoil := w.spoil
	w.mu.Unlock()
	if spoil != nil {
		return fmt.Errorf("set %s: an earlier step failed: %w", m.ID, spoil)
	}
	if err := w.s.enough("keeping the set"); err != nil {
		return err
	}
	if err := w.dropWithoutParent(ctx, m); err != nil {
		return err
	}
	manifests := make([]backupset.Manifest, len(w.ws))
	failed := make([]error, len(w.ws))
	tried := make([]bool, len(w.ws))
	err := w.s.each(ctx, "keeping set "+m.ID, func(i int, _ *member) error {
		manifests[i], tried[i] = *m, true
		failed[i] = w.ws[i].Commit(ctx, &manifests[i])
		return nil
	})
	if err != nil {
		return err
	}
	var kept *backupset.Manifest
	var first error
	for i := range w.ws {
		if tried[i] && failed[i] == nil {
			kept = &manifests[i]
		} else if first == nil {
			first = failed[i]
		}
	}
	if kept == nil {
		return first // the same everywhere: the manifest is to blame, or the context
	}
	m.Schema, m.SHA256, m.Start, m.End = kept.Schema, kept.SHA256, kept.Start, kept.End
	for i, err := range failed {
		if err != nil {
			w.s.stores[i].fail(err)
		}
	}
	if err := w.s.enough("keeping set " + m.ID); err != nil {
		return err
	}
	w.mu.Lock()
	w.done = true
	w.mu.Unlock()
	return nil
}

// Abort implements backupset.Writer. Where a Store dropped out, what it has of the set goes
// as well.
func (w *writer) Abort() error {
	w.mu.Lock()
	w.done = true
	files := w.files
	w.files = nil
	w.mu.Unlock()
	for _, f := range files { // those that nobody closed
		f.drop()
	}
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
