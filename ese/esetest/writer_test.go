package esetest_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esecheck"
	"github.com/certkeep/certkeep/ese/esetest"
)

var pageSizes = []int{4096, 8192, 16384, 32768}

// types has a column of every type in every place that it can have.
var types = esetest.TableSpec{
	Name: "Types",
	Columns: []esetest.Column{
		{Name: "ID", Type: ese.Long, Flags: ese.ColumnNotNull | ese.ColumnAutoIncrement},
		{Name: "Bit", Type: ese.Bit},
		{Name: "UnsignedByte", Type: ese.UnsignedByte},
		{Name: "Short", Type: ese.Short},
		{Name: "Long", Type: ese.Long},
		{Name: "Currency", Type: ese.Currency},
		{Name: "Single", Type: ese.IEEESingle},
		{Name: "Double", Type: ese.IEEEDouble},
		{Name: "DateTime", Type: ese.DateTime},
		{Name: "UnsignedLong", Type: ese.UnsignedLong},
		{Name: "LongLong", Type: ese.LongLong},
		{Name: "GUID", Type: ese.GUIDType},
		{Name: "UnsignedShort", Type: ese.UnsignedShort},
		{Name: "FixedBinary", Type: ese.Binary, Placement: esetest.Fixed, Size: 6},
		{Name: "FixedText", Type: ese.Text, Placement: esetest.Fixed, Size: 4, CodePage: 1252},
		{Name: "Number", Type: ese.Long, Default: []byte{20, 0, 0, 0}},
		{Name: "LastFixed", Type: ese.UnsignedByte},
		{Name: "Binary", Type: ese.Binary},
		{Name: "Text", Type: ese.Text},
		{Name: "ANSI", Type: ese.Text, CodePage: 1252, Default: []byte("ansi")},
		{Name: "LastVariable", Type: ese.Binary, Size: 20},
		{Name: "TaggedLong", Type: ese.Long, Flags: ese.ColumnMultiValued},
		{Name: "TaggedText", Type: ese.Text, Placement: esetest.Tagged, Default: []byte("d\x00")},
		{Name: "LongBinary", Type: ese.LongBinary},
		{Name: "LongText", Type: ese.LongText},
		{Name: "Packed", Type: ese.LongText, Flags: ese.ColumnCompressed},
		{Name: "PackedBinary", Type: ese.LongBinary, Flags: ese.ColumnCompressed},
		{Name: "Many", Type: ese.LongBinary, Flags: ese.ColumnMultiValued | ese.ColumnCompressed},
		{Name: "Unused", Type: ese.LongBinary},
	},
	Indexes: []esetest.Index{
		{Name: "Primary", Columns: []string{"ID"}, Primary: true},
		{Name: "ByText", Columns: []string{"Text", "Long"}},
		{Name: "ByGUID", Columns: []string{"GUID"}, Unique: true, IgnoreNull: true},
		{Name: "ByDouble", Columns: []string{"Double", "Binary", "ANSI"}},
		{Name: "ByDate", Columns: []string{"DateTime", "FixedBinary"}, IgnoreNull: true},
	},
}

// value is what a row of types should have in a column, as stored.
type value struct {
	null bool
	b    []byte
	more [][]byte
}

// typesRow is the n-th row. Every row lacks some columns, and some are NULL although they
// have a default.
func typesRow(n int) (values map[string]value) {
	values = make(map[string]value)
	put := func(name string, b ...byte) { values[name] = value{b: b} }
	n32 := func(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }
	n64 := func(v uint64) []byte { return append(n32(uint32(v)), n32(uint32(v>>32))...) }
	utf16 := func(s string) (b []byte) {
		for _, c := range s {
			b = append(b, byte(c), byte(c>>8))
		}
		return b
	}
	long := func(size, step int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i*step + i>>8*7 + n)
		}
		return b
	}
	put("ID", n32(uint32(n))...)
	if n%7 == 0 {
		return values
	}
	put("Bit", byte(-(n % 2)))
	put("UnsignedByte", byte(n))
	put("Short", n32(uint32(-n))[:2]...)
	put("Long", n32(uint32(-n*1000))...)
	put("Currency", n64(uint64(n)*12345678901)...)
	put("Single", n32(math.Float32bits(float32(n)-2.5))...)
	put("Double", n64(math.Float64bits(50-float64(n)))...)
	put("DateTime", n64(133000000000000000+uint64(n)*864000000000)...)
	put("UnsignedLong", n32(uint32(n)|1<<31)...)
	put("LongLong", n64(-uint64(n))...)
	put("GUID", append(n32(uint32(n)), long(12, 13)...)...)
	put("UnsignedShort", 0xff, byte(n))
	put("Binary", long(n%200+1, 3)...)
	put("Text", utf16(fmt.Sprintf("row %d, Zürich €", n))...)
	put("TaggedText", utf16(fmt.Sprint("tag", n))...)
	put("LongText", utf16(strings.Repeat(fmt.Sprint(n, " "), n*10))...)
	switch n % 4 {
	case 0:
		put("LastFixed", 9)
		put("LastVariable", 1, 2, 3)
		put("FixedBinary", long(6, 1)...)
		put("FixedText", []byte("abcd")...)
		put("TaggedLong", n32(5)...)
		values["Number"] = value{null: true}
		values["ANSI"] = value{null: true}
		values["TaggedText"] = value{null: true}
	case 1:
		put("Number", n32(uint32(n))...)
		put("ANSI", []byte("other")...)
		put("TaggedLong", n32(1)...)
		values["TaggedLong"] = value{b: n32(1), more: [][]byte{n32(2)}}
		values["Many"] = value{b: long(200, 0), more: [][]byte{long(2000, 5), {}, long(3, 1)}}
	case 2:
		values["TaggedLong"] = value{b: n32(1), more: [][]byte{n32(2), n32(3)}}
		put("LongBinary", long(n*700, 1)...)
		values["Many"] = value{b: []byte("a"), more: [][]byte{[]byte("b")}}
	case 3:
		put("LongBinary", []byte{}...)
		put("Packed", utf16(strings.Repeat("seven bits ", n))...)
		put("PackedBinary", bytes.Repeat(long(40, 1), n*8)...)
	}
	return values
}

