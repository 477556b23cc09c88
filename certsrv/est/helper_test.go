package est

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// ca is a Backend and Published that issues at once and keeps nothing but the
// last certificate.
type ca struct {
	*authority.Authority
	now func() time.Time

	mu      sync.Mutex
	fail    error         // instead of issuing
	pending time.Duration // instead of issuing
	seen    []account.Principal
	last    *x509.Certificate
	crl     []byte
}

func newCA(t testing.TB, now func() time.Time) *ca {
	t.Helper()
	key, err := authority.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.NewCACertificate(key, authority.CAOptions{Name: "EST Test CA", Now: now()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.New(cert, key, authority.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &ca{Authority: a, now: now}
}

func (c *ca) CACertificates() []*x509.Certificate { return []*x509.Certificate{c.Certificate()} }

func (c *ca) Enroll(ctx context.Context, p account.Principal, csr []byte) ([]byte, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, p)
	if c.fail != nil || c.pending > 0 {
		return nil, c.pending, c.fail
	}
	req, err := authority.ParseRequest(csr)
	if err != nil {
		return nil, 0, err
	}
	serial, err := authority.NewSerial()
	if err != nil {
		return nil, 0, err
	}
	der, cert, err := c.Issue(authority.Template{Now: c.now()}, req, serial)
	c.last = cert
	return der, 0, err
}

func (c *ca) CACertificate() []byte { return c.Certificate().Raw }

func (c *ca) CRL() ([]byte, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crl, c.now()
}

// publish makes a CRL with these serials.
func (c *ca) publish(t testing.TB, number int64, serials ...*big.Int) {
	t.Helper()
	var list []authority.Revoked
	for _, s := range serials {
		list = append(list, authority.Revoked{Serial: s, Time: c.now(), Reason: 1})
	}
	der, err := c.BuildCRL(list, big.NewInt(number), c.now().Add(-time.Minute), c.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.crl = der
	c.mu.Unlock()
}

// accounts is a real store: alice may enrol, bob may not.
func accounts(t testing.TB) *account.Store {
	t.Helper()
	s, err := account.Open(filepath.Join(t.TempDir(), "accounts.json"), account.Options{Cost: account.Cost{Memory: 8, Time: 1, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	for name, roles := range map[string]account.Roles{"alice": account.Enroll, "bob": account.Read} {
		if err := s.Add(t.Context(), name, roles, []byte("password of "+name)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func csr64(t testing.TB, names ...string) string {
	t.Helper()
	key, err := authority.GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	der, err := authority.NewRequest(key, nil, names)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// enroll is a good request by alice.
func enroll(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://ca.example"+PathSimpleEnroll, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/pkcs10")
	r.SetBasicAuth("alice", "password of alice")
	return r
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func writeFile(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
