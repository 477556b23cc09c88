package esetest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/certkeep/certkeep/ese"
)

// Columns of the catalog, by their places in catalogSpec.
const (
	colTable = iota
	colType
	colID
	colPlace
	colSpace
	colFlags
	colPages
	colRoot
	colOffset
	colLCMap
	colKeyMost
	colChunk
	colName
	colStats
	colTemplate
	colDefault
	colKeys
	colLocale = 27
)

// catalogSpec is the catalog as it describes itself, and its shadow.
func (w *Writer) catalogSpec(name string) TableSpec {
	fixed := func(name string, t ese.ColumnType, flags ese.ColumnFlags) Column {
		return Column{Name: name, Type: t, Flags: flags}
	}
	text := func(name string) Column { return Column{Name: name, Type: ese.Text, CodePage: codePageANSI} }
	binary := func(name string) Column { return Column{Name: name, Type: ese.Binary} }
	long := func(name string) Column { return Column{Name: name, Type: ese.LongBinary} }
	const notNull = ese.ColumnNotNull
	s := TableSpec{Name: name, Columns: []Column{
		fixed("ObjidTable", ese.Long, notNull), fixed("Type", ese.Short, notNull), fixed("Id", ese.Long, notNull),
		fixed("ColtypOrPgnoFDP", ese.Long, notNull), fixed("SpaceUsage", ese.Long, notNull), fixed("Flags", ese.Long, notNull),
		fixed("PagesOrLocale", ese.Long, notNull), fixed("RootFlag", ese.Bit, 0), fixed("RecordOffset", ese.Short, 0),
		fixed("LCMapFlags", ese.Long, 0), fixed("KeyMost", ese.UnsignedShort, 0), fixed("LVChunkMax", ese.Long, 0),
		{Name: "Name", Type: ese.Text, CodePage: codePageANSI, Flags: notNull}, binary("Stats"), text("TemplateTable"), binary("DefaultValue"),
		binary("KeyFldIDs"), binary("VarSegMac"), binary("ConditionalColumns"), binary("TupleLimits"), binary("Version"), binary("SortID"),
		long("CallbackData"), long("CallbackDependencies"), long("SeparateLV"), long("SpaceHints"), long("SpaceDeferredLVHints"), long("LocaleName"),
	}}
	if w.o.ExtraCatalogColumn {
		s.Columns = append(s.Columns, fixed("PgnoFDPLastSetTime", ese.DateTime, 0))
	}
	s.Indexes = []Index{{Name: "Id", Columns: []string{"ObjidTable", "Type", "Id"}, Primary: true, Unique: true}}
	if name == catalogName {
		s.Indexes = append(s.Indexes, Index{Name: "Name", Columns: []string{"ObjidTable", "Type", "Name"}, Unique: true},
			Index{Name: "RootObjects", Columns: []string{"RootFlag", "Name"}, Unique: true, IgnoreNull: true})
	}
	return s
}

const (
	catalogName = "MSysObjects"
	shadowName  = "MSysObjectsShadow"
)

// at makes a tree in a fixed place.
func (w *Writer) at(object, root, flags uint32, e extent, next uint32, parent *tree) *tree {
	t := &tree{w: w, object: object, root: root, flags: flags, extents: []extent{e}, next: next, parent: parent, primary: e.count}
	if parent != nil {
		parent.children = append(parent.children, t)
	}
	return t
}

// createSystem prepares the tables of the engine that are no catalog.
func (w *Writer) createSystem() error {
	t, err := w.CreateTable(TableSpec{Name: "MSysObjids", Columns: []Column{
		{Name: "objid", Type: ese.Long, Placement: Tagged, Flags: ese.ColumnNotNull},
		{Name: "objidTable", Type: ese.Long, Placement: Tagged, Flags: ese.ColumnNotNull},
		{Name: "type", Type: ese.Short, Placement: Tagged, Flags: ese.ColumnNotNull},
	}, Indexes: []Index{{Name: "primary", Columns: []string{"objid"}, Primary: true, Unique: true}}})
	if err != nil {
		return err
	}
	if t.object != objectsObject {
		return fmt.Errorf("MSysObjids is object %d", t.object)
	}
	locales := w.at(w.object(kindTable, 0), localesRoot, 0, extent{localesRoot, 1}, localesRoot+1, nil)
	locales.single = true
	l, err := w.newTable(TableSpec{Name: "MSysLocales", Columns: []Column{
		{Name: "Type", Type: ese.UnsignedByte}, {Name: "iValue", Type: ese.Long}, {Name: "Key", Type: ese.Binary},
	}, Indexes: []Index{{Name: "KeyPrimary", Columns: []string{"Key"}, Primary: true, Unique: true}}}, locales.object, locales)
	w.tables = append(w.tables, l)
	return err
}

// finishObjects fills the table of all objects. Long values of tables have no entry
// until they exist, so it comes last.
func (w *Writer) finishObjects() error {
	t := w.tables[0]
	for _, o := range w.kinds {
		r := t.Row()
		r.Uint32(0, o.id)
		r.Uint32(1, o.table)
		r.Bytes(2, le.AppendUint16(nil, uint16(o.kind)))
		if err := t.Insert(r); err != nil {
			return err
		}
	}
	return nil
}

