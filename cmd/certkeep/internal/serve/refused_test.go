package serve_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/audit"
	"github.com/certkeep/certkeep/certsrv/est"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/serve"
)

// A wrong password at EST is in the audit log, with where it came from.
func TestWrongPasswordIsAudited(t *testing.T) {
	dir := newAuthority(t, certsrv.InitOptions{})
	a, err := serve.Start(t.Context(), serve.Options{Dir: dir, EST: anyPort})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(a.Server.CACertificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.EST+est.PathSimpleEnroll, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("web", "not "+password)
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d", resp.StatusCode)
	}
	var refused []audit.Record
	for r, err := range audit.Read(t.Context(), filepath.Join(dir, "audit.log")) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Event == audit.LogonRefused {
			refused = append(refused, r)
		}
	}
	if len(refused) != 1 || refused[0].Who != "web" || !strings.HasPrefix(refused[0].From, "127.0.0.1:") || refused[0].Type != "basic" {
		t.Errorf("%+v", refused)
	}
}
