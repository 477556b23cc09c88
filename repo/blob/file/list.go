package file

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/repo/blob"
)

// List is that of blob.Store. It holds the names of one directory of each level in
// memory.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := blob.ValidatePrefix(prefix); err != nil {
			yield(blob.Info{}, err)
			return
		}
		if err := s.present(); err != nil {
			yield(blob.Info{}, err)
			return
		}
		dir, begin := path.Split(prefix)
		s.walk(ctx, dir, begin, yield)
	}
}

// entry is a directory's entry with the text that its keys go on with: a directory's
// name ends in "/", so that a sort brings the order of keys and not that of names ("a-b/x"
// is before "a/x").
type entry struct {
	text string
	d    fs.DirEntry
}

// walk lists a directory ("" or ending in "/"), of its own entries only those that
// begin so. It returns false when the listing is over.
func (s *Store) walk(ctx context.Context, dir, begin string, yield func(blob.Info, error) bool) bool {
	fail := func(err error) bool {
		yield(blob.Info{}, err)
		return false
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	names, err := s.fsys.ReadDir(s.path(dir))
	if err != nil {
		if absent(err) {
			return true
		}
		return fail(s.mapped(err))
	}
	entries := make([]entry, 0, len(names))
	for _, d := range names {
		name := d.Name()
		// Names that are in no key are of others: lost+found, .aside.
		if !strings.HasPrefix(name, begin) || blob.ValidateKey(dir+name) != nil {
			continue
		}
		switch {
		case d.IsDir():
			name += "/"
		case !d.Type().IsRegular():
			// To leave it out would be to say that what is behind it is gone.
			return fail(fmt.Errorf("%s is neither file nor directory", filepath.Join(s.path(dir), name)))
		}
		entries = append(entries, entry{name, d})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.text, b.text) })
	for _, e := range entries {
		if e.d.IsDir() {
			if !s.walk(ctx, dir+e.text, "", yield) {
				return false
			}
			continue
		}
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		fi, err := e.d.Info()
		if err != nil {
			if absent(err) {
				continue // deleted since
			}
			return fail(s.mapped(err))
		}
		if !yield(info(dir+e.text, fi), nil) {
			return false
		}
	}
	return true
}
