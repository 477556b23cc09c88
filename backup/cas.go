package backup

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
)

// Renewed is implemented by a Target whose authority may have had other
// certificates, with other keys, before the one that Identity gives.
type Renewed interface {
	// Certificates are all of them in DER, in any order.
	Certificates(ctx context.Context) ([][]byte, error)
}

// caCertificates are the certificates of one authority, the newest first: what any
// of them has signed is the authority's.
type caCertificates []*x509.Certificate

// casOf asks a target for its certificates; newest is the one of its Identity.
func casOf(ctx context.Context, t Target, newest *x509.Certificate) (caCertificates, error) {
	cas := caCertificates{newest}
	r, ok := t.(Renewed)
	if !ok {
		return cas, nil
	}
	all, err := r.Certificates(ctx)
	if err != nil {
		return nil, err
	}
	for _, raw := range all {
		cert, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("the target's CA certificates: %w", err)
		}
		if !cas.has(cert) {
			cas = append(cas, cert)
		}
	}
	return cas, nil
}

func (cas caCertificates) has(cert *x509.Certificate) bool {
	for _, ca := range cas {
		if ca.Equal(cert) {
			return true
		}
	}
	return false
}

// hasSum reports whether one of them has this SHA-256, in hexadecimal.
func (cas caCertificates) hasSum(sum string) bool {
	for _, ca := range cas {
		if fingerprint(ca.Raw) == sum {
			return true
		}
	}
	return false
}

// signed is nil if check, such as CheckSignatureFrom of something signed, is for one
// of them.
func (cas caCertificates) signed(check func(*x509.Certificate) error) error {
	err := errors.New("no CA certificate")
	for _, ca := range cas {
		if err = check(ca); err == nil {
			return nil
		}
	}
	return err
}
