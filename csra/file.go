package csra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/certadm"
)

// readBuffers is how many buffers a file is read with: while the consumer hashes
// and writes one, the next is on its way. There is never more than one
// BackupReadFile outstanding, because each goes on where the last one ended.
const readBuffers = 2

// file is the file that a session has open. It is read ahead by a goroutine, from
// the first Read on.
type file struct {
	b    *backup
	ctx  context.Context // the open's; it governs the reads
	name string
	size int64
	cb   int32

	full  chan chunk
	empty chan []byte
	quit  chan struct{} // closed to end reading ahead
	done  chan struct{} // closed when it has ended
	life  context.Context
	end   context.CancelFunc // cuts a read off, and the connection with it

	mu      sync.Mutex
	started bool
	closed  bool  // by Close
	ended   bool  // closed on the server, at the end of the file
	cur     chunk // what the consumer has not taken yet
	taken   int64 // bytes that it has
	err     error // at the end of cur, and then for good
	once    sync.Once
}

// chunk is what one BackupReadFile returned.
type chunk struct {
	buf  []byte // that data is a part of
	data []byte
	last bool
	err  error
}

// OpenFile is BackupOpenFile. The name must be one of the session's lists.
func (b *backup) OpenFile(ctx context.Context, name string, readHint int) (certadm.BackupFile, error) {
	if strings.ContainsRune(name, 0) || len(name) > 3*certadm.MaxNameUnits {
		return nil, local(certadm.FnBackupOpenFile, shorten(name), certadm.EInvalidArg, "this is no name of a file")
	}
	b.mu.Lock()
	switch {
	case b.over:
		b.mu.Unlock()
		return nil, invalidHandle(certadm.FnBackupOpenFile)
	case b.file != nil:
		b.mu.Unlock()
		return nil, outOfSequence(certadm.FnBackupOpenFile, shorten(name), "another file is open")
	}
	f := b.newFile(ctx, name)
	b.file = f
	b.mu.Unlock()
	size, err := do(ctx, b.c, certadm.FnBackupOpenFile, shorten(name), func(ctx context.Context) (int64, error) { return b.c.calls.openFile(ctx, name) })
	if err != nil {
		f.end()
		b.closed(f)
		return nil, err
	}
	b.mu.Lock()
	if b.readSize == 0 {
		b.readSize = int32(certadm.ReadBufferSize(readHint))
	}
	f.cb = b.readSize
	b.mu.Unlock()
	f.size = size
	return f, nil
}

func (b *backup) newFile(ctx context.Context, name string) *file {
	f := &file{
		b: b, ctx: ctx, name: name,
		full: make(chan chunk, readBuffers), empty: make(chan []byte, readBuffers),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	f.life, f.end = context.WithCancel(b.c.life)
	return f
}

func (b *backup) closed(f *file) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == f {
		b.file = nil
	}
}

func shorten(name string) string {
	const most = 300
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}

// Size is the length at the open.
func (f *file) Size() int64 { return f.size }

