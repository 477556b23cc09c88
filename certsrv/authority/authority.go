// Package authority is the X.509 part of the embedded Certificate Services: it
// makes keys and CA certificates, judges certificate requests, issues
// certificates and signs CRLs. It knows of no database and no clock but the
// times it is given.
//
// A request is judged once, by [ParseRequest], which also checks its
// signature; what it returns is safe to issue:
//
//	req, err := authority.ParseRequest(body) // DER, PEM or base64
//	if err != nil {
//		return err // a *RequestError that says which rule was broken
//	}
//	serial, err := authority.NewSerial()
//	…
//	der, cert, err := ca.Issue(authority.Template{Now: time.Now()}, req, serial)
//
// The policy is that of a careful public CA: 2048-bit RSA or better, NIST
// curves from P-256 up, Ed25519, SHA-2 signatures, names that a person can read
// in a log without surprises. What a request asks for beyond its key, subject
// and alternative names (key usage, lifetimes) is decided by the [Profile].
package authority

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// ErrExpired says that the CA's own certificate is not valid at the time of
// issuing, so that nothing it issues would be either.
var ErrExpired = errors.New("the CA certificate is not valid at this time")

// Options of an [Authority].
type Options struct {
	// IssuingCertificateURLs become the authority information access extension
	// (RFC 5280, 4.2.2.1) of every certificate. May be empty.
	IssuingCertificateURLs []string

	// CRLDistributionPoints become the extension of that name (RFC 5280,
	// 4.2.1.13). May be empty.
	CRLDistributionPoints []string
}

// Authority signs with one CA key. It may be used by several goroutines.
type Authority struct {
	name   string
	cert   *x509.Certificate
	signer crypto.Signer
	opts   Options
}

// New joins a CA certificate and its key. It fails if they do not belong
// together, if the certificate may not sign certificates and CRLs, or if a URL
// of the options is not absolute.
func New(cert *x509.Certificate, signer crypto.Signer, o Options) (*Authority, error) {
	if cert == nil || signer == nil {
		return nil, errors.New("authority: no certificate or no key")
	}
	if !cert.IsCA || !cert.BasicConstraintsValid {
		return nil, fmt.Errorf("authority: the certificate of %q is not one of a CA", cert.Subject.CommonName)
	}
	if want := x509.KeyUsageCertSign | x509.KeyUsageCRLSign; cert.KeyUsage&want != want {
		return nil, fmt.Errorf("authority: the certificate of %q lacks the key usage keyCertSign or cRLSign", cert.Subject.CommonName)
	}
	if len(cert.SubjectKeyId) == 0 {
		return nil, fmt.Errorf("authority: the certificate of %q has no subject key identifier", cert.Subject.CommonName)
	}
	pub, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("authority: %w of %q", ErrKeyMismatch, cert.Subject.CommonName)
	}
	for _, s := range append(append([]string(nil), o.IssuingCertificateURLs...), o.CRLDistributionPoints...) {
		if u, err := url.Parse(s); err != nil || !u.IsAbs() || len(s) > maxURI {
			return nil, fmt.Errorf("authority: %q is not an absolute URL", s)
		}
	}
	return &Authority{name: cert.Subject.CommonName, cert: cert, signer: signer, opts: o}, nil
}

// Name is the common name of the CA.
func (a *Authority) Name() string { return a.name }

// Certificate is the CA's own certificate; it must not be changed.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Template says how to issue one certificate; the zero value of every field but
// Now is usable.
type Template struct {
	Profile Profile

	// Now is the time of issuing. It is required.
	Now time.Time

	// Validity counts from Now; zero is DefaultValidity. The certificate never
	// outlives the CA's own: the end is moved forward without an error.
	Validity time.Duration

	// Skew is how long before Now the certificate becomes valid, for clients
	// whose clocks are behind; zero is DefaultSkew, negative none.
	Skew time.Duration
}

const (
	// DefaultValidity of an issued certificate.
	DefaultValidity = 365 * 24 * time.Hour
	// DefaultSkew is what AD CS calls ClockSkewMinutes.
	DefaultSkew = 10 * time.Minute
)

// Issue makes a certificate for a request that [ParseRequest] accepted and
// returns its encoding, and the same parsed. The serial number must be
// positive, at most 20 octets, and never used before; see [NewSerial]. The
// request's signature is not checked again.
func (a *Authority) Issue(t Template, req *Request, serial *big.Int) ([]byte, *x509.Certificate, error) {
	if req == nil || len(req.Raw) == 0 || req.publicKey == nil {
		return nil, nil, errors.New("authority: issuing needs a request that ParseRequest returned")
	}
	if err := checkSerial(serial); err != nil {
		return nil, nil, err
	}
	c, err := a.template(t, req)
	if err != nil {
		return nil, nil, err
	}
	c.SerialNumber = serial
	// The standard library checks the signature it made before it returns the
	// certificate, which is what keeps a faulty signer from giving the key away.
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, req.publicKey, a.signer)
	if err != nil {
		return nil, nil, fmt.Errorf("authority: sign certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("authority: the certificate just signed cannot be parsed: %w", err)
	}
	return der, cert, nil
}

func (a *Authority) template(t Template, req *Request) (*x509.Certificate, error) {
	if t.Now.IsZero() {
		return nil, errors.New("authority: Template.Now is required")
	}
	if t.Validity < 0 {
		return nil, errors.New("authority: negative validity")
	}
	if t.Now.Before(a.cert.NotBefore) || t.Now.After(a.cert.NotAfter) {
		return nil, fmt.Errorf("authority: %w: it is valid from %s to %s, and now is %s", ErrExpired,
			a.cert.NotBefore.UTC().Format(time.RFC3339), a.cert.NotAfter.UTC().Format(time.RFC3339), t.Now.UTC().Format(time.RFC3339))
	}
	if bytes.Equal(req.RawPublicKeyInfo, a.cert.RawSubjectPublicKeyInfo) {
		return nil, refuse(ReasonKey, "the request carries the CA's own public key")
	}
	if t.Validity == 0 {
		t.Validity = DefaultValidity
	}
	if t.Skew == 0 {
		t.Skew = DefaultSkew
	}
	c := &x509.Certificate{
		RawSubject:            req.RawSubject,
		SubjectKeyId:          req.SubjectKeyID,
		NotBefore:             latest(t.Now.Add(-max(t.Skew, 0)), a.cert.NotBefore),
		NotAfter:              earliest(t.Now.Add(t.Validity), a.cert.NotAfter),
		IssuingCertificateURL: a.opts.IssuingCertificateURLs,
		CRLDistributionPoints: a.opts.CRLDistributionPoints,
		BasicConstraintsValid: true,
		MaxPathLen:            -1,
	}
	if len(req.san) > 0 {
		c.ExtraExtensions = []pkix.Extension{{Id: oidSubjectAltName, Critical: req.emptySubject(), Value: req.san}}
	}
	return c, t.Profile.apply(c, req, a.cert)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
