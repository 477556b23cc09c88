package ndr

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// Error says where a stub is malformed. It is answered with the fault
// RPC_X_BAD_STUB_DATA.
type Error struct {
	Offset int // bytes from the start of the stub
	Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("malformed ndr at byte %d: %s", e.Offset, e.Reason)
}

// Decoder reads a stub. The first error stays, and every later call returns a
// zero value: check Err once at the end, and before a count is used to loop or
// allocate (the counting methods return 0 then). The stub is not copied, and
// what is left over after the last parameter is nobody's concern: peers append
// verification trailers (MS-RPCE section 2.2.2.13) and padding.
type Decoder struct {
	buf []byte
	off int
	err error
}

// NewDecoder returns a Decoder of the stub.
func NewDecoder(stub []byte) *Decoder { return &Decoder{buf: stub} }

// Err returns the first error.
func (d *Decoder) Err() error { return d.err }

// Offset returns the number of bytes read.
func (d *Decoder) Offset() int { return d.off }

// Rest returns what was not read yet.
func (d *Decoder) Rest() []byte { return d.buf[d.off:] }

// Fail records an error at the present offset, unless there is one already.
func (d *Decoder) Fail(format string, args ...any) {
	if d.err == nil {
		d.err = &Error{Offset: d.off, Reason: fmt.Sprintf(format, args...)}
	}
}

// Bytes returns the next n bytes, a part of the stub itself.
func (d *Decoder) Bytes(n int) []byte {
	if d.err == nil && (n < 0 || n > len(d.buf)-d.off) {
		d.Fail("%d bytes expected, %d left", n, len(d.buf)-d.off)
	}
	if d.err != nil {
		return nil
	}
	b := d.buf[d.off : d.off+n : d.off+n]
	d.off += n
	return b
}

// Align skips to a multiple of n.
func (d *Decoder) Align(n int) {
	if r := d.off % n; r != 0 {
		d.Bytes(n - r)
	}
}

// U8 reads a byte.
func (d *Decoder) U8() uint8 {
	if b := d.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 reads an aligned 16-bit number.
func (d *Decoder) U16() uint16 {
	d.Align(2)
	if b := d.Bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 reads an aligned 32-bit number.
func (d *Decoder) U32() uint32 {
	d.Align(4)
	if b := d.Bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// I32 reads an aligned signed 32-bit number.
func (d *Decoder) I32() int32 { return int32(d.U32()) }

// U64 reads an aligned 64-bit number (hyper).
func (d *Decoder) U64() uint64 {
	d.Align(8)
	if b := d.Bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// GUID reads a UUID.
func (d *Decoder) GUID() GUID {
	d.Align(4)
	var g GUID
	copy(g[:], d.Bytes(16))
	return g
}

// Pointer reads a referent and reports whether it is not NULL.
func (d *Decoder) Pointer() bool { return d.U32() != 0 }

// Count reads a count of elements that take at least size bytes each in what
// is left of the stub, and are at most limit. So no count is ever worth more
// memory than the peer sent. It returns 0 after an error.
func (d *Decoder) Count(size, limit int) int {
	n := d.U32()
	if d.err != nil {
		return 0
	}
	if uint64(n) > uint64(limit) {
		d.Fail("%d elements, at most %d are allowed", n, limit)
		return 0
	}
	if uint64(n)*uint64(size) > uint64(len(d.buf)-d.off) {
		d.Fail("%d elements of %d bytes do not fit into the %d left", n, size, len(d.buf)-d.off)
		return 0
	}
	return int(n)
}

// Units reads n WCHARs.
func (d *Decoder) Units(n int) []uint16 {
	d.Align(2)
	if d.err == nil && n > (len(d.buf)-d.off)/2 {
		d.Fail("%d wide characters expected, %d bytes left", n, len(d.buf)-d.off)
	}
	b := d.Bytes(2 * n)
	if b == nil {
		return nil
	}
	u := make([]uint16, n)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return u
}

// String reads what a [string] pointer to WCHARs points to. The string holds
// at most limit WCHARs without its NUL, which must be there, last and only
// once.
func (d *Decoder) String(limit int) string {
	max, offset := d.U32(), d.U32()
	n := d.Count(2, limit+1)
	switch {
	case d.err != nil:
		return ""
	case offset != 0 || n == 0 || uint64(max) < uint64(n):
		d.Fail("string with counts %d, %d, %d", max, offset, n)
		return ""
	}
	u := d.Units(n)
	if d.err != nil {
		return ""
	}
	for i, c := range u {
		if (c == 0) != (i == n-1) {
			d.Fail("string that does not end with its NUL")
			return ""
		}
	}
	return string(utf16.Decode(u[:n-1]))
}

// UniqueString reads a [string, unique] parameter; NULL is nil.
func (d *Decoder) UniqueString(limit int) *string {
	if !d.Pointer() || d.err != nil {
		return nil
	}
	s := d.String(limit)
	if d.err != nil {
		return nil
	}
	return &s
}

// ConformantBytes reads max_count and as many bytes, at most limit. The result
// is a part of the stub.
func (d *Decoder) ConformantBytes(limit int) []byte {
	return d.Bytes(d.Count(1, limit))
}