// Read fills p except at the end of the file.
func (f *file) Read(p []byte) (n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.readable(); err != nil {
		return 0, err
	}
	for n < len(p) {
		if len(f.cur.data) == 0 && !f.next() {
			break
		}
		m := copy(p[n:], f.cur.data)
		f.cur.data = f.cur.data[m:]
		n += m
		f.taken += int64(m)
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, f.err
}

// WriteTo writes what is left of the file, without copying it.
func (f *file) WriteTo(w io.Writer) (n int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.readable(); err != nil {
		return 0, err
	}
	for len(f.cur.data) > 0 || f.next() {
		m, err := w.Write(f.cur.data)
		m = min(max(m, 0), len(f.cur.data))
		short := m < len(f.cur.data)
		f.cur.data = f.cur.data[m:]
		n += int64(m)
		f.taken += int64(m)
		if err == nil && short {
			err = io.ErrShortWrite
		}
		if err != nil {
			return n, err
		}
	}
	if f.err == io.EOF {
		return n, nil
	}
	return n, f.err
}

// readable refuses reads after Close or End, and starts reading ahead.
func (f *file) readable() error {
	if f.closed {
		return outOfSequence(certadm.FnBackupRead, f.name, "the file is not open")
	}
	if err := f.b.check(certadm.FnBackupRead); err != nil {
		return err
	}
	if err := f.ctx.Err(); err != nil {
		return fail(certadm.FnBackupRead, f.name, err)
	}
	if !f.started {
		leave, err := f.b.c.enter(f.ctx, certadm.FnBackupRead)
		if err != nil {
			return err
		}
		f.started = true
		go func() {
			defer leave()
			f.readAhead()
		}()
		for range readBuffers {
			f.empty <- f.b.buffer(f.cb)
		}
	}
	return nil
}

// next waits for the next chunk that has bytes. It is false at the end of the
// file, or after an error; f.err says which.
func (f *file) next() bool {
	for f.err == nil {
		if f.cur.buf != nil {
			f.empty <- f.cur.buf // has room: there are no more buffers than it holds
		}
		last := f.cur.last
		f.cur = chunk{}
		if last {
			f.err = f.atEnd()
			return false
		}
		select {
		case f.cur = <-f.full:
		case <-f.ctx.Done():
			f.err = fail(certadm.FnBackupRead, f.name, f.ctx.Err())
			return false
		case <-f.quit: // End or Close of the client, by another goroutine
			f.err = invalidHandle(certadm.FnBackupRead)
			return false
		}
		switch {
		case f.cur.err != nil:
			f.err = fail(certadm.FnBackupRead, f.name, f.cur.err)
		case f.taken+int64(len(f.cur.data)) > f.size:
			f.err = f.wrongSize(f.taken + int64(len(f.cur.data)))
		case len(f.cur.data) > 0:
			return true
		}
	}
	f.cur.data = nil
	return false
}

// atEnd is the answer at the end of the file. The file is closed on the server
// before: so EOF says that the server, too, holds it for read, and not merely
// that all of it had arrived when the connection was lost.
func (f *file) atEnd() error {
	if f.taken != f.size {
		return f.wrongSize(f.taken)
	}
	if err := f.closeThere(f.ctx); err != nil {
		return err
	}
	f.ended = true
	return io.EOF
}

func (f *file) closeThere(ctx context.Context) error {
	c := f.b.c
	return c.simple(ctx, certadm.FnBackupClose, f.name, func(ctx context.Context) error { return c.calls.simple(ctx, opBackupCloseFile) })
}

// wrongSize is a file that is not as long as it was announced: what came of it
// is not a backup, whether it was the transfer or the server.
func (f *file) wrongSize(sent int64) error {
	return &certadm.Error{Op: certadm.FnBackupRead, Path: f.name, Code: certadm.HrReadVerifyFailure,
		Err: fmt.Errorf("the server announced %d bytes and sent %d", f.size, sent)}
}

// readAhead fills one buffer after the other.
func (f *file) readAhead() {
	defer close(f.done)
	for {
		var c chunk
		select {
		case c.buf = <-f.empty:
		case <-f.quit:
			return
		}
		data, n, err := f.b.c.calls.read(f.life, f.cb, c.buf)
		if err != nil {
			c.err, c.last = err, true
		} else {
			c.data, c.last = data[:n], n < f.cb
		}
		f.full <- c // has room
		if c.last {
			return
		}
	}
}

// stop ends reading ahead. A read that is under way is let finish, until ctx
// ends and the client's patience with it; then the connection is cut.
func (f *file) stop(ctx context.Context) {
	f.once.Do(func() { close(f.quit) })
	f.mu.Lock()
	started := f.started
	f.mu.Unlock()
	if started {
		wait(ctx, f.done, f.b.c.patience, f.end)
	}
	f.end()
}

// Close is BackupCloseFile.
func (f *file) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return outOfSequence(certadm.FnBackupClose, f.name, "the file is not open")
	}
	f.closed = true
	whole := f.taken == f.size && len(f.cur.data) == 0 && (f.err == nil || errors.Is(f.err, io.EOF))
	f.mu.Unlock()
	if err := f.b.check(certadm.FnBackupClose); err != nil {
		return err
	}
	ctx := f.ctx
	if ctx.Err() != nil { // the file is closed all the same, so that End is in order
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), f.b.c.patience)
		defer cancel()
	}
	f.stop(ctx)
	var err error
	if !f.ended {
		err = f.closeThere(ctx)
	}
	b := f.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == f {
		b.file = nil
	}
	if whole && err == nil {
		delete(b.partial, f.name)
	} else {
		b.partial[f.name] = true
	}
	f.recycle()
	return err
}

// recycle keeps the buffers for the session's next file; b.mu is held.
func (f *file) recycle() {
	for {
		select {
		case buf := <-f.empty:
			f.b.buffers = append(f.b.buffers, buf)
		case c := <-f.full:
			f.b.buffers = append(f.b.buffers, c.buf)
		default:
			if f.cur.buf != nil {
				f.b.buffers = append(f.b.buffers, f.cur.buf)
				f.cur = chunk{}
			}
			return
		}
	}
}

// buffer returns one for a read of cb bytes.
func (b *backup) buffer(cb int32) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.buffers); n > 0 {
		buf := b.buffers[n-1]
		b.buffers = b.buffers[:n-1]
		return buf
	}
	return make([]byte, 0, int(cb)+readOverhead)
}
