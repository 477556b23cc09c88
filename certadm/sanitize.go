package certadm

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// disallowed are the printable ASCII characters that a sanitized name does not
// hold as they are.
const disallowed = "!\"#%&'()*+,/:;<=>?[\\]^`{|}"

// SanitizeName returns the form of an authority's common name that is used in
// file and directory names (MS-WCCE section 3.1.1.4.1.1): each UTF-16 unit
// outside printable ASCII, and each of !"#%&'()*+,/:;<=>?[\]^`{|}, becomes !xxxx
// with its four hexadecimal digits. [UnsanitizeName] is the inverse. Bytes that
// are not UTF-8 count as U+FFFD.
//
// The result has no separator and no wildcard, but it can still be a name that
// a file system treats specially, such as ".." or "nul".
func SanitizeName(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= ' ' && r <= '~' && !strings.ContainsRune(disallowed, r) {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, "!%04x", u)
		}
	}
	return b.String()
}

// UnsanitizeName returns the common name that [SanitizeName] made s of. A
// character that a sanitized name cannot hold, a "!" without its four
// hexadecimal digits, and digits that are half a surrogate pair are an error.
func UnsanitizeName(s string) (string, error) {
	var units []uint16
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '!':
			var u uint16
			for j := 1; j <= 4; j++ {
				d := -1
				if i+j < len(s) {
					d = hexDigit(s[i+j])
				}
				if d < 0 {
					return "", fmt.Errorf("sanitized name %q: byte %d: four hexadecimal digits must follow an exclamation mark", s, i)
				}
				u = u<<4 | uint16(d)
			}
			units = append(units, u)
			i += 4
		case c < ' ' || c > '~' || strings.IndexByte(disallowed, c) >= 0:
			return "", fmt.Errorf("sanitized name %q: byte %d: a sanitized name has no %q", s, i, c)
		default:
			units = append(units, uint16(c))
		}
	}
	for i := 0; i < len(units); i++ {
		u := rune(units[i])
		if !utf16.IsSurrogate(u) {
			continue
		}
		if i+1 == len(units) || utf16.DecodeRune(u, rune(units[i+1])) == utf8.RuneError {
			return "", fmt.Errorf("sanitized name %q: lone surrogate !%04x", s, u)
		}
		i++
	}
	return string(utf16.Decode(units)), nil
}

// IsAuthorityName reports whether given names the authority with this common
// name: by the name itself or its sanitized form, in any case, as MS-CSRA
// servers compare pwszAuthority.
func IsAuthorityName(given, commonName string) bool {
	return strings.EqualFold(given, commonName) || strings.EqualFold(given, SanitizeName(commonName))
}
