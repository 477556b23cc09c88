package authority

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/need"
)

func TestIssue(t *testing.T) {
	a := newCA(t, CAOptions{}, Options{
		IssuingCertificateURLs: []string{"http://ca.example/Test.crt"},
		CRLDistributionPoints:  []string{"http://ca.example/Test.crl"},
	})
	req := mustParse(t, newRequest(t, "C=DE, O=Example\\, Inc., CN=host.example", "host.example", "10.0.0.1", "a@b.example", "https://x.example/y"))
	serial := mustSerial(t)
	der, cert, err := a.Issue(Template{Now: testNow}, req, serial)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.CheckSignatureFrom(a.Certificate()); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(cert.Raw, der) || cert.SerialNumber.Cmp(serial) != 0 || cert.Version != 3 {
		t.Error("serial, version or encoding")
	}
	if !bytes.Equal(cert.RawSubject, req.RawSubject) || !bytes.Equal(cert.RawSubjectPublicKeyInfo, req.RawPublicKeyInfo) ||
		!bytes.Equal(cert.RawIssuer, a.Certificate().RawSubject) {
		t.Error("subject, key or issuer differ")
	}
	if !slices.Equal(cert.DNSNames, []string{"host.example"}) || !slices.Equal(cert.EmailAddresses, []string{"a@b.example"}) ||
		len(cert.IPAddresses) != 1 || !cert.IPAddresses[0].Equal(net.IPv4(10, 0, 0, 1)) ||
		len(cert.URIs) != 1 || cert.URIs[0].String() != "https://x.example/y" {
		t.Errorf("names %v %v %v %v", cert.DNSNames, cert.EmailAddresses, cert.IPAddresses, cert.URIs)
	}
	if !bytes.Equal(cert.AuthorityKeyId, a.Certificate().SubjectKeyId) || !bytes.Equal(cert.SubjectKeyId, req.SubjectKeyID) || len(cert.SubjectKeyId) != 20 {
		t.Error("key identifiers")
	}
	if cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage != x509.KeyUsageDigitalSignature ||
		!slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("CA %v, usage %b %v", cert.IsCA, cert.KeyUsage, cert.ExtKeyUsage)
	}
	if !slices.Equal(cert.IssuingCertificateURL, a.opts.IssuingCertificateURLs) || !slices.Equal(cert.CRLDistributionPoints, a.opts.CRLDistributionPoints) {
		t.Error("AIA or CDP")
	}
	if !cert.NotBefore.Equal(testNow.Add(-DefaultSkew)) || !cert.NotAfter.Equal(testNow.Add(DefaultValidity)) {
		t.Errorf("valid %v to %v", cert.NotBefore, cert.NotAfter)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: testNow, DNSName: "host.example"}); err != nil {
		t.Error(err)
	}
}

func TestIssueSubjectless(t *testing.T) {
	a := newCA(t, CAOptions{}, Options{})
	_, cert, err := a.Issue(Template{Now: testNow}, mustParse(t, newRequest(t, "", "host.example")), mustSerial(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range cert.Extensions {
		if e.Id.Equal(oidSubjectAltName) && !e.Critical {
			t.Error("alternative names of an empty subject must be critical (RFC 5280, 4.2.1.6)")
		}
	}
}

func TestProfiles(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := ParseDN("CN=rsa")
	if err != nil {
		t.Fatal(err)
	}
	der, err := NewRequest(k, subject, nil)
	if err != nil {
		t.Fatal(err)
	}
	rsaReq := mustParse(t, der)
	ecReq := mustParse(t, newRequest(t, "CN=ec"))
	a := newCA(t, CAOptions{PathLen: 1}, Options{})
	const sign, encipher = x509.KeyUsageDigitalSignature, x509.KeyUsageKeyEncipherment
	const server, client = x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, c := range []struct {
		p     Profile
		req   *Request
		usage x509.KeyUsage
		ext   []x509.ExtKeyUsage
	}{
		{ProfileDefault, rsaReq, sign | encipher, []x509.ExtKeyUsage{server, client}},
		{ProfileServer, rsaReq, sign | encipher, []x509.ExtKeyUsage{server}},
		{ProfileClient, rsaReq, sign, []x509.ExtKeyUsage{client}},
		{ProfileServer, ecReq, sign, []x509.ExtKeyUsage{server}},
	} {
		_, cert, err := a.Issue(Template{Now: testNow, Profile: c.p}, c.req, mustSerial(t))
		if err != nil {
			t.Fatalf("%v: %v", c.p, err)
		}
		if cert.KeyUsage != c.usage || !slices.Equal(cert.ExtKeyUsage, c.ext) {
			t.Errorf("%v: %b %v", c.p, cert.KeyUsage, cert.ExtKeyUsage)
		}
	}
	_, _, err = a.Issue(Template{Now: testNow, Profile: "nonsense"}, ecReq, mustSerial(t))
	if err == nil {
		t.Error("unknown profile accepted")
	}
	_, _, err = a.Issue(Template{Now: testNow, Profile: ProfileSubordinateCA}, ecReq, mustSerial(t))
	wantReason(t, err, ReasonCA, "does not ask")
}

func TestSubordinateCA(t *testing.T) {
	key := newKey(t)
	caReq := forged{key: key, attrs: extensionRequest(oidExtensionRequest, ext{oidBasicConstraints, []byte{0x30, 3, 1, 1, 0xFF}})}.build(t)
	req, err := Policy{AllowCA: true}.ParseRequest(caReq)
	if err != nil {
		t.Fatal(err)
	}
	root := newCA(t, CAOptions{PathLen: 1}, Options{})
	_, _, err = root.Issue(Template{Now: testNow}, req, mustSerial(t))
	wantReason(t, err, ReasonCA, "asks for a CA")
	_, _, err = newCA(t, CAOptions{}, Options{}).Issue(Template{Now: testNow, Profile: ProfileSubordinateCA}, req, mustSerial(t))
	wantReason(t, err, ReasonCA, "path length")

	_, cert, err := root.Issue(Template{Now: testNow, Profile: ProfileSubordinateCA}, req, mustSerial(t))
	if err != nil {
		t.Fatal(err)
	}
	sub, err := New(cert, key, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, leaf, err := sub.Issue(Template{Now: testNow}, mustParse(t, newRequest(t, "CN=leaf")), mustSerial(t))
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.Certificate())
	between.AddCert(cert)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: testNow}); err != nil {
		t.Error(err)
	}
}

