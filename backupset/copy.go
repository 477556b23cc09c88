package backupset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
)

// bufferSize is large, so that few writes are made; copyBuffers of them let
// hashing lag behind reading and writing.
const (
	bufferSize  = 1 << 20
	copyBuffers = 4
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// Copy copies src to dst to its end and returns the number of bytes and their
// SHA-256 in lower-case hexadecimal. Hashing goes on beside reading and
// writing; memory is four buffers of a mebibyte, whatever the size. When ctx is
// done it stops between two buffers.
func Copy(ctx context.Context, dst io.Writer, src io.Reader) (n int64, sum string, err error) {
	type block struct {
		buf *[]byte
		n   int
	}
	h := sha256.New()
	written, hashed := make(chan block, copyBuffers), make(chan *[]byte, copyBuffers)
	go func() {
		defer close(hashed)
		for b := range written {
			h.Write((*b.buf)[:b.n])
			hashed <- b.buf
		}
	}()
	used := 0
	defer func() {
		close(written)
		for buf := range hashed { // not the one that src or dst panicked with
			buffers.Put(buf)
		}
		if err == nil {
			sum = hex.EncodeToString(h.Sum(nil))
		}
	}()
	for {
		if err := ctx.Err(); err != nil {
			return n, "", err
		}
		var buf *[]byte
		if used < copyBuffers && len(hashed) == 0 {
			buf = buffers.Get().(*[]byte)
			used++
		} else {
			buf = <-hashed
		}
		k, rerr := fill(src, *buf)
		var werr error
		if k > 0 {
			var w int
			w, werr = dst.Write((*buf)[:k])
			if n += int64(w); werr == nil && w < k {
				werr = io.ErrShortWrite
			}
		}
		written <- block{buf, k} // also when it failed: the buffer comes back
		switch {
		case werr != nil:
			return n, "", werr
		case rerr == io.EOF:
			return n, "", nil
		case rerr != nil:
			return n, "", rerr
		}
	}
}

// fill reads until buf is full. Unlike io.ReadFull it does not take a source's
// io.ErrUnexpectedEOF for the end.
func fill(src io.Reader, buf []byte) (n int, err error) {
	for idle := 0; n < len(buf) && err == nil; {
		var k int
		if k, err = src.Read(buf[n:]); k == 0 && err == nil {
			if idle++; idle == 100 {
				return n, io.ErrNoProgress
			}
			continue
		}
		idle = 0
		n += k
	}
	return n, err
}

// Add copies src into a new file of a set, and returns its entry for the
// manifest. A size of -1 is unknown.
func Add(ctx context.Context, w Writer, role Role, name, source string, size int64, src io.Reader) (File, error) {
	f, err := w.CreateFile(ctx, role, name, size)
	if err != nil {
		return File{}, err
	}
	n, sum, err := Copy(ctx, f, src)
	if err != nil {
		_ = f.Close() // what it says, Commit says as well
		return File{}, err
	}
	if err := f.Close(); err != nil {
		return File{}, err
	}
	return File{Role: role, Name: name, Source: source, Size: n, SHA256: sum}, nil
}

// Check reads a file of a set to its end, and compares size and hash. A
// difference is an ErrDamaged that names the file. Where the manifest has no
// hash, size and readability are all there is to check.
func Check(ctx context.Context, s Set, f File) error {
	r, err := s.Open(ctx, f)
	if err != nil {
		return err
	}
	n, sum, err := Copy(ctx, io.Discard, r)
	err = errors.Join(err, r.Close())
	switch {
	case err != nil:
		return fmt.Errorf("%s: %s: %w", s.Location(), f.Name, err)
	case n != f.Size:
		return fmt.Errorf("%s: %s: %w: %d bytes, and the manifest says %d", s.Location(), f.Name, ErrDamaged, n, f.Size)
	case f.SHA256 != "" && sum != f.SHA256:
		return fmt.Errorf("%s: %s: %w: its SHA-256 is not the manifest's", s.Location(), f.Name, ErrDamaged)
	}
	return nil
}
