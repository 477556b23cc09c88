package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
)

// fetched is a file of a set after it was read.
type fetched struct {
	sum  string // SHA-256
	size int64
	bad  bool // there are findings of damage
}

// fetcher reads files of sets, holding them against their manifests on the way.
type fetcher struct {
	found    *cadb.Findings
	progress func(Progress)
	walker   *walker // who reads, if others read the same; may be nil

	mu    sync.Mutex // of the rest: a check may go on beside the reading
	phase Progress
	bytes int64
}

func (x *fetcher) begin(phase string, total int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.phase = Progress{Phase: phase, Total: total}
}

// more says that there is more to do in the phase than was said when it began, or less.
func (x *fetcher) more(total int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.phase.Total += total
	if x.progress != nil {
		x.progress(x.phase)
	}
}

// went says that the phase went on.
func (x *fetcher) went(n int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.phase.Done += n
	if x.progress != nil && n > 0 {
		x.progress(x.phase)
	}
}

func (x *fetcher) now(file string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.phase.File = file
}

// fetch reads a file to its end, into dst if that is not empty. What is wrong
// with the file becomes a finding; an error means that this machine failed.
func (x *fetcher) fetch(ctx context.Context, set backupset.Set, e backupset.Entry, f backupset.File, dst string) (got fetched, err error) {
	label := fileLabel(e, f)
	add := func(code, format string, args ...any) {
		got.bad = true
		x.found.Add(cadb.Finding{Severity: cadb.Damage, Code: code, File: label, Message: fmt.Sprintf(format, args...)})
	}
	src, err := set.Open(ctx, f)
	switch {
	case ctx.Err() != nil:
		return got, ctx.Err()
	case errors.Is(err, backupset.ErrNotFound) || errors.Is(err, fs.ErrNotExist):
		add(cadb.CodeMissing, "the file is missing")
		return got, nil
	case errors.Is(err, fs.ErrPermission):
		return got, err
	case err != nil:
		add(cadb.CodeUnreadable, "%v", err)
		return got, nil
	}
	defer src.Close()

	var out io.Writer = io.Discard
	var file *os.File
	if dst != "" {
		if file, err = os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return got, err
		}
		out = file
	}
	in := &setReader{ctx: ctx, r: src, x: x}
	x.now(f.Name)
	got.size, got.sum, err = backupset.Copy(ctx, out, in)
	if file != nil {
		err = errors.Join(err, file.Close())
	}
	switch {
	case ctx.Err() != nil:
		return got, ctx.Err()
	case in.err != nil:
		add(cadb.CodeUnreadable, "after %d bytes: %v", in.n, in.err)
		return got, nil
	case err != nil:
		return got, err
	}
	x.compare(e, f, got, add)
	return got, nil
}

func (x *fetcher) compare(e backupset.Entry, f backupset.File, got fetched, add func(string, string, ...any)) {
	switch {
	case got.size < f.Size:
		add(cadb.CodeSize, "cut short: %d bytes, and %s has %d", got.size, record(e), f.Size)
	case got.size > f.Size:
		add(cadb.CodeSize, "too long: %d bytes, and %s has %d", got.size, record(e), f.Size)
	case f.SHA256 != "" && got.sum != f.SHA256:
		add(cadb.CodeHash, "changed: its SHA-256 is %s, and %s has %s", got.sum, record(e), f.SHA256)
	}
}

func record(e backupset.Entry) string {
	if e.Manifest != nil && e.Manifest.Synthesized {
		return "the listing"
	}
	return "the manifest"
}

// setReader tells reading errors from writing errors, and counts.
type setReader struct {
	ctx context.Context
	r   io.Reader
	x   *fetcher
	n   int64
	err error
}

func (r *setReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n += int64(n)
	if err != nil && err != io.EOF {
		r.err = err
	}
	r.x.bytes += int64(n)
	r.x.went(int64(n))
	if r.x.walker != nil && err == nil {
		err = r.x.walker.reach(r.ctx, r.n)
	}
	return n, err
}
