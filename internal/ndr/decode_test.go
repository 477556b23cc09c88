package ndr

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestMalformed reads stubs that lie. Each is refused where it lies, with an
// *Error, and the value that comes with it is empty.
func TestMalformed(t *testing.T) {
	str := func(limit int) func(*Decoder) any { return func(d *Decoder) any { return d.String(limit) } }
	for _, v := range []struct {
		name, wire string
		read       func(*Decoder) any
		offset     int
	}{
		{"no byte", "", func(d *Decoder) any { return d.U8() }, 0},
		{"half a 16-bit number", "01", func(d *Decoder) any { return d.U16() }, 0},
		{"three quarters of a 32-bit number", "010203", func(d *Decoder) any { return d.U32() }, 0},
		{"hyper cut short", "01020304050607", func(d *Decoder) any { return d.U64() }, 0},
		{"uuid cut short", "000102030405060708090a0b0c0d0e", func(d *Decoder) any { return d.GUID().IsZero() == false }, 0},
		{"padding cut short", "0102", func(d *Decoder) any { d.U8(); return d.U32() }, 1},
		{"negative length", "01", func(d *Decoder) any { return d.Bytes(-1) }, 0},
		{"negative number of units", "0100", func(d *Decoder) any { return d.Units(-1) }, 0},
		{"so many units that their bytes overflow", "0100", func(d *Decoder) any { return d.Units(math.MaxInt) }, 0},
		{"count beyond the limit", "03000000 414243", func(d *Decoder) any { return d.Count(1, 2) }, 4},
		{"count beyond the stub", "03000000 4142", func(d *Decoder) any { return d.Count(1, 99) }, 4},
		{"count of large elements beyond the stub", "02000000 0102030405060708 01020304050607", func(d *Decoder) any { return d.Count(8, 99) }, 4},
		{"greatest count", "ffffffff 00", func(d *Decoder) any { return d.Count(1<<30, math.MaxInt) }, 4},
		{"bytes beyond the stub", "05000000 01020304", func(d *Decoder) any { return d.ConformantBytes(99) }, 4},
		{"bytes beyond the limit", "04000000 01020304", func(d *Decoder) any { return d.ConformantBytes(3) }, 4},
		{"string without its nul", "02000000 00000000 02000000 41004200", str(9), 16},
		{"string with two nuls", "03000000 00000000 03000000 410000000000", str(9), 18},
		{"string with a nul within", "03000000 00000000 03000000 000041000000", str(9), 18},
		{"string of no units", "00000000 00000000 00000000", str(9), 12},
		{"string at an offset", "03000000 01000000 02000000 41000000", str(9), 12},
		{"string longer than its maximum", "01000000 00000000 02000000 41000000", str(9), 12},
		{"string beyond its limit", "03000000 00000000 03000000 410042000000", str(1), 12},
		{"string beyond the stub", "00000001 00000000 00000001 41000000", str(1 << 30), 12},
		{"unique string cut short", "00000200 02000000 00000000 02000000 4100", func(d *Decoder) any { return d.UniqueString(9) }, 16},
		{"referent cut short", "000002", func(d *Decoder) any { return d.UniqueString(9) }, 0},
	} {
		t.Run(v.name, func(t *testing.T) {
			d := NewDecoder(unhex(v.wire))
			switch got := v.read(d).(type) {
			case []byte:
				if got != nil {
					t.Errorf("value %x", got)
				}
			case []uint16:
				if got != nil {
					t.Errorf("value %x", got)
				}
			case *string:
				if got != nil {
					t.Errorf("value %q", *got)
				}
			case string:
				is(t, got, "")
			case bool:
				is(t, got, false)
			case int:
				is(t, got, 0)
			case uint8:
				is(t, got, 0)
			case uint16:
				is(t, got, 0)
			case uint32:
				is(t, got, 0)
			case uint64:
				is(t, got, 0)
			default:
				t.Fatalf("%T", got)
			}
			var e *Error
			if !errors.As(d.Err(), &e) || e.Offset != v.offset {
				t.Fatalf("error %v, want one at byte %d", d.Err(), v.offset)
			}
			if !strings.HasPrefix(e.Error(), "malformed ndr at byte ") {
				t.Error(e)
			}
		})
	}
}

// A peer may say a larger maximum than it sends: that is not an error, and
// nothing is allocated for it.
func TestStringWithLargerMaximum(t *testing.T) {
	d := NewDecoder(unhex("ffffffff 00000000 02000000 41000000"))
	if s := d.String(1); s != "A" || d.Err() != nil {
		t.Errorf("%q, %v", s, d.Err())
	}
}

