// Package est lets clients enrol with the embedded Certificate Services by EST
// (RFC 7030, as clarified by RFC 8951): cacerts and simpleenroll with HTTP
// Basic over TLS, and nothing more. It also serves the CA certificate and the
// CRL over plain HTTP, and keeps the server's own TLS certificate.
//
// With curl and openssl, a client is
//
//	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
//		-keyout host.key -subj /CN=host.example -outform DER | openssl base64 > req.b64
//	curl --cacert ca.pem -u user -H 'Content-Type: application/pkcs10' \
//		--data-binary @req.b64 https://ca.example:8135/.well-known/est/simpleenroll |
//		openssl base64 -d | openssl pkcs7 -inform DER -print_certs > host.pem
package est

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/certkeep/certkeep/certsrv/account"
)

// The paths of RFC 7030, 3.2.2, that are served.
const (
	PathCACerts      = "/.well-known/est/cacerts"
	PathSimpleEnroll = "/.well-known/est/simpleenroll"
)

// Backend is the authority behind the handler.
type Backend interface {
	// CACertificates returns the CA's certificate, then any above it.
	CACertificates() []*x509.Certificate

	// Enroll issues a certificate, and returns its DER. For a request that waits
	// for an officer it returns no certificate and the time after which to ask
	// again with the same request. The request is as the client sent it, that is
	// in base64; the principal holds the Enroll right.
	//
	// Errors: authority.RequestError and [RefusedError] become 400 with their
	// text, [account.ErrDenied] 403, [ErrUnavailable] 503; the text of any other
	// is logged and not shown.
	Enroll(ctx context.Context, p account.Principal, csr []byte) (cert []byte, retryAfter time.Duration, err error)
}

// Authenticator checks passwords; *[account.Store] is one.
type Authenticator interface {
	// Authenticate fails with account.ErrBadCredentials or account.ErrBusy.
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

	// OnRefused, if set, hears of each wrong name or password, and from which
	// HOST:PORT it came. The name is whatever the client sent.
	OnRefused func(name, remote string)
}

// NewHandler serves PathCACerts and PathSimpleEnroll. It refuses to see
// passwords outside TLS, and slows down addresses from which wrong ones come.
func NewHandler(b Backend, a Authenticator, o Options) http.Handler {
	if o.Realm == "" {
		o.Realm = "certkeep"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &handler{backend: b, auth: a, o: o, limit: newLimiter(o.Now)}
}
