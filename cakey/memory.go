package cakey

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

// iterations is for each of the three derivations of a PFX (MAC, certificates,
// key): together they stay well below the 600,000 at which .NET stops importing.
const iterations = 100_000

type inMemory struct {
	key   crypto.Signer
	chain []*x509.Certificate
}

// InMemory is a key that the caller has, such as the embedded authority's, with
// its certificate and the certificates above that. The PFX is encrypted with
// AES-256 and PBKDF2 (PBES2, RFC 8018); Windows reads it from Server 2019 and
// Windows 10 version 1709 on.
func InMemory(key crypto.Signer, chain ...*x509.Certificate) Source {
	return &inMemory{key, chain}
}

func (m *inMemory) PFX(ctx context.Context, password []byte) (*PFX, error) {
	if len(m.chain) == 0 {
		return nil, errors.New("a certificate is needed beside the key")
	}
	if !matches(m.chain[0], m.key.Public()) {
		return nil, fmt.Errorf("the certificate of %q belongs to another key", m.chain[0].Subject)
	}
	data, err := pkcs12.Modern2023.WithIterations(iterations).Encode(m.key, m.chain[0], m.chain[1:], string(password))
	if err != nil {
		return nil, fmt.Errorf("encode PFX: %w", err)
	}
	return &PFX{Data: data, Certificate: m.chain[0].Raw}, context.Cause(ctx)
}

// matches says whether a certificate is that of a public key.
func matches(cert *x509.Certificate, pub crypto.PublicKey) bool {
	k, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(pub)
}
