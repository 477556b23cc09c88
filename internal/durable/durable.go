// Package durable writes files so that they survive: aside, synced, renamed,
// and the directory synced. All of the project's own files (logs, manifests,
// receipts, pending restores) go through its [FS], so that a test can record
// what was done and replay every prefix of it with unsynced writes dropped.
package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FS is the part of a file system that durable writing needs.
type FS interface {
	// OpenFile is os.OpenFile.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename replaces newname if it is a file; it fails if it is a directory.
	Rename(oldname, newname string) error
	Remove(name string) error
	RemoveAll(name string) error
	Mkdir(name string, perm fs.FileMode) error
	// MkdirAll also syncs each parent in which it made an entry.
	MkdirAll(name string, perm fs.FileMode) error
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of a directory durable. It does nothing where
	// the operating system (Windows) or the file system has no such call.
	SyncDir(name string) error
}

// File is an open file of an FS.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Seeker
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

// ReadFile reads a whole file of at most limit bytes; a larger one is an error,
// so that a hostile file cannot fill the memory.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadAll(f, name, limit)
}

// ReadAll is what ReadFile does with a file that is open.
func ReadAll(f io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return b, nil
}

// WriteFile writes a file that is there whole, or not at all, and on disk when
// it returns nil.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	a, err := Create(fsys, name, perm)
	if err != nil {
		return err
	}
	if _, err := a.Write(data); err != nil {
		return errors.Join(err, a.Abort())
	}
	return a.Commit()
}

// Aside is a file being written beside its final name.
type Aside struct {
	File
	fsys FS
	name string
	done bool
}

// AsideSuffix ends the name of a file that is being written; such a file left
// behind by a crash may be deleted.
const AsideSuffix = ".partial"

// longest leaves room for what Create adds to a name of at most 255 bytes.
const longest = 200

// Create starts writing name aside. Either Commit or Abort must follow.
func Create(fsys FS, name string, perm fs.FileMode) (*Aside, error) {
	base := filepath.Base(name)
	if len(base) > longest {
		base = strings.ToValidUTF8(base[:longest], "")
	}
	tmp := filepath.Join(filepath.Dir(name), "."+base+"."+rand.Text()[:8]+AsideSuffix)
	f, err := fsys.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	return &Aside{File: f, fsys: fsys, name: name}, nil
}

// Commit syncs the file, gives it its name and syncs the directory. On any
// error the file is removed; it is never visible in part.
func (a *Aside) Commit() error {
	if a.done {
		return fs.ErrClosed
	}
	if err := a.File.Sync(); err != nil {
		return errors.Join(err, a.Abort())
	}
	a.done = true
	tmp := a.File.Name()
	if err := a.File.Close(); err != nil {
		return errors.Join(err, a.fsys.Remove(tmp))
	}
	if err := a.fsys.Rename(tmp, a.name); err != nil {
		return errors.Join(err, a.fsys.Remove(tmp))
	}
	return a.fsys.SyncDir(filepath.Dir(a.name))
}

// Abort closes and removes the file. After Commit it does nothing, so that it
// can be deferred.
func (a *Aside) Abort() error {
	if a.done {
		return nil
	}
	a.done = true
	return errors.Join(a.File.Close(), a.fsys.Remove(a.File.Name()))
}
