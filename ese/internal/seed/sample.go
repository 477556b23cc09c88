package seed

import "encoding/binary"

// Objects and roots of the sample.
const (
	RequestsObject, RequestsRoot = 10, 5
	LongObject, LongRoot         = 11, 6
	IndexObject, IndexRoot       = 12, 7
	BaseObject, BaseRoot         = 13, 8
	DerivedObject, DerivedRoot   = 14, 9
)

// catalog is that of the sample: a table as a CA has it, a template and a table made
// of it.
func catalog(pageSize int) (nodes []Node) {
	col := func(table, id, typ, size, flags, page uint32, offset uint16, name string, def []byte) CatalogRow {
		return CatalogRow{Table: table, Type: Column, ID: id, Place: typ, Size: size, Flags: flags, Locale: page, Offset: offset, Name: name, Default: def}
	}
	for _, r := range []CatalogRow{
		{Table: 2, Type: Table, ID: 2, Place: 4, Name: "MSysObjects"},
		{Table: 3, Type: Table, ID: 3, Place: 24, Name: "MSysObjectsShadow"},
		{Table: RequestsObject, Type: Table, ID: RequestsObject, Place: RequestsRoot, Name: "Requests"},
		col(RequestsObject, 1, 4, 4, 1, 0, 4, "RequestID", nil),
		col(RequestsObject, 2, 8, 8, 0, 0, 8, "SubmittedWhen", nil),
		col(RequestsObject, 3, 1, 1, 0, 0, 16, "Flag", nil),
		col(RequestsObject, 4, 4, 4, 0x10, 0, 17, "Disposition", []byte{20, 0, 0, 0}),
		col(RequestsObject, 128, 10, 255, 0, 1252, 0, "Name", nil),
		col(RequestsObject, 129, 9, 255, 0, 0, 0, "Hash", nil),
		col(RequestsObject, 256, 12, 0, 0, 1200, 0, "$CommonName", nil),
		col(RequestsObject, 257, 11, 0, 0, 0, 0, "RawRequest", nil),
		col(RequestsObject, 258, 4, 4, 8, 0, 0, "Numbers", nil),
		col(RequestsObject, 259, 12, 0, 0x1000, 1200, 0, "Packed", nil),
		col(RequestsObject, 260, 11, 0, 8, 0, 0, "Blobs", nil),
		{Table: RequestsObject, Type: IndexT, ID: RequestsObject, Place: RequestsRoot, Flags: 0x21, Name: "primary", Key: []byte{0, 0, 1, 0}},
		{Table: RequestsObject, Type: IndexT, ID: IndexObject, Place: IndexRoot, Name: "name", Key: []byte{0, 0, 128, 0}},
		{Table: RequestsObject, Type: Long, ID: LongObject, Place: LongRoot, Name: "LV"},
		{Table: BaseObject, Type: Table, ID: BaseObject, Place: BaseRoot, Name: "Base"},
		col(BaseObject, 1, 4, 4, 0x100, 0, 4, "BaseID", nil),
		col(BaseObject, 256, 12, 0, 0x100, 1252, 0, "BaseText", nil),
		{Table: DerivedObject, Type: Table, ID: DerivedObject, Place: DerivedRoot, Name: "Derived", Template: "Base"},
		col(DerivedObject, 2, 4, 4, 0, 0, 8, "OwnID", nil),
		col(DerivedObject, 256, 12, 0, 0, 1252, 0, "OwnText", nil),
	} {
		nodes = append(nodes, r.Node(pageSize))
	}
	return nodes
}

// Long value numbers of the sample.
const (
	PlainLong  = 0x01020304         // in two pieces
	PackedLong = 5                  // compressed
	WideLong   = 0x8000000080000007 // with a number of eight bytes
)

