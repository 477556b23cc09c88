package ese

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// The system's tables stand at fixed places.
const (
	catalogRoot, catalogObject = 4, 2
	shadowRoot, shadowObject   = 24, 3
)

// Types of the rows of the catalog.
const (
	catalogTable  = 1
	catalogColumn = 2
	catalogIndex  = 3
	catalogLong   = 4
)

// catalogColumns are what is read of the catalog, which describes itself but has to
// be read first. Newer engines have more columns; those do not matter here.
var catalogColumns = []*Column{
	{ID: 1, Name: "ObjidTable", Type: Long}, {ID: 2, Name: "Type", Type: Short}, {ID: 3, Name: "Id", Type: Long},
	{ID: 4, Name: "ColtypOrPgnoFDP", Type: Long}, {ID: 5, Name: "SpaceUsage", Type: Long}, {ID: 6, Name: "Flags", Type: Long},
	{ID: 7, Name: "PagesOrLocale", Type: Long}, {ID: 8, Name: "RootFlag", Type: Bit}, {ID: 9, Name: "RecordOffset", Type: Short},
	{ID: 10, Name: "LCMapFlags", Type: Long}, {ID: 11, Name: "KeyMost", Type: UnsignedShort}, {ID: 12, Name: "LVChunkMax", Type: Long},
	{ID: 128, Name: "Name", Type: Text, CodePage: codePage1252}, {ID: 130, Name: "TemplateTable", Type: Text, CodePage: codePage1252},
	{ID: 131, Name: "DefaultValue", Type: Binary}, {ID: 132, Name: "KeyFldIDs", Type: Binary},
	{ID: 134, Name: "ConditionalColumns", Type: Binary}, {ID: 135, Name: "TupleLimits", Type: Binary},
}

// catalogEntry is one row of the catalog.
type catalogEntry struct {
	table, kind, id, place, size, flags, locale uint32
	offset, chunkMax                            uint32
	name, template                              string
	value, key                                  []byte
	partial                                     bool // of an index: not all rows are in it
}

func (db *Database) loadCatalog() error {
	tables, errs := db.readCatalog(catalogRoot, catalogObject)
	if len(errs) > 0 {
		db.note("the catalog is damaged: %v", errs[0])
		shadow, shadowErrs := db.readCatalog(shadowRoot, shadowObject)
		if len(shadow) > len(tables) || len(shadowErrs) == 0 {
			db.note("its shadow was used")
			tables, errs = shadow, shadowErrs
		}
	}
	if len(tables) == 0 {
		if len(errs) == 0 {
			errs = []error{corrupt("there are no tables")}
		}
		return fmt.Errorf("read catalog: %w", errs[0])
	}
	db.tables = tables
	db.byName, db.byID = make(map[string]*Table, len(tables)), make(map[uint32]*Table, len(tables))
	for _, t := range tables {
		db.byName[t.name] = t
		db.byID[t.id] = t
	}
	return nil
}

// maxCatalogErrors ends the reading of a catalog that is mostly damage.
const maxCatalogErrors = 100

// readCatalog reads one of the two copies of the catalog.
func (db *Database) readCatalog(root, object uint32) (tables []*Table, errs []error) {
	boot := &Table{db: db, name: "MSysObjects", id: object, root: root}
	columns := make([]*Column, len(catalogColumns))
	for i, c := range catalogColumns {
		d := *c
		columns[i] = &d
	}
	packFixed(columns)
	boot.finish(nil, columns)

	b := builder{db: db, tables: make(map[uint32]*Table), columns: make(map[uint32][]*Column), keys: make(map[uint32][][]byte)}
	for row, err := range boot.Rows() {
		var e catalogEntry
		if err == nil {
			e, err = readEntry(row)
		}
		if err == nil {
			err = b.add(e)
		}
		if err != nil {
			if errs = append(errs, err); len(errs) == maxCatalogErrors {
				break
			}
		}
	}
	return b.finish(), errs
}

// readEntry takes the columns of a row of the catalog.
func readEntry(row Row) (e catalogEntry, err error) {
	number := func(name string) uint32 {
		v, verr := row.Value(name)
		if verr == nil && !v.IsNull() {
			var n int64
			n, verr = v.Int64()
			if verr == nil {
				return uint32(n)
			}
		}
		if err == nil {
			err = verr
		}
		return 0
	}
	text := func(name string) string {
		s, verr := row.Text(name)
		if err == nil {
			err = verr
		}
		return s
	}
	raw := func(name string) []byte {
		b, verr := row.Bytes(name)
		if err == nil {
			err = verr
		}
		return bytes.Clone(b)
	}
	e = catalogEntry{
		table: number("ObjidTable"), kind: number("Type"), id: number("Id"), place: number("ColtypOrPgnoFDP"), size: number("SpaceUsage"),
		flags: number("Flags"), locale: number("PagesOrLocale"), offset: number("RecordOffset"), chunkMax: number("LVChunkMax"),
		name: text("Name"),
	}
	switch e.kind {
	case catalogTable:
		e.template = text("TemplateTable")
	case catalogColumn:
		e.value = raw("DefaultValue")
	case catalogIndex:
		e.key = raw("KeyFldIDs")
		e.partial = len(raw("ConditionalColumns")) > 0 || len(raw("TupleLimits")) > 0
	}
	return e, row.wrap(err)
}

