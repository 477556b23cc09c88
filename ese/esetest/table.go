package esetest

import (
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/ese"
)

// Table is a table that is being filled.
type Table struct {
	w       *Writer
	spec    TableSpec
	columns []*column
	object  uint32
	tree    *tree
	indexes []*index // the primary one first
	row     *Row
	records records

	long   *tree  // nil until there is a long value
	longs  uint64 // given so far
	autoAt int    // column that counts by itself; -1 if there is none
	rows   uint64
}

// index is an index of a table.
type index struct {
	Index
	object  uint32
	columns []int // places in the table's columns
	tree    *tree
	sorter  *sorter // nil for the primary one
}

// newTable prepares a table and its indexes in those trees; nil ones are made.
func (w *Writer) newTable(spec TableSpec, object uint32, t *tree) (*Table, error) {
	columns, err := place(spec)
	if err != nil {
		return nil, err
	}
	table := &Table{w: w, spec: spec, columns: columns, object: object, tree: t, autoAt: -1}
	table.row = &Row{t: table, cells: make([]cell, len(columns))}
	table.records = records{t: table, pieces: make([][]piece, len(columns))}
	for i, c := range columns {
		if c.Flags&ese.ColumnAutoIncrement != 0 {
			table.autoAt = i
		}
	}
	for _, x := range spec.Indexes {
		in := &index{Index: x}
		for _, name := range x.Columns {
			i := table.Column(name)
			if i < 0 {
				return nil, fmt.Errorf("table %q: index %q: no column %q", spec.Name, x.Name, name)
			}
			in.columns = append(in.columns, i)
		}
		if x.Primary {
			in.object = object
			table.indexes = append([]*index{in}, table.indexes...)
		} else {
			table.indexes = append(table.indexes, in)
		}
	}
	if len(table.indexes) == 0 || !table.indexes[0].Primary {
		return nil, fmt.Errorf("table %q has no primary index", spec.Name)
	}
	return table, nil
}

// Column returns the place of the column with that name, -1 if there is none.
func (t *Table) Column(name string) int {
	for i, c := range t.columns {
		if c.Name == name {
			return i
		}
	}
	return -1
}

// Row returns an empty row. It is the same one each time.
func (t *Table) Row() *Row {
	t.row.reset()
	return t.row
}

// key is a row's key in an index; null says that a column of it is NULL.
func (t *Table) key(key []byte, x *index, r *Row) (_ []byte, null bool) {
	for _, i := range x.columns {
		v, none, _ := t.records.stored(r, i)
		key = appendKey(key, t.columns[i], v, none)
		null = null || none
	}
	return key[:min(len(key), maxKey)], null
}

// Insert appends a row, whose primary key must be above that of the row before.
func (t *Table) Insert(r *Row) error {
	var buf [maxKey * 2]byte
	key, null := t.key(buf[:0], t.indexes[0], r)
	if null {
		return fmt.Errorf("table %q: the primary key is NULL", t.spec.Name)
	}
	b, err := t.records.make(r, key)
	if err != nil {
		return err
	}
	if err := t.tree.add(key, b); err != nil {
		return fmt.Errorf("table %q: %w", t.spec.Name, err)
	}
	if t.autoAt >= 0 && len(r.cells[t.autoAt].values) > 0 {
		t.tree.autoInc = max(t.tree.autoInc, uint64(le.Uint32(r.value(r.cells[t.autoAt].values[0]))))
	}
	t.rows++
	for _, x := range t.indexes[1:] {
		var buf [maxKey * 2]byte
		k, null := t.key(buf[:0], x, r)
		if null && x.IgnoreNull {
			continue
		}
		if err := x.sorter.add(k, key); err != nil {
			return fmt.Errorf("table %q: index %q: %w", t.spec.Name, x.Name, err)
		}
	}
	return nil
}

// putLong writes a long value and returns its number as the record has it. Pieces are
// compressed if that makes them shorter; nothing but their length tells.
func (t *Table) putLong(v []byte, packed bool) ([]byte, error) {
	w := t.w
	if t.long == nil {
		t.long = w.newTree(w.object(longValues, t.object), flagLong, t.tree)
	}
	t.longs++
	var key, id []byte
	if w.o.WideLongIDs {
		n := wideLong | t.longs
		key, id = be.AppendUint64(nil, n), le.AppendUint64(nil, n)
	} else {
		key, id = be.AppendUint32(nil, uint32(t.longs)), le.AppendUint32(nil, uint32(t.longs))
	}
	if uint64(len(v)) > 1<<31-1 {
		return nil, errors.New("a long value of more than 2 GiB")
	}
	head := le.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(v))) // one reference
	if err := t.long.add(key, head); err != nil {
		return nil, err
	}
	size := chunkSize(w.o.PageSize)
	for off := 0; off < len(v); off += size {
		chunk := v[off:min(off+size, len(v))]
		if packed {
			if z := compress(chunk, 0); z != nil {
				chunk = z
			}
		}
		if err := t.long.add(be.AppendUint32(key[:len(key):len(key)], uint32(off)), chunk); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// wideLong is what the numbers of eight bytes begin with on new servers.
const wideLong = 0x8000000080000000

// chunkSize is how long the pieces of a long value are.
func chunkSize(pageSize int) int {
	switch pageSize {
	case 16384:
		return 4050
	case 32768:
		return 8150
	}
	return pageSize - 82
}

// finish writes what is left of the table and its long values.
func (t *Table) finish() error {
	if !t.w.o.AutoIncrementInRoot {
		t.tree.autoInc = 0
	}
	if err := t.tree.finish(); err != nil {
		return err
	}
	if t.long != nil {
		return t.long.finish()
	}
	return nil
}

// finishIndexes writes the secondary indexes.
func (t *Table) finishIndexes() error {
	for _, x := range t.indexes[1:] {
		if err := t.finishIndex(x); err != nil {
			return fmt.Errorf("table %q: index %q: %w", t.spec.Name, x.Name, err)
		}
	}
	return nil
}

func (t *Table) finishIndex(x *index) error {
	if x.tree == nil {
		x.tree = t.w.newTree(x.object, x.pageFlags(), t.tree)
	}
	x.tree.nonUnique = !x.Unique
	if err := x.sorter.each(x.tree.add); err != nil {
		return err
	}
	return x.tree.finish()
}

func (x *index) pageFlags() uint32 {
	if x.Unique {
		return flagIndex
	}
	return flagIndex | flagNonUnique
}

// longKey is the length of the key of a long value's head.
func (w *Writer) longKey() int {
	if w.o.WideLongIDs {
		return 8
	}
	return 4
}
