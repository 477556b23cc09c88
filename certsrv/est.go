package certsrv

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/certsrv/est"
)

// retryAfter is when an EST client should ask again for a pending request.
const retryAfter = 5 * time.Minute

// EST is the authority as package est wants it.
func (s *Server) EST() est.Backend { return estBackend{s} }

// IssueTLS issues a certificate for a server of the authority's own, such as the
// one of EST, from a request in DER: profile server, 90 days. It is what
// [est.TLSOptions] want. The certificate stands in no database; the service has
// to run.
func (s *Server) IssueTLS(ctx context.Context, csr []byte) ([]byte, error) {
	r, leave, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	return est.IssueWith(r.ca, s.clock.Now)(ctx, csr)
}

// Published is what the plain HTTP handler of package est serves.
func (s *Server) Published() est.Published { return published{s} }

type estBackend struct{ s *Server }

func (b estBackend) CACertificates() []*x509.Certificate {
	return []*x509.Certificate{b.s.CACertificate()}
}

// Enroll submits the request. A client of EST asks for a pending certificate by
// sending the same request again (RFC 7030, 4.2.3), which must not make a new
// one.
func (b estBackend) Enroll(ctx context.Context, p account.Principal, csr []byte) ([]byte, time.Duration, error) {
	if id, ok := b.s.waitingID(csr, p); ok {
		rec, err := b.s.Request(ctx, id)
		if err != nil {
			return nil, 0, unavailable(err)
		}
		switch rec.Disposition {
		case schema.Pending:
			return nil, retryAfter, nil
		case schema.Issued:
			b.s.forgetWaiting(rec.Request, p)
			return rec.Certificate, 0, nil
		case schema.Denied:
			b.s.forgetWaiting(rec.Request, p)
			return nil, 0, &est.RefusedError{Reason: "the request was denied"}
		}
		b.s.forgetWaiting(rec.Request, p)
	}
	res, err := b.s.Submit(ctx, p, csr, nil)
	if err != nil {
		return nil, 0, unavailable(err)
	}
	if res.Disposition == schema.Pending {
		return nil, retryAfter, nil
	}
	return res.Certificate, 0, nil
}

func unavailable(err error) error {
	if errors.Is(err, ErrStopped) || errors.Is(err, ErrSuspended) || errors.Is(err, ErrDiskFull) {
		return fmt.Errorf("%w: %w", est.ErrUnavailable, err)
	}
	return err
}

type published struct{ s *Server }

func (p published) CACertificate() []byte { return p.s.CACertificate().Raw }

func (p published) CRL() (der []byte, thisUpdate time.Time) {
	c, err := p.s.CRL()
	if err != nil {
		return nil, time.Time{}
	}
	return c.Raw, c.ThisUpdate
}

// waitingRequests finds a pending request by its contents and its sender.
// Pending ones are read at the start of the service; one that was decided stays
// until it is asked for, so that its sender gets the certificate, but not beyond
// a restart.
type waitingRequests struct {
	mu   sync.Mutex
	byID map[waitingKey]int64
}

type waitingKey [sha256.Size]byte

// maxWaiting bounds the memory; beyond it a request that is sent again is a new
// one.
const maxWaiting = 100_000

func keyOf(der []byte, requester string) waitingKey {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s", len(requester), requester)
	h.Write(der)
	return waitingKey(h.Sum(nil))
}

func (w *waitingRequests) add(der []byte, requester string, id int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID == nil {
		w.byID = make(map[waitingKey]int64)
	}
	if len(w.byID) < maxWaiting {
		w.byID[keyOf(der, requester)] = id
	}
}

func (w *waitingRequests) find(der []byte, requester string) (int64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.byID) == 0 {
		return 0, false
	}
	id, ok := w.byID[keyOf(der, requester)]
	return id, ok
}

func (w *waitingRequests) forget(der []byte, requester string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.byID, keyOf(der, requester))
}

func (w *waitingRequests) load(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, "SELECT RequestID, RawRequest, coalesce(RequesterName, '') FROM Requests WHERE Disposition = ? LIMIT ?",
		int64(schema.Pending), maxWaiting)
	if err != nil {
		return fmt.Errorf("pending requests: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var der []byte
		var who string
		if err := rows.Scan(&id, &der, &who); err != nil {
			return fmt.Errorf("pending requests: %w", err)
		}
		w.add(der, who, id)
	}
	return rows.Err()
}

// waitingID looks a request up as it came from the network. Most services have
// none waiting and need not decode it for this.
func (s *Server) waitingID(csr []byte, p account.Principal) (int64, bool) {
	r, leave, err := s.enter()
	if err != nil {
		return 0, false
	}
	defer leave()
	r.waiting.mu.Lock()
	none := len(r.waiting.byID) == 0
	r.waiting.mu.Unlock()
	if none {
		return 0, false
	}
	req, err := authority.ParseRequest(csr)
	if err != nil {
		return 0, false
	}
	return r.waiting.find(req.Raw, p.Name)
}

func (s *Server) forgetWaiting(der []byte, p account.Principal) {
	r, leave, err := s.enter()
	if err != nil {
		return
	}
	defer leave()
	r.waiting.forget(der, p.Name)
}
