package chunklist

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/repo/internal/pack"
)

func id(n byte) (id ID) {
	for i := range id {
		id[i] = n
	}
	return id
}

// The form is what docs/repository-format.md says, and scripts read.
func TestListGolden(t *testing.T) {
	list := []Chunk{{2, 0, 16384, id(1)}, {2, 16384, 16384, id(2)}, {2, 32768, 100, id(3)}, {0, 5, 100, id(4)}}
	want := "2 0 16384 01010101010101010101010101010101\n" +
		"02020202020202020202020202020202\n" +
		"2 32768 100 03030303030303030303030303030303\n" +
		"0 5 100 04040404040404040404040404040404\n"
	if got := string(Encode(list)); got != want {
		t.Errorf("got\n%s", got)
	}
	if got, err := Decode([]byte(want), 3); err != nil || !slices.Equal(got, list) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTableGolden(t *testing.T) {
	seg, in := pack.Sum([]byte("segment")), pack.Sum([]byte("pack"))
	table := []Entry{{seg, in, 1}, {in, in, 1<<63 | 0xf0}, {seg, seg, 0}}
	want := seg.String() + " " + in.String() + " 1\n" + in.String() + " - 80000000000000f0\n" + seg.String() + " " + seg.String() + " 0\n"
	if got := string(EncodeTable(table)); got != want {
		t.Errorf("got\n%s", got)
	}
	if got, err := DecodeTable([]byte(want)); err != nil || !slices.Equal(got, table) {
		t.Errorf("%v, %v", got, err)
	}
}

func genID() *rapid.Generator[ID] {
	return rapid.Custom(func(t *rapid.T) (id ID) {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), IDSize, IDSize).Draw(t, "id"))
		return id
	})
}

// What is written is read again, whether chunks follow each other or not.
func TestListRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segments := rapid.IntRange(1, 5).Draw(t, "segments")
		var list []Chunk
		for range rapid.IntRange(0, 50).Draw(t, "chunks") {
			c := Chunk{ID: genID().Draw(t, "id")}
			if n := len(list); n > 0 && rapid.Bool().Draw(t, "follows") {
				p := list[n-1]
				c.Segment, c.Offset, c.Length = p.Segment, p.Offset+p.Length, p.Length
			}
			if c.Length == 0 || uint64(c.Offset)+uint64(c.Length) > MaxChunk {
				c.Segment = uint32(rapid.IntRange(0, segments-1).Draw(t, "segment"))
				c.Length = rapid.Uint32Range(1, MaxChunk).Draw(t, "length")
				c.Offset = rapid.Uint32Range(0, MaxChunk-c.Length).Draw(t, "offset")
			}
			list = append(list, c)
		}
		got, err := Decode(Encode(list), segments)
		if err != nil || !slices.Equal(got, list) {
			t.Fatalf("%v, %v; want %v", got, err, list)
		}
	})
}

func TestTableRoundTrip(t *testing.T) {
	gen := rapid.Custom(func(t *rapid.T) (id pack.ID) {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), len(id), len(id)).Draw(t, "id"))
		return id
	})
	rapid.Check(t, func(t *rapid.T) {
		packs := rapid.SliceOfN(gen, 1, 3).Draw(t, "packs")
		var table []Entry
		for range rapid.IntRange(0, 20).Draw(t, "segments") {
			table = append(table, Entry{gen.Draw(t, "segment"), rapid.SampledFrom(packs).Draw(t, "pack"), rapid.Uint64().Draw(t, "used")})
		}
		got, err := DecodeTable(EncodeTable(table))
		if err != nil || !slices.Equal(got, table) {
			t.Fatalf("%v, %v; want %v", got, err, table)
		}
	})
}

// Bits are exactly the parts that some byte of the chunk lies in.
func TestBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.Uint32Range(0, MaxChunk).Draw(t, "length")
		off := rapid.Uint32Range(0, MaxChunk-length).Draw(t, "offset")
		var want uint64
		for part := range uint32(64) {
			first, last := part*(MaxChunk/64), (part+1)*(MaxChunk/64) // last is one behind
			if length > 0 && off < last && off+length > first {
				want |= 1 << part
			}
		}
		if got := Bits(off, length); got != want {
			t.Fatalf("%x, want %x", got, want)
		}
	})
}

func TestListRejects(t *testing.T) {
	x := strings.Repeat("0", 32)
	for name, b := range map[string]string{
		"no line feed":         "0 0 1 " + x,
		"short form first":     x + "\n",
		"segment too high":     "1 0 1 " + x + "\n",
		"no length":            "0 0 0 " + x + "\n",
		"beyond a segment":     "0 1048576 1 " + x + "\n",
		"overflow":             "0 4294967295 4294967295 " + x + "\n",
		"too large a number":   "0 4294967296 1 " + x + "\n",
		"leading zero":         "0 00 1 " + x + "\n",
		"sign":                 "0 +0 1 " + x + "\n",
		"short id":             "0 0 1 " + x[1:] + "\n",
		"long id":              "0 0 1 " + x + "0\n",
		"not hexadecimal":      "0 0 1 " + x[1:] + "g\n",
		"empty line":           "\n",
		"follows over the end": "0 524288 524288 " + x + "\n" + x + "\n",
		"too many":             "0 0 1 " + x + "\n" + strings.Repeat("0 0 1 "+x+"\n", MaxChunks),
	} {
		if _, err := Decode([]byte(b), 1); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTableRejects(t *testing.T) {
	x := strings.Repeat("0", 64)
	for name, b := range map[string]string{
		"no line feed": x + " " + x + " 1", "- first": x + " - 1\n", "four fields": x + " " + x + " 1 1\n", "two": x + " 1\n", "short": x[1:] + " " + x + " 1\n",
		"upper case": strings.Repeat("A", 64) + " " + x + " 1\n", "65 bits": x + " " + x + " 10000000000000000\n", "sign": x + " " + x + " -1\n", "empty": "\n",
	} {
		if _, err := DecodeTable([]byte(b)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add(Encode([]Chunk{{0, 0, 10, id(1)}, {0, 10, 10, id(2)}, {3, 0, MaxChunk, id(3)}}), uint16(4))
	f.Add([]byte("0 0 0 \n"), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, segments uint16) {
		list, err := Decode(b, int(segments))
		if err != nil {
			return
		}
		for _, c := range list {
			if c.Segment >= uint32(segments) || c.Length == 0 || uint64(c.Offset)+uint64(c.Length) > MaxChunk {
				t.Fatalf("%+v", c)
			}
		}
		again, err := Decode(Encode(list), int(segments))
		if err != nil || !slices.Equal(again, list) {
			t.Fatalf("%v, %v", again, err)
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add(EncodeTable([]Entry{{pack.Sum(nil), pack.Sum(nil), 3}, {pack.Sum([]byte{1}), pack.Sum(nil), 1 << 63}}))
	f.Add([]byte("- - -\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := DecodeTable(b)
		if err != nil {
			return
		}
		if again := EncodeTable(table); len(again) > len(b)*4 {
			t.Fatalf("%d bytes become %d", len(b), len(again))
		}
		again, err := DecodeTable(EncodeTable(table))
		if err != nil || !slices.Equal(again, table) || !bytes.Equal(EncodeTable(again), EncodeTable(table)) {
			t.Fatalf("%v, %v", again, err)
		}
	})
}
