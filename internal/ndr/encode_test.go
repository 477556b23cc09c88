package ndr

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// unhex decodes hexadecimal, blanks ignored.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

func pointer(s string) *string { return &s }

// golden are stubs with the parameters that are in them: what is written in the
// one way must be read in the other.
var golden = []struct {
	name, wire string
	encode     func(*Encoder)
	decode     func(*testing.T, *Decoder)
}{
	{"numbers are aligned to their size", "01 00 0302 04 000000 08070605 00000000 100f0e0d0c0b0a09",
		func(e *Encoder) {
			e.U8(1)
			e.U16(0x0203)
			e.U8(4)
			e.U32(0x05060708)
			e.U64(0x090a0b0c0d0e0f10)
		},
		func(t *testing.T, d *Decoder) {
			is(t, d.U8(), 1)
			is(t, d.U16(), 0x0203)
			is(t, d.U8(), 4)
			is(t, d.U32(), 0x05060708)
			is(t, d.U64(), 0x090a0b0c0d0e0f10)
		}},
	{"hresult", "05000780",
		func(e *Encoder) { e.I32(-2147024891) },
		func(t *testing.T, d *Decoder) { is(t, d.I32(), -2147024891) }},
	{"uuid is aligned to 4, first fields little-endian", "ff 000000 045d888aeb1cc9119fe808002b104860",
		func(e *Encoder) { e.U8(0xff); e.GUID(MustGUID("8a885d04-1ceb-11c9-9fe8-08002b104860")) },
		func(t *testing.T, d *Decoder) {
			is(t, d.U8(), 0xff)
			is(t, d.GUID().String(), "8a885d04-1ceb-11c9-9fe8-08002b104860")
		}},
	{"string counts its nul", "03000000 00000000 03000000 4300 4100 0000",
		func(e *Encoder) { e.String("CA") },
		func(t *testing.T, d *Decoder) { is(t, d.String(2), "CA") }},
	{"empty string", "01000000 00000000 01000000 0000",
		func(e *Encoder) { e.String("") },
		func(t *testing.T, d *Decoder) { is(t, d.String(0), "") }},
	{"surrogates are two units", "03000000 00000000 03000000 3dd8 00de 0000",
		func(e *Encoder) { e.String("\U0001f600") },
		func(t *testing.T, d *Decoder) { is(t, d.String(2), "\U0001f600") }},
	{"what follows a string is aligned again", "02000000 00000000 02000000 4300 0000 01000000  02000000 00000000 02000000 4300 0000 0200",
		func(e *Encoder) { e.String("C"); e.U32(1); e.String("C"); e.U16(2) },
		func(t *testing.T, d *Decoder) {
			is(t, d.String(9), "C")
			is(t, d.U32(), 1)
			is(t, d.String(9), "C")
			is(t, d.U16(), 2)
		}},
	{"unique pointers: each referent is another, null is 0",
		"00000200 02000000 00000000 02000000 41000000  00000000  04000200 01000000 00000000 01000000 0000",
		func(e *Encoder) { e.UniqueString(pointer("A")); e.UniqueString(nil); e.UniqueString(pointer("")) },
		func(t *testing.T, d *Decoder) {
			is(t, *d.UniqueString(1), "A")
			is(t, d.UniqueString(1), nil)
			is(t, *d.UniqueString(1), "")
		}},
	{"pointers of a structure come before what they point to", "00000200 00000000 04000200 07000000 08000000",
		func(e *Encoder) { e.Referent(); e.Null(); e.Referent(); e.U32(7); e.U32(8) },
		func(t *testing.T, d *Decoder) {
			is(t, d.Pointer(), true)
			is(t, d.Pointer(), false)
			is(t, d.Pointer(), true)
			is(t, d.U32(), 7)
			is(t, d.U32(), 8)
		}},
	{"conformant bytes are not padded at their end", "03000000 010203 09",
		func(e *Encoder) { e.ConformantBytes([]byte{1, 2, 3}); e.U8(9) },
		func(t *testing.T, d *Decoder) {
			is(t, string(d.ConformantBytes(3)), "\x01\x02\x03")
			is(t, d.U8(), 9)
		}},
	{"conformant array of units", "02000000 4100 4200",
		func(e *Encoder) { e.U32(2); e.Units([]uint16{'A', 'B'}) },
		func(t *testing.T, d *Decoder) {
			u := d.Units(d.Count(2, 2))
			is(t, len(u), 2)
			is(t, u[0], 'A')
			is(t, u[1], 'B')
		}},
	{"raw bytes and explicit alignment", "0102 0000 00000000 03",
		func(e *Encoder) { e.Raw([]byte{1, 2}); e.Align(8); e.U8(3) },
		func(t *testing.T, d *Decoder) {
			is(t, string(d.Bytes(2)), "\x01\x02")
			d.Align(8)
			is(t, d.Offset(), 8)
			is(t, string(d.Rest()), "\x03")
			is(t, d.U8(), 3)
		}},
}

func is[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			var e Encoder
			g.encode(&e)
			if want := unhex(g.wire); !bytes.Equal(e.Bytes(), want) {
				t.Errorf("encoded\n got %x\nwant %x", e.Bytes(), want)
			}
			d := NewDecoder(unhex(g.wire))
			g.decode(t, d)
			if d.Err() != nil || len(d.Rest()) != 0 {
				t.Errorf("decoded: error %v, %d bytes left", d.Err(), len(d.Rest()))
			}
		})
	}
}

