package authority

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"testing"
)

// FuzzParseRequest holds every input to three promises: no panic, refusals are
// typed and printable, and whatever is accepted can be issued and carries the
// subject and names that it asked for.
func FuzzParseRequest(f *testing.F) {
	for _, der := range [][]byte{
		newRequest(f, "CN=host.example,O=Example", "host.example", "10.0.0.1"),
		newRequest(f, "", "a@b.example", "https://x.example/y"),
		forged{}.build(f),
		forged{attrs: extensionRequest(oidExtensionRequest, ext{oidBasicConstraints, []byte{0x30, 0}})}.build(f),
	} {
		f.Add(der)
		f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		f.Add([]byte(base64.StdEncoding.EncodeToString(der)))
	}
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n"))
	f.Add([]byte{0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF})
	a := newCA(f, CAOptions{}, Options{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRequest(b)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		_, cert, err := a.Issue(Template{Now: testNow}, r, mustSerial(t))
		if err != nil {
			t.Fatalf("accepted, but not issued: %v", err)
		}
		if !bytes.Equal(cert.RawSubject, r.RawSubject) || len(cert.DNSNames) != len(r.DNSNames) || cert.IsCA {
			t.Error("issued something else")
		}
	})
}

// FuzzAltNames checks the judge of names against the standard library, which
// must be able to read what passes.
func FuzzAltNames(f *testing.F) {
	f.Add(generalNames(generalName{2, "a.example"}, generalName{7, "\x7f\x00\x00\x01"}))
	f.Add(generalNames(generalName{1, "a@b.example"}, generalName{6, "urn:x:y"}))
	f.Add([]byte{0x30, 2, 0x88, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		if err := r.readAltNames(b); err != nil {
			checkRefusal(t, err)
			return
		}
		der := forged{attrs: extensionRequest(oidExtensionRequest, ext{oidSubjectAltName, b})}.build(t)
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			return // stricter about the hosts of URIs than we are; refused all the same
		}
		if len(csr.DNSNames) != len(r.DNSNames) || len(csr.URIs) != len(r.URIs) {
			t.Errorf("%q %q, and the standard library %q %v", r.DNSNames, r.URIs, csr.DNSNames, csr.URIs)
		}
	})
}

// FuzzParseDN checks that what is accepted comes back from its own text.
func FuzzParseDN(f *testing.F) {
	f.Add("CN=host.example, O=Example\\, Inc., C=DE")
	f.Add(`CN=\C3\BC,1.2.3=x`)
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := ParseDN(s)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		attrs, err := parseSubject(raw)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseDN(formatDN(attrs))
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("%q became %q: %v", s, formatDN(attrs), err)
		}
	})
}
