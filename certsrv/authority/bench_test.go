package authority

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
)

// BenchmarkCreateCertificate is the yardstick: crypto/x509 alone, with a
// template as small as it can be.
func BenchmarkCreateCertificate(b *testing.B) {
	a := newCA(b, CAOptions{}, Options{})
	req := mustParse(b, newRequest(b, "CN=host.example", "host.example"))
	b.RunParallel(func(pb *testing.PB) {
		for n := int64(1); pb.Next(); n++ {
			t := &x509.Certificate{
				SerialNumber: big.NewInt(n),
				Subject:      pkix.Name{CommonName: "host.example"},
				DNSNames:     []string{"host.example"},
				NotBefore:    testNow,
				NotAfter:     testNow.Add(DefaultValidity),
				KeyUsage:     x509.KeyUsageDigitalSignature,
				ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			}
			if _, err := x509.CreateCertificate(rand.Reader, t, a.cert, req.publicKey, a.signer); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkIssue is the same with everything around it: the request parsed and
// judged, its signature checked, a serial number, and the certificate parsed.
func BenchmarkIssue(b *testing.B) {
	a := newCA(b, CAOptions{}, Options{})
	der := newRequest(b, "CN=host.example", "host.example")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := ParseRequest(der)
			if err != nil {
				b.Fatal(err)
			}
			serial, err := NewSerial()
			if err != nil {
				b.Fatal(err)
			}
			if _, _, err := a.Issue(Template{Now: testNow}, req, serial); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkParseRequest is the requester's half of BenchmarkIssue.
func BenchmarkParseRequest(b *testing.B) {
	der := newRequest(b, "CN=host.example", "host.example")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := ParseRequest(der); err != nil {
				b.Fatal(err)
			}
		}
	})
}
