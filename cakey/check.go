package cakey

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

// check opens a PFX with the password and holds its key against the certificate.
// An error says that the file is of no use; Unchecked, that nothing could be
// found out.
func (r *Result) check(data, password []byte) error {
	p, err := readProtection(data)
	switch {
	case errors.Is(err, errOpenKey):
		return err
	case err != nil:
		r.Protection, r.Weak = "unknown", true
	default:
		r.Protection, r.Weak = p.String(), p.weak
	}
	cert, err := x509.ParseCertificate(r.Certificate)
	if err != nil {
		r.Unchecked = fmt.Errorf("the certificate cannot be read: %w", err)
		return nil
	}
	if cert.PublicKey == nil {
		r.Unchecked = fmt.Errorf("keys of the certificate's algorithm (%v) cannot be read", cert.PublicKeyAlgorithm)
		return nil
	}
	key, first, more, err := pkcs12.DecodeChain(data, string(password))
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		return fmt.Errorf("the PFX does not open with the password: %w", err)
	case isNotImplemented(err):
		r.Unchecked = err
		return nil
	case err != nil:
		return fmt.Errorf("the PFX cannot be read back: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok || !matches(cert, signer.Public()) {
		return errors.New("the PFX holds another key than the certificate's")
	}
	for _, c := range append(more, first) {
		if bytes.Equal(c.Raw, cert.Raw) {
			return nil
		}
	}
	return errors.New("the PFX lacks the certificate")
}

func isNotImplemented(err error) bool {
	_, ok := errors.AsType[pkcs12.NotImplementedError](err)
	return ok
}
