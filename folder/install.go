package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/certkeep/certkeep/backupset"
)

// Directories inside a folder, while a set is moved to its place in it.
const (
	installName  = ".certkeep-install"
	replacedName = ".certkeep-replaced"
)

// install makes a sealed stage the set of that name. It reports whether the set
// counts now, which it may do although something failed later.
func (s *Store) install(st *stage, name string, force bool) (bool, error) {
	// One at a time in this process. Two processes that write to the same
	// folder at the same time have themselves to blame; each set is whole.
	s.installing.Lock()
	defer s.installing.Unlock()
	dir := s.path(name)
	there, err := s.prepare(name)
	if err != nil {
		return false, err
	}
	if err := s.refuse(name, there, force); err != nil {
		return false, err
	}
	if !there {
		if err := s.fsys.Rename(st.dir, dir); err != nil {
			return false, err
		}
		if err := s.fsys.SyncDir(s.dir); err != nil {
			return true, fmt.Errorf("%s: the backup is there, but may not survive a power loss: %w", dir, err)
		}
		return true, nil
	}
	inst := filepath.Join(dir, installName)
	if err := s.fsys.Rename(st.dir, inst); err != nil {
		return false, err
	}
	if err := errors.Join(s.fsys.SyncDir(dir), s.syncParents(st, dir)); err != nil {
		return true, fmt.Errorf("%s: the backup is there, but may not survive a power loss: %w", inst, err)
	}
	if err := s.finish(dir); err != nil {
		return true, fmt.Errorf("%s: the backup is complete, but could not be moved to its place; the next one to this folder will do so: %w", inst, err)
	}
	return true, nil
}

// syncParents syncs the entry of the folder itself, which somebody may have
// made just now, and the directory in which the stage was.
func (s *Store) syncParents(st *stage, dir string) error {
	parent := filepath.Dir(st.dir)
	if dir != s.dir {
		if err := s.fsys.SyncDir(s.dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	if parent != dir && parent != s.dir {
		return s.fsys.SyncDir(parent)
	}
	return nil
}

// finish moves the parts of a set in .certkeep-install to their places in dir,
// and deletes what they replace. It does nothing where there is nothing to do,
// and may be broken off and begun again at any point.
func (s *Store) finish(dir string) error {
	es, err := s.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	inst, replaced := filepath.Join(dir, installName), filepath.Join(dir, replacedName)
	installing, err := isDir(es, dir, installName)
	if err != nil {
		return err
	}
	leftover, err := isDir(es, dir, replacedName)
	if err != nil || !installing && !leftover {
		return err
	}
	if installing {
		m, err := s.readManifest(filepath.Join(inst, ManifestName))
		switch {
		case errors.Is(err, fs.ErrNotExist): // moved already
		case err != nil:
			return err
		default:
			if !leftover {
				if err := s.fsys.Mkdir(replaced, dirPerm); err != nil {
					return err
				}
			}
			if err := s.move(dir, m); err != nil {
				return err
			}
		}
		if err := s.fsys.RemoveAll(inst); err != nil {
			return err
		}
	}
	if err := s.fsys.RemoveAll(replaced); err != nil {
		return err
	}
	return s.fsys.SyncDir(dir)
}

// move moves everything, the manifest last: while it is in .certkeep-install,
// the set is what lies there and, where that lacks a part, in dir.
func (s *Store) move(dir string, m *backupset.Manifest) error {
	inst, replaced := filepath.Join(dir, installName), filepath.Join(dir, replacedName)
	es, err := s.fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	ies, err := s.fsys.ReadDir(inst)
	if err != nil {
		return err
	}
	aside := func(name string) error {
		for i := 1; ; i++ {
			to := filepath.Join(replaced, name)
			if i > 1 {
				to += fmt.Sprintf(".%d", i)
			}
			if _, err := s.fsys.Stat(to); errors.Is(err, fs.ErrNotExist) {
				return s.fsys.Rename(filepath.Join(dir, name), to)
			} else if err != nil {
				return err
			}
		}
	}
	for _, part := range roleDirs {
		waiting, err := isDir(ies, inst, part)
		if err != nil {
			return err
		}
		moved := !waiting && (part == roleDirs[0] || hasFiles(m, part))
		for _, e := range es {
			if backupset.FoldName(e.Name()) != backupset.FoldName(part) || moved && e.Name() == part {
				continue
			}
			if err := aside(e.Name()); err != nil {
				return err
			}
		}
		if waiting {
			if err := s.fsys.Rename(filepath.Join(inst, part), filepath.Join(dir, part)); err != nil {
				return err
			}
		}
	}
	for _, e := range es {
		if e.Name() == ReceiptName { // of the set that was here
			if err := aside(e.Name()); err != nil {
				return err
			}
		}
	}
	if err := s.syncDirs(dir, inst, replaced); err != nil {
		return err
	}
	if err := s.fsys.Rename(filepath.Join(inst, ManifestName), filepath.Join(dir, ManifestName)); err != nil {
		return err
	}
	return s.syncDirs(dir, inst)
}

func hasFiles(m *backupset.Manifest, dir string) bool {
	for _, f := range m.Files {
		if f.Role.Dir() == dir {
			return true
		}
	}
	return false
}

func (s *Store) syncDirs(dirs ...string) error {
	for _, d := range dirs {
		if err := s.fsys.SyncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// isDir reports whether there is a directory of that name; something else of
// that name is an error.
func isDir(es []fs.DirEntry, dir, name string) (bool, error) {
	for _, e := range es {
		if e.Name() == name {
			if !e.IsDir() {
				return false, wrongKind(filepath.Join(dir, name), e)
			}
			return true, nil
		}
	}
	return false, nil
}
