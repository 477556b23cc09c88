package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"
)

// DefaultCAValidity is the lifetime of a new CA certificate.
const DefaultCAValidity = 10 * 365 * 24 * time.Hour

const maxCAValidity = 50 * 365 * 24 * time.Hour

// CAOptions describe a new CA certificate.
type CAOptions struct {
	// Name is the common name, 1 to 64 characters.
	Name string

	// Organization and Country may be empty.
	Organization string
	Country      string

	// Now is the time of making it; required. The certificate is valid from
	// DefaultSkew before.
	Now time.Time

	// Validity counts from Now; zero is DefaultCAValidity, at most 50 years.
	Validity time.Duration

	// PathLen is the number of CAs that may stand below this one in a chain. The
	// zero value allows none, negative is no limit.
	PathLen int
}

// NewCACertificate makes the self-signed certificate of a new CA: basic
// constraints and key usage critical, subject key identifier by RFC 7093
// method 1, a serial number of 127 random bits.
func NewCACertificate(signer crypto.Signer, o CAOptions) (*x509.Certificate, error) {
	if o.Validity == 0 {
		o.Validity = DefaultCAValidity
	}
	switch {
	case o.Now.IsZero():
		return nil, errors.New("CA certificate: CAOptions.Now is required")
	case o.Validity < 0 || o.Validity > maxCAValidity:
		return nil, fmt.Errorf("CA certificate: a validity of %v is not possible (more than 0, at most 50 years)", o.Validity)
	case o.PathLen > maxPathLen:
		return nil, fmt.Errorf("CA certificate: path length %d is not possible (at most %d)", o.PathLen, maxPathLen)
	}
	if _, err := checkKey(signer.Public()); err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	subject, err := caSubject(o)
	if err != nil {
		return nil, err
	}
	serial, err := NewSerial()
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	ski, err := subjectKeyID(spki)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	c := &x509.Certificate{
		SerialNumber:          serial,
		RawSubject:            subject,
		SubjectKeyId:          ski,
		NotBefore:             o.Now.Add(-DefaultSkew),
		NotAfter:              o.Now.Add(o.Validity),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            max(o.PathLen, -1),
		MaxPathLenZero:        o.PathLen == 0,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, signer.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign CA certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

const maxPathLen = 16

func caSubject(o CAOptions) ([]byte, error) {
	if o.Name == "" {
		return nil, errors.New("CA certificate: the CA needs a name")
	}
	name := pkix.Name{CommonName: o.Name}
	if o.Organization != "" {
		name.Organization = []string{o.Organization}
	}
	if o.Country != "" {
		name.Country = []string{o.Country}
	}
	raw, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("CA certificate: name: %w", err)
	}
	if _, err := parseSubject(raw); err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	return raw, nil
}

// subjectKeyID is RFC 7093, 2, method 1: the leftmost 160 bits of the SHA-256
// of the subjectPublicKey bits.
func subjectKeyID(spki []byte) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	h := sha256.Sum256(info.Key.RightAlign())
	return h[:20], nil
}
