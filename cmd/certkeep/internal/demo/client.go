package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/smallstep/pkcs7"
)

// maxReply bounds what a client reads from the authority.
const maxReply = 1 << 20

// Client enrols by EST (RFC 7030, simpleenroll) over HTTPS with a name and a
// password, as a device or curl would.
type Client struct {
	Name     string
	Password string
	URL      string // https://HOST:PORT
	CA       *x509.Certificate
	Record   *Record

	http *http.Client
}

// connect prepares the HTTP client, which trusts the authority and nothing else.
func (c *Client) connect() {
	if c.http != nil {
		return
	}
	pool := x509.NewCertPool()
	pool.AddCert(c.CA)
	c.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 16,
	}}
}

// Enrol asks for one certificate for a new key, checks the answer and records
// it. Only then is it acknowledged.
func (c *Client) Enrol(ctx context.Context, subject string) (Entry, error) {
	c.connect()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Entry{}, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: subject}, DNSNames: []string{subject},
	}, key)
	if err != nil {
		return Entry{}, err
	}
	body := base64.StdEncoding.EncodeToString(csr)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/.well-known/est/simpleenroll", strings.NewReader(body))
	if err != nil {
		return Entry{}, err
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	req.Header.Set("Content-Transfer-Encoding", "base64")
	req.SetBasicAuth(c.Name, c.Password)
	resp, err := c.http.Do(req)
	if err != nil {
		return Entry{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return Entry{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return Entry{}, fmt.Errorf("enrolment of %s: %s: %s", subject, resp.Status, bytes.TrimSpace(answer))
	}
	cert, err := c.check(answer, key)
	if err != nil {
		return Entry{}, fmt.Errorf("enrolment of %s: %w", subject, err)
	}
	e := entryOf(c.Name, cert)
	return e, c.Record.Add(e)
}

// check takes the certificate out of a certs-only PKCS#7 answer: it must be for
// the key that was asked for, and signed by the authority.
func (c *Client) check(answer []byte, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(answer), nil)))
	if err != nil {
		return nil, err
	}
	p7, err := pkcs7.Parse(der)
	if err != nil {
		return nil, err
	}
	for _, cert := range p7.Certificates {
		if public, ok := cert.PublicKey.(*ecdsa.PublicKey); ok && public.Equal(&key.PublicKey) {
			return cert, cert.CheckSignatureFrom(c.CA)
		}
	}
	return nil, errors.New("the answer holds no certificate for the key")
}

// Work enrols again and again and tells acked of each certificate, until a
// request fails; began is when that one was sent.
func (c *Client) Work(ctx context.Context, worker int, acked func(Entry)) (began time.Time, err error) {
	for i := 1; ; i++ {
		began = time.Now()
		e, err := c.Enrol(ctx, fmt.Sprintf("%s-%d-%d.demo.test", c.Name, worker, i))
		if err != nil {
			return began, err
		}
		acked(e)
	}
}

// Close gives the connections back.
func (c *Client) Close() {
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}
