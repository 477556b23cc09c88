// Package est lets clients enrol with the embedded Certificate Services by EST
// (RFC 7030, as clarified by RFC 8951): cacerts and simpleenroll with HTTP
// Basic over TLS, and nothing more. It also serves the CA certificate and the
// CRL over plain HTTP, and keeps the server's own TLS certificate.
package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// Backend is the authority behind the handler.
type Backend interface {
	// CACertificates returns the CA's certificate, then any above it.
	CACertificates() []*x509.Certificate

	// Enroll issues a certificate, and returns its DER. For a request that waits
	// for an officer it returns no certificate and the time after which to ask
	// again with the same request. The request's body is as the client sent it
	// (base64); the principal holds the Enroll right.
	//
	// Errors: *[authority.RequestError] and *[RefusedError] become 400 with
	// their text, [account.ErrDenied] 403, [ErrUnavailable] 503; the text of any
	// other is logged and not shown.
	Enroll(ctx context.Context, p account.Principal, csr []byte) (cert []byte, retryAfter time.Duration, err error)
}

// Authenticator checks passwords; *[account.Store] is one.
type Authenticator interface {
	Authenticate(ctx context.Context, name string, password []byte) (account.Principal, error)
}

// ErrUnavailable says that the service is stopped or stopping.
var ErrUnavailable = errors.New("the certification authority is not available at the moment")

// RefusedError says that a request was denied, or failed, for a reason that its
// sender may know.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

// Options of the handler; the zero value is usable.
type Options struct {
	Realm  string           // of HTTP Basic; "certkeep" if empty
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil is time.Now
}

// NewHandler serves /.well-known/est/cacerts and /.well-known/est/simpleenroll.
// It refuses to see passwords outside TLS.
func NewHandler(b Backend, a Authenticator, o Options) http.Handler { return nil }

// Published is what the plain HTTP handler serves, as DER.
type Published interface {
	CACertificate() []byte
	// CRL returns nil if none was published yet.
	CRL() (der []byte, thisUpdate time.Time)
}

// NewPublishedHandler serves /NAME.crt and /NAME.crl, for AIA and CDP URLs. The
// name is the sanitized one of the CA.
func NewPublishedHandler(name string, p Published) http.Handler { return nil }

// NewServer returns an http.Server with the limits that a server on the open
// network needs: timeouts and header size. config may be nil, for plain HTTP.
func NewServer(h http.Handler, config *tls.Config, l *slog.Logger) *http.Server { return nil }

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

	// File keeps key and certificate (PEM, mode 0600) so that a restart needs no
	// new one; empty keeps them in memory alone.
	File string

	Now    func() time.Time // nil is time.Now
	Logger *slog.Logger     // nil discards
}

// TLSCertificate is a server certificate that renews itself when a third of its
// life is left, or when the hosts have changed.
type TLSCertificate struct{}

// NewTLSCertificate loads the certificate, or has one issued.
func NewTLSCertificate(ctx context.Context, o TLSOptions) (*TLSCertificate, error) {
	return nil, errors.ErrUnsupported
}

// Config returns a server configuration (TLS 1.2 and later) that always uses
// the newest certificate.
func (t *TLSCertificate) Config() *tls.Config { return nil }

// HostsFor lists the names for a listen address: its host, or, when it is
// unspecified, localhost, the loopback addresses and this machine's name.
func HostsFor(listen string) ([]string, error) { return nil, errors.ErrUnsupported }

// IssueWith issues directly with an authority (profile server, 90 days), so
// that the certificate stands in no database.
func IssueWith(a *authority.Authority, now func() time.Time) func(ctx context.Context, csr []byte) ([]byte, error) {
	return nil
}