// PlainLongBytes is the value of PlainLong.
func PlainLongBytes() []byte {
	b := make([]byte, 300)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

// longHead is the root node of a long value.
func longHead(size uint32) []byte { return le.AppendUint32([]byte{1, 0, 0, 0}, size) }

func wideKey() []byte { return binary.BigEndian.AppendUint64(nil, WideLong) }

// SevenBit packs ASCII as the engine does; method 1 is text, 2 UTF-16.
func SevenBit(s string, method byte) []byte {
	b := []byte{0}
	var acc, have uint
	for _, c := range []byte(s) {
		acc |= uint(c&0x7f) << have
		for have += 7; have >= 8; have -= 8 {
			b = append(b, byte(acc))
			acc >>= 8
		}
	}
	last := uint(8)
	if have > 0 {
		b = append(b, byte(acc))
		last = have
	}
	b[0] = method<<3 | byte(last-1)
	return b
}

// Text16 is s in UTF-16.
func Text16(s string) (b []byte) {
	for _, c := range s { // no sample has surrogates
		b = le.AppendUint16(b, uint16(c))
	}
	return b
}

// request is a row of Requests with RequestID n.
func request(n uint32, pageSize int) []byte {
	f := le.AppendUint32(nil, n)
	f = le.AppendUint64(f, 0x01dc1109c16e2030) // 2025-08-19 13:04:11 UTC
	f = append(f, 0xff)
	r := Record{Fixed: f, LastFixed: 3, Variable: [][]byte{[]byte("name\x80"), {1, 2, byte(n)}}}
	r.Tagged = []Tagged{{ID: 256, Head: 1, Value: Text16("Gr\u00fc\u00dfe")}}
	switch n {
	case 1:
		r.Tagged = append(r.Tagged, Tagged{ID: 257, Head: 5, Value: le.AppendUint32(nil, PlainLong)},
			Tagged{ID: 258, Head: 0x18, Value: []byte{4, 1, 0, 0, 0, 2, 0, 0, 0}},
			Tagged{ID: 259, Head: 3, Value: SevenBit("seven bits are enough", 2)})
	case 2:
		r.Tagged = append(r.Tagged, Tagged{ID: 257, Head: 5, Value: le.AppendUint64(nil, WideLong)},
			Tagged{ID: 259, Head: 0x20}, Tagged{ID: 260, Head: 9, Value: multi(le.AppendUint32(nil, PackedLong), []byte("second"))})
	case 3:
		r.Null, r.Variable = []int{2}, [][]byte{nil}
		r.Tagged = []Tagged{{ID: 257, Head: 1, Value: []byte{}}, {ID: 259, Head: 3, Value: []byte{7 << 3, 4, 0, 1, 2}}}
	case 4:
		r.Tagged = append(r.Tagged, Tagged{ID: 257, Head: 5, Value: le.AppendUint32(nil, 0x99)}, // there is none
			Tagged{ID: 260, Head: 11, Value: multi2(SevenBit("first", 1), []byte("\x18 not packed"))})
	}
	return r.Bytes(pageSize)
}

// multi is two values, the first a number of a long value.
func multi(number, second []byte) []byte {
	b := multi2(number, second)
	b[1] |= 0x80
	return b
}

// multi2 is two values.
func multi2(first, second []byte) []byte {
	b := []byte{4, 0, byte(4 + len(first)), 0}
	return append(append(b, first...), second...)
}

// Sample is a database in which most of what can be is there once. It has no shadow
// of the catalog if short is set, which saves twelve pages.
func Sample(pageSize int, short bool) DB {
	d := DB{PageSize: pageSize, Pages: make(map[uint32]Page)}
	d.Pages[1] = Page{Object: 1, Flags: Root | Leaf | NewRecords, External: Space(30, 0, 0)}
	d.Pages[4] = Page{Object: 2, Flags: Root | Leaf | NewRecords, External: Space(1, 1, 0), Nodes: catalog(pageSize)}
	if !short {
		d.Pages[24] = Page{Object: 3, Flags: Root | Leaf | NewRecords, External: Space(1, 1, 0), Nodes: catalog(pageSize)}
		d.Pages[30] = Page{Object: 99, Flags: Root | Leaf}
	} else {
		d.Pages[1] = Page{Object: 1, Flags: Root | Leaf | NewRecords, External: Space(12, 0, 0)}
	}
	// Requests: a root above two leaves, keys of which share a prefix.
	d.Pages[RequestsRoot] = Page{Object: RequestsObject, Flags: Root | ParentOfLeaf | NewRecords, External: Space(3, 1, 4),
		Nodes: []Node{{Key: Key(3), Data: Child(10)}, {Data: Child(11)}}}
	d.Pages[10] = Page{Object: RequestsObject, Next: 11, Flags: Leaf | NewRecords, External: []byte{0, 0, 0}, Nodes: []Node{
		{Flags: Compressed, Prefix: 3, Key: []byte{1}, Data: request(1, pageSize)},
		{Flags: Compressed | Versioned, Prefix: 2, Key: []byte{0, 2}, Data: request(2, pageSize)}}}
	d.Pages[11] = Page{Object: RequestsObject, Prev: 10, Flags: Leaf | NewRecords, Reserved: 2, Nodes: []Node{
		{Key: Key(3), Data: request(3, pageSize)},
		{Flags: Deleted, Key: Key(3), Data: []byte{1}},
		{Key: Key(4), Data: request(4, pageSize)}}}
	plain := PlainLongBytes()
	packed := SevenBit("packed packed packed packed packed packed packed packed", 1)
	wide := append(wideKey(), 0, 0, 0, 0)
	d.Pages[LongRoot] = Page{Object: LongObject, Flags: Root | Leaf | LongValue | NewRecords, External: Space(1, RequestsRoot, 0), Nodes: []Node{
		{Key: Key(PackedLong), Data: longHead(55)},
		{Key: append(Key(PackedLong), 0, 0, 0, 0), Data: packed},
		{Key: Key(PlainLong), Data: longHead(300)},
		{Key: append(Key(PlainLong), 0, 0, 0, 0), Data: plain[:200]},
		{Key: append(Key(PlainLong), 0, 0, 0, 200), Data: plain[200:]},
		{Key: wideKey(), Data: longHead(4)},
		{Key: wide, Data: []byte("wide")}}}
	d.Pages[IndexRoot] = Page{Object: IndexObject, Flags: Root | Leaf | Index | NewRecords, External: Space(1, RequestsRoot, 0), Nodes: []Node{
		{Key: []byte("name"), Data: Key(1)}, {Key: []byte("name"), Data: Key(2)}, {Key: []byte("name"), Data: Key(4)}}}
	d.Pages[BaseRoot] = Page{Object: BaseObject, Flags: Root | Leaf | NewRecords, External: Space(1, 1, 0)}
	derived := Record{Fixed: []byte{1, 0, 0, 0, 2, 0, 0, 0}, LastFixed: 2, Tagged: []Tagged{
		{ID: 256, Derived: true, Value: []byte("from the base")}, {ID: 256, Value: []byte("its own")}}}
	d.Pages[DerivedRoot] = Page{Object: DerivedObject, Flags: Root | Leaf | NewRecords, External: Space(1, 1, 0),
		Nodes: []Node{{Key: Key(1), Data: derived.Bytes(pageSize)}}}
	d.Pages[12] = Page{Object: 99, Flags: Root | Leaf}
	return d
}
