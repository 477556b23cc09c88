package certdll

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/certkeep/certkeep/certadm"
)

// file is the file that a session has open.
type file struct {
	b    *backup
	ctx  context.Context // the open's; it governs the reads
	name string
	size int64

	mu     sync.Mutex
	closed bool
	cur    []byte // what the consumer has not taken yet: a part of the session's buffer
	last   bool   // nothing comes after cur
	taken  int64  // bytes that the consumer has
	err    error  // after cur, for good
}

// OpenFile is CertSrvBackupOpenFile. The first hint of a session sizes the buffer
// on this side, too.
func (b *backup) OpenFile(ctx context.Context, name string, readHint int) (certadm.BackupFile, error) {
	if err := validString(name); err != nil {
		return nil, local(certadm.FnBackupOpenFile, shorten(name), certadm.EInvalidArg, "the name %w", err)
	}
	f := &file{b: b, ctx: ctx, name: name}
	err := b.call(ctx, certadm.FnBackupOpenFile, shorten(name), func() error {
		if b.file != nil {
			return outOfSequence(certadm.FnBackupOpenFile, shorten(name), "another file is open")
		}
		hint := uint32(min(max(int64(readHint), 0), math.MaxUint32))
		size, hr := b.c.procs.openFile(b.h, name, hint)
		if err := result(hr); err != nil {
			return err
		}
		b.last = name
		if size < 0 {
			b.partial[name] = true
			b.c.procs.closeFile(b.h)
			return bad("the library says that the file has %d bytes", size)
		}
		if b.buf == nil {
			b.buf = make([]byte, certadm.ReadBufferSize(readHint))
		}
		f.size = size
		b.open, b.file = true, f
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
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
	for n < len(p) && f.more() {
		m := copy(p[n:], f.cur)
		f.cur = f.cur[m:]
		f.taken += int64(m)
		n += m
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, f.err
}

// WriteTo writes what is left of the file from the session's buffer.
func (f *file) WriteTo(w io.Writer) (n int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.readable(); err != nil {
		return 0, err
	}
	for f.more() {
		whole := len(f.cur)
		m, err := w.Write(f.cur)
		m = min(max(m, 0), whole)
		f.cur = f.cur[m:]
		f.taken += int64(m)
		n += int64(m)
		if err == nil && m < whole {
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

// readable refuses reads after Close and after the session's end, also of what is
// in the buffer.
func (f *file) readable() error {
	if f.closed {
		return outOfSequence(certadm.FnBackupRead, shorten(f.name), "the file is not open")
	}
	if err := f.ctx.Err(); err != nil {
		return fail(certadm.FnBackupRead, shorten(f.name), err)
	}
	select {
	case <-f.b.ended:
		return invalidHandle(certadm.FnBackupRead)
	case <-f.b.gone:
		return f.b.givenUp(certadm.FnBackupRead)
	default:
		return nil
	}
}

// more makes sure that cur has bytes. It is false at the end of the file, or
// after an error; err says which.
func (f *file) more() bool {
	if len(f.cur) > 0 {
		return true
	}
	if f.err == nil && f.last {
		f.err = f.atEnd(f.taken)
	}
	if f.err != nil {
		return false
	}
	data, err := f.read()
	switch got := f.taken + int64(len(data)); {
	case err != nil:
		f.err = err
	case len(data) == 0, got > f.size:
		f.err = f.atEnd(got)
	default:
		f.cur = data
		// Less than was asked for says that this is the end. If it is not, the
		// next read shows it.
		f.last = len(data) < cap(data) && got == f.size
		return true
	}
	return false
}

// read is one CertSrvBackupRead of a whole buffer. What it returns has the
// buffer's size as its capacity.
func (f *file) read() ([]byte, error) {
	b := f.b
	var data []byte
	err := b.call(f.ctx, certadm.FnBackupRead, shorten(f.name), func() error {
		if b.file != f {
			return outOfSequence(certadm.FnBackupRead, shorten(f.name), "the file is not open")
		}
		n, hr := b.c.procs.read(b.h, b.buf)
		if err := result(hr); err != nil {
			return err
		}
		if int64(n) > int64(len(b.buf)) {
			return bad("the library says that it read %d bytes into a buffer of %d", n, len(b.buf))
		}
		data = b.buf[:n:len(b.buf)]
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// atEnd is the answer after the last byte. The library closes the file before: so
// EOF says that the server holds it for read, and not merely that all of it had
// arrived when the connection was lost. A file that is not as long as it was
// announced is no backup of it.
func (f *file) atEnd(got int64) error {
	if got != f.size {
		return &certadm.Error{Op: certadm.FnBackupRead, Path: shorten(f.name), Code: certadm.HrReadVerifyFailure,
			Err: fmt.Errorf("%d bytes were announced, and %d came", f.size, got)}
	}
	b := f.b
	err := b.call(f.ctx, certadm.FnBackupClose, shorten(f.name), func() error {
		b.open = false
		return result(b.c.procs.closeFile(b.h))
	})
	if err != nil {
		return err
	}
	return io.EOF
}

// Close is CertSrvBackupClose, unless that was called at the end of the file; also
// when the open's context has ended, so that the session can go on.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return outOfSequence(certadm.FnBackupClose, shorten(f.name), "the file is not open")
	}
	f.closed, f.cur = true, nil
	ctx := f.ctx
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), f.b.c.patience)
		defer cancel()
	}
	whole := f.taken == f.size && (f.err == nil || f.err == io.EOF)
	b := f.b
	return b.call(ctx, certadm.FnBackupClose, shorten(f.name), func() error {
		var err error
		if b.open {
			b.open = false
			err = result(b.c.procs.closeFile(b.h))
		}
		b.file = nil
		if whole && err == nil {
			delete(b.partial, f.name)
		} else {
			b.partial[f.name] = true
		}
		return err
	})
}
