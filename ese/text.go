package ese

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Code pages of texts.
const (
	codePageNone  = 0
	codePageUTF16 = 1200
	codePage1252  = 1252
	codePageASCII = 20127
)

// windows1252 is what bytes from 0x80 to 0x9f are; 0 stands for no character.
var windows1252 = [32]rune{
	0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0,
	0, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e, 0x0178,
}

// decodeText turns a stored text into a string. What is no character becomes
// U+FFFD. NULs at the end, which some applications store and others do not, are left
// out.
func decodeText(b []byte, codePage int) (string, error) {
	var s string
	switch codePage {
	case codePageUTF16:
		s = decodeUTF16(b)
	case codePage1252, codePageNone, codePageASCII:
		s = decode1252(b, codePage == codePageASCII)
	default:
		return "", unsupported("text in code page %d", codePage)
	}
	return strings.TrimRight(s, "\x00"), nil
}

// decodeUTF16 takes the upper half of the last unit for zero if it is not there: a
// column of fixed length, which the engine fills with spaces, may have an odd number
// of bytes.
func decodeUTF16(b []byte) string {
	var s strings.Builder
	s.Grow(len(b) / 2)
	for ; len(b) >= 2; b = b[2:] {
		c := rune(le.Uint16(b))
		if utf16.IsSurrogate(c) {
			pair := rune(utf8.RuneError)
			if len(b) >= 4 {
				pair = utf16.DecodeRune(c, rune(le.Uint16(b[2:])))
			}
			if c = pair; c != utf8.RuneError {
				b = b[2:]
			}
		}
		s.WriteRune(c)
	}
	if len(b) == 1 {
		s.WriteRune(rune(b[0]))
	}
	return s.String()
}

func decode1252(b []byte, ascii bool) string {
	plain := true
	for _, c := range b {
		plain = plain && c < utf8.RuneSelf
	}
	if plain {
		return string(b)
	}
	var s strings.Builder
	for _, c := range b {
		r := rune(c)
		switch {
		case ascii && c >= utf8.RuneSelf:
			r = utf8.RuneError
		case c >= 0x80 && c < 0xa0:
			if r = windows1252[c-0x80]; r == 0 {
				r = utf8.RuneError
			}
		}
		s.WriteRune(r)
	}
	return s.String()
}
