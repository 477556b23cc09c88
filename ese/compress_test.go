package ese

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese/internal/seed"
	"pgregory.net/rapid"
)

// TestXpressVectors are the examples of MS-XCA, section 3.1.
func TestXpressVectors(t *testing.T) {
	for packed, want := range map[string]string{
		"3f0000006162636465666768696a6b6c6d6e6f707172737475767778797a": "abcdefghijklmnopqrstuvwxyz",
		"ffffff1f61626317000fff2601":                                   strings.Repeat("abc", 100),
	} {
		b, err := hex.DecodeString(packed)
		if err != nil {
			t.Fatal(err)
		}
		value := append([]byte{3 << 3, byte(len(want)), byte(len(want) >> 8)}, b...)
		got, err := decompress([]byte("before"), value)
		if err != nil || string(got) != "before"+want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		for n := range value { // every cut is an error, and so is every other size
			if _, err := decompress(nil, value[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes of %s: %v", n, packed, err)
			}
		}
		value[1]++
		if _, err := decompress(nil, value); !errors.Is(err, ErrCorrupt) {
			t.Errorf("one byte more: %v", err)
		}
	}
}

// xpress packs b as a test needs it: a match wherever the same four bytes stood before.
func xpress(b []byte) []byte {
	out := []byte{3 << 3, byte(len(b)), byte(len(b) >> 8)}
	var flags uint32
	left, flagsAt, nibble := 0, 0, -1
	flag := func(bit uint32) {
		if left == 0 {
			flagsAt, left, flags = len(out), 32, 0
			out = append(out, 0, 0, 0, 0)
		}
		left--
		flags |= bit << left
		le.PutUint32(out[flagsAt:], flags)
	}
	for i := 0; i < len(b); {
		from := -1
		if i+4 <= len(b) {
			from = bytes.LastIndex(b[max(0, i-8192):i], b[i:i+4])
		}
		if from < 0 {
			flag(0)
			out = append(out, b[i])
			i++
			continue
		}
		from += max(0, i-8192)
		n := 4
		for i+n < len(b) && b[from+n] == b[i+n] {
			n++
		}
		flag(1)
		rest := n - 3
		m := uint16(i-from-1)<<3 | uint16(min(rest, 7))
		out = le.AppendUint16(out, m)
		if rest >= 7 {
			rest -= 7
			if nibble < 0 {
				nibble = len(out)
				out = append(out, byte(min(rest, 15)))
			} else {
				out[nibble] |= byte(min(rest, 15)) << 4
				nibble = -1
			}
			if rest >= 15 {
				if rest -= 15; rest < 255 {
					out = append(out, byte(rest))
				} else {
					out = le.AppendUint16(append(out, 255), uint16(n-3))
				}
			}
		}
		i += n
	}
	return out
}

func TestXpressRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.StringMatching(`[ab]{1,5}|[a-z]{0,40}|a{200,700}`), 0, 60).Draw(t, "parts")
		want := []byte(strings.Join(parts, ""))
		got, err := decompress(nil, xpress(want))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	})
}

func TestSevenBitRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[ -~]{1,100}`).Draw(t, "text")
		if got, err := decompress(nil, seed.SevenBit(s, 1)); err != nil || string(got) != s {
			t.Fatalf("%q, %v; want %q", got, err, s)
		}
		if got, err := decompress(nil, seed.SevenBit(s, 2)); err != nil || !bytes.Equal(got, seed.Text16(s)) {
			t.Fatalf("%q, %v; want %q", got, err, s)
		}
	})
}

func TestOtherCompressions(t *testing.T) {
	for method := range byte(32) {
		if method >= 1 && method <= 3 {
			continue
		}
		if b, err := decompress(nil, []byte{method << 3, 4, 0, 'a', 'b', 'c', 'd'}); !errors.Is(err, ErrUnsupported) || len(b) > 0 {
			t.Errorf("method %d: %q, %v", method, b, err)
		}
	}
	for _, b := range [][]byte{nil, {1 << 3}, {2 << 3}, {3 << 3, 1}} {
		if _, err := decompress(nil, b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

func TestDecodeText(t *testing.T) {
	for _, x := range []struct {
		b        string
		codePage int
		want     string
	}{
		{"caf\xe9 \x80\x81", 1252, "café €\ufffd"},
		{"plain\x00\x00", 1252, "plain"},
		{"a\x80", 20127, "a\ufffd"},
		{"old\x9f", 0, "oldŸ"},
		{"=\xd8\x00\xdea\x00", 1200, "😀a"},
		{"=\xd8a\x00\x00\xde", 1200, "\ufffda\ufffd"},
		{"a\x00=\xd8", 1200, "a\ufffd"},
		{"a\x00 ", 1200, "a "},
		{"", 1200, ""},
	} {
		if got, err := decodeText([]byte(x.b), x.codePage); got != x.want || err != nil {
			t.Errorf("%q in %d: %q, %v; want %q", x.b, x.codePage, got, err, x.want)
		}
	}
	if _, err := decodeText([]byte("a"), 932); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}
