package ndr

import (
	"errors"
	"runtime"
	"testing"
)

// run reads the stub as the program says: each of its bytes is a method to
// call. It returns how many bytes the results need besides the stub.
func run(t *testing.T, program []byte, d *Decoder, size int) (held int) {
	for _, op := range program {
		failed, at := d.Err(), d.Offset()
		arg := int(op >> 4)
		zero := true
		switch op & 15 {
		case 0:
			zero = d.U8() == 0
		case 1:
			zero = d.U16() == 0
		case 2:
			zero = d.U32() == 0
		case 3:
			zero = d.I32() == 0
		case 4:
			zero = d.U64() == 0
		case 5:
			zero = d.GUID().IsZero()
		case 6:
			zero = !d.Pointer()
		case 7:
			n := d.Count(1+arg, 1<<20)
			if n*(1+arg) > len(d.Rest()) {
				t.Fatalf("count %d of elements of %d bytes, %d bytes left", n, 1+arg, len(d.Rest()))
			}
			zero = n == 0
		case 8:
			u := d.Units(d.Count(2, 1<<20))
			held += 2 * len(u)
			zero = len(u) == 0
		case 9:
			s := d.String(1 << arg)
			if units := len([]rune(s)); units > 1<<arg {
				t.Fatalf("string of %d characters, at most %d were allowed", units, 1<<arg)
			}
			held += len(s)
			zero = s == ""
		case 10:
			s := d.UniqueString(1 << 20)
			if zero = s == nil; !zero {
				held += len(*s)
			}
		case 11:
			zero = d.ConformantBytes(1<<20) == nil
		case 12:
			d.Align(1 << (arg & 3))
		case 13:
			zero = d.Bytes(arg) == nil
		case 14:
			zero = d.Units(arg-1) == nil
		case 15:
			object, _, err := Serialized(d.Rest())
			if err == nil && len(object) > len(d.Rest())-serialHeader {
				t.Fatal("object is larger than the stream")
			}
		}
		if off := d.Offset(); off < at || off > size || off+len(d.Rest()) != size {
			t.Fatalf("offset %d after %d of %d", off, at, size)
		}
		if failed != nil && (d.Err() != failed || d.Offset() != at || !zero) {
			t.Fatal("went on after an error")
		}
	}
	return held
}

// FuzzDecoder reads arbitrary bytes in an arbitrary order. The decoder never
// panics, stops for good at its first error, and what it returns, and allocates
// on the way, is no larger than a small multiple of the stub.
func FuzzDecoder(f *testing.F) {
	for _, g := range golden {
		f.Add([]byte{9, 2, 10, 11, 8, 7}, unhex(g.wire))
		f.Add([]byte{0, 1, 0, 2, 4}, unhex(g.wire))
	}
	f.Add([]byte{6, 10, 10, 11, 0x28, 0x17, 15}, unhex("ffffffff ffffffff 00000000 ffffffff 41000000"))
	f.Add([]byte{15, 15, 2}, unhex("01100800cccccccc08000000000000000102030405060708"))
	f.Fuzz(func(t *testing.T, program, stub []byte) {
		if len(program) > 1<<10 {
			return
		}
		d := NewDecoder(stub)
		held := run(t, program, d, len(stub))
		// UTF-8 needs 3 bytes for a unit of 2.
		if limit := 3 * len(stub) / 2; held > limit {
			t.Fatalf("%d bytes came out of %d", held, len(stub))
		}
		var e *Error
		if err := d.Err(); err != nil && !errors.As(err, &e) {
			t.Fatalf("error %v (%T)", err, err)
		}
	})
}

// Counts that promise gigabytes cost nothing.
func TestLyingCountsAllocateNothing(t *testing.T) {
	stub := unhex("ffffff7f 00000000 ffffff7f 4100 0000")
	reads := map[string]func(*Decoder){
		"string":        func(d *Decoder) { d.String(1 << 30) },
		"unique string": func(d *Decoder) { d.UniqueString(1 << 30) },
		"bytes":         func(d *Decoder) { d.ConformantBytes(1 << 31) },
		"units":         func(d *Decoder) { d.Units(d.Count(2, 1<<31)) },
		"units alone":   func(d *Decoder) { d.Units(1 << 30) },
	}
	for name, read := range reads {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			d := NewDecoder(stub)
			if read(d); d.Err() == nil {
				t.Errorf("%s: no error", name)
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: ten lies cost %d bytes", name, n)
		}
	}
}
