package esetest

import (
	"unicode/utf16"
)

// Row is a row that is being made. Columns are told by their place in
// [TableSpec.Columns]. A column that nothing is said of has its default, or is NULL.
type Row struct {
	t     *Table
	cells []cell
	arena []byte // all values
}

// cell is a column's values.
type cell struct {
	null   bool
	values []span
}

// span is a part of a row's arena.
type span struct{ from, to int }

func (r *Row) reset() {
	r.arena = r.arena[:0]
	for i := range r.cells {
		r.cells[i].null = false
		r.cells[i].values = r.cells[i].values[:0]
	}
}

func (r *Row) value(s span) []byte { return r.arena[s.from:s.to] }

// Bytes adds a value as it is stored. A column to which two or more are added is
// multi-valued.
func (r *Row) Bytes(i int, b []byte) {
	from := len(r.arena)
	r.arena = append(r.arena, b...)
	r.end(i, from)
}

func (r *Row) end(i, from int) {
	r.cells[i].null = false
	r.cells[i].values = append(r.cells[i].values, span{from, len(r.arena)})
}

// Null makes a column NULL although it has a default.
func (r *Row) Null(i int) { r.cells[i].null, r.cells[i].values = true, r.cells[i].values[:0] }

// Bool adds a Bit.
func (r *Row) Bool(i int, v bool) {
	b := byte(0)
	if v {
		b = 0xff
	}
	r.Bytes(i, []byte{b})
}

// Uint32 adds a Long or UnsignedLong.
func (r *Row) Uint32(i int, v uint32) {
	from := len(r.arena)
	r.arena = le.AppendUint32(r.arena, v)
	r.end(i, from)
}

// Uint64 adds a value of eight bytes; a FILETIME for instance.
func (r *Row) Uint64(i int, v uint64) {
	from := len(r.arena)
	r.arena = le.AppendUint64(r.arena, v)
	r.end(i, from)
}

// Text adds a text in the column's code page, without a terminator. Of code page 1252
// only what Latin-1 has can be written.
func (r *Row) Text(i int, s string) {
	from := len(r.arena)
	for _, c := range s {
		switch {
		case r.t.columns[i].CodePage != codePageUTF16:
			r.arena = append(r.arena, byte(c))
		case c < 0x10000:
			r.arena = le.AppendUint16(r.arena, uint16(c))
		default:
			high, low := utf16.EncodeRune(c)
			r.arena = le.AppendUint16(le.AppendUint16(r.arena, uint16(high)), uint16(low))
		}
	}
	r.end(i, from)
}
