package esetest

import (
	"unicode"
	"unicode/utf16"

	"github.com/certkeep/certkeep/ese"
)

// maxKey is where the engine cuts keys by default.
const maxKey = 255

// What a column's part of a key begins with.
const (
	keyNull  = 0x00
	keyEmpty = 0x40
	keyData  = 0x7f
)

// appendKey appends a column's part of a key as the engine normalises it: keys compare
// byte by byte as their values do.
func appendKey(key []byte, c *column, v []byte, null bool) []byte {
	if null {
		return append(key, keyNull)
	}
	if len(v) == 0 {
		return append(key, keyEmpty)
	}
	key = append(key, keyData)
	switch c.Type {
	case ese.Bit:
		if v[0] != 0 {
			return append(key, 0xff)
		}
		return append(key, 0)
	case ese.UnsignedByte, ese.UnsignedShort, ese.UnsignedLong, ese.UnsignedLongLong:
		return appendReverse(key, v, 0)
	case ese.Short, ese.Long, ese.Currency, ese.LongLong:
		return appendReverse(key, v, 0x80)
	case ese.IEEESingle, ese.IEEEDouble, ese.DateTime:
		// Also a FILETIME is sorted as if it were the number its type says.
		if v[len(v)-1]&0x80 == 0 {
			return appendReverse(key, v, 0x80)
		}
		n := len(key)
		key = appendReverse(key, v, 0)
		for i := n; i < len(key); i++ {
			key[i] = ^key[i]
		}
		return key
	case ese.GUIDType:
		for _, part := range [][]byte{v[10:16], v[8:10], v[6:8], v[4:6], v[0:4]} {
			key = append(key, part...)
		}
		return key
	case ese.Text, ese.LongText:
		return appendText(key, c, v)
	}
	if c.Placement == Fixed {
		return append(key, v...)
	}
	return appendGroups(key, v)
}

// appendReverse appends a number from its highest byte on, with bits of that byte
// turned over.
func appendReverse(key, v []byte, flip byte) []byte {
	n := len(key)
	for i := len(v) - 1; i >= 0; i-- {
		key = append(key, v[i])
	}
	key[n] ^= flip
	return key
}

// appendGroups appends bytes of any number, in groups of eight, each followed by how
// many of them count, or 9 if more groups follow.
func appendGroups(key, v []byte) []byte {
	for len(v) > 8 {
		key = append(append(key, v[:8]...), 9)
		v = v[8:]
	}
	n := len(key) + 8
	key = append(key, v...)
	for len(key) < n {
		key = append(key, 0)
	}
	return append(key, byte(len(v)))
}

// appendText appends a text. That of code page 1252 is upper case and has a zero
// behind it. UTF-16 goes through the collation of Windows in the engine; here are
// upper-case code units in its place, with the same marks behind them.
func appendText(key []byte, c *column, v []byte) []byte {
	if c.CodePage != codePageUTF16 {
		for _, b := range v {
			if b >= 'a' && b <= 'z' {
				b -= 'a' - 'A'
			}
			key = append(key, b)
		}
		return append(key, 0)
	}
	const above = 0x0200 // the marks
	for ; len(v) >= 2; v = v[2:] {
		u := rune(le.Uint16(v))
		if !utf16.IsSurrogate(u) {
			if up := unicode.ToUpper(u); up < 0x10000-above {
				u = up
			}
		}
		key = be.AppendUint16(key, uint16(min(u+above, 0xffff)))
	}
	return append(key, 1, 1, 1, 1, 0)
}
