package pack

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/mem"
)

func build(segments ...[]byte) (ID, []byte, []ID) {
	var b Builder
	for _, s := range segments {
		b.Add(Sum(s), s)
	}
	return b.Build()
}

func TestGolden(t *testing.T) {
	one, two := []byte("one"), []byte("three")
	id, object, ids := build(one, two)
	header := fmt.Sprintf("certkeep pack 1 2\n%s 3\n%s 5\n", Sum(one), Sum(two))
	if string(object) != header+"onethree" || id != Sum([]byte(header)) || len(ids) != 2 {
		t.Errorf("%s %q %v", id, object, ids)
	}
	if key := Key(id); key != "packs/"+id.String()[:2]+"/"+id.String() {
		t.Error(key)
	}
}

// What was built is found again, whole or bit by bit, and each segment is where the header says.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segments := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 200), 1, 300).Draw(t, "segments")
		id, object, _ := build(segments...)
		s := mem.New()
		if _, err := s.Put(t.Context(), Key(id), object, blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		got, err := ReadHeader(t.Context(), s, id, int64(len(object)))
		if err != nil || len(got) != len(segments) {
			t.Fatalf("%v, %v", got, err)
		}
		for i, seg := range got {
			b, err := Read(t.Context(), s, id, seg)
			if err != nil || !bytes.Equal(b, segments[i]) {
				t.Fatalf("%d: %q, %v", i, b, err)
			}
		}
		if _, err := Check(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
		if back, ok := ParseKey(Key(id)); !ok || back != id {
			t.Fatal(back, ok)
		}
	})
}

// However little of it is given, a header asks for as much as it needs, and never more than there is.
func TestHeaderInParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id, object, _ := build(rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 5), 1, 50).Draw(t, "segments")...)
		size := int64(len(object))
		for n := int64(len("certkeep pack 1 50\n")); ; {
			segments, need, err := ParseHeader(object[:min(n, size)], id, size)
			if err != nil {
				t.Fatal(err)
			}
			if need == 0 {
				if len(segments) == 0 {
					t.Fatal("no segments")
				}
				return
			}
			if need <= n || need > size {
				t.Fatalf("%d of %d bytes asked for, and %d were given", need, size, n)
			}
			n = need
		}
	})
}

// A repeated segment makes another pack of the same segments.
func TestRepeat(t *testing.T) {
	var b Builder
	for _, s := range []string{"long segment", "short", "middling"} {
		b.Add(Sum([]byte(s)), []byte(s))
	}
	again := b
	id, object, _ := b.Build()
	again.Repeat()
	other, longer, ids := again.Build()
	if other == id || len(ids) != 4 || ids[3] != Sum([]byte("short")) || !strings.HasSuffix(string(longer), "short") {
		t.Errorf("%v %q", ids, longer)
	}
	if _, _, err := ParseHeader(longer, other, int64(len(longer))); err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(string(object), "long segmentshortmiddling") {
		t.Errorf("%q", object)
	}
}

func TestRejects(t *testing.T) {
	id, object, _ := build([]byte("one"), []byte("two"))
	x := Sum([]byte("one")).String()
	for name, b := range map[string]string{
		"empty":             "",
		"another file":      "hello, world\n",
		"newer":             "certkeep pack 2 1\n" + x + " 3\none",
		"none":              "certkeep pack 1 0\n",
		"negative":          "certkeep pack 1 -1\n",
		"too many":          "certkeep pack 1 4097\n" + x + " 3\none",
		"padded count":      "certkeep pack 1 01\n" + x + " 3\none",
		"no length":         "certkeep pack 1 1\n" + x + "\none",
		"zero":              "certkeep pack 1 1\n" + x + " 0\none",
		"too long":          "certkeep pack 1 1\n" + x + " 8388609\none",
		"padded length":     "certkeep pack 1 1\n" + x + " 03\none",
		"header cut short":  string(object[:30]),
		"object cut short":  string(object[:len(object)-1]),
		"longer":            string(object) + "x",
		"of another name":   "certkeep pack 1 1\n" + x + " 3\none",
		"upper case digits": "certkeep pack 1 1\n" + strings.ToUpper(x) + " 3\none",
	} {
		if _, need, err := ParseHeader([]byte(b), id, int64(len(b))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %d, %v", name, need, err)
		}
	}
	for _, key := range []string{"packs/", "packs/aa/bb", "meta/" + id.String()[:2] + "/" + id.String(), "packs/zz/" + id.String(), Key(id) + "0", strings.ToUpper(Key(id))} {
		if _, ok := ParseKey(key); ok {
			t.Errorf("%q is taken for a pack", key)
		}
	}
}

// A segment that is not what the header says is never handed out.
func TestDamagedSegment(t *testing.T) {
	s := mem.New()
	id, object, _ := build([]byte("one"), []byte("two"))
	object[len(object)-1] ^= 1
	s.Replace(Key(id), object)
	segments, err := ReadHeader(t.Context(), s, id, int64(len(object)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), s, id, segments[0]); err != nil {
		t.Error(err)
	}
	if b, err := Read(t.Context(), s, id, segments[1]); !errors.Is(err, ErrDamaged) || b != nil {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := Check(t.Context(), s, id); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	s.Replace(Key(id), object[:len(object)-1])
	if _, err := Read(t.Context(), s, id, segments[1]); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func FuzzHeader(f *testing.F) {
	id, object, _ := build([]byte("one"), []byte("two"))
	f.Add(object, int64(len(object)))
	f.Add(object[:40], int64(len(object)))
	f.Add([]byte("certkeep pack 1 4096\n"), int64(1<<40))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		line := bytes.Count(b, []byte("\n"))
		for _, id := range []ID{id, Sum(b)} {
			segments, need, err := ParseHeader(b, id, size)
			switch {
			case err != nil:
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
			case need > 0:
				if need <= int64(len(b)) || need > size {
					t.Fatalf("%d of %d bytes, and %d were given", need, size, len(b))
				}
			default:
				off := segments[0].Offset
				for _, s := range segments {
					if s.Offset != off || s.Length < 1 || s.Length > MaxSegment {
						t.Fatalf("%+v", s)
					}
					off += s.Length
				}
				if off != size || len(segments) > line {
					t.Fatalf("%d segments, %d of %d bytes", len(segments), off, size)
				}
			}
		}
	})
}
