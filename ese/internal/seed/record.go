package seed

// Record is a row.
type Record struct {
	Fixed     []byte // all fixed columns, one behind the other
	LastFixed int
	Null      []int    // fixed columns that are NULL
	Variable  [][]byte // from 128 on; nil is NULL
	Tagged    []Tagged // in order
}

// Tagged is a tagged column. Head is the byte of flags before the value.
type Tagged struct {
	ID      int
	Derived bool
	Head    byte
	Value   []byte
}

// Bytes is the record, for pages of that size.
func (r Record) Bytes(pageSize int) []byte {
	b := append([]byte{byte(r.LastFixed), byte(127 + len(r.Variable)), 0, 0}, r.Fixed...)
	bitmap := make([]byte, (r.LastFixed+7)/8)
	for _, id := range r.Null {
		bitmap[(id-1)/8] |= 1 << ((id - 1) % 8)
	}
	b = append(b, bitmap...)
	le.PutUint16(b[2:], uint16(len(b)))
	end := uint16(0)
	for _, v := range r.Variable {
		end += uint16(len(v))
		x := end
		if v == nil {
			x |= 0x8000
		}
		b = le.AppendUint16(b, x)
	}
	for _, v := range r.Variable {
		b = append(b, v...)
	}
	var array, values []byte
	for _, t := range r.Tagged {
		off := uint16(4*len(r.Tagged) + len(values))
		if t.Derived {
			off |= 0x8000
		}
		switch {
		case pageSize > 8192:
			values = append(append(values, t.Head), t.Value...)
		case t.Head&0x20 != 0:
			off |= 0x2000
		case t.Head != 0:
			off |= 0x4000
			values = append(append(values, t.Head), t.Value...)
		default:
			values = append(values, t.Value...)
		}
		array = le.AppendUint16(array, uint16(t.ID))
		array = le.AppendUint16(array, off)
	}
	return append(append(b, array...), values...)
}

// CatalogRow is a row of the catalog, keyed by its first three columns.
type CatalogRow struct {
	Table, Type, ID, Place, Size, Flags, Locale uint32
	Offset                                      uint16
	Name, Template                              string
	Default, Key                                []byte
}

// Node is the row as a node of the catalog's tree.
func (c CatalogRow) Node(pageSize int) Node {
	var f []byte
	f = le.AppendUint32(f, c.Table)
	f = le.AppendUint16(f, uint16(c.Type))
	for _, v := range []uint32{c.ID, c.Place, c.Size, c.Flags, c.Locale} {
		f = le.AppendUint32(f, v)
	}
	f = append(f, 0)
	f = le.AppendUint16(f, c.Offset)
	orNull := func(b []byte) []byte {
		if len(b) == 0 {
			return nil
		}
		return b
	}
	r := Record{Fixed: f, LastFixed: 9, Variable: [][]byte{[]byte(c.Name), nil, orNull([]byte(c.Template)), orNull(c.Default), orNull(c.Key)}}
	key := append(Key(c.Table), byte(c.Type))
	return Node{Key: append(key, Key(c.ID)...), Data: r.Bytes(pageSize)}
}

// Types of rows of the catalog.
const (
	Table  = 1
	Column = 2
	IndexT = 3
	Long   = 4
)

// DB is a database: pages by number, and how its header differs.
type DB struct {
	PageSize int
	Pages    map[uint32]Page
	Header   func(b []byte)
	Trailer  func(b []byte) // nil: none
}

// HeaderPage is a header, sealed.
func (d DB) HeaderPage() []byte {
	b := make([]byte, d.PageSize)
	le.PutUint32(b[4:], 0x89abcdef)
	le.PutUint32(b[8:], 0x620)
	le.PutUint64(b[16:], 9)
	copy(b[24:52], Signature("database"))
	le.PutUint32(b[52:], 3)
	copy(b[108:136], Signature("logs"))
	le.PutUint32(b[232:], 20)
	le.PutUint32(b[236:], uint32(d.PageSize))
	le.PutUint32(b[340:], 0x620)
	le.PutUint32(b[344:], 20)
	le.PutUint32(b[667:], 1)
	if d.Header != nil {
		d.Header(b)
	}
	le.PutUint32(b, XOR(b))
	return b
}

// Signature is one that s tells from others.
func Signature(s string) []byte {
	b := make([]byte, 28)
	copy(b, s)
	copy(b[4:], []byte{5, 4, 3, 2, 1, 120, 1, 0})
	return b
}

// Bytes is the file.
func (d DB) Bytes() []byte {
	h := d.HeaderPage()
	b := append(append([]byte(nil), h...), h...)
	last := uint32(0)
	for n := range d.Pages {
		last = max(last, n)
	}
	for n := uint32(1); n <= last; n++ {
		if p, ok := d.Pages[n]; ok {
			b = append(b, p.Bytes(d.PageSize, n)...)
		} else {
			b = append(b, make([]byte, d.PageSize)...)
		}
	}
	if d.Trailer != nil {
		t := make([]byte, d.PageSize)
		copy(t[40:64], h[184:208])
		copy(t[64:92], h[24:52])
		copy(t[92:120], h[108:136])
		d.Trailer(t)
		le.PutUint32(t, XOR(t))
		b = append(b, t...)
	}
	return b
}
