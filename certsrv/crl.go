package certsrv

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/internal/durable"
)

// maxCRLFile bounds what is read back of a published CRL.
const maxCRLFile = 64 << 20

// CRL is a base CRL of the authority.
type CRL struct {
	Number     int64
	ThisUpdate time.Time
	NextUpdate time.Time
	Entries    int
	Raw        []byte // DER
}

func (s *Server) crlPath() string {
	return s.at.path(publishedDir + "/" + s.config().SanitizedName + crlExt)
}

// PublishCRL makes a base CRL of all revoked certificates that have not expired,
// records it and writes it under published/. When it returns the CRL is in the
// database and in its file. It needs the Administrator role.
//
// While a restore has left a [Gap] that is neither closed nor accepted, it fails
// with [ErrGap].
func (s *Server) PublishCRL(ctx context.Context, p account.Principal) (CRL, error) {
	if err := account.Check(account.PublishCRL, p); err != nil {
		return CRL{}, err
	}
	r, leave, err := s.enter()
	if err != nil {
		return CRL{}, err
	}
	defer leave()
	return r.publishCRL(ctx)
}

// CRL returns the newest CRL, whose Raw is nil if there is none yet.
func (s *Server) CRL() (CRL, error) {
	r, leave, err := s.enter()
	if err != nil {
		return CRL{}, err
	}
	defer leave()
	if c := r.crl.Load(); c != nil {
		return *c, nil
	}
	return CRL{}, nil
}

func (r *run) publishCRL(ctx context.Context) (CRL, error) {
	r.crlMu.Lock()
	defer r.crlMu.Unlock()
	s := r.s
	if err := r.closeGap(ctx); err != nil {
		return CRL{}, err
	}
	n, err := r.crls.take(1)
	if err != nil {
		return CRL{}, fmt.Errorf("CRL number: %w", err)
	}
	now := s.clock.Now().UTC().Truncate(time.Second)
	c := CRL{Number: n, ThisUpdate: now, NextUpdate: now.Add(time.Duration(s.config().CRLValidity))}
	entries, err := r.revoked(ctx)
	if err != nil {
		return CRL{}, err
	}
	c.Entries = len(entries)
	if c.Raw, err = r.ca.BuildCRL(entries, big.NewInt(n), c.ThisUpdate, c.NextUpdate); err != nil {
		return CRL{}, err
	}
	if err := r.db.Write(ctx, func(tx *sql.Tx) error { return insertCRL(ctx, tx, &c) }); err != nil {
		return CRL{}, storeError("store CRL", err)
	}
	r.crl.Store(&c)
	if err := s.step("crl stored"); err != nil {
		return CRL{}, err
	}
	if err := durable.WriteFile(s.fsys, s.crlPath(), c.Raw, publishedMode); err != nil {
		return CRL{}, storeError("publish CRL", err)
	}
	s.log.Info("published a CRL", slog.Int64("number", n), slog.Int("entries", c.Entries))
	return c, nil
}

// insertCRL leaves the columns of AD CS's delta CRLs and retries empty.
func insertCRL(ctx context.Context, tx *sql.Tx, c *CRL) error {
	const base, complete = 0x1, 0x8 // certsrv.h, CPF_BASE and CPF_COMPLETE
	this, next := schema.Filetime(c.ThisUpdate), schema.Filetime(c.NextUpdate)
	_, err := tx.ExecContext(ctx, `INSERT INTO CRLs (Number, MinBase, NameId, Count, ThisUpdate, NextUpdate, ThisPublish, NextPublish,
		Effective, PropagationComplete, CRLLastPublished, CRLPublishAttempts, CRLPublishFlags, CRLPublishStatusCode, RawCRL)
		VALUES (?1, 0, 0, ?2, ?3, ?4, ?3, ?4, ?3, ?3, ?3, 1, ?5, 0, ?6)`, c.Number, c.Entries, this, next, base|complete, c.Raw)
	return err
}

// revoked lists the entries of the next CRL. RFC 5280, 3.3 wants an entry to be
// in one CRL after the certificate's end, so the previous CRL decides what has
// expired.
func (r *run) revoked(ctx context.Context) ([]authority.Revoked, error) {
	var since int64
	if c := r.crl.Load(); c != nil {
		since = schema.Filetime(c.ThisUpdate)
	}
	rows, err := r.db.Reader().QueryContext(ctx, `SELECT c.SerialNumber, coalesce(r.RevokedEffectiveWhen, r.RevokedWhen, 0), coalesce(r.RevokedReason, 0)
		FROM Requests r JOIN Certificates c ON c.RequestID = r.RequestID
		WHERE r.Disposition = ? AND c.SerialNumber IS NOT NULL AND (c.NotAfter IS NULL OR c.NotAfter >= ?) ORDER BY r.RequestID`,
		int64(schema.Revoked), since)
	if err != nil {
		return nil, fmt.Errorf("revoked certificates: %w", err)
	}
	defer rows.Close()
	var list []authority.Revoked
	for rows.Next() {
		var serial string
		var when, reason int64
		if err := rows.Scan(&serial, &when, &reason); err != nil {
			return nil, fmt.Errorf("revoked certificates: %w", err)
		}
		n, err := serialNumber(serial)
		if err != nil {
			return nil, err
		}
		list = append(list, authority.Revoked{Serial: n, Time: schema.Time(when), Reason: int(reason)})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("revoked certificates: %w", err)
	}
	return list, nil
}

// loadCRL finds the newest CRL, in the database or under published/. The file
// is written again if a crash came between the two; a file that is ahead of a
// restored database is left alone.
func (r *run) loadCRL(ctx context.Context) error {
	s := r.s
	var c CRL
	var this, next int64
	err := r.db.Reader().QueryRowContext(ctx,
		"SELECT Number, coalesce(ThisUpdate, 0), coalesce(NextUpdate, 0), coalesce(Count, 0), RawCRL FROM CRLs ORDER BY Number DESC LIMIT 1").
		Scan(&c.Number, &this, &next, &c.Entries, &c.Raw)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("newest CRL: %w", err)
	}
	c.ThisUpdate, c.NextUpdate = schema.Time(this), schema.Time(next)
	if file := s.publishedCRL(); file != nil && file.Number >= c.Number {
		r.crl.Store(file)
		return nil
	}
	if c.Raw == nil {
		return nil
	}
	r.crl.Store(&c)
	if err := durable.WriteFile(s.fsys, s.crlPath(), c.Raw, publishedMode); err != nil {
		return fmt.Errorf("publish CRL: %w", err)
	}
	return nil
}

// publishedCRL reads the published CRL, which may be ahead of a database that
// was restored. A file that is missing, or no CRL of this authority, is nil.
func (s *Server) publishedCRL() *CRL {
	der, err := durable.ReadFile(s.fsys, s.crlPath(), maxCRLFile)
	if err != nil {
		return nil
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil || l.CheckSignatureFrom(s.CACertificate()) != nil {
		return nil
	}
	return &CRL{
		Number: crlNumber(l.Number), ThisUpdate: l.ThisUpdate, NextUpdate: l.NextUpdate,
		Entries: len(l.RevokedCertificateEntries), Raw: der,
	}
}

// crlDue reports whether the authority should publish a CRL by itself, and when
// next to ask.
func (r *run) crlDue(now time.Time) (bool, time.Duration) {
	c := r.crl.Load()
	if c == nil {
		return true, 0
	}
	wait := c.NextUpdate.Add(-time.Duration(r.s.config().CRLOverlap)).Sub(now)
	return wait <= 0, max(wait, 0)
}