// A stub may follow something else in the same buffer: a PDU's header, say.
// Its alignment counts from its own start.
func TestGoldenBehindOtherBytes(t *testing.T) {
	for _, g := range golden {
		before := []byte("odd")
		e := NewEncoder(before)
		g.encode(e)
		if want := append([]byte("odd"), unhex(g.wire)...); !bytes.Equal(e.Bytes(), want) {
			t.Errorf("%s\n got %x\nwant %x", g.name, e.Bytes(), want)
		}
		if e.Len() != len(e.Bytes())-3 {
			t.Errorf("%s: length %d of %d", g.name, e.Len(), len(e.Bytes()))
		}
	}
}

// Extend gives space in the middle of a stub to be filled in place, and
// Truncate takes back what was not used.
func TestExtendAndTruncate(t *testing.T) {
	e := NewEncoder([]byte("head"))
	e.U32(5)
	copy(e.Extend(8), "hellowww")
	e.Truncate(4 + 5)
	e.U8('!')
	if got, want := string(e.Bytes()), "head\x05\x00\x00\x00hello!"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e.Truncate(0)
	if got := string(e.Bytes()); got != "head" {
		t.Errorf("truncated to nothing: %q", got)
	}
	if got := len(e.Extend(0)); got != 0 {
		t.Errorf("extended by nothing: %d bytes", got)
	}
	// Bytes beyond what Extend returned are not its caller's.
	if b := e.Extend(3); len(b) != 3 || e.Len() != 3 {
		t.Errorf("extended by %d, stub of %d", len(b), e.Len())
	}
}

func TestSerialized(t *testing.T) {
	const head = "01 10 0800 cccccccc"
	for _, v := range []struct{ name, object, wire string }{
		{"empty", "", head + "00000000 00000000"},
		{"padded to 8", "0102030405", head + "08000000 00000000 0102030405000000"},
		{"already a multiple of 8", "0102030405060708", head + "08000000 00000000 0102030405060708"},
	} {
		object, wire := unhex(v.object), unhex(v.wire)
		got := AppendSerialized([]byte("x"), object)
		if !bytes.Equal(got[1:], wire) || got[0] != 'x' {
			t.Errorf("%s\n got %x\nwant %x", v.name, got, wire)
		}
		if n := SerializedSize(len(object)); n != len(wire) {
			t.Errorf("%s: size %d, want %d", v.name, n, len(wire))
		}
		back, rest, err := Serialized(append(wire, "rest"...))
		if err != nil || !bytes.HasPrefix(back, object) || len(back) != (len(object)+7)&^7 || string(rest) != "rest" {
			t.Errorf("%s: read %x, rest %q, %v", v.name, back, rest, err)
		}
		if cap(back) != len(back) {
			t.Errorf("%s: appending to the object would overwrite what follows it", v.name)
		}
	}
}

func TestSerializedRefused(t *testing.T) {
	for _, v := range []struct{ name, wire string }{
		{"nothing", ""},
		{"headers cut short", "01100800cccccccc0000000000000"[:28]},
		{"another version", "02100800cccccccc0000000000000000"},
		{"big-endian", "01000800cccccccc0000000000000000"},
		{"another header length", "01100900cccccccc0000000000000000"},
		{"longer than its buffer", "01100800cccccccc080000000000000001020304050607"},
		{"as long as can be said", "01100800ccccccccffffffff000000000102030405060708"},
	} {
		object, _, err := Serialized(unhex(v.wire))
		if _, ok := err.(*Error); !ok || object != nil {
			t.Errorf("%s: %x, %v", v.name, object, err)
		}
	}
}

func TestGUID(t *testing.T) {
	const text = "01020304-0506-0708-090a-0b0c0d0e0f10"
	g, err := ParseGUID(text)
	if err != nil || g.String() != text {
		t.Fatalf("%v, %v", g, err)
	}
	if want := unhex("04030201 0605 0807 090a 0b0c0d0e0f10"); !bytes.Equal(g[:], want) {
		t.Errorf("on the wire %x, want %x", g, want)
	}
	upper, err := ParseGUID("ABCDEF00-0000-0000-0000-000000000000")
	if err != nil || upper.String() != "abcdef00-0000-0000-0000-000000000000" {
		t.Errorf("%v, %v", upper, err)
	}
	for _, bad := range []string{"", text[:35], text + "0", strings.ReplaceAll(text, "-", "_"), "{" + text[1:35] + "}",
		"g" + text[1:], "0102030-40506-0708-090a-0b0c0d0e0f10"} {
		if g, err := ParseGUID(bad); err == nil || !g.IsZero() {
			t.Errorf("%q: %v, %v", bad, g, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a malformed constant does not panic")
		}
	}()
	MustGUID("x")
}

// New UUIDs are of version 4 and the usual variant, and differ.
func TestNewGUID(t *testing.T) {
	seen := map[GUID]bool{}
	for range 100 {
		g := NewGUID()
		if s := g.String(); s[14] != '4' || !strings.ContainsRune("89ab", rune(s[19])) || seen[g] {
			t.Fatal(s)
		}
		seen[g] = true
	}
}
