package ese

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"
)

// Row is a record of a table. It holds on to the page that it stands on, and to
// nothing else.
type Row struct {
	table *Table
	p     *page
	n     node
	tag   int
	rec   record
}

// Rows goes through the table's records in the order of its primary key. It yields
// an error for what is damaged, and goes on behind it if the loop does.
func (t *Table) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		var last []byte
		for p, err := range t.db.leaves(t.root, t.id, t.linkNote) {
			if err != nil {
				if !yield(Row{}, t.wrap(err)) {
					return
				}
				continue
			}
			for i := range p.nodes() {
				row, err := t.row(p, i)
				if row.n.deleted() {
					continue
				}
				if err == nil && t.twice(&last, row) {
					continue
				}
				if !yield(row, t.wrap(t.db.at(p.number, err))) {
					return
				}
			}
		}
	}
}

// twice says whether a row's key is that of the row before: a copy that was made
// while the page was split has it on both halves.
func (t *Table) twice(last *[]byte, row Row) bool {
	same := len(*last) > 0 && row.p.compareKey(row.n, *last) == 0
	if same {
		t.db.note("table %q: a row is there twice (page %d); it was read once", t.name, row.p.number)
	}
	*last = row.p.key((*last)[:0], row.n)
	return same
}

// linkNote keeps neighbours that disagree as a note: a copy made while the engine
// ran may have them.
func (t *Table) linkNote(at uint32, err error) { t.db.note("table %q, page %d: %v", t.name, at, err) }

// row decodes the i-th node of a leaf.
func (t *Table) row(p *page, i int) (row Row, err error) {
	row = Row{table: t, p: p, tag: i + p.first()}
	if row.n, err = p.node(i); err != nil || row.n.deleted() {
		return row, err
	}
	if p.Flags&PageNewRecords == 0 {
		return row, unsupported("record of the format before Windows XP")
	}
	row.rec, err = parseRecord(row.n.data, p.large())
	return row, err
}

func (t *Table) wrap(err error) error {
	if err != nil {
		err = fmt.Errorf("table %q: %w", t.name, err)
	}
	return err
}

// wrap says which row an error was in.
func (r Row) wrap(err error) error {
	if pe := (*PageError)(nil); err == nil || errors.As(err, &pe) || r.table == nil {
		return err
	}
	return fmt.Errorf("table %q, page %d, tag %d: %w", r.table.name, r.p.number, r.tag, err)
}

// Position returns the page and the tag of the row.
func (r Row) Position() (page uint32, tag int) {
	if r.p == nil {
		return 0, 0
	}
	return r.p.number, r.tag
}

// Key returns the primary key as the engine normalised it.
func (r Row) Key() []byte {
	if r.p == nil {
		return nil
	}
	return r.p.key(nil, r.n)
}

// Value returns the value of the column with that name; the first one if it has
// more. A column that the record lacks has its default value, or is NULL.
func (r Row) Value(name string) (Value, error) {
	c, err := r.column(name)
	if err != nil {
		return Value{}, err
	}
	return r.ValueOf(c)
}

func (r Row) column(name string) (*Column, error) {
	if r.table == nil {
		return nil, fmt.Errorf("%w: %q of no row", ErrNoColumn, name)
	}
	return r.table.Column(name)
}

// ValueOf is Value for a column of the row's table.
func (r Row) ValueOf(c *Column) (Value, error) {
	f, err := r.rec.field(c)
	if err != nil {
		return Value{}, r.wrap(err)
	}
	v, err := r.first(c, f)
	return v, r.wrap(err)
}

// Values returns all values of a column: none if it is NULL.
func (r Row) Values(name string) ([]Value, error) {
	c, err := r.column(name)
	if err != nil {
		return nil, err
	}
	f, err := r.rec.field(c)
	if err != nil {
		return nil, r.wrap(err)
	}
	values, err := r.all(c, f)
	return values, r.wrap(err)
}