// writeCatalog writes the catalog and its shadow, and returns their trees.
func (w *Writer) writeCatalog() (trees []*tree, err error) {
	var both [2]*Table
	main := w.at(catalogObject, catalogRoot, 0, extent{catalogRoot, shadowRoot - catalogRoot}, catalogLeaves, nil)
	names := w.at(nameObject, nameRoot, flagIndex, extent{nameRoot, 3}, nameRoot+3, main)
	roots := w.at(rootsObject, rootsRoot, flagIndex, extent{rootsRoot, 3}, rootsRoot+3, main)
	shadow := w.at(shadowObject, shadowRoot, 0, extent{shadowRoot, localesRoot - shadowRoot}, shadowRoot+3, nil)
	if both[0], err = w.newTable(w.catalogSpec(catalogName), catalogObject, main); err != nil {
		return nil, err
	}
	if both[1], err = w.newTable(w.catalogSpec(shadowName), shadowObject, shadow); err != nil {
		return nil, err
	}
	for i, x := range both[0].indexes[1:] {
		x.tree, x.object, x.sorter = []*tree{names, roots}[i], uint32(nameObject+i), w.newSorter()
	}
	all := append(both[:], w.tables...)
	for _, into := range both {
		for _, t := range all {
			if err := into.describe(t); err != nil {
				return nil, err
			}
		}
		if err := into.finish(); err != nil {
			return nil, err
		}
	}
	if err := both[0].finishIndexes(); err != nil {
		return nil, err
	}
	return []*tree{main, names, roots, shadow}, nil
}

// free is what a tree in a fixed place has not used of it.
func (t *tree) free() []extent {
	if last := t.extents[len(t.extents)-1]; t.next < last.end() {
		return []extent{{t.next, last.end() - t.next}}
	}
	return nil
}

// entry begins a row of the catalog.
func (t *Table) entry(table, kind, id, place, space, flags, pages uint32, name string) *Row {
	r := t.Row()
	r.Uint32(colTable, table)
	r.Bytes(colType, le.AppendUint16(nil, uint16(kind)))
	for i, v := range []uint32{id, place, space, flags, pages} {
		r.Uint32(colID+i, v)
	}
	r.Text(colName, name)
	return r
}

// systemTable are the flags of a table of the engine.
const systemTable = 0xc0000000

// describe writes a table's rows into the catalog t.
func (t *Table) describe(d *Table) error {
	system := d.object < firstObject
	flags := uint32(0)
	if system {
		flags = systemTable
	}
	r := t.entry(d.object, kindTable, d.object, d.tree.root, densityNormal, flags, d.tree.primary, d.spec.Name)
	r.Bool(colRoot, true)
	if err := t.Insert(r); err != nil {
		return err
	}
	columns := slices.Clone(d.columns)
	slices.SortFunc(columns, func(a, b *column) int { return int(a.id) - int(b.id) })
	for _, c := range columns {
		r := t.entry(d.object, kindColumn, c.id, uint32(c.Type), uint32(c.Size), uint32(c.Flags), uint32(c.CodePage), c.Name)
		if c.Placement == Fixed {
			offset := c.offset
			if d.object == catalogObject || d.object == shadowObject {
				offset = recordHeader // the engine does not keep those of the catalog's own columns
			}
			r.Bytes(colOffset, le.AppendUint16(nil, uint16(offset)))
		}
		if c.Default != nil {
			r.Bytes(colDefault, c.Default)
		}
		if err := t.Insert(r); err != nil {
			return err
		}
	}
	indexes := make(map[uint32]*index)
	for _, x := range d.indexes {
		indexes[x.object] = x
	}
	for _, id := range slices.Sorted(maps.Keys(indexes)) {
		if err := t.describeIndex(d, indexes[id]); err != nil {
			return err
		}
	}
	if d.long != nil {
		return t.Insert(t.entry(d.object, longValues, d.long.object, d.long.root, 100, 0, d.long.primary, "LV"))
	}
	return nil
}

// describeIndex writes the row of an index. A column of its key is four bytes: flags and
// number; in the catalog's own indexes it is the other way round.
func (t *Table) describeIndex(d *Table, x *index) error {
	const collation = 0x30401 // LCMAP_SORTKEY, and what is to be ignored
	flags := uint32(indexLocale)
	if x.Primary {
		flags |= indexPrimary | indexUnique
	}
	if x.Unique {
		flags |= indexUnique
	}
	if !x.IgnoreNull {
		flags |= indexNulls
	}
	root := d.tree.root
	if !x.Primary {
		root = x.tree.root
	}
	var key []byte
	for _, i := range x.columns {
		id := uint16(d.columns[i].id)
		if d.object == catalogObject || d.object == shadowObject {
			key = le.AppendUint16(le.AppendUint16(key, id), 0)
		} else {
			key = le.AppendUint16(le.AppendUint16(key, 0), id)
		}
	}
	r := t.entry(d.object, kindIndex, x.object, root, densityNormal, flags, 0, x.Name)
	r.Uint32(colLCMap, collation)
	r.Bytes(colKeys, key)
	locale := Row{t: &Table{columns: []*column{{Column: Column{CodePage: codePageUTF16}}}}, cells: make([]cell, 1)}
	locale.Text(0, "en-US")
	r.Bytes(colLocale, locale.arena)
	return t.Insert(r)
}
