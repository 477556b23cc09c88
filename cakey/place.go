package cakey

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/folder"
	"github.com/certkeep/certkeep/internal/durable"
)

// privateFS creates files that only their owner, and on Windows administrators
// and SYSTEM, may read, and renames no file over another.
type privateFS struct{ durable.FS }

func (p privateFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if flag&os.O_CREATE == 0 {
		return p.FS.OpenFile(name, flag, perm)
	}
	f, err := createPrivate(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (p privateFS) Rename(o, n string) error { return renameNew(o, n) }

// checkPlace returns the absolute path of a file that may be written.
func checkPlace(file string) (string, error) {
	if file == "" {
		return "", errors.New("no file was named")
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(file); err == nil {
		return "", placeError(file, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return "", err
	}
	if set := setAround(dir); set != "" {
		return "", hinted(fmt.Errorf("%s: %w: %s is one", file, ErrInSet, set),
			"sets are copied to where a CA's key must not be; choose a place of its own, best on a medium that goes into a safe")
	}
	return filepath.Join(dir, filepath.Base(file)), nil
}

func placeError(file string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return hinted(fmt.Errorf("%s: %w, and is not replaced", file, fs.ErrExist), "choose another name; it might be the only copy of another key")
	}
	return err
}

// setAround returns the innermost directory, dir itself included, that looks like
// a set; "" if there is none.
func setAround(dir string) string {
	for {
		if isSet(dir) {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// isSet goes by names alone, and also knows a set that certutil has made, one
// that is being installed, and one that is damaged.
func isSet(dir string) bool {
	for name := range names(dir) {
		switch folded := backupset.FoldName(name); folded {
		case backupset.FoldName(folder.ManifestName), backupset.FoldName(folder.ReceiptName), ".certkeep-install", ".certkeep-replaced":
			return true
		case backupset.FoldName(backupset.RoleDatabase.Dir()):
			// Any program may have a directory of that name: the embedded authority has.
			if holdsBackup(filepath.Join(dir, name)) {
				return true
			}
		}
	}
	return false
}

// holdsBackup tells a set's directory DataBase from others.
func holdsBackup(dir string) bool {
	for name := range names(dir) {
		name = strings.ToLower(name)
		switch filepath.Ext(name) {
		case ".edb", ".log":
			return true
		}
		if name == "certbkxp.dat" {
			return true
		}
	}
	return false
}

// names lists a directory in pieces, because it may be large. One that may be
// passed through but not listed has no names: a set in it would be listed itself.
func names(dir string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		d, err := os.Open(dir)
		if err != nil {
			return
		}
		defer d.Close()
		for {
			some, err := d.Readdirnames(1024)
			for _, name := range some {
				if !yield(name) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}
