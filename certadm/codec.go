package certadm

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a list. A real list is a few kilobytes; these keep a hostile one
// from costing much.
const (
	MaxListBytes   = 16 << 20 // bytes of a whole list, terminators included
	MaxListEntries = 1 << 18  // names in a list
	MaxNameUnits   = 32767    // WCHARs of one name: Windows' longest path
)

// MalformedError says why a list, or a file that holds one, is refused. It
// stands for [ErrorInvalidData].
type MalformedError struct {
	Offset int // where, in bytes from the start of the list; -1 if nowhere in particular
	Reason string
}

func (e *MalformedError) Error() string {
	if e.Offset < 0 {
		return "malformed list: " + e.Reason
	}
	return fmt.Sprintf("malformed list: at byte %d: %s", e.Offset, e.Reason)
}

// Unwrap returns ErrorInvalidData, so that errors.Is and [CodeOf] find it.
func (e *MalformedError) Unwrap() error { return ErrorInvalidData }

func malformed(unit int, format string, args ...any) error {
	offset := -1
	if unit >= 0 {
		offset = 2 * unit
	}
	return &MalformedError{Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// EncodeList encodes a tagged list as Certadm.dll returns it: for each entry one
// WCHAR with the tag, the path and a NUL, and a further NUL after the last
// entry, all UTF-16LE. An empty list is no bytes at all.
//
// The list's size in the C interface is the length of the result; on the wire
// it is half of that, see [EncodeListUnits].
func EncodeList(l FileList) ([]byte, error) {
	return unitsToBytes(EncodeListUnits(l))
}

// EncodeListUnits is [EncodeList] in WCHARs, as MS-CSRA counts them.
func EncodeListUnits(l FileList) ([]uint16, error) {
	var e encoder
	for i, entry := range l {
		if !validTag(entry.Type) {
			return nil, malformed(-1, "entry %d: %#x is no tag", i, uint16(entry.Type))
		}
		e.units = append(e.units, uint16(entry.Type))
		if err := e.name(i, entry.Path); err != nil {
			return nil, err
		}
	}
	return e.finish()
}

// DecodeList decodes a tagged list. Every byte must be accounted for: what it
// accepts, [EncodeList] encodes to the same bytes, save that a lone NUL is taken
// for an empty list, too.
func DecodeList(b []byte) (FileList, error) {
	units, err := bytesToUnits(b)
	if err != nil {
		return nil, err
	}
	return DecodeListUnits(units)
}

// DecodeListUnits is [DecodeList] of WCHARs.
func DecodeListUnits(units []uint16) (FileList, error) {
	var l FileList
	err := walk(units, func(at int, name []uint16) error {
		tag := FileType(name[0])
		if !validTag(tag) {
			return malformed(at, "%#x is no tag", name[0])
		}
		if len(name) == 1 {
			return malformed(at, "tag %#x has no path", name[0])
		}
		path, err := decodeName(at+1, name[1:])
		if err != nil {
			return err
		}
		l = append(l, FileEntry{Type: tag, Path: path})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// EncodeStrings encodes an untagged list, as BackupGetDynamicFileList returns
// it.
func EncodeStrings(names []string) ([]byte, error) {
	return unitsToBytes(EncodeStringsUnits(names))
}

// EncodeStringsUnits is [EncodeStrings] in WCHARs.
func EncodeStringsUnits(names []string) ([]uint16, error) {
	var e encoder
	for i, name := range names {
		if err := e.name(i, name); err != nil {
			return nil, err
		}
	}
	return e.finish()
}

// DecodeStrings decodes an untagged list. Names are returned whole: there is no
// tag to strip.
func DecodeStrings(b []byte) ([]string, error) {
	units, err := bytesToUnits(b)
	if err != nil {
		return nil, err
	}
	return DecodeStringsUnits(units)
}

// DecodeStringsUnits is [DecodeStrings] of WCHARs.
func DecodeStringsUnits(units []uint16) ([]string, error) {
	var l []string
	err := walk(units, func(at int, name []uint16) error {
		s, err := decodeName(at, name)
		if err != nil {
			return err
		}
		l = append(l, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// validTag reports whether t can stand before a path: one WCHAR up to 0xFF. A
// backslash is none, since it is how a name without a tag begins.
func validTag(t FileType) bool { return t > 0 && t <= 0xFF && t != '\\' }

// walk calls fn with the offset and the WCHARs of each string of a list.
func walk(units []uint16, fn func(at int, name []uint16) error) error {
	if len(units) > MaxListBytes/2 {
		return malformed(-1, "%d WCHARs, at most %d are taken", len(units), MaxListBytes/2)
	}
	if len(units) == 0 {
		return nil // count 0: nothing to look at, perhaps a nil pointer
	}
	for at, n := 0, 0; at < len(units); n++ {
		end := at
		for end < len(units) && units[end] != 0 {
			end++
		}
		switch {
		case end == len(units):
			return malformed(at, "string without its NUL")
		case end == at && at+1 != len(units):
			return malformed(at+1, "%d bytes after the end of the list", 2*(len(units)-at-1))
		case end == at:
			return nil
		case n == MaxListEntries:
			return malformed(at, "more than %d entries", MaxListEntries)
		case end-at > MaxNameUnits+1: // one more for a tag
			return malformed(at, "name of %d WCHARs, at most %d are taken", end-at, MaxNameUnits)
		}
		if err := fn(at, units[at:end]); err != nil {
			return err
		}
		at = end + 1
	}
	return malformed(len(units), "the NUL that ends the list is missing")
}

// decodeName refuses what a Go string cannot hold, and give back: half a
// surrogate pair.
func decodeName(at int, units []uint16) (string, error) {
	if len(units) > MaxNameUnits {
		return "", malformed(at, "name of %d WCHARs, at most %d are taken", len(units), MaxNameUnits)
	}
	for i := 0; i < len(units); i++ {
		u := rune(units[i])
		if !utf16.IsSurrogate(u) {
			continue
		}
		if i+1 == len(units) || utf16.DecodeRune(u, rune(units[i+1])) == utf8.RuneError {
			return "", malformed(at+i, "lone surrogate %#x", u)
		}
		i++
	}
	return string(utf16.Decode(units)), nil
}

// encoder gathers the WCHARs of a list.
type encoder struct {
	units []uint16
	n     int
}

func (e *encoder) name(i int, s string) error {
	start := len(e.units)
	switch {
	case s == "":
		return malformed(-1, "entry %d: empty name", i)
	case len(s) > 3*MaxNameUnits:
		return malformed(-1, "entry %d: name of %d bytes", i, len(s))
	case strings.IndexByte(s, 0) >= 0:
		return malformed(-1, "entry %d: NUL in a name", i)
	case !utf8.ValidString(s):
		return malformed(-1, "entry %d: name is not UTF-8", i)
	case e.n == MaxListEntries:
		return malformed(-1, "more than %d entries", MaxListEntries)
	}
	for _, r := range s {
		e.units = utf16.AppendRune(e.units, r)
	}
	if n := len(e.units) - start; n > MaxNameUnits {
		return malformed(-1, "entry %d: name of %d WCHARs, at most %d are possible", i, n, MaxNameUnits)
	}
	e.units = append(e.units, 0)
	e.n++
	if len(e.units) > MaxListBytes/2-1 { // one for the final NUL
		return malformed(-1, "list of more than %d bytes", MaxListBytes)
	}
	return nil
}

func (e *encoder) finish() ([]uint16, error) {
	if e.n == 0 {
		return nil, nil
	}
	return append(e.units, 0), nil
}

func unitsToBytes(units []uint16, err error) ([]byte, error) {
	if err != nil || len(units) == 0 {
		return nil, err
	}
	b := make([]byte, 2*len(units))
	for i, u := range units {
		binary.LittleEndian.PutUint16(b[2*i:], u)
	}
	return b, nil
}

func bytesToUnits(b []byte) ([]uint16, error) {
	if len(b) > MaxListBytes {
		return nil, malformed(-1, "%d bytes, at most %d are taken", len(b), MaxListBytes)
	}
	if len(b)%2 != 0 {
		return nil, malformed(-1, "odd length %d", len(b))
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return units, nil
}
