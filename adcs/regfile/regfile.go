// Package regfile reads and writes registry files of version 5, the format of
// "regedit /e", "reg export" and "reg import" since Windows 2000: UTF-16LE with
// a byte order mark, the line "Windows Registry Editor Version 5.00", and then
// keys in brackets with their values below.
//
// The format is described in Microsoft's support article 310516. What that
// leaves open (how strings are quoted, which values are written as text) is as
// regedit writes it.
package regfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// Type is the type of a value (winnt.h, REG_*). Any number can stand in a
// registry.
type Type uint32

// The types of values.
const (
	None     Type = 0
	String   Type = 1  // REG_SZ
	Expand   Type = 2  // REG_EXPAND_SZ, with environment variables in it
	Binary   Type = 3  // REG_BINARY
	DWord    Type = 4  // REG_DWORD, little-endian
	DWordBig Type = 5  // REG_DWORD_BIG_ENDIAN
	Link     Type = 6  // REG_LINK
	Multi    Type = 7  // REG_MULTI_SZ
	QWord    Type = 11 // REG_QWORD, little-endian
)

var typeNames = map[Type]string{None: "REG_NONE", String: "REG_SZ", Expand: "REG_EXPAND_SZ", Binary: "REG_BINARY", DWord: "REG_DWORD",
	DWordBig: "REG_DWORD_BIG_ENDIAN", Link: "REG_LINK", Multi: "REG_MULTI_SZ", QWord: "REG_QWORD"}

func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type %#x", uint32(t))
}

// Value is a value with its bytes as the registry has them: strings are UTF-16LE
// with their terminators, if they have any.
type Value struct {
	Name   string // empty for a key's default value
	Type   Type
	Data   []byte
	Delete bool // the value is to be deleted; Type and Data do not count
}

// Key is a key with its values. Its subkeys are further keys of the file.
type Key struct {
	Path   string // HKEY_LOCAL_MACHINE\SYSTEM\…
	Values []Value
	Delete bool // the key is to be deleted with all below it
}

// ErrType is wrapped by the error for a value of another type than was asked for.
var ErrType = errors.New("unexpected type of registry value")

// Text returns a string value up to its terminator. Halves of surrogate pairs
// become U+FFFD.
func (v Value) Text() (string, error) {
	if v.Type != String && v.Type != Expand {
		return "", fmt.Errorf("%q: %w: it is %v, and should be a string", v.Name, ErrType, v.Type)
	}
	u := units(v.Data)
	for i, c := range u {
		if c == 0 {
			u = u[:i]
			break
		}
	}
	return string(utf16.Decode(u)), nil
}

// Strings returns the strings of a multi-string value. The list ends at the
// first empty one.
func (v Value) Strings() ([]string, error) {
	if v.Type != Multi {
		return nil, fmt.Errorf("%q: %w: it is %v, and should be %v", v.Name, ErrType, v.Type, Multi)
	}
	var list []string
	u := units(v.Data)
	for len(u) > 0 && u[0] != 0 {
		n := 0
		for n < len(u) && u[n] != 0 {
			n++
		}
		list = append(list, string(utf16.Decode(u[:n])))
		u = u[min(n+1, len(u)):]
	}
	return list, nil
}

// Number returns a 32-bit number.
func (v Value) Number() (uint32, error) {
	if v.Type != DWord || len(v.Data) != 4 {
		return 0, fmt.Errorf("%q: %w: it is %v of %d bytes, and should be %v", v.Name, ErrType, v.Type, len(v.Data), DWord)
	}
	return binary.LittleEndian.Uint32(v.Data), nil
}

// NewString is a value of type [String] or [Expand].
func NewString(name string, t Type, s string) Value {
	return Value{Name: name, Type: t, Data: append(encode(s), 0, 0)}
}

// NewMulti is a value of type [Multi]. The strings must not be empty: an empty
// one would end the list.
func NewMulti(name string, list []string) Value {
	var b []byte
	for _, s := range list {
		b = append(append(b, encode(s)...), 0, 0)
	}
	return Value{Name: name, Type: Multi, Data: append(b, 0, 0)}
}

// NewNumber is a value of type [DWord].
func NewNumber(name string, n uint32) Value {
	return Value{Name: name, Type: DWord, Data: binary.LittleEndian.AppendUint32(nil, n)}
}

func encode(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// units are the WCHARs of b; half a one at the end is left out.
func units(b []byte) []uint16 {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return u
}

// plain returns the text of a string that can stand between quotes: one that
// has its terminator at its end and nowhere else, no line breaks, and nothing
// that UTF-16 cannot hold.
func plain(data []byte) (string, bool) {
	if len(data) < 2 || len(data)%2 != 0 {
		return "", false
	}
	u := units(data)
	if u[len(u)-1] != 0 {
		return "", false
	}
	s := string(utf16.Decode(u[:len(u)-1]))
	return s, !hasControl(s) && string(encode(s)) == string(data[:len(data)-2])
}

// hasControl reports whether a text has characters that would end its line, or
// that regedit may not read back.
func hasControl(s string) bool {
	if !utf8.ValidString(s) {
		return true
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfeff || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return true
		}
	}
	return false
}
