package est

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/smallstep/pkcs7"

	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

type handler struct {
	backend Backend
	auth    Authenticator
	o       Options
	limit   *limiter
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch r.URL.Path {
	case PathCACerts:
		if method(w, r, http.MethodGet, http.MethodHead) {
			h.caCerts(w, r)
		}
	case PathSimpleEnroll:
		if method(w, r, http.MethodPost) {
			h.simpleEnroll(w, r)
		}
	default:
		fail(w, http.StatusNotFound, "there is nothing here: EST is at "+PathCACerts+" and "+PathSimpleEnroll)
	}
}

func method(w http.ResponseWriter, r *http.Request, allowed ...string) bool {
	for _, m := range allowed {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	fail(w, http.StatusMethodNotAllowed, "the method must be "+strings.Join(allowed, " or "))
	return false
}

func fail(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n") // the client is gone if it fails
}

func (h *handler) caCerts(w http.ResponseWriter, r *http.Request) {
	var der []byte
	for _, c := range h.backend.CACertificates() {
		der = append(der, c.Raw...)
	}
	h.certsOnly(w, r, der, "application/pkcs7-mime")
}

// certsOnly answers with a degenerate PKCS#7 (RFC 5751, 3.2.2) in base64.
func (h *handler) certsOnly(w http.ResponseWriter, r *http.Request, certs []byte, contentType string) {
	der, err := pkcs7.DegenerateCertificate(certs)
	if err != nil || len(certs) == 0 {
		h.internal(w, r, fmt.Errorf("make PKCS#7 of %d bytes of certificates: %w", len(certs), err))
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Transfer-Encoding", "base64")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(base64Lines(der))
}

// base64Lines breaks after 64 characters, which openssl needs, with a line feed
// alone, which base64(1) needs.
func base64Lines(b []byte) []byte {
	var out bytes.Buffer
	for len(b) > 0 {
		n := min(len(b), 48)
		out.WriteString(base64.StdEncoding.EncodeToString(b[:n]))
		out.WriteByte('\n')
		b = b[n:]
	}
	return out.Bytes()
}

func (h *handler) simpleEnroll(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil {
		fail(w, http.StatusForbidden, "enrolment needs https")
		return
	}
	p, ok := h.authenticate(w, r)
	if !ok {
		return
	}
	if err := account.Check(account.Submit, p); err != nil {
		h.o.Logger.Warn("est: enrolment denied", "user", p.Name, "remote", r.RemoteAddr)
		fail(w, http.StatusForbidden, err.Error())
		return
	}
	// Anything else than the right type could be sent by a web page that the
	// user happens to look at, with a password that the browser remembers.
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/pkcs10" {
		fail(w, http.StatusUnsupportedMediaType, "the content type must be application/pkcs10 (curl: -H 'Content-Type: application/pkcs10')")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, authority.MaxRequestText))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a request has at most %d bytes", tooLarge.Limit))
			return
		}
		fail(w, http.StatusBadRequest, "the body could not be read")
		return
	}
	cert, retryAfter, err := h.backend.Enroll(r.Context(), p, body)
	h.answer(w, r, p, cert, retryAfter, err)
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, p account.Principal, cert []byte, retryAfter time.Duration, err error) {
	var bad *authority.RequestError
	var refused *RefusedError
	switch {
	case errors.As(err, &bad):
		fail(w, http.StatusBadRequest, bad.Error())
	case errors.As(err, &refused):
		fail(w, http.StatusBadRequest, refused.Error())
	case errors.Is(err, account.ErrDenied):
		fail(w, http.StatusForbidden, account.ErrDenied.Error())
	case errors.Is(err, ErrUnavailable):
		h.o.Logger.Info("est: unavailable", "user", p.Name, "error", err)
		later(w, 10*time.Second)
		fail(w, http.StatusServiceUnavailable, ErrUnavailable.Error())
	case err != nil:
		h.internal(w, r, err)
	case cert == nil && retryAfter > 0:
		later(w, retryAfter)
		fail(w, http.StatusAccepted, "the request waits for a decision: send it again later")
	default:
		h.o.Logger.Debug("est: enrolled", "user", p.Name, "remote", r.RemoteAddr)
		h.certsOnly(w, r, cert, "application/pkcs7-mime; smime-type=certs-only")
	}
}

// later sets Retry-After, in whole seconds rounded up.
func later(w http.ResponseWriter, d time.Duration) {
	w.Header().Set("Retry-After", strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10))
}

func (h *handler) internal(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // the client is gone
	}
	h.o.Logger.Error("est: request failed", "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
	fail(w, http.StatusInternalServerError, "internal error: the server's log says more")
}

// authenticate answers itself when it returns false.
func (h *handler) authenticate(w http.ResponseWriter, r *http.Request) (account.Principal, bool) {
	name, password, ok := r.BasicAuth()
	if !ok {
		h.challenge(w, "a user name and a password are needed")
		return account.Principal{}, false
	}
	from := addressOf(r.RemoteAddr)
	if wait := h.limit.blocked(from); wait > 0 {
		later(w, wait)
		fail(w, http.StatusTooManyRequests, "too many wrong passwords from your address")
		return account.Principal{}, false
	}
	p, err := h.auth.Authenticate(r.Context(), name, []byte(password))
	switch {
	case err == nil:
		return p, true
	case errors.Is(err, account.ErrBadCredentials):
		h.limit.failed(from)
		h.o.Logger.Warn("est: login failed", "user", fmt.Sprintf("%.64s", name), "remote", r.RemoteAddr)
		if h.o.OnRefused != nil {
			h.o.OnRefused(name, r.RemoteAddr)
		}
		h.challenge(w, account.ErrBadCredentials.Error())
	case errors.Is(err, account.ErrBusy):
		later(w, time.Second)
		fail(w, http.StatusServiceUnavailable, account.ErrBusy.Error())
	default:
		h.internal(w, r, err)
	}
	return account.Principal{}, false
}

func (h *handler) challenge(w http.ResponseWriter, text string) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q, charset=\"UTF-8\"", h.o.Realm))
	fail(w, http.StatusUnauthorized, text)
}
