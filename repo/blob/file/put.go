package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
)

// asideDir holds what is being written. No key begins with ".".
const asideDir = ".aside"

// leftover is the age beyond which a file in asideDir belongs to no living writer. A
// Put takes seconds.
const leftover = 24 * time.Hour

// Put is that of blob.Store.
func (s *Store) Put(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Info, error) {
	if err := errors.Join(blob.ValidatePut(key, data), ctx.Err()); err != nil {
		return blob.Info{}, err
	}
	if !o.RetainUntil.IsZero() {
		return blob.Info{}, fmt.Errorf("%s: retention in a directory: %w", key, blob.ErrUnsupported)
	}
	if err := s.vacant(key); err != nil {
		return blob.Info{}, err // before anything is written
	}
	aside, err := s.writeAside(ctx, data)
	if err != nil {
		return blob.Info{}, s.mapped(err)
	}
	name := s.path(key)
	err = s.ensure(path.Dir(key))
	if err == nil {
		err = s.fsys.RenameNew(aside, name)
	}
	if err != nil && absent(err) {
		// Someone removed the directory.
		s.forget()
		if err = s.ensure(path.Dir(key)); err == nil {
			err = s.fsys.RenameNew(aside, name)
		}
	}
	if err != nil {
		gone := s.fsys.Remove(aside)
		if errors.Is(err, fs.ErrExist) {
			if e := s.vacant(key); e != nil {
				return blob.Info{}, e
			}
			return blob.Info{}, fmt.Errorf("%s: %w (and deleted since)", key, blob.ErrExists)
		}
		return blob.Info{}, s.mapped(errors.Join(err, gone))
	}
	if err := s.fsys.SyncDir(filepath.Dir(name)); err != nil {
		return blob.Info{}, s.mapped(err)
	}
	fi, err := s.fsys.Stat(name)
	if err != nil {
		return blob.Info{}, s.mapped(err)
	}
	return info(key, fi), nil
}

// vacant says whether key is free, and why not. An object that is there is durable
// when it returns, because who hears that it exists will rely on it.
func (s *Store) vacant(key string) error {
	name := s.path(key)
	fi, err := s.fsys.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case absent(err):
		return fmt.Errorf("%s: one of its directories is an object", key)
	case err != nil:
		return s.mapped(err)
	case fi.IsDir():
		return fmt.Errorf("%s: is the directory of other objects", key)
	}
	if err := s.ensure(path.Dir(key)); err != nil {
		return err
	}
	if err := s.fsys.SyncDir(filepath.Dir(name)); err != nil {
		return s.mapped(err)
	}
	return fmt.Errorf("%s: %w", key, blob.ErrExists)
}

// writeAside writes and syncs a file that List does not show.
func (s *Store) writeAside(ctx context.Context, data []byte) (string, error) {
	if err := s.ensure(asideDir); err != nil {
		return "", err
	}
	name := filepath.Join(s.dir, asideDir, rand.Text())
	f, err := s.fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if absent(err) { // someone swept too well
		s.forget()
		if err := s.ensure(asideDir); err != nil {
			return "", err
		}
		f, err = s.fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return "", err
	}
	s.sweep.Do(func() { s.sweepAside(f.Stat) })
	for err == nil && len(data) > 0 {
		if err = ctx.Err(); err == nil {
			n := min(piece, len(data))
			_, err = f.Write(data[:n])
			data = data[n:]
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, s.fsys.Remove(name))
	}
	return name, nil
}

// sweepAside removes what killed writers left. The time now is that of a file that was
// just made, so that it is the file system's. What cannot be removed stays: it harms
// nobody.
func (s *Store) sweepAside(now func() (fs.FileInfo, error)) {
	made, err := now()
	if err != nil {
		return
	}
	dir := filepath.Join(s.dir, asideDir)
	entries, err := s.fsys.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() && made.ModTime().Sub(fi.ModTime()) > leftover {
			_ = s.fsys.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// ensure makes a directory, given as the beginning of a key, and sees to it that it
// survives a power loss. The Store's own directory is never made: where the disk is not
// mounted, nothing may be written to the place where it would be.
func (s *Store) ensure(dir string) error {
	if dir == "." {
		return nil
	}
	s.mu.Lock()
	known := s.synced[dir]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := s.ensure(path.Dir(dir)); err != nil {
		return err
	}
	name := s.path(dir)
	err := s.fsys.Mkdir(name, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		if fi, err := s.fsys.Stat(name); err != nil {
			return s.mapped(err)
		} else if !fi.IsDir() {
			return fmt.Errorf("%s is an object, and so no directory of others", dir)
		}
	case err != nil && absent(err) && path.Dir(dir) == ".":
		return errors.Join(s.present(), err)
	case err != nil:
		return s.mapped(err)
	}
	if err := s.fsys.SyncDir(filepath.Dir(name)); err != nil {
		return s.mapped(err)
	}
	s.mu.Lock()
	s.synced[dir] = true
	s.mu.Unlock()
	return nil
}

func (s *Store) forget() {
	s.mu.Lock()
	clear(s.synced)
	s.mu.Unlock()
}

// errNoLinks is what RenameNew says where the file system has no way to do it.
func errNoLinks(name string, err error) error {
	return hint.With(fmt.Errorf("%s: a file cannot be named here without the risk of replacing another: %w", name, err),
		"keep the repository on a file system with hard links, or with renameat2 (Linux)")
}
