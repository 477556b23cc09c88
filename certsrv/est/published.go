package est

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Published is what the plain HTTP handler serves, as DER.
type Published interface {
	CACertificate() []byte
	// CRL returns nil if none was published yet.
	CRL() (der []byte, thisUpdate time.Time)
}

// NewPublishedHandler serves /NAME.crt and /NAME.crl, for the URLs in the
// extensions AIA and CDP (RFC 2585, 4). The name is the sanitized one of the CA.
func NewPublishedHandler(name string, p Published) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		var der []byte
		var modified time.Time
		var contentType string
		switch r.URL.Path {
		case "/" + name + ".crt":
			der, contentType = p.CACertificate(), "application/pkix-cert"
		case "/" + name + ".crl":
			der, modified = p.CRL()
			contentType = "application/pkix-crl"
		}
		if len(der) == 0 {
			fail(w, http.StatusNotFound, "there is nothing here")
			return
		}
		if !method(w, r, http.MethodGet, http.MethodHead) {
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(der)))
		http.ServeContent(w, r, "", modified, bytes.NewReader(der))
	})
}

// NewServer returns an http.Server with the limits that a server on an open
// network needs: time for headers, bodies, answers and idling, and the size of
// headers. config may be nil, for plain HTTP; with one, call ServeTLS(l, "",
// ""). Its Shutdown lets requests at work finish.
func NewServer(h http.Handler, config *tls.Config, l *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		TLSConfig:         config,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	if l == nil {
		l = slog.New(slog.DiscardHandler)
	}
	s.ErrorLog = slog.NewLogLogger(l.Handler(), slog.LevelDebug)
	return s
}
