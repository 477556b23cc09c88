package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/durable"
)

// Set is a folder. It implements backupset.Set.
type Set struct {
	s        *Store
	name     string
	dir      string
	manifest *backupset.Manifest

	mu     sync.Mutex
	layout *layout
	files  map[string][]fs.DirEntry // of role directories, read once
}

var _ backupset.Set = (*Set)(nil)

// ID implements backupset.Set. Without a manifest it is "folder:" and the name.
func (f *Set) ID() string { return f.manifest.ID }

// Name is the name of the folder in its Store.
func (f *Set) Name() string { return f.name }

// Location implements backupset.Set: the path of the folder.
func (f *Set) Location() string { return f.dir }

// Manifest implements backupset.Set.
func (f *Set) Manifest() *backupset.Manifest { return f.manifest }

// Receipt implements backupset.Set.
func (f *Set) Receipt() (*backupset.Receipt, error) {
	f.mu.Lock()
	installing := f.layout.install != ""
	f.mu.Unlock()
	none := fmt.Errorf("%s: no receipt: %w", f.dir, backupset.ErrUnconfirmed)
	if f.manifest.Synthesized || installing && !f.moved() {
		return nil, none
	}
	es, err := f.s.fsys.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	path, err := regular(f.dir, es, ReceiptName)
	if err != nil {
		return nil, err
	}
	if path == "" {
		return nil, none
	}
	b, err := f.s.readFile(path, backupset.MaxReceiptSize)
	if err != nil {
		return nil, err
	}
	r, err := backupset.DecodeReceipt(b)
	if err == nil {
		err = r.Matches(f.manifest)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Open implements backupset.Set. A file whose name differs in letter case is
// found if it is the only one.
func (f *Set) Open(ctx context.Context, file backupset.File) (backupset.ReadAtCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := backupset.ValidateName(file.Name); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", f.dir, backupset.ErrNotFound, err)
	}
	if file.Role.Dir() == "" {
		return nil, fmt.Errorf("%s: %w: no files of role %.20q", f.dir, backupset.ErrNotFound, file.Role)
	}
	r, err := f.open(ctx, file)
	if errors.Is(err, fs.ErrNotExist) && f.moved() {
		r, err = f.open(ctx, file)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", filepath.Join(f.dir, file.Role.Dir(), file.Name), backupset.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (f *Set) open(ctx context.Context, file backupset.File) (*reader, error) {
	dir, es, err := f.roleDir(file.Role.Dir())
	if err != nil {
		return nil, err
	}
	e, err := find(es, file.Name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", dir, err)
	case e == nil:
		return nil, fs.ErrNotExist
	}
	path := filepath.Join(dir, e.Name())
	if !e.Type().IsRegular() {
		return nil, wrongKind(path, e)
	}
	r, size, err := f.s.openRegular(path)
	if err != nil {
		return nil, err
	}
	return &reader{r, ctx, size}, nil
}

// roleDir reads a role directory, once.
func (f *Set) roleDir(name string) (string, []fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir := f.layout.dirs[name]
	if err := f.layout.odd[name]; dir == "" && err != nil {
		return "", nil, err
	}
	if dir == "" {
		return "", nil, fs.ErrNotExist
	}
	if es, ok := f.files[dir]; ok {
		return dir, es, nil
	}
	es, err := f.s.fsys.ReadDir(dir)
	if err != nil {
		return "", nil, err
	}
	if f.files == nil {
		f.files = map[string][]fs.DirEntry{}
	}
	f.files[dir] = es
	return dir, es, nil
}

// moved looks again where the parts of the set are, because it may have been
// moved to its place meanwhile. It reports whether it was, and is the same set.
func (f *Set) moved() bool {
	l, err := f.s.layout(f.dir)
	if err != nil {
		return false
	}
	if f.manifest.Synthesized {
		return false
	}
	if m, err := f.s.readManifest(l.manifest); err != nil || m.SHA256 != f.manifest.SHA256 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.layout.install
	f.layout, f.files = l, nil
	return was != l.install
}

// Extra implements backupset.Set: what else is in the folder, such as a .p12,
// with a slash behind directories.
func (f *Set) Extra(ctx context.Context) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l, err := f.s.layout(f.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	add := func(e fs.DirEntry, prefix string) {
		name := prefix + e.Name()
		if e.IsDir() {
			name += "/"
		}
		out = append(out, name)
	}
	for _, e := range l.entries {
		path := filepath.Join(f.dir, e.Name())
		known := path == l.manifest || e.Name() == ReceiptName || e.Name() == ManifestName || path == l.install
		for _, d := range l.dirs {
			known = known || path == d
		}
		if !known {
			add(e, "")
		}
	}
	for _, name := range roleDirs {
		dir := l.dirs[name]
		if dir == "" {
			continue
		}
		es, err := f.s.fsys.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		known := map[string]bool{}
		for _, file := range f.manifest.Files {
			if file.Role.Dir() == name {
				if e, _ := find(es, file.Name); e != nil {
					known[e.Name()] = true
				}
			}
		}
		for _, e := range es {
			if !known[e.Name()] {
				add(e, name+"/")
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// reader is an open file of a set.
type reader struct {
	f    durable.File
	ctx  context.Context
	size int64
}

func (r *reader) Size() int64  { return r.size }
func (r *reader) Close() error { return r.f.Close() }

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.f.Read(p)
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.f.ReadAt(p, off)
}

func readAll(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: %w: larger than %d bytes", name, backupset.ErrDamaged, limit)
	}
	return b, err
}
