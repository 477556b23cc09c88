package several

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
)

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
	name   string
	size   int64
	n      int64  // written
	outs   []*out // nil where the Store has dropped out
	closed bool

	once sync.Once
	quit chan struct{} // closed when the file is given up
}

// out is the file in one Store.
type out struct {
	m    *member
	wc   io.WriteCloser
	in   chan []byte
	done chan struct{}
	err  error // for readers after done

	given atomic.Bool // given up by the caller: not this Store's fault
}

func (o *out) run(ctx context.Context, quit <-chan struct{}) {
	defer close(o.done)
	note := func(err error) {
		if o.err != nil || err == nil {
			return
		}
		if o.err = err; ctx.Err() == nil && !o.given.Load() {
			o.m.fail(err)
		}
	}
	for open := true; open; {
		var b []byte
		select {
		case b, open = <-o.in:
		case <-quit:
			open = false
			note(fs.ErrClosed)
		}
		if open && o.err == nil {
			_, err := o.wc.Write(b)
			note(err)
		}
	}
	note(o.wc.Close())
}

// Write implements io.Writer. Its errors are those of a context that ended, of a file that is
// longer than it was said to be, or of too few Stores being left.
func (f *fileWriter) Write(p []byte) (int, error) {
	if f.closed || f.w.isDone() {
		return 0, fs.ErrClosed
	}
	if err := f.ctx.Err(); err != nil {
		return 0, f.w.spoiled(err)
	}
	if f.size >= 0 && int64(len(p)) > f.size-f.n {
		return 0, f.w.spoiled(fmt.Errorf("file %s: more than the %d bytes that were said", f.name, f.size))
	}
	b := append([]byte(nil), p...) // the caller uses p again; the Stores only read
	for _, o := range f.outs {
		if o == nil || o.m.failed() != nil {
			continue
		}
		select {
		case o.in <- b:
		case <-f.quit:
			return 0, fs.ErrClosed
		case <-f.ctx.Done():
			return 0, f.w.spoiled(f.ctx.Err())
		}
	}
	f.n += int64(len(p))
	if err := f.w.s.enough("writing"); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements io.Closer: it returns when all Stores have the file or have dropped out, or
// when the context ends, with its error. A file that is shorter than it was said to be is
// the caller's failure and no Store's.
func (f *fileWriter) Close() error {
	if f.closed || f.w.isDone() {
		return fs.ErrClosed
	}
	f.closed = true
	short := f.size >= 0 && f.n != f.size
	for _, o := range f.outs {
		if o != nil {
			o.given.Store(short)
			close(o.in)
		}
	}
	err := f.wait()
	if short {
		err = fmt.Errorf("file %s: %d bytes, and %d were said", f.name, f.n, f.size)
	}
	if err != nil {
		return f.w.spoiled(err)
	}
	return f.w.s.enough("writing")
}

// wait waits until the Stores are done with the file. Its error is of a Store that has not got
// the file, and was not dropped for that.
func (f *fileWriter) wait() (err error) {
	for _, o := range f.outs {
		if o == nil {
			continue
		}
		select {
		case <-o.done:
			if o.err != nil && o.m.failed() == nil {
				err = o.err
			}
		case <-f.ctx.Done(): // a Store that hangs ends with its own context
			err = f.ctx.Err()
		}
	}
	return err
}

// drop gives a file up that is not closed.
func (f *fileWriter) drop() {
	f.once.Do(func() {
		for _, o := range f.outs {
			if o != nil {
				o.given.Store(true)
			}
		}
		close(f.quit)
	})
	_ = f.wait()
}
