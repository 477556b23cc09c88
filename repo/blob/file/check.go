package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
)

// Check looks who may read the directory, and tries in ".aside" whether the file system
// can do what Put needs.
func (s *Store) Check(ctx context.Context) ([]blob.Finding, error) {
	if err := errors.Join(ctx.Err(), s.present()); err != nil {
		return nil, err
	}
	var found []blob.Finding
	if runtime.GOOS != "windows" { // where the mode says nothing
		fi, err := s.fsys.Stat(s.dir)
		if err != nil {
			return nil, s.mapped(err)
		}
		f := blob.Finding{Code: "permissions", OK: true, Text: "only its owner may enter " + s.Location()}
		if fi.Mode()&0o077 != 0 {
			f = blob.Finding{Code: "permissions", Text: fmt.Sprintf("%s may be entered by others than its owner (mode %04o)", s.Location(), fi.Mode().Perm()),
				Hint: "chmod 700 " + s.Location()}
		}
		found = append(found, f)
	}
	f := blob.Finding{Code: "conditional-write", OK: true, Text: "a file is never replaced by another, of two writers one wins"}
	if err := s.tryRename(ctx); err != nil {
		f = blob.Finding{Code: "conditional-write", Text: "a file could not be written and named: " + err.Error(), Hint: hint.Of(err)}
	}
	found = append(found, f)
	return append(found, blob.Finding{Code: "object-lock", Text: "whoever may write to the directory can also delete from it",
		Hint: "keep a copy where the backup's account cannot delete: a bucket with object lock, or a disk that is taken away"}), nil
}

// tryRename gives a file a name that is taken, which must fail, and then another.
func (s *Store) tryRename(ctx context.Context) error {
	old, err := s.writeAside(ctx, nil)
	if err != nil {
		return s.mapped(err)
	}
	taken := filepath.Join(s.dir, asideDir, rand.Text())
	defer func() { _, _ = s.fsys.Remove(old), s.fsys.Remove(taken) }()
	t, err := s.fsys.OpenFile(taken, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return s.mapped(err)
	}
	if err := t.Close(); err != nil {
		return err
	}
	if err := s.fsys.RenameNew(old, taken); err == nil {
		return hint.With(errors.New("one replaced another"), "keep the repository on another file system")
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.fsys.Remove(taken); err != nil {
		return err
	}
	return s.fsys.RenameNew(old, taken)
}
