package certsrv

import (
	"crypto/x509"
	"errors"
	"os"
	"testing"

	"github.com/certkeep/certkeep/cadb/schema"
)

func TestIssueAndRestart(t *testing.T) {
	s := startServer(t, InitOptions{}, Options{})
	res, err := s.Submit(t.Context(), root, newCSR(t, "web"), map[string]string{"ccm": "client1"})
	if err != nil {
		t.Fatal(err)
	}
	if res.Disposition != schema.Issued || res.RequestID < 2 {
		t.Errorf("result %+v", res)
	}
	cert, err := x509.ParseCertificate(res.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.CheckSignatureFrom(s.CACertificate()); err != nil {
		t.Error(err)
	}
	if schema.SerialText(cert.SerialNumber) != res.Serial {
		t.Errorf("serial %s, in the certificate %x", res.Serial, cert.SerialNumber)
	}
	mustStop(t, s)
	if _, err := s.Submit(t.Context(), root, newCSR(t, "web"), nil); !errors.Is(err, ErrStopped) {
		t.Errorf("submit to a stopped service: %v", err)
	}
	mustStart(t, s)
	rec, err := s.Certificate(t.Context(), res.Serial)
	if err != nil || rec.RequestID != res.RequestID || string(rec.Certificate) != string(res.Certificate) {
		t.Errorf("after a restart: %+v, %v", rec, err)
	}
	next := issue(t, s, 1)
	rec, err = s.Certificate(t.Context(), next[0])
	if err != nil || rec.RequestID != res.RequestID+1 {
		t.Errorf("next id %d after %d, %v", rec.RequestID, res.RequestID, err)
	}
	if _, err := os.Stat(s.crlPath()); err != nil {
		t.Errorf("no CRL: %v", err)
	}
}
