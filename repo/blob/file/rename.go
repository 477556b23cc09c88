package file

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/certkeep/certkeep/internal/durable"
)

// osFS is the operating system's file system.
type osFS struct{ durable.FS }

// RenameNew uses the operating system's call for it, and where the file system
// does not have that (NFS), a hard link.
func (osFS) RenameNew(oldname, newname string) error {
	err := renameNew(oldname, newname)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return renameByLink(oldname, newname)
}

func renameByLink(oldname, newname string) error {
	if err := link(oldname, newname); err != nil {
		return err
	}
	return os.Remove(oldname)
}

func link(oldname, newname string) error {
	err := os.Link(oldname, newname)
	switch {
	case err == nil, absent(err):
		return err
	case errors.Is(err, fs.ErrExist):
		// A server whose answer was lost is asked again, and finds the file that it made.
		a, e1 := os.Lstat(oldname)
		b, e2 := os.Lstat(newname)
		if e1 == nil && e2 == nil && os.SameFile(a, b) {
			return nil
		}
		return err
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EPERM):
		// Some file systems say "not permitted" where they have no links.
		return errNoLinks(newname, err)
	}
	return err
}
