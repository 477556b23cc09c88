package est

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/secretfile"
)

// TLSOptions describe the server's own certificate.
type TLSOptions struct {
	// CA must have issued the certificate; required.
	CA *x509.Certificate

	// Hosts are the DNS names and IP addresses that clients use; required. See
	// [HostsFor].
	Hosts []string

	// Issue has the CA issue a certificate for the request (DER), and returns
	// its DER; required. See [IssueWith].
	Issue func(ctx context.Context, csr []byte) ([]byte, error)

	// File keeps key and certificate (PEM, mode 0600), so that a restart needs
	// no new one; empty keeps them in memory alone. A file that does not fit
	// (other hosts, another CA, damage, readable by others) is replaced.
	File string

	Now    func() time.Time // nil is time.Now
	Logger *slog.Logger     // nil discards
}

// TLSCertificate is a server certificate that renews itself, during the first
// handshake after two thirds of its life. While a renewal fails the old one is
// used, and the next attempt is a minute later.
type TLSCertificate struct {
	o       TLSOptions
	current atomic.Pointer[tls.Certificate]
	renew   sync.Mutex
	retry   time.Time // no attempt before; under renew
}

const (
	renewalPause   = time.Minute
	renewalTimeout = 20 * time.Second
	tlsValidity    = 90 * 24 * time.Hour
	maxTLSFile     = 64 << 10
)

// NewTLSCertificate loads the certificate, or has one issued.
func NewTLSCertificate(ctx context.Context, o TLSOptions) (*TLSCertificate, error) {
	if o.CA == nil || o.Issue == nil || len(o.Hosts) == 0 {
		return nil, errors.New("server certificate: CA, Issue and Hosts are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &TLSCertificate{o: o}
	if o.File != "" {
		c, err := t.load()
		if err == nil {
			t.current.Store(c)
			return t, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			o.Logger.Warn("server certificate: a new one is needed", "file", o.File, "reason", err)
		}
	}
	c, err := t.issue(ctx)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	t.current.Store(c)
	return t, nil
}

// Config returns a server configuration (TLS 1.2 and later) that always uses
// the newest certificate.
func (t *TLSCertificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return t.get(h.Context()), nil
		},
	}
}

// Certificate is the one in use.
func (t *TLSCertificate) Certificate() *x509.Certificate { return t.current.Load().Leaf }

func (t *TLSCertificate) get(ctx context.Context) *tls.Certificate {
	c := t.current.Load()
	now := t.o.Now()
	// One handshake renews, the others use what there is.
	if !t.due(c.Leaf, now) || !t.renew.TryLock() {
		return c
	}
	defer t.renew.Unlock()
	if now.Before(t.retry) || !t.due(t.current.Load().Leaf, now) {
		return t.current.Load()
	}
	t.retry = now.Add(renewalPause)
	ctx, cancel := context.WithTimeout(ctx, renewalTimeout)
	defer cancel()
	fresh, err := t.issue(ctx)
	if err != nil {
		t.o.Logger.Error("server certificate: renewal failed, the old one is used", "until", c.Leaf.NotAfter, "error", err)
		return c
	}
	t.current.Store(fresh)
	return fresh
}

func (t *TLSCertificate) due(c *x509.Certificate, now time.Time) bool {
	life := c.NotAfter.Sub(c.NotBefore)
	return !now.Before(c.NotAfter.Add(-life / 3))
}

func (t *TLSCertificate) issue(ctx context.Context) (*tls.Certificate, error) {
	key, err := authority.GenerateKey(authority.ECDSAP256)
	if err != nil {
		return nil, err
	}
	var subject []byte
	if cn := t.o.Hosts[0]; len(cn) <= 64 {
		if subject, err = authority.ParseDN("CN=" + cn); err != nil {
			return nil, err
		}
	}
	csr, err := authority.NewRequest(key, subject, t.o.Hosts)
	if err != nil {
		return nil, err
	}
	der, err := t.o.Issue(ctx, csr)
	if err != nil {
		return nil, err
	}
	c, err := t.accept(der, key)
	if err != nil {
		return nil, err
	}
	if t.o.File == "" {
		return c, nil
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := durable.WriteFile(durable.OS, t.o.File, text, 0o600); err != nil {
		return nil, err
	}
	return c, nil
}

// accept checks that a certificate is what this server needs now.
func (t *TLSCertificate) accept(der []byte, key crypto.Signer) (*tls.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(leaf.PublicKey) {
		return nil, authority.ErrKeyMismatch
	}
	roots := x509.NewCertPool()
	roots.AddCert(t.o.CA)
	for _, host := range t.o.Hosts {
		o := x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: t.o.Now()} // for server authentication
		if _, err := leaf.Verify(o); err != nil {
			return nil, err
		}
	}
	// The CA's certificate goes along, for clients that want to see it.
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, t.o.CA.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func (t *TLSCertificate) load() (*tls.Certificate, error) {
	text, err := secretfile.Read(t.o.File, maxTLSFile)
	if err != nil {
		return nil, err
	}
	k, rest := pem.Decode(text)
	if k == nil || k.Type != "PRIVATE KEY" {
		return nil, errors.New("it holds no PKCS#8 key")
	}
	c, _ := pem.Decode(rest)
	if c == nil || c.Type != "CERTIFICATE" {
		return nil, errors.New("it holds no certificate")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", parsed)
	}
	out, err := t.accept(c.Bytes, key)
	if err != nil {
		return nil, err
	}
	if t.due(out.Leaf, t.o.Now()) {
		return nil, errors.New("it expires soon")
	}
	return out, nil
}

// HostsFor lists the names for a listen address: its host, or, when that is
// this machine in general, localhost, the loopback addresses and the machine's
// name. A loopback address goes by the name localhost as well.
func HostsFor(listen string) ([]string, error) {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("listen address: %w", err)
	}
	if i := strings.IndexByte(host, '%'); i >= 0 {
		host = host[:i]
	}
	a, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && a.IsUnspecified():
		hosts := []string{"localhost", "127.0.0.1", "::1"}
		if name, err := os.Hostname(); err == nil && authority.IsDNSName(name) && !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
		return hosts, nil
	case err == nil && a.IsLoopback():
		return []string{"localhost", a.Unmap().String()}, nil
	case err == nil:
		return []string{a.Unmap().String()}, nil
	case strings.EqualFold(host, "localhost"):
		return []string{"localhost", "127.0.0.1", "::1"}, nil
	case authority.IsDNSName(host):
		return []string{host}, nil
	}
	return nil, fmt.Errorf("listen address %q: the host is neither a DNS name nor an address", listen)
}

// IssueWith issues directly with an authority (profile server, 90 days): the
// certificate then stands in no database.
func IssueWith(a *authority.Authority, now func() time.Time) func(ctx context.Context, csr []byte) ([]byte, error) {
	return func(ctx context.Context, csr []byte) ([]byte, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		req, err := authority.ParseRequest(csr)
		if err != nil {
			return nil, err
		}
		serial, err := authority.NewSerial()
		if err != nil {
			return nil, err
		}
		der, _, err := a.Issue(authority.Template{Profile: authority.ProfileServer, Now: now(), Validity: tlsValidity}, req, serial)
		return der, err
	}
}
