package authority

import (
	"encoding/asn1"
	"encoding/hex"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// splitDN cuts at commas that are not escaped.
func splitDN(s string) ([]string, error) {
	if len(s) > maxSubject {
		return nil, refuse(ReasonSubject, "the subject has %d bytes: at most %d are accepted", len(s), maxSubject)
	}
	var parts []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case ',':
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	parts = append(parts, s[start:])
	for _, p := range parts {
		if !strings.Contains(p, "=") {
			return nil, refuse(ReasonSubject, "%s is not of the form NAME=VALUE", quote(p))
		}
	}
	return parts, nil
}

func attributeOID(name string) (asn1.ObjectIdentifier, error) {
	switch strings.ToUpper(name) {
	case "EMAIL", "EMAILADDRESS":
		name = "E"
	case "S":
		name = "ST"
	case "GN", "GIVENNAME":
		name = "G"
	case "SURNAME":
		name = "SN"
	case "TITLE":
		name = "T"
	}
	for _, t := range attributeTypes {
		if strings.EqualFold(t.name, name) {
			return t.oid, nil
		}
	}
	var id asn1.ObjectIdentifier
	for part := range strings.SplitSeq(name, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || len(id) > 20 {
			return nil, refuse(ReasonSubject, "unknown attribute %s", quote(name))
		}
		id = append(id, int(n))
	}
	if len(id) < 2 || id[0] > 2 || id[0] < 2 && id[1] > 39 {
		return nil, refuse(ReasonSubject, "unknown attribute %s", quote(name))
	}
	return id, nil
}

// unescapeDN removes unescaped blanks around a value and resolves \X and \XX.
func unescapeDN(s string) (string, error) {
	s = strings.TrimLeft(s, " ")
	var b strings.Builder
	keep := 0 // length up to the last character that is not an unescaped blank
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' {
			switch {
			case i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
				v, _ := hex.DecodeString(s[i+1 : i+3])
				c = v[0]
				i += 2
			case i+1 < len(s):
				i++
				c = s[i]
			default:
				return "", refuse(ReasonSubject, "%s ends in an escape", quote(s))
			}
			b.WriteByte(c)
			keep = b.Len()
			continue
		}
		b.WriteByte(c)
		if c != ' ' {
			keep = b.Len()
		}
	}
	return b.String()[:keep], nil
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// addAttribute writes one RDN. Country and serial number are PrintableString,
// mail address and domain component IA5String (RFC 5280, appendix A), the rest
// UTF8String.
func addAttribute(b *cryptobyte.Builder, id asn1.ObjectIdentifier, value string) {
	tag := cbasn1.UTF8String
	switch name, _ := attributeType(id); name {
	case "C", "SERIALNUMBER":
		tag = cbasn1.PrintableString
	case "E", "DC":
		tag = cbasn1.IA5String
	}
	b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
		})
	})
}