// All goes through the columns that are not NULL, with all their values, in the
// order of the table's columns. It is faster than asking for each: of tagged columns, of
// which a table can have thousands, it looks only at those that the record has, or that
// have a default.
func (r Row) All() iter.Seq2[*Column, []Value] {
	return func(yield func(*Column, []Value) bool) {
		if r.table == nil {
			return
		}
		var buf [64]taggedColumn
		tagged := r.taggedColumns(buf[:0])
		always := r.table.layout.always
		for len(always) > 0 || len(tagged) > 0 {
			var c *Column
			var f field
			var err error
			switch {
			case len(tagged) == 0 || len(always) > 0 && always[0].place < tagged[0].column.place:
				if c, always = always[0], always[1:]; c.ID < firstTagged {
					f, err = r.rec.field(c)
				}
			default:
				c = tagged[0].column
				if len(always) > 0 && always[0] == c {
					always = always[1:]
				}
				f, err = r.rec.taggedField(tagged[0].entry)
				for tagged = tagged[1:]; len(tagged) > 0 && tagged[0].column == c; { // the first counts, as in field
					tagged = tagged[1:]
				}
			}
			var values []Value
			if err == nil {
				values, err = r.all(c, f)
			}
			if err != nil {
				values = []Value{{column: c, err: r.wrap(err)}}
			}
			if len(values) > 0 && !yield(c, values) {
				return
			}
		}
	}
}

// taggedColumn is a column and its entry in a record.
type taggedColumn struct {
	column *Column
	entry  int
}

// taggedColumns appends the tagged columns that a record has, in the order of the
// table's. The engine keeps them in another one only where there is a template.
func (r Row) taggedColumns(list []taggedColumn) []taggedColumn {
	sorted := true
	for i := range r.rec.entries {
		id, derived, _ := r.rec.taggedEntry(i)
		c := r.table.layout.tagged[id]
		if derived {
			c = r.table.layout.derived[id]
		}
		if c == nil { // deleted
			continue
		}
		sorted = sorted && (len(list) == 0 || list[len(list)-1].column.place <= c.place)
		list = append(list, taggedColumn{c, i})
	}
	if !sorted {
		slices.SortStableFunc(list, func(a, b taggedColumn) int { return a.column.place - b.column.place })
	}
	return list
}

// get is what the typed getters have in common.
func get[T any](r Row, name string, as func(Value) (T, error)) (out T, err error) {
	v, err := r.Value(name)
	if err == nil && !v.IsNull() {
		out, err = as(v)
	}
	if err != nil {
		return out, r.wrap(err)
	}
	return out, nil
}

// IsNull says whether the column is NULL, or not there.
func (r Row) IsNull(name string) bool {
	v, err := r.Value(name)
	return err == nil && v.IsNull() || errors.Is(err, ErrNoColumn)
}

// The getters below return the value of a column, and the zero value if it is NULL
// (see IsNull).

// Bool returns a Bit.
func (r Row) Bool(name string) (bool, error) { return get(r, name, Value.Bool) }

// Int64 returns an integer of any size, or a Currency or DateTime as it is stored.
func (r Row) Int64(name string) (int64, error) { return get(r, name, Value.Int64) }

// Int32 returns an integer that fits.
func (r Row) Int32(name string) (int32, error) { return get(r, name, Value.Int32) }

// Uint64 returns an integer; a negative one by its bits, of the column's size.
func (r Row) Uint64(name string) (uint64, error) { return get(r, name, Value.Uint64) }

// Uint32 is Uint64 for what fits.
func (r Row) Uint32(name string) (uint32, error) { return get(r, name, Value.Uint32) }

// Float64 returns a floating point number.
func (r Row) Float64(name string) (float64, error) { return get(r, name, Value.Float64) }

// FileTime returns a DateTime that the application wrote as a FILETIME, as AD CS
// does. 0 is the zero time.
func (r Row) FileTime(name string) (time.Time, error) { return get(r, name, Value.FileTime) }

// OLETime returns a DateTime that is an OLE Automation date.
func (r Row) OLETime(name string) (time.Time, error) { return get(r, name, Value.OLETime) }

// GUID returns a GUID.
func (r Row) GUID(name string) (GUID, error) { return get(r, name, Value.GUID) }

// Text returns a text, from whatever code page it is stored in.
func (r Row) Text(name string) (string, error) { return get(r, name, Value.Text) }

// Bytes returns the bytes of a value of any type, decompressed, with a long value read
// whole. They may be part of a page: not to be changed.
func (r Row) Bytes(name string) ([]byte, error) { return get(r, name, Value.Bytes) }

// Reader returns the bytes of a value of any type piece by piece.
func (r Row) Reader(name string) (io.Reader, error) {
	rd, err := get(r, name, Value.Reader)
	if rd == nil && err == nil {
		rd = eof{}
	}
	return rd, err
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }
