package certadm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"
)

// le encodes s as UTF-16LE.
func le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// golden is the restore map of an AD CS server as certutil's certbkxp.dat holds
// it, written out byte by byte.
var golden = struct {
	list FileList
	hex  string
}{
	FileList{{FileDatabase, `\\SRV\C$\CA.edb`}, {FileLogDir, `\\SRV\L`}, {FileCheckpointDir, `\\SRV\Ü`}},
	"4400" + "5c005c005300520056005c00430024005c00430041002e00650064006200" + "0000" +
		"8200" + "5c005c005300520056005c004c00" + "0000" +
		"8300" + "5c005c005300520056005c00dc00" + "0000" +
		"0000",
}

func TestEncodeListGolden(t *testing.T) {
	want, err := hex.DecodeString(golden.hex)
	if err != nil {
		t.Fatal(err)
	}
	got, err := EncodeList(golden.list)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("EncodeList = %x, %v\nwant %x", got, err, want)
	}
	list, err := DecodeList(want)
	if err != nil || !slices.Equal(list, golden.list) {
		t.Errorf("DecodeList = %v, %v", list, err)
	}
	units, err := EncodeListUnits(golden.list)
	if err != nil || 2*len(units) != len(want) {
		t.Errorf("%d WCHARs for %d bytes, %v", len(units), len(want), err)
	}
	if list, err := DecodeListUnits(units); err != nil || !slices.Equal(list, golden.list) {
		t.Errorf("DecodeListUnits = %v, %v", list, err)
	}
}

func TestEncodeStringsGolden(t *testing.T) {
	names := []string{`\\SRV\a.crl`, "D", "!x", "😀"}
	want := slices.Concat(le(`\\SRV\a.crl`), []byte{0, 0}, le("D"), []byte{0, 0}, le("!x"), []byte{0, 0}, []byte{0x3d, 0xd8, 0x00, 0xde}, []byte{0, 0}, []byte{0, 0})
	got, err := EncodeStrings(names)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("EncodeStrings = %x, %v\nwant %x", got, err, want)
	}
	// The first character is part of the name, also where it looks like a tag.
	back, err := DecodeStrings(want)
	if err != nil || !slices.Equal(back, names) {
		t.Errorf("DecodeStrings = %q, %v", back, err)
	}
}

func TestEmptyLists(t *testing.T) {
	if b, err := EncodeList(nil); b != nil || err != nil {
		t.Errorf("EncodeList(nil) = %v, %v", b, err)
	}
	if u, err := EncodeListUnits(FileList{}); u != nil || err != nil {
		t.Errorf("EncodeListUnits = %v, %v", u, err)
	}
	if b, err := EncodeStrings(nil); b != nil || err != nil {
		t.Errorf("EncodeStrings(nil) = %v, %v", b, err)
	}
	if u, err := EncodeStringsUnits([]string{}); u != nil || err != nil {
		t.Errorf("EncodeStringsUnits = %v, %v", u, err)
	}
	for _, b := range [][]byte{nil, {}, {0, 0}} {
		if l, err := DecodeList(b); len(l) != 0 || err != nil {
			t.Errorf("DecodeList(%v) = %v, %v", b, l, err)
		}
		if l, err := DecodeStrings(b); len(l) != 0 || err != nil {
			t.Errorf("DecodeStrings(%v) = %v, %v", b, l, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	big := strings.Repeat("a", MaxNameUnits+1)
	for _, tt := range []struct {
		name   string
		b      []byte
		reason string
		tagged bool // refused as a tagged list only
	}{
		{"odd length", append(le("Da\x00\x00"), 0), "odd length", false},
		{"one byte", []byte{0}, "odd length", false},
		{"no NUL at all", le("Dabc"), "string without its NUL", false},
		{"second string without NUL", le("Dabc\x00!x"), "at byte 10: string without its NUL", false},
		{"final NUL missing", le("Dabc\x00"), "at byte 10: the NUL that ends the list is missing", false},
		{"trailing bytes", le("Da\x00\x00x\x00"), "at byte 8: 4 bytes after the end", false},
		{"trailing NUL", le("Da\x00\x00\x00"), "2 bytes after the end", false},
		{"only two NULs", le("\x00\x00"), "2 bytes after the end", false},
		{"empty string first", le("\x00Da\x00\x00"), "after the end", false},
		{"tag without path", le("D\x00\x00"), "no path", true},
		{"second tag without path", le("Da\x00\u0082\x00\x00"), "at byte 6: tag 0x82 has no path", true},
		{"untagged", le(`\\SRV\x` + "\x00\x00"), "0x5c is no tag", true},
		{"byte order mark", le("\ufeffDa\x00\x00"), "0xfeff is no tag", true},
		{"tag beyond a byte", le("Āa\x00\x00"), "0x100 is no tag", true},
		{"high surrogate alone", []byte{'D', 0, 0x00, 0xd8, 'x', 0, 0, 0, 0, 0}, "at byte 2: lone surrogate 0xd800", false},
		{"high surrogate last", []byte{'D', 0, 0xff, 0xdb, 0, 0, 0, 0}, "lone surrogate 0xdbff", false},
		{"low surrogate alone", []byte{'D', 0, 0x00, 0xdc, 0, 0, 0, 0}, "lone surrogate 0xdc00", false},
		{"pair swapped", []byte{'D', 0, 0x00, 0xdc, 0x00, 0xd8, 0, 0, 0, 0}, "lone surrogate 0xdc00", false},
		{"name too long", le("Da" + big + "\x00\x00"), "name of", false},
		{"list too long", make([]byte, MaxListBytes+2), "at most", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(what string, err error) {
				var m *MalformedError
				if !errors.As(err, &m) || CodeOf(err) != ErrorInvalidData || !strings.Contains(err.Error(), tt.reason) {
					t.Errorf("%s: %v, want an error with %q", what, err, tt.reason)
				}
			}
			l, err := DecodeList(tt.b)
			check("DecodeList", err)
			if l != nil {
				t.Errorf("DecodeList returned %v with its error", l)
			}
			if !tt.tagged {
				_, err := DecodeStrings(tt.b)
				check("DecodeStrings", err)
			}
		})
	}
	// The longest name, with and without a tag, is taken.
	if l, err := DecodeList(le("D" + big[1:] + "\x00\x00")); err != nil || len(l) != 1 {
		t.Errorf("longest path refused: %v", err)
	}
	if _, err := DecodeStrings(le(big + "\x00\x00")); err == nil {
		t.Error("an untagged name of one WCHAR too many is taken")
	}
	many := slices.Repeat(le("Da\x00"), MaxListEntries)
	if l, err := DecodeList(append(slices.Clone(many), 0, 0)); err != nil || len(l) != MaxListEntries {
		t.Errorf("the most entries are refused: %v", err)
	}
	if _, err := DecodeList(append(append(many, le("Da\x00")...), 0, 0)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("one entry too many: %v", err)
	}
	if _, err := DecodeListUnits(make([]uint16, MaxListBytes/2+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too many WCHARs: %v", err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		e    FileEntry
	}{
		{"empty path", FileEntry{FileDatabase, ""}},
		{"NUL", FileEntry{FileDatabase, "a\x00b"}},
		{"not UTF-8", FileEntry{FileDatabase, "a\xffb"}},
		{"surrogate in UTF-8", FileEntry{FileDatabase, "\xed\xa0\x80"}},
		{"too long", FileEntry{FileDatabase, strings.Repeat("a", MaxNameUnits+1)}},
		{"too long in WCHARs", FileEntry{FileDatabase, strings.Repeat("😀", MaxNameUnits/2+1)}},
		{"far too long", FileEntry{FileDatabase, strings.Repeat("a", 1<<20)}},
		{"tag 0", FileEntry{0, "a"}},
		{"tag beyond a byte", FileEntry{0x100, "a"}},
		{"backslash as tag", FileEntry{'\\', `\a`}},
	} {
		if b, err := EncodeList(FileList{{FileLog, "ok"}, tt.e}); b != nil || CodeOf(err) != ErrorInvalidData {
			t.Errorf("%s: EncodeList = %d bytes, %v", tt.name, len(b), err)
		}
		if tt.e.Type != FileDatabase {
			continue
		}
		if b, err := EncodeStrings([]string{"ok", tt.e.Path}); b != nil || CodeOf(err) != ErrorInvalidData {
			t.Errorf("%s: EncodeStrings = %d bytes, %v", tt.name, len(b), err)
		}
	}
	if _, err := EncodeStrings(slices.Repeat([]string{"a"}, MaxListEntries+1)); err == nil {
		t.Error("too many entries are encoded")
	}
	if _, err := EncodeStrings(slices.Repeat([]string{strings.Repeat("a", 32000)}, 300)); err == nil {
		t.Error("too many bytes are encoded")
	}
}

// drawName makes names that try the codec: non-ASCII, pairs, tag look-alikes.
func drawName() *rapid.Generator[string] {
	return rapid.StringOfN(rapid.RuneFrom([]rune(`aZ0\$ !%D.`+"\u0082\u0083ÜĀ\ufeff\uffff\ue000😀\U0010ffff")), 1, 20, -1)
}

func TestListRoundTrip(t *testing.T) {
	tags := rapid.SampledFrom([]FileType{FileLog, FilePatch, FileDatabase, FileLogDir, FileCheckpointDir, FileUnknown, 1, 0xFF})
	rapid.Check(t, func(t *rapid.T) {
		var list FileList
		for range rapid.IntRange(0, 6).Draw(t, "entries") {
			list = append(list, FileEntry{tags.Draw(t, "tag"), drawName().Draw(t, "path")})
		}
		b, err := EncodeList(list)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 && !bytes.HasSuffix(b, []byte{0, 0, 0, 0}) {
			t.Fatalf("%x does not end with two NULs", b)
		}
		back, err := DecodeList(b)
		if err != nil || !slices.Equal(back, list) {
			t.Fatalf("%v, %v, want %v", back, err, list)
		}
		units, err := EncodeListUnits(list)
		if err != nil || 2*len(units) != len(b) {
			t.Fatalf("%d WCHARs, %d bytes, %v", len(units), len(b), err)
		}
	})
}

func TestStringsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(drawName(), 0, 6).Draw(t, "names")
		b, err := EncodeStrings(names)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeStrings(b)
		if err != nil || !slices.Equal(back, names) {
			t.Fatalf("%q, %v, want %q", back, err, names)
		}
	})
}

