package backupset

import (
	"fmt"
	"io/fs"
)

// Written is what a Writer was given: the files of a set in the making. Its zero value is
// ready for use.
type Written struct {
	files map[string]*WrittenFile // by role directory and folded name
}

// WrittenFile is one of them.
type WrittenFile struct {
	Role Role
	Name string
	Size int64 // bytes so far
}

// ValidateFile checks that a file of that role can be called so.
func ValidateFile(role Role, name string) error {
	if role.Dir() == "" {
		return fmt.Errorf("file %.80q: unknown role %.20q", name, role)
	}
	return ValidateName(name)
}

// Add adds a file that passes ValidateFile. fs.ErrExist if there is one of that name, or of one that
// differs only in letter case.
func (w *Written) Add(role Role, name string) (*WrittenFile, error) {
	key := writtenKey(role, name)
	if w.files[key] != nil {
		return nil, fmt.Errorf("file %q: %w", name, fs.ErrExist)
	}
	if w.files == nil {
		w.files = map[string]*WrittenFile{}
	}
	f := &WrittenFile{Role: role, Name: name}
	w.files[key] = f
	return f, nil
}

// Compare checks that a manifest lists exactly what was written.
func (w *Written) Compare(m *Manifest) error {
	if len(m.Files) != len(w.files) {
		return fmt.Errorf("manifest: %d files, and %d were written", len(m.Files), len(w.files))
	}
	for _, f := range m.Files {
		c := w.files[writtenKey(f.Role, f.Name)]
		switch {
		case c == nil || c.Name != f.Name || c.Role != f.Role:
			return fmt.Errorf("manifest: %s file %q was not written", f.Role, f.Name)
		case c.Size != f.Size:
			return fmt.Errorf("manifest: file %q has %d bytes, and %d were written", f.Name, f.Size, c.Size)
		}
	}
	return nil
}

func writtenKey(role Role, name string) string { return role.Dir() + "/" + FoldName(name) }
