package ese

import (
	"bytes"
	"testing"

	"github.com/certkeep/certkeep/ese/internal/seed"
)

func FuzzDecompress(f *testing.F) {
	f.Add(seed.SevenBit("seven bits", 1))
	f.Add(seed.SevenBit("seven bits", 2))
	f.Add(xpress(bytes.Repeat([]byte("abcde"), 200)))
	f.Add(append([]byte{0x18, 44, 1}, 0xff, 0xff, 0xff, 0x1f, 'a', 'b', 'c', 0x17, 0, 0x0f, 0xff, 0x26, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := decompress([]byte{1, 2}, b)
		if len(out) < 2 || out[0] != 1 || out[1] != 2 {
			t.Error("what was there before is gone")
		}
		if len(out) > 2+max(1<<16, 3*len(b)) {
			t.Errorf("%d bytes from %d", len(out), len(b))
		}
		if err == nil && len(b) > 3 && b[0]>>3 == compressXpress && len(out) != 2+int(le.Uint16(b[1:])) {
			t.Errorf("%d bytes", len(out))
		}
	})
}

// FuzzXpressRoundTrip packs and unpacks.
func FuzzXpressRoundTrip(f *testing.F) {
	f.Add([]byte("abcabcabcabcabcabcabcabcabcabcabcabc"))
	f.Add(bytes.Repeat([]byte{7}, 2000))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 8000 {
			return
		}
		if got, err := decompress(nil, xpress(b)); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%x, %v; want %x", got, err, b)
		}
	})
}

// FuzzTagged decodes the tagged part of a record in both forms.
func FuzzTagged(f *testing.F) {
	for _, size := range []int{4096, 16384} {
		r := seed.Record{Tagged: []seed.Tagged{{ID: 256, Head: 8, Value: []byte{4, 0, 5, 0, 1, 2}}, {ID: 257, Head: 0x18, Value: []byte{1, 2, 3}}, {ID: 258, Derived: true, Head: 0x20}}}
		f.Add(r.Bytes(size), size > 8192)
	}
	f.Fuzz(func(t *testing.T, b []byte, large bool) {
		rec, err := parseRecord(b, large)
		if err != nil {
			return
		}
		c := &Column{Name: "c", Type: LongBinary}
		row := Row{table: &Table{db: &Database{}}, p: &page{}, rec: rec}
		for i := range rec.entries {
			if field, err := rec.taggedField(i); err == nil {
				values, err := row.all(c, field)
				for _, v := range values {
					v.Bytes()
				}
				if err == nil && field.null && len(values) > 0 {
					t.Error("a value of NULL")
				}
			}
		}
		for id := range uint32(256) {
			rec.field(&Column{ID: max(id, 1), Type: Long, offset: int(id)})
		}
	})
}