// Cutting a good list short, anywhere, makes it malformed; so does a byte more.
func TestEveryTruncationRefused(t *testing.T) {
	b, err := EncodeList(golden.list)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < len(b); n++ {
		if l, err := DecodeList(b[:n]); err == nil {
			t.Errorf("cut to %d bytes it decodes to %v", n, l)
		}
	}
	for _, more := range [][]byte{{0}, {0, 0}, {'x', 0}} {
		if l, err := DecodeList(append(slices.Clone(b), more...)); err == nil {
			t.Errorf("with %x behind it decodes to %v", more, l)
		}
	}
}

func seedLists(f *testing.F) {
	b, _ := hex.DecodeString(golden.hex)
	for _, s := range [][]byte{
		nil, {0, 0}, {0, 0, 0, 0}, b, b[:len(b)-2], b[:7], append(slices.Clone(b), 0),
		le(`\\SRV\a.crl` + "\x00" + `\\SRV\b.crt` + "\x00\x00"), le("D\x00\x00"),
		{'D', 0, 0x00, 0xd8, 0, 0, 0, 0}, {'D', 0, 0x3d, 0xd8, 0, 0xde, 0, 0, 0, 0},
	} {
		f.Add(s)
	}
}

func FuzzDecodeList(f *testing.F) {
	seedLists(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeList(b)
		if err != nil {
			if l != nil || CodeOf(err) != ErrorInvalidData {
				t.Fatalf("%v, %v", l, err)
			}
			return
		}
		again, err := EncodeList(l)
		if err != nil || !bytes.Equal(again, b) && len(l) > 0 {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}

func FuzzDecodeStrings(f *testing.F) {
	seedLists(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeStrings(b)
		if err != nil {
			if l != nil || CodeOf(err) != ErrorInvalidData {
				t.Fatalf("%v, %v", l, err)
			}
			return
		}
		again, err := EncodeStrings(l)
		if err != nil || !bytes.Equal(again, b) && len(l) > 0 {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}

func FuzzDecodeLocations(f *testing.F) {
	seedLists(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLocations(b)
		if err != nil {
			return
		}
		if _, err := l.RestoreMap(); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		if again, err := EncodeLocations(l); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}
