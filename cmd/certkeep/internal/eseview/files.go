package eseview

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// mostOpen is how many files are open at a time: an authority can have some thousand
// logs, and systems allow a process a few hundred files.
const mostOpen = 48

// Files opens files as they are read, and closes those that were not read for the
// longest time. Reading ends with the error of the context. It is safe for several
// goroutines.
type Files struct {
	ctx context.Context

	mu   sync.Mutex
	open map[string]*handle
	tick uint64
}

type handle struct {
	f     *os.File
	users int
	used  uint64
}

// NewFiles makes one. Close must follow.
func NewFiles(ctx context.Context) *Files {
	return &Files{ctx: ctx, open: make(map[string]*handle)}
}

// Opened is a file that can be read. It is an [io.ReaderAt].
type Opened struct {
	Path string
	Size int64 // in bytes

	files *Files
}

// Open looks at a file, which must be a regular one: opening a pipe would wait for
// somebody to write into it.
func (fs *Files) Open(path string) (*Opened, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	o := &Opened{Path: path, Size: fi.Size(), files: fs}
	if _, err := fs.take(path); err != nil { // so that access is denied here, and not in the middle
		return nil, err
	}
	fs.give(path)
	return o, nil
}

// ReadAt reads, as [io.ReaderAt] has it.
func (o *Opened) ReadAt(b []byte, off int64) (int, error) {
	if err := o.files.ctx.Err(); err != nil {
		return 0, err
	}
	f, err := o.files.take(o.Path)
	if err != nil {
		return 0, err
	}
	defer o.files.give(o.Path)
	return f.ReadAt(b, off)
}

var _ io.ReaderAt = (*Opened)(nil)

func (fs *Files) take(path string) (*os.File, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.tick++
	if h := fs.open[path]; h != nil {
		h.users++
		h.used = fs.tick
		return h.f, nil
	}
	fs.evict()
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	fs.open[path] = &handle{f, 1, fs.tick}
	return f, nil
}

func (fs *Files) give(path string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.open[path].users--
}

// evict makes room for one more. If all are being read, there is one more than usual.
func (fs *Files) evict() {
	if len(fs.open) < mostOpen {
		return
	}
	oldest := ""
	for path, h := range fs.open {
		if h.users == 0 && (oldest == "" || h.used < fs.open[oldest].used) {
			oldest = path
		}
	}
	if oldest != "" {
		fs.open[oldest].f.Close() //nolint:errcheck // nothing was written
		delete(fs.open, oldest)
	}
}

// Close closes what is open. Nobody may be reading.
func (fs *Files) Close() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, h := range fs.open {
		h.f.Close() //nolint:errcheck // nothing was written
	}
	clear(fs.open)
}

// fileName is the last part of a path.
func fileName(path string) string { return filepath.Base(path) }
