package authority

import (
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	maxAltNames = 100
	maxDNSName  = 253
	maxEmail    = 254
	maxURI      = 2048
)

// readAltNames validates GeneralNames (RFC 5280, 4.2.1.6). Kinds that we would
// not carry over as asked are refused rather than dropped.
func (r *Request) readAltNames(value cryptobyte.String) error {
	var names cryptobyte.String
	if !value.ReadASN1(&names, cbasn1.SEQUENCE) || !value.Empty() || names.Empty() {
		return refuse(ReasonAltName, "the alternative names cannot be read, or are empty")
	}
	for n := 0; !names.Empty(); n++ {
		if n == maxAltNames {
			return refuse(ReasonAltName, "more than %d alternative names", maxAltNames)
		}
		var v cryptobyte.String
		var tag cbasn1.Tag
		if !names.ReadAnyASN1(&v, &tag) {
			return refuse(ReasonAltName, "the alternative names cannot be read")
		}
		s := string(v)
		switch tag {
		case cbasn1.Tag(1).ContextSpecific():
			if !validEmail(s) {
				return refuse(ReasonAltName, "%s is not a mail address", quote(s))
			}
			r.EmailAddresses = append(r.EmailAddresses, s)
		case cbasn1.Tag(2).ContextSpecific():
			if !validDNSName(s) {
				return refuse(ReasonAltName, "%s is not a DNS name", quote(s))
			}
			r.DNSNames = append(r.DNSNames, s)
		case cbasn1.Tag(6).ContextSpecific():
			if !validURI(s) {
				return refuse(ReasonAltName, "%s is not an absolute URI", quote(s))
			}
			r.URIs = append(r.URIs, s)
		case cbasn1.Tag(7).ContextSpecific():
			a, ok := netip.AddrFromSlice(v)
			if !ok {
				return refuse(ReasonAltName, "an IP address of %d bytes", len(v))
			}
			r.IPAddresses = append(r.IPAddresses, a.String())
		default:
			return refuse(ReasonAltName, "names of kind [%d] are not supported: DNS, IP, email and URI are", byte(tag)&0x1F)
		}
	}
	return nil
}

// IsDNSName reports whether s may stand in a certificate as a DNS name.
func IsDNSName(s string) bool { return validDNSName(s) }

// validDNSName accepts LDH labels and underscores, and an asterisk as the
// whole leftmost label. An IP address is not a DNS name.
func validDNSName(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	if len(s) == 0 || len(s) > maxDNSName {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
			default:
				return false
			}
		}
	}
	return true
}

func validEmail(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && len(s) <= maxEmail && local != "" && len(local) <= 64 && graphic(local) &&
		!strings.ContainsAny(local, `"(),:;<>[\]`) && !strings.HasPrefix(domain, "*") && validDNSName(domain)
}

func validURI(s string) bool {
	if len(s) > maxURI || !graphic(s) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && (u.Host != "" || u.Opaque != "")
}

// graphic reports whether s is visible ASCII throughout.
func graphic(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7F {
			return false
		}
	}
	return true
}

// altNames encodes names, each of the kind it looks like: IP address, URI, mail
// address or DNS name.
func altNames(names []string) ([]byte, error) {
	if len(names) > maxAltNames {
		return nil, refuse(ReasonAltName, "more than %d alternative names", maxAltNames)
	}
	var b cryptobyte.Builder
	var err error
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, s := range names {
			tag, v := cbasn1.Tag(0), []byte(s)
			if a, e := netip.ParseAddr(s); e == nil && a.Zone() == "" {
				tag, v = 7, a.Unmap().AsSlice()
			} else if validDNSName(s) {
				tag = 2
			} else if validEmail(s) {
				tag = 1
			} else if validURI(s) {
				tag = 6
			} else {
				err = refuse(ReasonAltName, "%s is no DNS name, IP address, mail address or URI", quote(s))
				return
			}
			b.AddASN1(tag.ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(v) })
		}
	})
	if err != nil {
		return nil, err
	}
	return b.Bytes()
}