// defaults are what a column has that a row says nothing of.
var defaults = map[string][]byte{"Number": {20, 0, 0, 0}, "ANSI": []byte("ansi"), "TaggedText": []byte("d\x00")}

// writeTypes writes rows, without what without says.
func writeTypes(t testing.TB, w *esetest.Writer, rows int, without func(n int, column string) bool) {
	t.Helper()
	table, err := w.CreateTable(types)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= rows; n++ {
		r := table.Row()
		for name, v := range typesRow(n) {
			if without != nil && without(n, name) {
				continue
			}
			i := table.Column(name)
			if v.null {
				r.Null(i)
				continue
			}
			r.Bytes(i, v.b)
			for _, b := range v.more {
				r.Bytes(i, b)
			}
		}
		if err := table.Insert(r); err != nil {
			t.Fatal(err)
		}
	}
}

func writeSample(t testing.TB, o esetest.Options, rows int) []byte {
	t.Helper()
	var m esetest.Memory
	w, err := esetest.Create(&m, o)
	if err != nil {
		t.Fatal(err)
	}
	writeTypes(t, w, rows, nil)
	info, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size != int64(len(m.Bytes())) || info.Rows["Types"] != uint64(rows) {
		t.Errorf("%+v, the file has %d", info, len(m.Bytes()))
	}
	return m.Bytes()
}

// check is what the checker says: everything that is no note.
func check(t testing.TB, b []byte, depth esecheck.Depth) []esecheck.Finding {
	t.Helper()
	r, err := esecheck.Check(t.Context(), esecheck.Input{Database: &esecheck.File{Name: "CA.edb", R: bytes.NewReader(b), Size: int64(len(b))}, Depth: depth})
	if err != nil {
		t.Fatal(err)
	}
	return r.Findings
}

func compareTypes(t *testing.T, b []byte, rows int) {
	t.Helper()
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if n := db.Notes(); len(n) > 0 {
		t.Errorf("%q", n)
	}
	table, err := db.Table("Types")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for row, err := range table.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		n++
		want := typesRow(n)
		for _, c := range table.Columns() {
			values, err := row.Values(c.Name)
			if err != nil {
				t.Fatalf("row %d: %v", n, err)
			}
			v, said := want[c.Name]
			all := append([][]byte{v.b}, v.more...)
			switch d := defaults[c.Name]; {
			case v.null || !said && d == nil:
				all = nil
			case !said:
				all = [][]byte{d}
			}
			if len(values) != len(all) {
				t.Fatalf("row %d: %s: %d values, want %d", n, c.Name, len(values), len(all))
			}
			for i := range all {
				if got, err := values[i].Bytes(); !bytes.Equal(got, all[i]) || err != nil {
					t.Fatalf("row %d: %s: value %d is %x, %v; want %x", n, c.Name, i, got, err, all[i])
				}
			}
		}
	}
	if n != rows {
		t.Errorf("%d rows of %d", n, rows)
	}
}

// TestReadBack: the reader finds what was written, and the checker nothing wrong, in all
// page sizes and forms of the format.
func TestReadBack(t *testing.T) {
	for _, size := range pageSizes {
		for what, o := range map[string]esetest.Options{
			"as AD CS":  {},
			"new":       {WideLongIDs: true, AutoIncrementInRoot: true, ExtraCatalogColumn: true, Revision: 230, MinorRevision: 500},
			"old":       {OldChecksums: true, Revision: 12},
			"few in it": {Intrinsic: 20, SortBytes: 1 << 12},
		} {
			if o.PageSize = size; o.OldChecksums && size > 8192 {
				continue
			}
			t.Run(fmt.Sprint(what, " ", size), func(t *testing.T) {
				const rows = 300
				o.TempDir = t.TempDir()
				b := writeSample(t, o, rows)
				compareTypes(t, b, rows)
				for _, f := range check(t, b, esecheck.Rows) {
					t.Error(f)
				}
				if again := writeSample(t, o, rows); !bytes.Equal(b, again) {
					t.Error("the second time it is another one")
				}
			})
		}
	}
}
