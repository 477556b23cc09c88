//go:build !windows

package cakey

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

func createPrivate(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, perm)
}

// renameNew gives a file its name unless that is taken. A file system without
// hard links, as on many a USB stick, leaves a moment between looking and renaming.
func renameNew(o, n string) error {
	err := os.Link(o, n)
	switch {
	case err == nil:
		return os.Remove(o)
	case errors.Is(err, fs.ErrExist):
		return err
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
		if _, err := os.Lstat(n); err == nil {
			return &os.LinkError{Op: "rename", Old: o, New: n, Err: fs.ErrExist}
		}
		return os.Rename(o, n)
	}
	return err
}
