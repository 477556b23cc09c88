package ndr

import (
	"encoding/binary"
	"unicode/utf16"
)

// Encoder appends to a stub. The zero value is ready to use.
type Encoder struct {
	buf      []byte
	base     int // where the stub starts in buf
	referent uint32
}

// NewEncoder returns an Encoder that appends to buf; alignment counts from
// len(buf).
func NewEncoder(buf []byte) *Encoder { return &Encoder{buf: buf, base: len(buf)} }

// Bytes returns the buffer with all that was written.
func (e *Encoder) Bytes() []byte { return e.buf }

// Len returns the length of the stub so far.
func (e *Encoder) Len() int { return len(e.buf) - e.base }

// Align appends zeros up to a multiple of n from the start of the stub.
func (e *Encoder) Align(n int) {
	for e.Len()%n != 0 {
		e.buf = append(e.buf, 0)
	}
}

// U8 appends a byte.
func (e *Encoder) U8(v uint8) { e.buf = append(e.buf, v) }

// U16 appends an aligned 16-bit number.
func (e *Encoder) U16(v uint16) {
	e.Align(2)
	e.buf = binary.LittleEndian.AppendUint16(e.buf, v)
}

// U32 appends an aligned 32-bit number.
func (e *Encoder) U32(v uint32) {
	e.Align(4)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, v)
}

// I32 appends an aligned signed 32-bit number.
func (e *Encoder) I32(v int32) { e.U32(uint32(v)) }

// U64 appends an aligned 64-bit number (hyper).
func (e *Encoder) U64(v uint64) {
	e.Align(8)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, v)
}

// GUID appends a UUID, which is aligned to 4.
func (e *Encoder) GUID(g GUID) {
	e.Align(4)
	e.buf = append(e.buf, g[:]...)
}

// Raw appends bytes as they are.
func (e *Encoder) Raw(b []byte) { e.buf = append(e.buf, b...) }

// Units appends WCHARs, without a count.
func (e *Encoder) Units(u []uint16) {
	e.Align(2)
	for _, c := range u {
		e.buf = binary.LittleEndian.AppendUint16(e.buf, c)
	}
}

// Null appends the referent of a NULL pointer.
func (e *Encoder) Null() { e.U32(0) }

// Referent appends the referent of a pointer that is not NULL; each is another
// number.
func (e *Encoder) Referent() {
	e.referent += 4
	e.U32(0x00020000 + e.referent - 4)
}

// String appends what a [string] pointer to WCHARs points to: max_count,
// offset, actual_count, the units and their NUL, which the counts include.
func (e *Encoder) String(s string) {
	u := append(utf16.Encode([]rune(s)), 0)
	e.U32(uint32(len(u)))
	e.U32(0)
	e.U32(uint32(len(u)))
	e.Units(u)
}

// UniqueString appends a [string, unique] parameter: nil is NULL.
func (e *Encoder) UniqueString(s *string) {
	if s == nil {
		e.Null()
		return
	}
	e.Referent()
	e.String(*s)
}

// ConformantBytes appends what a pointer to a conformant array of bytes points
// to: max_count and the bytes.
func (e *Encoder) ConformantBytes(b []byte) {
	e.U32(uint32(len(b)))
	e.Raw(b)
}
