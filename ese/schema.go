package ese

import (
	"fmt"
	"slices"
	"strings"
)

// ColumnType is the type of a column (JET_coltyp).
type ColumnType uint32

// The types. A column of type 0 was deleted.
const (
	Bit              ColumnType = 1
	UnsignedByte     ColumnType = 2
	Short            ColumnType = 3
	Long             ColumnType = 4
	Currency         ColumnType = 5 // in ten-thousandths
	IEEESingle       ColumnType = 6
	IEEEDouble       ColumnType = 7
	DateTime         ColumnType = 8 // FILETIME or OLE date: the application knows, the database does not
	Binary           ColumnType = 9
	Text             ColumnType = 10
	LongBinary       ColumnType = 11
	LongText         ColumnType = 12
	SLV              ColumnType = 13
	UnsignedLong     ColumnType = 14
	LongLong         ColumnType = 15
	GUIDType         ColumnType = 16
	UnsignedShort    ColumnType = 17
	UnsignedLongLong ColumnType = 18
)

var typeNames = [...]string{"deleted", "Bit", "UnsignedByte", "Short", "Long", "Currency", "IEEESingle", "IEEEDouble", "DateTime", "Binary",
	"Text", "LongBinary", "LongText", "SLV", "UnsignedLong", "LongLong", "GUID", "UnsignedShort", "UnsignedLongLong"}

// String is the name that the API has for it, without "JET_coltyp".
func (t ColumnType) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("column type %d", uint32(t))
}

// fixedSizes is how many bytes a value of a type has; 0: it varies.
var fixedSizes = [...]int{Bit: 1, UnsignedByte: 1, Short: 2, Long: 4, Currency: 8, IEEESingle: 4, IEEEDouble: 8, DateTime: 8,
	UnsignedLong: 4, LongLong: 8, GUIDType: 16, UnsignedShort: 2, UnsignedLongLong: 8}

// Size is how many bytes a value of the type has, 0 if that varies.
func (t ColumnType) Size() int {
	if int(t) < len(fixedSizes) {
		return fixedSizes[t]
	}
	return 0
}

// ColumnFlags are the engine's own flags of a column, not those of its API.
type ColumnFlags uint32

// The flags.
const (
	ColumnNotNull       ColumnFlags = 0x1
	ColumnVersion       ColumnFlags = 0x2
	ColumnAutoIncrement ColumnFlags = 0x4
	ColumnMultiValued   ColumnFlags = 0x8
	ColumnDefault       ColumnFlags = 0x10
	ColumnEscrow        ColumnFlags = 0x20
	ColumnUserDefault   ColumnFlags = 0x80
	ColumnTemplate      ColumnFlags = 0x100
	ColumnCompressed    ColumnFlags = 0x1000
	ColumnEncrypted     ColumnFlags = 0x2000
)

// Column is a column of a table.
type Column struct {
	ID       uint32 // 1 to 127 fixed, 128 to 255 variable, from 256 on tagged
	Name     string
	Type     ColumnType
	Size     int // most bytes that a value has; 0: no bound
	CodePage int // of texts: 1200 is UTF-16
	Flags    ColumnFlags
	Default  []byte // what records without the column have; nil if there is none
	Derived  bool   // from the table's template

	offset int // of a fixed column in the record
	place  int // among the table's columns
}

// Kinds of columns by their number.
const (
	firstVariable = 128
	firstTagged   = 256
)

// Index is an index of a table.
type Index struct {
	Name     string
	ObjectID uint32
	Root     uint32 // page; the table's own for the primary index
	Flags    uint32
	Columns  []string // that the key is made of

	partial bool // only some rows are in it: it has conditions, or is made of parts of texts
}

// Unique and Primary tell what the flags say.
func (x Index) Unique() bool { return x.Flags&1 != 0 }

// Primary says that the records themselves stand in the order of this index.
func (x Index) Primary() bool { return x.Flags&0x20 != 0 }

// tree is the place of a tree.
type tree struct{ root, object uint32 }

// Table is a table of a database.
type Table struct {
	db       *Database
	name     string
	id       uint32
	root     uint32
	flags    uint32
	template string
	long     tree // long values; root 0 if there are none
	chunkMax int
	columns  []*Column
	indexes  []Index

	byName map[string]*Column
	layout layout
}

// layout finds columns by their number.
type layout struct {
	fixed, variable [128]*Column
	tagged          map[uint32]*Column // own ones
	derived         map[uint32]*Column
	always          []*Column // that a record can have a value of without an entry for it, in their order
}

// Name returns the table's name, ID the number of its object, Root its first page.
func (t *Table) Name() string { return t.name }

// ID returns the number of the table's object, which all its pages bear.
func (t *Table) ID() uint32 { return t.id }

// Root returns the page that its tree begins with.
func (t *Table) Root() uint32 { return t.root }

// Template returns the name of the table that it has columns from, if any.
func (t *Table) Template() string { return t.template }

// LongValues returns root and object of the tree of its long values; zeros if there
// is none.
func (t *Table) LongValues() (root, object uint32) { return t.long.root, t.long.object }

// System says that the table is one of the engine's own.
func (t *Table) System() bool { return strings.HasPrefix(t.name, "MSys") }

// Columns returns the columns in the order of their numbers, those of the template
// first. Deleted ones are left out.
func (t *Table) Columns() []*Column { return slices.Clone(t.columns) }

// Indexes returns the indexes.
func (t *Table) Indexes() []Index { return slices.Clone(t.indexes) }

// Column returns the column with that name. Case does not matter unless names differ
// by nothing else.
func (t *Table) Column(name string) (*Column, error) {
	if c := t.byName[name]; c != nil {
		return c, nil
	}
	for _, c := range t.columns {
		if strings.EqualFold(c.Name, name) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%w: %q in table %q", ErrNoColumn, name, t.name)
}

// finish puts the columns in order and makes what finds them. own are all columns
// of the catalog, with deleted ones.
func (t *Table) finish(template *Table, own []*Column) {
	slices.SortStableFunc(own, func(a, b *Column) int { return int(a.ID) - int(b.ID) })
	t.layout = layout{tagged: make(map[uint32]*Column), derived: make(map[uint32]*Column)}
	t.byName = make(map[string]*Column)
	if template != nil {
		for _, c := range template.columns {
			d := *c
			d.Derived = true
			t.columns = append(t.columns, &d)
		}
	}
	for _, c := range own {
		if c.Type != 0 {
			t.columns = append(t.columns, c)
		}
	}
	for i, c := range t.columns {
		t.byName[c.Name] = c
		if c.place = i; c.ID < firstTagged || c.Default != nil {
			t.layout.always = append(t.layout.always, c)
		}
		switch {
		case c.ID < firstVariable:
			t.layout.fixed[c.ID] = c
		case c.ID < firstTagged:
			t.layout.variable[c.ID-firstVariable] = c
		case c.Derived:
			t.layout.derived[c.ID] = c
		default:
			t.layout.tagged[c.ID] = c
		}
	}
}

// width is how many bytes a fixed column takes.
func (c *Column) width() int {
	if n := c.Type.Size(); n != 0 {
		return n
	}
	return c.Size
}
