package authority

import (
	"encoding/asn1"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	maxSubject           = 8 << 10 // bytes of DER
	maxSubjectAttributes = 32
	maxOtherAttribute    = 256 // characters
)

// Attribute is one attribute of a subject.
type Attribute struct {
	Type  string // "CN", "O", …; dotted decimal when it has no short name
	Value string
}

// attributeTypes are the attributes with a short name and the upper bounds of
// RFC 5280, appendix A, in characters.
var attributeTypes = []struct {
	oid   asn1.ObjectIdentifier
	name  string
	bound int
}{
	{asn1.ObjectIdentifier{2, 5, 4, 3}, "CN", 64},
	{asn1.ObjectIdentifier{2, 5, 4, 6}, "C", 2},
	{asn1.ObjectIdentifier{2, 5, 4, 7}, "L", 128},
	{asn1.ObjectIdentifier{2, 5, 4, 8}, "ST", 128},
	{asn1.ObjectIdentifier{2, 5, 4, 9}, "STREET", 128},
	{asn1.ObjectIdentifier{2, 5, 4, 10}, "O", 64},
	{asn1.ObjectIdentifier{2, 5, 4, 11}, "OU", 64},
	{asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, "DC", 63},
	{asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, "UID", 256},
	{asn1.ObjectIdentifier{2, 5, 4, 4}, "SN", 64},
	{asn1.ObjectIdentifier{2, 5, 4, 5}, "SERIALNUMBER", 64},
	{asn1.ObjectIdentifier{2, 5, 4, 12}, "T", 64},
	{asn1.ObjectIdentifier{2, 5, 4, 42}, "G", 64},
	{asn1.ObjectIdentifier{2, 5, 4, 43}, "I", 64},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, "E", 255},
}

func attributeType(id asn1.ObjectIdentifier) (name string, bound int) {
	for _, t := range attributeTypes {
		if t.oid.Equal(id) {
			return t.name, t.bound
		}
	}
	return id.String(), maxOtherAttribute
}

// parseSubject validates the DER of a Name and lists its attributes.
func parseSubject(raw []byte) ([]Attribute, error) {
	bad := refuse(ReasonSubject, "the subject cannot be read")
	if len(raw) > maxSubject {
		return nil, refuse(ReasonSubject, "the subject has %d bytes: at most %d are accepted", len(raw), maxSubject)
	}
	var rdns cryptobyte.String
	in := cryptobyte.String(raw)
	if !in.ReadASN1(&rdns, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, bad
	}
	var out []Attribute
	for !rdns.Empty() {
		var set cryptobyte.String
		if !rdns.ReadASN1(&set, cbasn1.SET) || set.Empty() {
			return nil, bad
		}
		for !set.Empty() {
			var attr, value cryptobyte.String
			var id asn1.ObjectIdentifier
			var tag cbasn1.Tag
			if !set.ReadASN1(&attr, cbasn1.SEQUENCE) || !attr.ReadASN1ObjectIdentifier(&id) ||
				!attr.ReadAnyASN1(&value, &tag) || !attr.Empty() {
				return nil, bad
			}
			if len(out) == maxSubjectAttributes {
				return nil, refuse(ReasonSubject, "more than %d attributes", maxSubjectAttributes)
			}
			a, err := readAttribute(id, tag, value)
			if err != nil {
				return nil, err
			}
			out = append(out, a)
		}
	}
	return out, nil
}

func readAttribute(id asn1.ObjectIdentifier, tag cbasn1.Tag, value []byte) (Attribute, error) {
	name, bound := attributeType(id)
	if len(name) > 64 {
		return Attribute{}, refuse(ReasonSubject, "an attribute type is too long")
	}
	s, ok := decodeString(tag, value)
	if !ok {
		return Attribute{}, refuse(ReasonSubject, "the value of %s is not a valid text (type %d)", name, tag)
	}
	switch n := utf8.RuneCountInString(s); {
	case strings.TrimSpace(s) == "":
		return Attribute{}, refuse(ReasonSubject, "%s is empty", name)
	case n > bound:
		return Attribute{}, refuse(ReasonSubject, "%s has %d characters: at most %d are accepted", name, n, bound)
	case name == "C" && n != 2:
		return Attribute{}, refuse(ReasonSubject, "C must have two letters")
	}
	if i := strings.IndexFunc(s, unwanted); i >= 0 {
		return Attribute{}, refuse(ReasonSubject, "%s contains a control character: %s", name, quote(s))
	}
	return Attribute{Type: name, Value: s}, nil
}

