package certsrv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
)

// Record is one request as the database has it.
type Record struct {
	RequestID   int64
	Disposition schema.Disposition
	Message     string
	Requester   string
	Subject     string
	Serial      string // "" without a certificate
	Certificate []byte // DER; nil without one
	Request     []byte // DER, or what was sent instead
	Submitted   time.Time
	Resolved    time.Time
	NotBefore   time.Time
	NotAfter    time.Time

	// Revoked and Reason count while Disposition is Revoked.
	Revoked time.Time
	Reason  schema.Reason
}

const selectRecord = `SELECT r.RequestID, r.Disposition, coalesce(r.DispositionMessage, ''), coalesce(r.RequesterName, ''),
	coalesce(r.DistinguishedName, ''), coalesce(c.SerialNumber, ''), c.RawCertificate, r.RawRequest,
	coalesce(r.SubmittedWhen, 0), coalesce(r.ResolvedWhen, 0), coalesce(c.NotBefore, 0), coalesce(c.NotAfter, 0),
	coalesce(r.RevokedEffectiveWhen, 0), coalesce(r.RevokedReason, 0)
	FROM Requests r LEFT JOIN Certificates c ON c.RequestID = r.RequestID `

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readRecordRow(row *sql.Row) (Record, error) {
	var r Record
	var submitted, resolved, notBefore, notAfter, revoked, disposition, reason int64
	err := row.Scan(&r.RequestID, &disposition, &r.Message, &r.Requester, &r.Subject, &r.Serial, &r.Certificate, &r.Request,
		&submitted, &resolved, &notBefore, &notAfter, &revoked, &reason)
	if errors.Is(err, sql.ErrNoRows) {
		return r, ErrNotFound
	}
	if err != nil {
		return r, err
	}
	r.Disposition, r.Reason = schema.Disposition(disposition), schema.Reason(reason)
	r.Submitted, r.Resolved, r.Revoked = schema.Time(submitted), schema.Time(resolved), schema.Time(revoked)
	r.NotBefore, r.NotAfter = schema.Time(notBefore), schema.Time(notAfter)
	return r, nil
}

func bySerial(ctx context.Context, q querier, serial string) (Record, error) {
	r, err := readRecordRow(q.QueryRowContext(ctx, selectRecord+"WHERE c.SerialNumber = ?", serial))
	if err != nil {
		return r, fmt.Errorf("serial number %s: %w", serial, err)
	}
	return r, nil
}

func byID(ctx context.Context, q querier, id int64) (Record, error) {
	r, err := readRecordRow(q.QueryRowContext(ctx, selectRecord+"WHERE r.RequestID = ?", id))
	if err != nil {
		return r, fmt.Errorf("request %d: %w", id, err)
	}
	return r, nil
}

// Certificate looks a certificate up by its serial number, in any form that
// [schema.ParseSerial] reads.
func (s *Server) Certificate(ctx context.Context, serial string) (Record, error) {
	text, err := schema.ParseSerial(serial)
	if err != nil {
		return Record{}, err
	}
	r, leave, err := s.enter()
	if err != nil {
		return Record{}, err
	}
	defer leave()
	return bySerial(ctx, r.db.Reader(), text)
}

// Request looks a request up by its id.
func (s *Server) Request(ctx context.Context, id int64) (Record, error) {
	r, leave, err := s.enter()
	if err != nil {
		return Record{}, err
	}
	defer leave()
	return byID(ctx, r.db.Reader(), id)
}