func TestIssueRefuses(t *testing.T) {
	a := newCA(t, CAOptions{Validity: 24 * time.Hour}, Options{})
	req := mustParse(t, newRequest(t, "CN=x"))
	end := a.Certificate().NotAfter

	_, cert, err := a.Issue(Template{Now: testNow.Add(time.Hour)}, req, mustSerial(t))
	if err != nil || !cert.NotAfter.Equal(end) {
		t.Errorf("not capped: %v, %v", cert, err)
	}
	_, cert, err = a.Issue(Template{Now: testNow.Add(-time.Minute), Skew: -1}, req, mustSerial(t))
	if err != nil || !cert.NotBefore.Equal(testNow.Add(-time.Minute)) {
		t.Errorf("skew: %v, %v", cert, err)
	}
	_, cert, err = a.Issue(Template{Now: testNow, Skew: time.Hour}, req, mustSerial(t))
	if err != nil || !cert.NotBefore.Equal(a.Certificate().NotBefore) {
		t.Errorf("before the CA: %v, %v", cert, err)
	}
	for _, now := range []time.Time{end.Add(time.Second), a.Certificate().NotBefore.Add(-time.Second)} {
		if _, _, err := a.Issue(Template{Now: now}, req, mustSerial(t)); !errors.Is(err, ErrExpired) {
			t.Errorf("at %v: %v", now, err)
		}
	}
	for name, f := range map[string]func() error{
		"no time": func() error { _, _, err := a.Issue(Template{}, req, mustSerial(t)); return err },
		"validity": func() error {
			_, _, err := a.Issue(Template{Now: testNow, Validity: -1}, req, mustSerial(t))
			return err
		},
		"no request": func() error {
			_, _, err := a.Issue(Template{Now: testNow}, &Request{Raw: []byte{1}}, mustSerial(t))
			return err
		},
		"nil request": func() error { _, _, err := a.Issue(Template{Now: testNow}, nil, mustSerial(t)); return err },
		"no serial":   func() error { _, _, err := a.Issue(Template{Now: testNow}, req, nil); return err },
		"zero":        func() error { _, _, err := a.Issue(Template{Now: testNow}, req, new(big.Int)); return err },
		"negative":    func() error { _, _, err := a.Issue(Template{Now: testNow}, req, big.NewInt(-1)); return err },
		"160-bit": func() error {
			_, _, err := a.Issue(Template{Now: testNow}, req, new(big.Int).Lsh(big.NewInt(1), 159))
			return err
		},
	} {
		if f() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	own, err := NewRequest(a.signer, nil, []string{"ca.example"})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = a.Issue(Template{Now: testNow}, mustParse(t, own), mustSerial(t))
	wantReason(t, err, ReasonKey, "own public key")
}

func TestNewCACertificate(t *testing.T) {
	for _, alg := range KeyAlgorithms() {
		t.Run(string(alg), func(t *testing.T) {
			if alg == RSA4096 && !need.Heavy() {
				t.Skip("making a 4096-bit key takes seconds: set CERTKEEP_TEST_HEAVY=1")
			}
			key, err := GenerateKey(alg)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := NewCACertificate(key, CAOptions{Name: "Ca für alle", Organization: "Example", Country: "DE", Now: testNow})
			if err != nil {
				t.Fatal(err)
			}
			if err := cert.CheckSignatureFrom(cert); err != nil {
				t.Error(err)
			}
			if cert.Subject.String() != "CN=Ca für alle,O=Example,C=DE" || !cert.IsCA || !cert.MaxPathLenZero || len(cert.SubjectKeyId) != 20 ||
				!cert.NotAfter.Equal(testNow.Add(DefaultCAValidity)) {
				t.Errorf("%v CA %v path %d %v until %v", cert.Subject, cert.IsCA, cert.MaxPathLen, cert.MaxPathLenZero, cert.NotAfter)
			}
			a, err := New(cert, key, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := a.Issue(Template{Now: testNow}, mustParse(t, newRequest(t, "CN=x")), mustSerial(t)); err != nil {
				t.Error(err)
			}
		})
	}
	key := newKey(t)
	for pathLen, want := range map[int]struct {
		n    int
		zero bool
	}{0: {0, true}, -1: {-1, false}, 2: {2, false}} {
		cert, err := NewCACertificate(key, CAOptions{Name: "x", Now: testNow, PathLen: pathLen})
		if err != nil || cert.MaxPathLen != want.n || cert.MaxPathLenZero != want.zero {
			t.Errorf("path length %d: %v %v", pathLen, cert, err)
		}
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() (*x509.Certificate, error){
		"no name": func() (*x509.Certificate, error) { return NewCACertificate(key, CAOptions{Now: testNow}) },
		"bad name": func() (*x509.Certificate, error) {
			return NewCACertificate(key, CAOptions{Name: "a\x00b", Now: testNow})
		},
		"no time": func() (*x509.Certificate, error) { return NewCACertificate(key, CAOptions{Name: "x"}) },
		"validity": func() (*x509.Certificate, error) {
			return NewCACertificate(key, CAOptions{Name: "x", Now: testNow, Validity: 6 * DefaultCAValidity})
		},
		"path": func() (*x509.Certificate, error) {
			return NewCACertificate(key, CAOptions{Name: "x", Now: testNow, PathLen: 99})
		},
		"weak key": func() (*x509.Certificate, error) { return NewCACertificate(weak, CAOptions{Name: "x", Now: testNow}) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParseKeyAlgorithm("dsa"); err == nil {
		t.Error("dsa accepted")
	}
	for in, want := range map[string]KeyAlgorithm{"": ECDSAP256, "RSA-4096": RSA4096, "rsa3072": RSA3072, "p384": ECDSAP384, "ECDSA-P256": ECDSAP256} {
		if got, err := ParseKeyAlgorithm(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	a := newCA(t, CAOptions{}, Options{})
	if _, err := New(a.cert, newKey(t), Options{}); !errors.Is(err, ErrKeyMismatch) {
		t.Errorf("other key: %v", err)
	}
	key := newKey(t)
	der, err := NewRequest(key, nil, []string{"x.example"})
	if err != nil {
		t.Fatal(err)
	}
	_, leaf, err := a.Issue(Template{Now: testNow}, mustParse(t, der), mustSerial(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(leaf, key, Options{}); err == nil {
		t.Error("a leaf is no CA")
	}
	if _, err := New(a.cert, a.signer, Options{CRLDistributionPoints: []string{"/x.crl"}}); err == nil {
		t.Error("relative CDP accepted")
	}
	if _, err := New(nil, nil, Options{}); err == nil {
		t.Error("nothing accepted")
	}
}

func TestNewSerial(t *testing.T) {
	seen := make(map[string]bool)
	top := false
	for range 2000 {
		n := mustSerial(t)
		if n.Sign() <= 0 || n.BitLen() > 127 || seen[n.String()] {
			t.Fatalf("serial %x", n)
		}
		seen[n.String()] = true
		top = top || n.Bit(126) == 1
		if b, err := asn1.Marshal(n); err != nil || len(b) > 2+16 {
			t.Fatalf("serial %x is %d bytes: %v", n, len(b), err)
		}
	}
	if !top {
		t.Error("bit 126 was never set")
	}
}

func TestIssueConcurrently(t *testing.T) {
	a := newCA(t, CAOptions{}, Options{})
	req := mustParse(t, newRequest(t, "CN=x", "x.example"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				_, cert, err := a.Issue(Template{Now: testNow}, req, mustSerial(t))
				if err != nil || cert.CheckSignatureFrom(a.Certificate()) != nil {
					t.Errorf("%v, %v", cert, err)
				}
			}
		})
	}
	wg.Wait()
}
