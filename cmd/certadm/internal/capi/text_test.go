package capi

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unsafe"

	"github.com/certkeep/certkeep/certadm"
)

func read(units []uint16) (string, bool) { return ReadString(unsafe.Pointer(&units[0])) }

func TestReadString(t *testing.T) {
	for _, s := range []string{"", "CA1", "Größe", "\U0001F511", strings.Repeat("A", certadm.MaxNameUnits)} {
		if got, ok := read(append(utf16.Encode([]rune(s)), 0)); !ok || got != s {
			t.Errorf("%.20q: %.20q, %v", s, got, ok)
		}
	}
	long := slices.Repeat([]uint16{'A'}, certadm.MaxNameUnits+1) // without its NUL: no more is read
	if got, ok := read(long); ok || got != "" {
		t.Errorf("a string without an end: %d bytes", len(got))
	}
	for _, units := range [][]uint16{{0xd800, 0}, {'a', 0xdc00, 'b', 0}, {0xd800, 'a', 0}, {0xdc00, 0xd800, 0}} {
		if got, ok := read(units); ok {
			t.Errorf("%x: %q", units, got)
		}
	}
}

// FuzzReadString: what is read is what is there, up to the NUL.
func FuzzReadString(f *testing.F) {
	f.Add([]byte("C\x00A\x001\x00"))
	f.Add([]byte("\x00\xd8\x00\xdc"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		units := make([]uint16, 0, len(b)/2+1)
		for ; len(b) >= 2; b = b[2:] {
			units = append(units, binary.LittleEndian.Uint16(b))
		}
		units = append(units, 0)
		s, ok := read(units)
		if end := slices.Index(units, 0); ok && !slices.Equal(utf16.Encode([]rune(s)), units[:end]) {
			t.Errorf("%x was read as %q", units, s)
		}
	})
}
