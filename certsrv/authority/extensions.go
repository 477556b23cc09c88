package authority

import (
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	maxAttributes = 32
	maxExtensions = 64
)

var (
	oidExtensionRequest   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidMSExtensionRequest = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 14} // szOID_CERT_EXTENSIONS
	oidSubjectAltName     = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints   = asn1.ObjectIdentifier{2, 5, 29, 19}
)

// readAttributes goes through the request's attributes once more, strictly: the
// standard library skips attributes that it cannot read, and all values but the
// first, and a CA must not sign something else than was asked for.
func (r *Request) readAttributes(tbs []byte, p Policy) error {
	bad := refuse(ReasonMalformed, "the attributes cannot be read")
	var body, attrs cryptobyte.String
	var present bool
	in := cryptobyte.String(tbs)
	if !in.ReadASN1(&body, cbasn1.SEQUENCE) || !in.Empty() ||
		!body.SkipASN1(cbasn1.INTEGER) || !body.SkipASN1(cbasn1.SEQUENCE) || !body.SkipASN1(cbasn1.SEQUENCE) ||
		!body.ReadOptionalASN1(&attrs, &present, cbasn1.Tag(0).ContextSpecific().Constructed()) || !body.Empty() {
		return bad
	}
	seen := false
	for n := 0; !attrs.Empty(); n++ {
		if n == maxAttributes {
			return refuse(ReasonMalformed, "more than %d attributes", maxAttributes)
		}
		var attr, values, exts cryptobyte.String
		var id asn1.ObjectIdentifier
		if !attrs.ReadASN1(&attr, cbasn1.SEQUENCE) || !attr.ReadASN1ObjectIdentifier(&id) ||
			!attr.ReadASN1(&values, cbasn1.SET) || !attr.Empty() {
			return bad
		}
		switch {
		case id.Equal(oidMSExtensionRequest):
			return refuse(ReasonExtension, "extensions in attribute %v are not supported: use %v", id, oidExtensionRequest)
		case !id.Equal(oidExtensionRequest):
			continue
		case seen:
			return refuse(ReasonExtension, "there is more than one extension request attribute")
		}
		seen = true
		if !values.ReadASN1(&exts, cbasn1.SEQUENCE) || !values.Empty() {
			return refuse(ReasonExtension, "the extension request attribute must have one value")
		}
		if err := r.readExtensions(exts, p); err != nil {
			return err
		}
	}
	return nil
}

func (r *Request) readExtensions(exts cryptobyte.String, p Policy) error {
	seen := make(map[string]bool)
	for !exts.Empty() {
		var ext, value cryptobyte.String
		var id asn1.ObjectIdentifier
		var critical bool
		if !exts.ReadASN1(&ext, cbasn1.SEQUENCE) || !ext.ReadASN1ObjectIdentifier(&id) ||
			(ext.PeekASN1Tag(cbasn1.BOOLEAN) && !ext.ReadASN1Boolean(&critical)) ||
			!ext.ReadASN1(&value, cbasn1.OCTET_STRING) || !ext.Empty() {
			return refuse(ReasonExtension, "the requested extensions cannot be read")
		}
		switch {
		case seen[id.String()]:
			return refuse(ReasonExtension, "extension %v is there twice", id)
		case len(seen) == maxExtensions:
			return refuse(ReasonExtension, "more than %d extensions", maxExtensions)
		}
		seen[id.String()] = true
		switch {
		case id.Equal(oidSubjectAltName):
			if err := r.readAltNames(value); err != nil {
				return err
			}
			r.san = value
		case id.Equal(oidBasicConstraints):
			if err := r.readBasicConstraints(value, p); err != nil {
				return err
			}
		}
		// Others, such as key usage, are the profile's business.
	}
	return nil
}

func (r *Request) readBasicConstraints(value cryptobyte.String, p Policy) error {
	var seq cryptobyte.String
	if !value.ReadASN1(&seq, cbasn1.SEQUENCE) || !value.Empty() ||
		(seq.PeekASN1Tag(cbasn1.BOOLEAN) && !seq.ReadASN1Boolean(&r.CA)) {
		return refuse(ReasonExtension, "the basic constraints cannot be read")
	}
	if r.CA && !p.AllowCA {
		return refuse(ReasonCA, "the request asks for a CA certificate (basic constraints CA:TRUE)")
	}
	return nil
}
