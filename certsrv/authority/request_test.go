package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

func TestParseRequestForms(t *testing.T) {
	der := newRequest(t, "CN=host.example,O=Example", "host.example")
	b64 := base64.StdEncoding.EncodeToString(der)
	var lines strings.Builder
	for i := 0; i < len(b64); i += 64 {
		lines.WriteString(b64[i:min(i+64, len(b64))] + "\r\n")
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	forms := map[string][]byte{
		"DER":                 der,
		"PEM":                 block,
		"PEM with text":       append([]byte("Certificate Request:\n    Data: …\n"), block...),
		"PEM, old name":       pem.EncodeToMemory(&pem.Block{Type: "NEW CERTIFICATE REQUEST", Bytes: der}),
		"base64":              []byte(b64),
		"base64, CRLF":        []byte(lines.String()),
		"base64, blank first": []byte("\n\n" + lines.String()),
	}
	for name, b := range forms {
		t.Run(name, func(t *testing.T) {
			r := mustParse(t, b)
			if !bytes.Equal(r.Raw, der) || r.CommonName != "host.example" || !slices.Equal(r.DNSNames, []string{"host.example"}) {
				t.Errorf("got CN %q, DNS %q", r.CommonName, r.DNSNames)
			}
			if got := r.DistinguishedName(); got != "CN=host.example, O=Example" {
				t.Errorf("DN %q", got)
			}
		})
	}
}

func TestParseRequestBadForms(t *testing.T) {
	der := newRequest(t, "CN=x")
	good := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	for name, c := range map[string]struct {
		in     []byte
		reason Reason
		part   string
	}{
		"empty":          {nil, ReasonMalformed, "empty"},
		"blank":          {[]byte(" \n"), ReasonMalformed, "empty"},
		"too large":      {bytes.Repeat([]byte{0x30}, MaxRequestText+1), ReasonTooLarge, "65536"},
		"too large DER":  {bytes.Repeat([]byte{0x30}, MaxRequest+1), ReasonTooLarge, "65536"},
		"truncated":      {der[:len(der)-1], ReasonMalformed, ""},
		"trailing":       {append(slices.Clone(der), 0), ReasonMalformed, "trailing"},
		"certificate":    {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), ReasonMalformed, `"CERTIFICATE"`},
		"two":            {slices.Concat(good, good), ReasonMalformed, "more than one"},
		"broken PEM":     {good[:len(good)-20], ReasonMalformed, "damaged"},
		"no base64":      {[]byte("hello world!"), ReasonMalformed, "neither"},
		"base64 rubbish": {[]byte("aGVsbG8gd29ybGQh"), ReasonMalformed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRequest(c.in)
			wantReason(t, err, c.reason, c.part)
		})
	}
}

func spkiOf(t *testing.T, pub any) []byte {
	t.Helper()
	b, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// modulus is a number of that many bits without a small factor; nobody will
// find its factors missing, since keys are judged before signatures.
func modulus(t *testing.T, bits int) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits-1)))
	if err != nil {
		t.Fatal(err)
	}
	n.SetBit(n, bits-1, 1).SetBit(n, 0, 1)
	for new(big.Int).GCD(nil, nil, n, smallPrimes).Cmp(big.NewInt(1)) != 0 {
		n.Add(n, big.NewInt(2))
	}
	return n
}

func TestParseRequestKeys(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m := modulus(t, 2048)
	even := new(big.Int).Set(m)
	even.SetBit(even, 0, 0)
	for name, c := range map[string]struct {
		spki []byte
		part string
	}{
		"RSA 1024":        {spkiOf(t, &rsa.PublicKey{N: modulus(t, 1024), E: 65537}), "1024 bits"},
		"RSA 2047":        {spkiOf(t, &rsa.PublicKey{N: modulus(t, 2047), E: 65537}), "2047 bits"},
		"RSA 8193":        {spkiOf(t, &rsa.PublicKey{N: modulus(t, 8193), E: 65537}), "8193 bits"},
		"RSA 65536":       {spkiOf(t, &rsa.PublicKey{N: modulus(t, 65536), E: 65537}), "65536 bits"},
		"exponent 1":      {spkiOf(t, &rsa.PublicKey{N: m, E: 1}), "exponent 1:"},
		"exponent 3":      {spkiOf(t, &rsa.PublicKey{N: m, E: 3}), "exponent 3:"},
		"exponent even":   {spkiOf(t, &rsa.PublicKey{N: m, E: 65538}), "exponent 65538:"},
		"exponent large":  {spkiOf(t, &rsa.PublicKey{N: m, E: 1<<31 + 1}), "exponent 2147483649:"},
		"modulus even":    {spkiOf(t, &rsa.PublicKey{N: even, E: 65537}), "even"},
		"modulus times 3": {spkiOf(t, &rsa.PublicKey{N: new(big.Int).Mul(m, big.NewInt(751)), E: 65537}), "small prime"},
		"P-224":           {spkiOf(t, &p224.PublicKey), "P-224"},
		"secp256k1": {der(t, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1})
					b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 132, 0, 10})
				})
				b.AddASN1BitString(make([]byte, 65))
			})
		}), "elliptic curve"},
		"unknown": {der(t, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 3, 4})
				})
				b.AddASN1BitString([]byte{1})
			})
		}), "not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRequest(forged{spki: c.spki}.build(t))
			wantReason(t, err, ReasonKey, c.part)
		})
	}
}

