package durabletest

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// mem is a file system in memory, with Unix semantics: an open file outlives
// its name. It has no links and no owners.
type mem struct {
	mu   sync.Mutex
	root *node
}

type node struct {
	perm    fs.FileMode // with fs.ModeDir
	entries map[string]*node
	data    []byte
	mtime   time.Time
}

func newMem() *mem { return &mem{root: newDir(0o755)} }

func newDir(perm fs.FileMode) *node {
	return &node{perm: perm.Perm() | fs.ModeDir, entries: map[string]*node{}, mtime: time.Now()}
}

func (n *node) isDir() bool { return n.entries != nil }

// clean makes a name absolute and slash-separated, without a volume.
func clean(name string) string {
	name = filepath.Clean(name)
	return path.Join("/", filepath.ToSlash(strings.TrimPrefix(name, filepath.VolumeName(name))))
}

func split(name string) []string {
	return strings.FieldsFunc(clean(name), func(r rune) bool { return r == '/' })
}

func (m *mem) find(name string) (*node, error) {
	n := m.root
	for _, p := range split(name) {
		if !n.isDir() {
			return nil, syscall.ENOTDIR
		}
		if n = n.entries[p]; n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

// parent finds the directory of a name, and its last element.
func (m *mem) parent(name string) (*node, string, error) {
	dir, base := path.Split(clean(name))
	if base == "" {
		return nil, "", syscall.EINVAL
	}
	n, err := m.find(dir)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	return n, base, err
}

func (m *mem) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := func(err error) (durable.File, error) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n, err := m.find(name)
	write := flag&(os.O_WRONLY|os.O_RDWR) != 0
	switch {
	case err == nil && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return fail(fs.ErrExist)
	case err == nil && n.isDir() && (write || flag&os.O_CREATE != 0):
		return fail(syscall.EISDIR)
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
		dir, base, err := m.parent(name)
		if err != nil {
			return fail(err)
		}
		n = &node{perm: perm.Perm(), mtime: time.Now()}
		dir.entries[base] = n
	case err != nil:
		return fail(err)
	}
	if flag&os.O_TRUNC != 0 && write {
		n.data = nil
	}
	return &memFile{m: m, n: n, name: name, flag: flag}, nil
}

func (m *mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := func(err error) error {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	odir, obase, err := m.parent(oldname)
	if err != nil {
		return fail(err)
	}
	ndir, nbase, err := m.parent(newname)
	if err != nil {
		return fail(err)
	}
	n := odir.entries[obase]
	if n == nil {
		return fail(fs.ErrNotExist)
	}
	t := ndir.entries[nbase]
	switch {
	case t != nil && t.isDir(): // as os.Rename has it, even if it is empty
		return fail(fs.ErrExist)
	case n.isDir() && t != nil:
		return fail(syscall.ENOTDIR)
	case n.isDir() && strings.HasPrefix(clean(newname)+"/", clean(oldname)+"/"):
		return fail(syscall.EINVAL)
	}
	delete(odir.entries, obase)
	ndir.entries[nbase] = n
	return nil
}

func (m *mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := func(err error) error { return &fs.PathError{Op: "remove", Path: name, Err: err} }
	dir, base, err := m.parent(name)
	if err != nil {
		return fail(err)
	}
	switch n := dir.entries[base]; {
	case n == nil:
		return fail(fs.ErrNotExist)
	case len(n.entries) > 0:
		return fail(syscall.ENOTEMPTY)
	}
	delete(dir.entries, base)
	return nil
}

func (m *mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "removeall", Path: name, Err: err}
	}
	delete(dir.entries, base)
	return nil
}

func (m *mem) Mkdir(name string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := func(err error) error { return &fs.PathError{Op: "mkdir", Path: name, Err: err} }
	if clean(name) == "/" {
		return fail(fs.ErrExist)
	}
	dir, base, err := m.parent(name)
	switch {
	case err != nil:
		return fail(err)
	case dir.entries[base] != nil:
		return fail(fs.ErrExist)
	}
	dir.entries[base] = newDir(perm)
	return nil
}

func (m *mem) MkdirAll(string, fs.FileMode) error { panic("Disk makes directories one by one") }

func (m *mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	var es []fs.DirEntry
	for base, e := range n.entries {
		es = append(es, fs.FileInfoToDirEntry(e.info(base)))
	}
	slices.SortFunc(es, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return es, nil
}

func (m *mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return n.info(path.Base(clean(name))), nil
}

func (m *mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(name)
	if err == nil && !n.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return nil
}

func (n *node) info(name string) fs.FileInfo {
	return info{name, int64(len(n.data)), n.perm, n.mtime}
}

type info struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.mtime }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
