package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// Split takes the path of a folder to be written apart: the Store of the
// directory that it is in, and its name. A symbolic link at the end of the path
// is followed. The root of a drive is in no directory: its name is Self.
func Split(path string, o Options) (*Store, string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, "", err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, "", err
	}
	dir := filepath.Dir(path)
	if dir == path {
		return Root(dir, o), Self, nil
	}
	return Root(dir, o), filepath.Base(path), nil
}

// Resolve finds out what a path to be read is: a set, and then name is what the
// Store calls it; or a directory that holds sets, and then name is empty. The
// Store of a set also holds the sets beside it, which may be its parents. A set
// that is damaged is one all the same.
//
// Where there is no backup the error is a *certadm.Error with
// ErrorFileNotFound, as certutil has it, and an ErrNotFound.
func Resolve(ctx context.Context, path string) (s *Store, name string, err error) {
	if fi, err := os.Stat(path); err != nil {
		return nil, "", noBackup(path, err, "")
	} else if !fi.IsDir() {
		return nil, "", noBackup(path, errors.New("a file, not a folder"), "name the folder that holds DataBase")
	}
	s, name, err = Split(path, Options{})
	if err != nil {
		return nil, "", err
	}
	_, err = s.load(name)
	switch {
	case err == nil, errors.Is(err, backupset.ErrDamaged), errors.Is(err, backupset.ErrNewer):
		return s, name, nil // what is wrong with it, its reader will say
	case !errors.Is(err, errNoSet):
		return nil, "", err
	}
	collection := Root(s.path(name), Options{})
	entries, lerr := collection.List(ctx)
	if lerr != nil {
		return nil, "", lerr
	}
	if len(entries) > 0 {
		return collection, "", nil
	}
	es, lerr := os.ReadDir(collection.dir)
	switch {
	case lerr != nil:
		return nil, "", lerr
	case hasKey(es):
		return nil, "", noBackup(path, errors.New("only a key (.p12)"), "back the database up as well: a key alone does not bring certificates back")
	case filepath.Base(collection.dir) == roleDirs[0]:
		return nil, "", noBackup(path, errors.New("this is a DataBase directory"), "name the folder that it is in")
	}
	return nil, "", noBackup(path, nil, "name the folder that holds DataBase, or one that holds such folders")
}

func noBackup(path string, why error, hint string) error {
	err := fmt.Errorf("database backup %w", backupset.ErrNotFound)
	if why != nil {
		err = fmt.Errorf("%w: %w", err, why)
	}
	return &certadm.Error{Op: "open", Path: path, Code: certadm.ErrorFileNotFound, Err: err, Hint: hint}
}
