package esecheck

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/certkeep/certkeep/ese"
)

// contents is what comes last and is optional: catalog, trees, rows.
func (c *checker) contents(ctx context.Context) error {
	if c.in.Depth < Trees || c.report.Header == nil {
		return nil
	}
	f := c.in.Database
	db, err := ese.Open(f.R, f.Size)
	if err != nil {
		// Without a catalog that can be read there is no database, also if it is fuzzy.
		c.find(c.placed(Finding{Severity: Damage, Code: CatalogDiffers, Error: CatalogCorrupted}, err))
		return nil
	}
	c.space(db)
	c.catalogs(db)
	for _, t := range db.Tables() {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.tree(db, fmt.Sprintf("table %q", t.Name()), t.Root(), t.ID(), true)
		walked := map[uint32]bool{t.Root(): true} // a catalog that names a tree thousands of times must not cost that
		for _, x := range t.Indexes() {
			if !x.Primary() && x.Root != 0 && !walked[x.Root] {
				walked[x.Root] = true
				c.tree(db, fmt.Sprintf("index %q of table %q", x.Name, t.Name()), x.Root, x.ObjectID, false)
			}
		}
		if root, object := t.LongValues(); root != 0 {
			c.tree(db, fmt.Sprintf("long values of table %q", t.Name()), root, object, true)
		}
		c.indexes(t)
	}
	if c.in.Depth >= Rows {
		return c.rows(ctx, db)
	}
	return nil
}

// structural is the severity of what does not fit together: in a copy whose logs are
// not replayed that is normal.
func (c *checker) structural() Severity {
	if c.fuzzy {
		return Note
	}
	return Damage
}

// placed takes page and offset from an error.
func (c *checker) placed(f Finding, err error) Finding {
	f.File, f.Offset, f.Message = c.in.Database.Name, -1, err.Error()
	if pe := (*ese.PageError)(nil); errors.As(err, &pe) {
		f.Page, f.Offset = pe.Page, pe.Offset
		f.Message = pe.Err.Error()
	}
	return f
}

// known says that an error is of a page whose checksum was found wrong before.
func known(err error) bool { return errors.Is(err, ese.ErrChecksum) }

// space compares the size of the file with what the database owns.
func (c *checker) space(db *ese.Database) {
	owned, err := db.OwnedPages()
	switch {
	case err != nil && known(err):
	case err != nil:
		c.find(c.placed(Finding{Severity: c.structural(), Code: BadTree, Error: DatabaseCorrupted}, err))
	case owned > db.Pages():
		// The engine makes the file longer before it owns the new pages. Only a copy that
		// was made while it did can be shorter; its trailer says that it is whole.
		s := Damage
		if db.Header().StreamingBackup() {
			s = Note
		}
		c.find(about(s, BadSize, c.in.Database.Name, DatabaseCorrupted, "the file has %d pages, the database owns %d: its end is missing", db.Pages(), owned))
	}
}

// catalogs compares the catalog with its shadow.
func (c *checker) catalogs(db *ese.Database) {
	next1, stop1 := iter.Pull2(db.Nodes(4, 2))
	next2, stop2 := iter.Pull2(db.Nodes(24, 3))
	defer stop1()
	defer stop2()
	for n := 0; ; n++ {
		a, err1, ok1 := next1()
		key := bytes.Clone(a.Key)
		b, err2, ok2 := next2()
		if err := cmp.Or(err1, err2); err != nil {
			if !known(err) {
				c.find(c.placed(Finding{Severity: c.structural(), Code: CatalogDiffers, Error: CatalogCorrupted}, err))
			}
			return
		}
		if !ok1 && !ok2 {
			return
		}
		if ok1 != ok2 || !bytes.Equal(key, b.Key) || !bytes.Equal(a.Data, b.Data) {
			f := about(c.structural(), CatalogDiffers, c.in.Database.Name, CatalogCorrupted, "the catalog and its shadow differ in entry %d", n+1)
			f.Page = cmp.Or(a.Page, b.Page)
			c.find(f)
			return
		}
	}
}

// maxOfTree bounds the findings of one tree: one wrong link is told, not the thousand
// that follow.
const maxOfTree = 20

// tree walks a tree.
func (c *checker) tree(db *ese.Database, what string, root, object uint32, unique bool) {
	n := 0
	for err := range db.CheckTree(root, object, unique) {
		if known(err) {
			continue
		}
		f := c.placed(Finding{Severity: c.structural(), Code: BadTree, Error: DatabaseCorrupted}, err)
		f.Message = what + ": " + f.Message
		c.find(f)
		if n++; n == maxOfTree {
			return
		}
	}
}

// rows reads every value of every table.
func (c *checker) rows(ctx context.Context, db *ese.Database) error {
	c.report.Rows = make(map[string]uint64)
	for _, t := range db.Tables() {
		var count uint64
		bad := 0
		unsupported := make(map[string]uint64)
		why := make(map[string]error)
		for row, err := range t.Rows() {
			if count%1000 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				bad = c.row(err, bad)
				continue
			}
			count++
			for column, values := range row.All() {
				for _, v := range values {
					err := readValue(ctx, v)
					switch {
					case err == nil:
					case ctx.Err() != nil:
						return ctx.Err()
					case errors.Is(err, ese.ErrUnsupported):
						unsupported[column.Name]++
						why[column.Name] = err
					default:
						page, tag := row.Position()
						bad = c.row(fmt.Errorf("table %q, page %d, tag %d: %w", t.Name(), page, tag, err), bad)
					}
				}
			}
		}
		if !t.System() {
			c.report.Rows[t.Name()] = count
		}
		for _, column := range slices.Sorted(maps.Keys(unsupported)) {
			c.find(about(Note, UnsupportedValue, c.in.Database.Name, 0, "table %q: %s not read: %v", t.Name(), plural(unsupported[column], "value was", "values were"), why[column]))
		}
	}
	return nil
}

// readValue reads all of a value. Long values are read piece by piece: a few bytes can
// say that one has gigabytes, and be true.
func readValue(ctx context.Context, v ese.Value) error {
	if !v.Separated() {
		_, err := v.Bytes()
		return err
	}
	r, err := v.Reader()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, &stoppable{ctx, r})
	return err
}

// stoppable is a reader that ends with the context.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}

// row reports an error of a row, as far as there are not too many of one table.
func (c *checker) row(err error, before int) int {
	if known(err) || before >= maxOfTree {
		return before
	}
	f := Finding{Severity: c.structural(), Code: BadRow, Error: DatabaseCorrupted}
	if errors.Is(err, ese.ErrNoLongValue) {
		f.Error = LVCorrupted
	}
	f = c.placed(f, err)
	f.Message = err.Error()
	c.find(f)
	return before + 1
}
