package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/durable"
)

const (
	dirPerm  = 0o700 // a database may hold archived keys
	filePerm = 0o600
)

// errNoSet: nothing in the directory looks like a set.
var errNoSet = fmt.Errorf("no set: %w", backupset.ErrNotFound)

var roleDirs = []string{backupset.RoleDatabase.Dir(), backupset.RoleDynamic.Dir(), backupset.RoleCompanion.Dir()}

// layout is where the parts of a set are. While the set is being installed,
// some are still in .certkeep-install.
type layout struct {
	dir      string
	entries  []fs.DirEntry
	install  string            // the directory .certkeep-install, if its manifest counts
	manifest string            // path; empty if there is none
	dirs     map[string]string // role directories that are there, by their proper names
	odd      map[string]error  // what is called like one, and is none
}

// find looks a name up, letter case ignored where there is no exact match.
func find(es []fs.DirEntry, name string) (fs.DirEntry, error) {
	var hit fs.DirEntry
	for _, e := range es {
		if e.Name() == name {
			return e, nil
		}
		if backupset.FoldName(e.Name()) == backupset.FoldName(name) {
			if hit != nil {
				return nil, fmt.Errorf("%s: %w: there are %s and %s", name, backupset.ErrAmbiguous, hit.Name(), e.Name())
			}
			hit = e
		}
	}
	return hit, nil
}

// kind says what an entry is, if it is not what it must be.
func kind(e fs.DirEntry) string {
	switch t := e.Type(); {
	case t&fs.ModeSymlink != 0:
		return "a symbolic link"
	case t.IsDir():
		return "a directory"
	case t.IsRegular():
		return "a file"
	case t&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case t&fs.ModeDevice != 0:
		return "a device"
	case t&fs.ModeSocket != 0:
		return "a socket"
	}
	return "neither file nor directory"
}

func wrongKind(path string, e fs.DirEntry) error {
	return fmt.Errorf("%s is %s: %w", path, kind(e), backupset.ErrDamaged)
}

func (s *Store) layout(dir string) (*layout, error) {
	es, err := s.fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	l := &layout{dir: dir, entries: es, dirs: map[string]string{}, odd: map[string]error{}}
	if l.manifest, err = regular(dir, es, ManifestName); err != nil {
		return nil, err
	}
	l.addDirs(dir, es)
	if e, _ := find(es, installName); e != nil && e.IsDir() {
		inst := filepath.Join(dir, e.Name())
		ies, err := s.fsys.ReadDir(inst)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		m, err := regular(inst, ies, ManifestName)
		if err != nil {
			return nil, err
		}
		if m != "" { // else everything has been moved
			l.install, l.manifest = inst, m
			l.addDirs(inst, ies)
		}
	}
	return l, nil
}

// regular is the path of a file; empty if it is not there.
func regular(dir string, es []fs.DirEntry, name string) (string, error) {
	for _, e := range es {
		if e.Name() == name {
			path := filepath.Join(dir, name)
			if !e.Type().IsRegular() {
				return "", wrongKind(path, e)
			}
			return path, nil
		}
	}
	return "", nil
}

// addDirs notes the role directories that are in dir, in place of earlier ones.
func (l *layout) addDirs(dir string, es []fs.DirEntry) {
	for _, name := range roleDirs {
		e, err := find(es, name)
		switch {
		case err != nil:
			l.odd[name] = fmt.Errorf("%s: %w", dir, err)
		case e == nil:
		case !e.IsDir():
			l.odd[name] = wrongKind(filepath.Join(dir, e.Name()), e)
		default:
			l.dirs[name] = filepath.Join(dir, e.Name())
			delete(l.odd, name)
		}
	}
}

// load reads a set that somebody has named. errNoSet if there is none,
// fs.ErrNotExist if there is no such directory.
func (s *Store) load(name string) (*Set, error) {
	if err := s.realDir(name); err != nil {
		return nil, err
	}
	set, err := s.read(name)
	if errors.Is(err, errNoSet) {
		if l, lerr := s.layout(s.path(name)); lerr == nil && l.odd[roleDirs[0]] != nil {
			return nil, l.odd[roleDirs[0]]
		}
	}
	return set, err
}

// read reads a set in what is known to be a directory.
func (s *Store) read(name string) (*Set, error) {
	dir := s.path(name)
	l, err := s.layout(dir)
	if err != nil {
		return nil, err
	}
	set := &Set{s: s, name: name, dir: dir, layout: l}
	if l.manifest == "" {
		set.manifest, err = s.synthesize(name, l)
	} else {
		set.manifest, err = s.readManifest(l.manifest)
	}
	if err != nil {
		return nil, err
	}
	return set, nil
}

// realDir makes sure that a name is a directory, and not a link to one.
func (s *Store) realDir(name string) error {
	if name == Self {
		return nil
	}
	es, err := s.fsys.ReadDir(s.dir)
	if err != nil {
		return err
	}
	if !named(es, name) {
		if backupset.ValidateName(name) != nil {
			return &fs.PathError{Op: "open", Path: s.path(name), Err: fs.ErrNotExist}
		}
		if _, err := s.fsys.Stat(s.path(name)); err != nil {
			return err
		}
	}
	for _, e := range es { // some file systems find names in other letters
		if e.Name() != name && (named(es, name) || backupset.FoldName(e.Name()) != backupset.FoldName(name)) {
			continue
		}
		switch {
		case e.Type().IsRegular():
			return errNoSet
		case !e.IsDir():
			return wrongKind(s.path(name), e)
		}
	}
	return nil
}

func named(es []fs.DirEntry, name string) bool {
	for _, e := range es {
		if e.Name() == name {
			return true
		}
	}
	return false
}

func (s *Store) readManifest(path string) (*backupset.Manifest, error) {
	b, err := s.readFile(path, backupset.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	m, err := backupset.DecodeManifest(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// readFile reads a small file, which must be a regular one.
func (s *Store) readFile(path string, limit int64) ([]byte, error) {
	f, size, err := s.openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%s: %w: larger than %d bytes", path, backupset.ErrDamaged, limit)
	}
	return readAll(f, path, limit)
}

// openRegular opens a regular file for reading without following a link or
// waiting for a pipe.
func (s *Store) openRegular(path string) (durable.File, int64, error) {
	f, err := s.fsys.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		if isLinkError(err) {
			return nil, 0, fmt.Errorf("%s is a symbolic link: %w", path, backupset.ErrDamaged)
		}
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = wrongKind(path, fs.FileInfoToDirEntry(fi))
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

// isInternal reports whether a name in a set's directory is one of ours that a
// reader should not take for the user's.
func isInternal(name string) bool {
	return name == installName || name == replacedName ||
		strings.HasPrefix(name, ".certkeep") && strings.HasSuffix(name, durable.AsideSuffix)
}
