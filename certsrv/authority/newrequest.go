package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
)

// NewRequest makes and signs a request for a key that is ours: subject is what
// [ParseDN] returned, or nil for none; names are alternative names, each of the
// kind it looks like (IP address, URI, mail address or DNS name).
func NewRequest(signer crypto.Signer, subject []byte, names []string) ([]byte, error) {
	t := &x509.CertificateRequest{RawSubject: subject}
	if len(names) > 0 {
		san, err := altNames(names)
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = []pkix.Extension{{Id: oidSubjectAltName, Critical: subject == nil, Value: san}}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, t, signer)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}