// unwanted are characters that make a name look like something else where it
// is shown: controls, directional overrides, line separators, specials.
func unwanted(r rune) bool {
	switch {
	case unicode.IsControl(r), r == utf8.RuneError,
		r >= 0x200B && r <= 0x200F && r != 0x200C && r != 0x200D, // joiners are part of some scripts
		r >= 0x2028 && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r == 0xFEFF,
		r >= 0xFFF0 && r <= 0xFFFF, r >= 0xFDD0 && r <= 0xFDEF, r >= 0xE0000 && r <= 0xE0FFF:
		return true
	}
	return false
}

// decodeString reads the string types that DirectoryString and the attributes
// above may have. TeletexString, whose meaning nobody agrees on, and
// UniversalString are refused.
func decodeString(tag cbasn1.Tag, v []byte) (string, bool) {
	switch tag {
	case cbasn1.UTF8String:
		return string(v), utf8.Valid(v)
	case cbasn1.PrintableString:
		for _, c := range v {
			if !isPrintableString(c) {
				return "", false
			}
		}
		return string(v), true
	case cbasn1.IA5String, cbasn1.Tag(asn1.TagNumericString):
		for _, c := range v {
			if c > 0x7F || tag != cbasn1.IA5String && c != ' ' && (c < '0' || c > '9') {
				return "", false
			}
		}
		return string(v), true
	case cbasn1.Tag(asn1.TagBMPString):
		if len(v)%2 != 0 {
			return "", false
		}
		u := make([]uint16, 0, len(v)/2)
		for i := 0; i < len(v); i += 2 {
			c := uint16(v[i])<<8 | uint16(v[i+1])
			if utf16.IsSurrogate(rune(c)) {
				return "", false
			}
			u = append(u, c)
		}
		return string(utf16.Decode(u)), true
	}
	return "", false
}

// isPrintableString also takes the asterisk, which wildcard names need and
// common software writes.
func isPrintableString(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(" '()+,-./:=?*", c) >= 0
}

func formatDN(attrs []Attribute) string {
	var b strings.Builder
	for i, a := range attrs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.Type + "=" + escapeDN(a.Value))
	}
	return b.String()
}

// escapeDN escapes a value as RFC 4514, 2.4 asks.
func escapeDN(s string) string {
	var b strings.Builder
	for i, r := range s {
		last := i+utf8.RuneLen(r) == len(s)
		if strings.ContainsRune(`"+,;<>\`, r) || i == 0 && (r == ' ' || r == '#') || last && r == ' ' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// ParseDN reads a subject as people write it, "CN=host.example, O=Example",
// with RFC 4514's escapes; a multi-valued RDN cannot be written. The attributes
// are encoded in the order given. The result has passed the policy for
// subjects.
func ParseDN(s string) ([]byte, error) {
	var b cryptobyte.Builder
	parts, err := splitDN(s)
	if err != nil {
		return nil, err
	}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, p := range parts {
			name, value, _ := strings.Cut(p, "=")
			id, e := attributeOID(strings.TrimSpace(name))
			if e != nil {
				err = e
				return
			}
			value, e = unescapeDN(value)
			if e != nil {
				err = e
				return
			}
			addAttribute(b, id, value)
		}
	})
	if err != nil {
		return nil, err
	}
	raw, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("subject %s: %w", quote(s), err)
	}
	if _, err := parseSubject(raw); err != nil {
		return nil, err
	}
	return raw, nil
}

func quote(s string) string {
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:80], "") + "…"
	}
	return strconv.QuoteToGraphic(s)
}

// printable bounds a message and replaces what does not print.
func printable(s string) string {
	q := quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
