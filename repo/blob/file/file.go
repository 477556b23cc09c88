// Package file is a blob.Store in a directory: an object is a file, and its key the
// file's path.
//
// An object is written aside, in the directory ".aside", synced, and then given its
// name by a call that does not replace; then the directories are synced. So it is there
// whole or not at all, after a power loss too, and of two writers one wins, on network
// file systems too. What a killed writer left in ".aside" is removed after a day.
//
// Files and directories are for their owner only (0600, 0700). Info.Time is the time of
// the file's last change, which the file system sets.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
)

// FS is the part of a file system that a Store needs.
type FS interface {
	durable.FS
	// RenameNew is Rename, but fails with fs.ErrExist where there is something.
	RenameNew(oldname, newname string) error
}

// Store is a blob.Store in a directory.
type Store struct {
	fsys FS
	dir  string

	sweep sync.Once
	mu    sync.Mutex
	// synced are the directories of which this process knows that they survive a power
	// loss. That another process made one is not enough.
	synced map[string]bool
}

// piece is what is read or written before the context is looked at again.
const piece = 4 << 20

// Open opens a directory that is there. Otherwise it fails with blob.ErrNotFound.
func Open(dir string) (*Store, error) { return OpenFS(osFS{durable.OS}, dir) }

// Create opens a directory and makes it if it is not there.
func Create(dir string) (*Store, error) {
	dir, err := absolute(dir)
	if err != nil {
		return nil, err
	}
	if err := durable.OS.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return Open(dir)
}

// OpenFS is Open in another file system.
func OpenFS(fsys FS, dir string) (*Store, error) {
	dir, err := absolute(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{fsys: fsys, dir: dir, synced: map[string]bool{}}
	return s, s.present()
}

// absolute also lets Windows take long names, and those of its devices, as they are.
func absolute(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil || runtime.GOOS != "windows" || strings.HasPrefix(abs, `\\?\`) || strings.HasPrefix(abs, `\\.\`) {
		return abs, err
	}
	if unc, ok := strings.CutPrefix(abs, `\\`); ok {
		return `\\?\UNC\` + unc, nil
	}
	return `\\?\` + abs, nil
}

// present says whether the directory is there, which it may not be any more: a disk
// was unplugged, a share is gone. An empty listing would then be a lie.
func (s *Store) present() error {
	fi, err := s.fsys.Stat(s.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return hint.With(fmt.Errorf("directory %s: %w", s.Location(), blob.ErrNotFound),
			"look whether the disk or share that holds it is mounted, and whether the path is right")
	case err != nil:
		return s.mapped(err)
	case !fi.IsDir():
		return fmt.Errorf("%s is not a directory", s.Location())
	}
	return nil
}

// Location is the directory.
func (s *Store) Location() string {
	if unc, ok := strings.CutPrefix(s.dir, `\\?\UNC\`); ok {
		return `\\` + unc
	}
	return strings.TrimPrefix(s.dir, `\\?\`)
}

func (s *Store) path(key string) string { return filepath.Join(s.dir, filepath.FromSlash(key)) }

// mapped gives an error of the file system the meaning that it has for a Store.
func (s *Store) mapped(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return hint.With(fmt.Errorf("%w: %w", blob.ErrDenied, err), "look who owns the directory "+s.Location()+", and who is running this")
	}
	return err
}

// missing says that there is no such object, if it is the directory that is missing
// that.
func (s *Store) missing(key string) error {
	if err := s.present(); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", key, blob.ErrNotFound)
}

// absent reports whether an error says that there is no such file. A file where
// a directory should be is such a case.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func info(key string, fi fs.FileInfo) blob.Info {
	return blob.Info{Key: key, Size: fi.Size(), Time: fi.ModTime().Round(0).UTC()}
}

// Stat is that of blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := errors.Join(blob.ValidateKey(key), ctx.Err()); err != nil {
		return blob.Info{}, err
	}
	fi, err := s.fsys.Stat(s.path(key))
	switch {
	case absent(err), err == nil && fi.IsDir():
		return blob.Info{}, s.missing(key)
	case err != nil:
		return blob.Info{}, s.mapped(err)
	case !fi.Mode().IsRegular():
		return blob.Info{}, fmt.Errorf("%s is not a file", s.path(key)) // opening a pipe would wait
	}
	return info(key, fi), nil
}

// Get is that of blob.Store.
func (s *Store) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	// The size is asked before the file is opened, because opening may wait for what is
	// no file.
	i, err := s.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	if n, err = blob.Span(key, i.Size, off, n); err != nil {
		return nil, err
	}
	f, err := s.fsys.OpenFile(s.path(key), os.O_RDONLY, 0)
	if err != nil {
		if absent(err) {
			return nil, s.missing(key)
		}
		return nil, s.mapped(err)
	}
	defer f.Close()
	b := make([]byte, n)
	for done := 0; done < len(b); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := f.ReadAt(b[done:min(len(b), done+piece)], off+int64(done))
		if done += m; errors.Is(err, io.EOF) && done < len(b) {
			return nil, fmt.Errorf("%s: %w (it was cut while being read)", key, blob.ErrShort)
		} else if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	return b, nil
}

// Delete is that of blob.Store. Directories stay.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := errors.Join(blob.ValidateKey(key), ctx.Err()); err != nil {
		return err
	}
	path := s.path(key)
	fi, err := s.fsys.Stat(path)
	switch {
	case absent(err), err == nil && fi.IsDir():
		if err := s.present(); err != nil {
			return err
		}
	case err != nil:
		return s.mapped(err)
	default:
		if err := s.fsys.Remove(path); err != nil && !absent(err) {
			return s.mapped(err)
		}
	}
	// Also where it was missing: an earlier call may have removed it and failed
	// here, or another process is just about to sync.
	if err := s.fsys.SyncDir(filepath.Dir(path)); err != nil && !absent(err) {
		return s.mapped(err)
	}
	return nil
}
