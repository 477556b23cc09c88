package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// OS is the operating system's file system.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // not a nil *os.File in a non-nil interface
	}
	return f, nil
}

func (osFS) Rename(o, n string) error                  { return os.Rename(o, n) }
func (osFS) Remove(name string) error                  { return os.Remove(name) }
func (osFS) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error) {
	return os.ReadDir(name)
}
func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// RemoveAll is os.RemoveAll, which asks Windows for a call that not every version
// has (nor Wine 8): what it leaves there is removed name by name.
func (o osFS) RemoveAll(name string) error {
	err := os.RemoveAll(name)
	if err == nil || runtime.GOOS != "windows" {
		return err
	}
	return o.removeEach(name)
}

func (o osFS) removeEach(name string) error {
	fi, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && fi.IsDir() {
		var entries []fs.DirEntry
		entries, err = os.ReadDir(name)
		for _, e := range entries {
			err = errors.Join(err, o.removeEach(filepath.Join(name, e.Name())))
		}
	}
	return errors.Join(err, os.Remove(name))
}

func (o osFS) MkdirAll(name string, perm fs.FileMode) error {
	name = filepath.Clean(name)
	if fi, err := os.Stat(name); err == nil {
		if fi.IsDir() {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("not a directory")}
	}
	parent := filepath.Dir(name)
	if parent != name {
		if err := o.MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return o.SyncDir(parent)
}