// Verification trailers and padding follow the last parameter.
func TestWhatIsLeftOverIsNoError(t *testing.T) {
	d := NewDecoder(unhex("01000000 8ae3137102f43671"))
	d.U32()
	if d.Err() != nil || len(d.Rest()) != 8 {
		t.Errorf("%v, %d bytes left", d.Err(), len(d.Rest()))
	}
}

// Fail keeps the first reason, and stops the decoder.
func TestFail(t *testing.T) {
	d := NewDecoder([]byte{1, 2})
	d.U8()
	d.Fail("first %d", 1)
	d.Fail("second")
	if got, want := d.Err().Error(), "malformed ndr at byte 1: first 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if d.U8() != 0 || d.Offset() != 1 {
		t.Error("goes on after an error")
	}
}

// A slice that is a part of the stub cannot be appended to what follows it.
func TestBytesAreBounded(t *testing.T) {
	stub := []byte{1, 2, 3}
	_ = append(NewDecoder(stub).Bytes(1), 99)
	if !slices.Equal(stub, []byte{1, 2, 3}) {
		t.Errorf("the stub has become %v", stub)
	}
}

// item is a parameter of a random stub, with how it is written and read again.
type item struct {
	encode func(*Encoder)
	decode func(*Decoder) bool
}

var items = rapid.OneOf(
	rapid.Map(rapid.Uint8(), func(v uint8) item {
		return item{func(e *Encoder) { e.U8(v) }, func(d *Decoder) bool { return d.U8() == v }}
	}),
	rapid.Map(rapid.Uint16(), func(v uint16) item {
		return item{func(e *Encoder) { e.U16(v) }, func(d *Decoder) bool { return d.U16() == v }}
	}),
	rapid.Map(rapid.Int32(), func(v int32) item {
		return item{func(e *Encoder) { e.I32(v) }, func(d *Decoder) bool { return d.I32() == v }}
	}),
	rapid.Map(rapid.Uint64(), func(v uint64) item {
		return item{func(e *Encoder) { e.U64(v) }, func(d *Decoder) bool { return d.U64() == v }}
	}),
	rapid.Map(rapid.SliceOfN(rapid.Byte(), 16, 16), func(v []byte) item {
		g := GUID(v)
		return item{func(e *Encoder) { e.GUID(g) }, func(d *Decoder) bool { return d.GUID() == g }}
	}),
	rapid.Map(rapid.StringOf(rapid.Rune().Filter(func(r rune) bool { return r != 0 })), func(v string) item {
		limit := 2 * len(v)
		return item{func(e *Encoder) { e.String(v) }, func(d *Decoder) bool { return d.String(limit) == v }}
	}),
	rapid.Map(rapid.Ptr(rapid.StringMatching(`\w*`), true), func(v *string) item {
		return item{func(e *Encoder) { e.UniqueString(v) }, func(d *Decoder) bool {
			got := d.UniqueString(1 << 10)
			return (got == nil) == (v == nil) && (v == nil || *got == *v)
		}}
	}),
	rapid.Map(rapid.SliceOf(rapid.Byte()), func(v []byte) item {
		return item{func(e *Encoder) { e.ConformantBytes(v) }, func(d *Decoder) bool { return slices.Equal(d.ConformantBytes(len(v)), v) }}
	}),
	rapid.Map(rapid.SliceOf(rapid.Uint16()), func(v []uint16) item {
		return item{
			func(e *Encoder) { e.U32(uint32(len(v))); e.Units(v) },
			func(d *Decoder) bool { return slices.Equal(d.Units(d.Count(2, len(v))), v) },
		}
	}),
)

// Whatever is written in whatever order is read again, from any place in a
// buffer; and a stub that is cut anywhere is an error, never another value.
func TestEncodeDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(items, 1, 12).Draw(t, "items")
		e := NewEncoder(make([]byte, rapid.IntRange(0, 9).Draw(t, "before")))
		before := len(e.Bytes())
		for _, i := range list {
			i.encode(e)
		}
		stub := e.Bytes()[before:]
		d := NewDecoder(stub)
		for n, i := range list {
			if !i.decode(d) || d.Err() != nil {
				t.Fatalf("parameter %d: another value, or %v", n, d.Err())
			}
		}
		if d.Offset() != len(stub) {
			t.Fatalf("read %d bytes of %d", d.Offset(), len(stub))
		}
		cut := NewDecoder(stub[:rapid.IntRange(0, len(stub)-1).Draw(t, "cut")])
		for _, i := range list {
			if ok := i.decode(cut); !ok && cut.Err() == nil {
				t.Fatal("another value without an error")
			}
		}
		if cut.Err() == nil {
			t.Fatal("a stub cut short is no error")
		}
	})
}