// builder collects tables from the catalog's rows, which need not be in order in a
// damaged one.
type builder struct {
	db      *Database
	tables  map[uint32]*Table
	columns map[uint32][]*Column
	keys    map[uint32][][]byte // of the indexes
}

// table returns the table with that object id, which may still have to come.
func (b *builder) table(id uint32) *Table {
	t := b.tables[id]
	if t == nil {
		t = &Table{db: b.db, id: id}
		b.tables[id] = t
	}
	return t
}

func (b *builder) add(e catalogEntry) error {
	t := b.table(e.table)
	switch e.kind {
	case catalogTable:
		t.name, t.root, t.flags, t.template = e.name, e.place, e.flags, e.template
	case catalogColumn:
		if e.id == 0 || e.id > 0xffff {
			return corrupt("column %q has number %d", e.name, e.id)
		}
		c := &Column{ID: e.id, Name: e.name, Type: ColumnType(e.place), Size: int(e.size), Flags: ColumnFlags(e.flags), offset: int(e.offset)}
		if c.Type == Text || c.Type == LongText {
			c.CodePage = int(e.locale)
		}
		if c.Flags&ColumnDefault != 0 {
			c.Default = e.value
		}
		b.columns[e.table] = append(b.columns[e.table], c)
	case catalogIndex:
		t.indexes = append(t.indexes, Index{Name: e.name, ObjectID: e.id, Root: e.place, Flags: e.flags, partial: e.partial})
		b.keys[e.table] = append(b.keys[e.table], e.key)
	case catalogLong:
		t.long, t.chunkMax = tree{e.place, e.id}, int(e.chunkMax)
	}
	return nil
}

// finish returns the tables that have a name and a place.
func (b *builder) finish() (tables []*Table) {
	byName := make(map[string]*Table)
	for id, t := range b.tables {
		if t.root == 0 {
			delete(b.tables, id)
			continue
		}
		byName[t.name] = t
	}
	done := make(map[uint32]bool)
	var build func(t *Table)
	build = func(t *Table) {
		if done[t.id] {
			return
		}
		done[t.id] = true // before the template: they may not name each other
		template := byName[t.template]
		if t.template == "" {
			template = nil
		} else if template == nil || template == t || template.template != "" {
			// The engine has no templates of templates.
			b.db.note("table %q has columns from %q, which is no template", t.name, t.template)
			template = nil
		}
		if template != nil {
			build(template)
		}
		if t.id == catalogObject || t.id == shadowObject {
			packFixed(b.columns[t.id]) // the catalog has no offsets of its own columns
		}
		t.finish(template, b.columns[t.id])
		for i, key := range b.keys[t.id] {
			t.indexes[i].Columns = t.keyColumns(key)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.tables)) {
		build(b.tables[id])
		tables = append(tables, b.tables[id])
	}
	return tables
}

// packFixed lays out fixed columns one behind the other.
func packFixed(columns []*Column) {
	slices.SortStableFunc(columns, func(a, b *Column) int { return int(a.ID) - int(b.ID) })
	at := recordHeader
	for _, c := range columns {
		if c.ID < firstVariable {
			c.offset = at
			at += c.width()
		}
	}
}

// keyColumns names the columns in an index's key: entries of two bytes of flags and
// two of the column's number.
func (t *Table) keyColumns(key []byte) (names []string) {
	for ; len(key) >= 4; key = key[4:] {
		name := ""
		id := uint32(le.Uint16(key[2:]))
		switch {
		case id < firstVariable:
			if c := t.layout.fixed[id]; c != nil {
				name = c.Name
			}
		case id < firstTagged:
			if c := t.layout.variable[id-firstVariable]; c != nil {
				name = c.Name
			}
		default:
			c := t.layout.tagged[id]
			if c == nil {
				c = t.layout.derived[id]
			}
			if c != nil {
				name = c.Name
			}
		}
		if name == "" {
			name = fmt.Sprintf("column %d", id)
		}
		names = append(names, name)
	}
	return names
}