func TestParseRequestSignature(t *testing.T) {
	_, err := ParseRequest(forged{breakSig: true}.build(t))
	wantReason(t, err, ReasonSignature, "not signed")
	_, err = ParseRequest(forged{spki: spkiOf(t, newKey(t).Public())}.build(t))
	wantReason(t, err, ReasonSignature, "not signed")
	if _, err := ParseRequest(forged{}.build(t)); err != nil {
		t.Fatalf("the forger itself is wrong: %v", err)
	}

	alg := func(id ...int) []byte {
		return der(t, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(id) })
		})
	}
	for name, a := range map[string][]byte{
		"ECDSA with SHA-1": alg(1, 2, 840, 10045, 4, 1),
		"RSA with MD5":     alg(1, 2, 840, 113549, 1, 1, 4),
		"RSA with SHA-1":   alg(1, 2, 840, 113549, 1, 1, 5),
		"unknown":          alg(1, 2, 3),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRequest(forged{alg: a}.build(t))
			wantReason(t, err, ReasonAlgorithm, "")
		})
	}
}

func TestParseRequestSubject(t *testing.T) {
	cn := asn1.ObjectIdentifier{2, 5, 4, 3}
	many := func(n int) []byte {
		return der(t, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for range n {
					rdnInto(b, asn1.ObjectIdentifier{2, 5, 4, 11}, cbasn1.UTF8String, "unit")
				}
			})
		})
	}
	for name, c := range map[string]struct {
		subject []byte
		part    string
	}{
		"nothing":         {many(0), "neither a subject"},
		"empty value":     {rdn(cn, cbasn1.UTF8String, ""), "CN is empty"},
		"blank value":     {rdn(cn, cbasn1.UTF8String, "  "), "CN is empty"},
		"NUL":             {rdn(cn, cbasn1.UTF8String, "a.example\x00.evil"), "control character"},
		"newline":         {rdn(cn, cbasn1.UTF8String, "a\nb"), "control character"},
		"escape":          {rdn(cn, cbasn1.IA5String, "a\x1b[2Jb"), "control character"},
		"C1 control":      {rdn(cn, cbasn1.UTF8String, "a\u0085b"), "control character"},
		"override":        {rdn(cn, cbasn1.UTF8String, "a\u202Eb"), "control character"},
		"zero width":      {rdn(cn, cbasn1.UTF8String, "a\u200Bb"), "control character"},
		"too long":        {rdn(cn, cbasn1.UTF8String, strings.Repeat("ü", 65)), "65 characters"},
		"country":         {rdn(asn1.ObjectIdentifier{2, 5, 4, 6}, cbasn1.PrintableString, "D"), "two letters"},
		"bad UTF-8":       {rdn(cn, cbasn1.UTF8String, "a\xff"), "not a valid text"},
		"bad printable":   {rdn(cn, cbasn1.PrintableString, "a@b"), "not a valid text"},
		"bad numeric":     {rdn(cn, cbasn1.Tag(asn1.TagNumericString), "12a"), "not a valid text"},
		"teletex":         {rdn(cn, cbasn1.T61String, "abc"), "not a valid text"},
		"integer":         {rdn(cn, cbasn1.INTEGER, "\x01"), "not a valid text"},
		"odd BMP":         {rdn(cn, cbasn1.Tag(asn1.TagBMPString), "\x00a\x00"), "not a valid text"},
		"surrogate BMP":   {rdn(cn, cbasn1.Tag(asn1.TagBMPString), "\xD8\x00\xDC\x00"), "not a valid text"},
		"NUL BMP":         {rdn(cn, cbasn1.Tag(asn1.TagBMPString), "\x00a\x00\x00"), "control character"},
		"33 attributes":   {many(33), "more than 32"},
		"unknown, long":   {rdn(asn1.ObjectIdentifier{1, 2, 3}, cbasn1.UTF8String, strings.Repeat("a", 257)), "257 characters"},
		"long subject":    {rdn(cn, cbasn1.UTF8String, strings.Repeat("a", maxSubject)), "at most 8192"},
		"empty RDN":       {[]byte{0x30, 2, 0x31, 0}, "cannot be read"},
		"attribute extra": {[]byte{0x30, 14, 0x31, 12, 0x30, 10, 6, 3, 0x55, 4, 3, 0x0C, 1, 'a', 5, 0}, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRequest(forged{subject: c.subject}.build(t))
			var e *RequestError
			if errors.As(err, &e) && e.Reason == ReasonMalformed {
				_, err = parseSubject(c.subject) // the standard library was first
			}
			wantReason(t, err, ReasonSubject, c.part)
		})
	}

	for name, subject := range map[string][]byte{
		"BMP":       rdn(cn, cbasn1.Tag(asn1.TagBMPString), "\x00h\x01\x51"),
		"64 umlaut": rdn(cn, cbasn1.UTF8String, strings.Repeat("ü", 64)),
		"joiner":    rdn(cn, cbasn1.UTF8String, "نامه\u200Cای"),
		"wildcard":  rdn(cn, cbasn1.PrintableString, "*.example.org"),
		"32":        many(32),
		"unknown":   rdn(asn1.ObjectIdentifier{1, 2, 3}, cbasn1.UTF8String, "v"),
	} {
		t.Run("good "+name, func(t *testing.T) {
			if _, err := ParseRequest(forged{subject: subject}.build(t)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestParseRequestAltNames(t *testing.T) {
	many := func(n int) (g []generalName) {
		for range n {
			g = append(g, generalName{2, "a.example"})
		}
		return g
	}
	for name, c := range map[string]struct {
		names []generalName
		part  string
	}{
		"none":          {nil, "empty"},
		"101":           {many(101), "more than 100"},
		"NUL":           {[]generalName{{2, "a.example\x00.evil.example"}}, "not a DNS name"},
		"blank":         {[]generalName{{2, "a b"}}, "not a DNS name"},
		"empty":         {[]generalName{{2, ""}}, "not a DNS name"},
		"dots":          {[]generalName{{2, "a..b"}}, "not a DNS name"},
		"label":         {[]generalName{{2, strings.Repeat("a", 64) + ".b"}}, "not a DNS name"},
		"long":          {[]generalName{{2, strings.Repeat("a.", 127)}}, "not a DNS name"},
		"inner star":    {[]generalName{{2, "a.*.b"}}, "not a DNS name"},
		"star alone":    {[]generalName{{2, "*"}}, "not a DNS name"},
		"hyphen":        {[]generalName{{2, "-a.b"}}, "not a DNS name"},
		"address as it": {[]generalName{{2, "10.0.0.1"}}, "not a DNS name"},
		"IP of 5 bytes": {[]generalName{{7, "12345"}}, "IP address"},
		"no mail":       {[]generalName{{1, "nobody"}}, "mail address"},
		"mail newline":  {[]generalName{{1, "a\r\nb@c.d"}}, "mail address"},
		"mail name":     {[]generalName{{1, "A <a@c.d>"}}, "mail address"},
		"relative URI":  {[]generalName{{6, "/path"}}, "absolute URI"},
		"long URI":      {[]generalName{{6, "https://a/" + strings.Repeat("b", maxURI)}}, "absolute URI"},
		"registered ID": {[]generalName{{8, "\x2A\x03"}}, "kind [8]"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRequest(forged{attrs: extensionRequest(oidExtensionRequest, ext{oidSubjectAltName, generalNames(c.names...)})}.build(t))
			var e *RequestError
			if errors.As(err, &e) && e.Reason == ReasonMalformed && strings.HasPrefix(e.Detail, "x509: ") {
				return // the standard library was first, and as clear
			}
			wantReason(t, err, ReasonAltName, c.part)
		})
	}

	r, err := ParseRequest(forged{
		subject: []byte{0x30, 0},
		attrs: extensionRequest(oidExtensionRequest, ext{oidSubjectAltName, generalNames(
			generalName{1, "a.b+c@example.org"}, generalName{2, "*.example.org"}, generalName{2, "_x.example"},
			generalName{6, "urn:uuid:1"}, generalName{6, "https://example.org/a?b"},
			generalName{7, "\x0a\x00\x00\x01"}, generalName{7, strings.Repeat("\x00", 15) + "\x01"})}),
	}.build(t))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.EmailAddresses, []string{"a.b+c@example.org"}) || !slices.Equal(r.DNSNames, []string{"*.example.org", "_x.example"}) ||
		!slices.Equal(r.URIs, []string{"urn:uuid:1", "https://example.org/a?b"}) || !slices.Equal(r.IPAddresses, []string{"10.0.0.1", "::1"}) {
		t.Errorf("names %q %q %q %q", r.EmailAddresses, r.DNSNames, r.URIs, r.IPAddresses)
	}
}

func TestParseRequestExtensions(t *testing.T) {
	names := ext{oidSubjectAltName, generalNames(generalName{2, "a.example"})}
	caTrue := ext{oidBasicConstraints, []byte{0x30, 3, 1, 1, 0xFF}}
	two := func(a, b func(*cryptobyte.Builder)) func(*cryptobyte.Builder) {
		return func(c *cryptobyte.Builder) { a(c); b(c) }
	}
	for name, c := range map[string]struct {
		attrs  func(b *cryptobyte.Builder)
		reason Reason
		part   string
	}{
		"duplicate":      {extensionRequest(oidExtensionRequest, names, names), ReasonMalformed, "duplicate"},
		"two attributes": {two(extensionRequest(oidExtensionRequest, names), extensionRequest(oidExtensionRequest, caTrue)), ReasonExtension, "more than one"},
		"Microsoft's":    {extensionRequest(oidMSExtensionRequest, names), ReasonExtension, "not supported"},
		"CA":             {extensionRequest(oidExtensionRequest, caTrue), ReasonCA, "CA:TRUE"},
		"65": {extensionRequest(oidExtensionRequest, func() (e []ext) {
			for i := range 65 {
				e = append(e, ext{asn1.ObjectIdentifier{1, 2, 3, i}, nil})
			}
			return e
		}()...), ReasonExtension, "more than 64"},
		"bad constraints": {extensionRequest(oidExtensionRequest, ext{oidBasicConstraints, []byte{0x30, 3, 1, 1, 7}}), ReasonExtension, "basic constraints"},
		"two values": {func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidExtensionRequest)
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
					addExtensions(b, []ext{names})
					addExtensions(b, []ext{caTrue})
				})
			})
		}, ReasonExtension, "one value"},
		"unreadable attribute": {func(b *cryptobyte.Builder) { // the standard library passes over it
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidExtensionRequest) })
		}, ReasonMalformed, "attributes"},
		"33 attributes": {func(b *cryptobyte.Builder) {
			for range 33 {
				extensionRequest(asn1.ObjectIdentifier{1, 2, 3})(b)
			}
		}, ReasonMalformed, "more than 32"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRequest(forged{attrs: c.attrs}.build(t))
			wantReason(t, err, c.reason, c.part)
		})
	}
	// The standard library sees to this one too, today.
	var list cryptobyte.String = der(t, func(b *cryptobyte.Builder) { addExtensions(b, []ext{names, names}) })
	if !list.ReadASN1(&list, cbasn1.SEQUENCE) {
		t.Fatal("no list")
	}
	wantReason(t, new(Request).readExtensions(list, Policy{}), ReasonExtension, "twice")

	_, err := ParseRequest(forged{version: 1}.build(t))
	wantReason(t, err, ReasonMalformed, "version")

	r, err := Policy{AllowCA: true}.ParseRequest(forged{attrs: extensionRequest(oidExtensionRequest, caTrue)}.build(t))
	if err != nil || !r.CA {
		t.Errorf("with AllowCA: %v, %v", r, err)
	}
}

// TestNeverPanics flips each bit of a request, and cuts it everywhere: the
// signature covers nearly all of it, so that none may be accepted, and no text
// of a refusal may carry raw bytes.
func TestNeverPanics(t *testing.T) {
	good := newRequest(t, "CN=host.example,O=Example,C=DE", "host.example", "10.0.0.1", "a@b.example", "https://x.example/y")
	for i := range good {
		for bit := range 8 {
			b := slices.Clone(good)
			b[i] ^= 1 << bit
			_, err := ParseRequest(b)
			if err == nil {
				t.Fatalf("accepted with bit %d of byte %d flipped", bit, i)
			}
			checkRefusal(t, err)
		}
		if _, err := ParseRequest(good[:i]); err == nil {
			t.Fatalf("accepted cut to %d bytes", i)
		}
	}
}

func checkRefusal(t *testing.T, err error) {
	t.Helper()
	var e *RequestError
	if !errors.As(err, &e) {
		t.Fatalf("untyped error %v", err)
	}
	if len(err.Error()) > 500 || !utf8.ValidString(err.Error()) || strings.ContainsFunc(err.Error(), func(r rune) bool { return unicode.IsControl(r) }) {
		t.Fatalf("text %q", err.Error())
	}
}
