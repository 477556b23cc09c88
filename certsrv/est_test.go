package certsrv

import (
	"crypto/x509"
	"errors"
	"testing"
)

// The authority's own servers get their certificates from the running service,
// which has the key open already.
func TestIssueTLS(t *testing.T) {
	s := startServer(t, InitOptions{Passphrase: []byte("correct horse")}, Options{Passphrase: []byte("correct horse")})
	csr := newCSR(t, "web")
	der, err := s.IssueTLS(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.CACertificate())
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "web.example.org"}); err != nil { // for server authentication
		t.Error(err)
	}
	if _, err := s.Certificate(t.Context(), leaf.SerialNumber.Text(16)); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is in the database: %v", err)
	}
	if _, err := s.IssueTLS(t.Context(), csr[1:]); err == nil {
		t.Error("issued for what is no request")
	}
	if err := s.Suspend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.IssueTLS(t.Context(), csr); !errors.Is(err, ErrSuspended) {
		t.Errorf("while suspended: %v", err)
	}
	mustStop(t, s)
	if _, err := s.IssueTLS(t.Context(), csr); !errors.Is(err, ErrStopped) {
		t.Errorf("while stopped: %v", err)
	}
}
