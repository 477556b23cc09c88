package certsrv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv/account"
)

// Revoke revokes a certificate, effective now; the next CRL tells of it. The
// reason is one of RFC 5280 that [schema.Reason.Revokes]. A certificate on hold
// can be revoked for good; any other that is revoked already gives
// [ErrAlreadyRevoked]. It needs the Officer role.
//
// A serial number that the database does not know is accepted if it stands in
// the gap that a restore left (see [Gap]): the certificate is lost, but its
// revocation is not.
func (s *Server) Revoke(ctx context.Context, p account.Principal, serial string, reason schema.Reason) error {
	if err := account.Check(account.RevokeCertificate, p); err != nil {
		return err
	}
	if !reason.Revokes() {
		return fmt.Errorf("revoke: %v is no reason to revoke a certificate for (RFC 5280, 5.3.1)", reason)
	}
	text, err := schema.ParseSerial(serial)
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	r, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	now := s.clock.Now()
	err = r.revoke(ctx, text, reason, now)
	if errors.Is(err, ErrNotFound) && r.inGap(text) {
		err = r.revokeLost(ctx, p, text, reason, now)
	}
	if err != nil {
		return revokeError("revoke", text, err)
	}
	return nil
}

func (r *run) revoke(ctx context.Context, serial string, reason schema.Reason, now time.Time) error {
	return r.db.Write(ctx, func(tx *sql.Tx) error {
		rec, err := bySerial(ctx, tx, serial)
		if err != nil {
			return err
		}
		since := schema.Filetime(now)
		switch rec.Disposition {
		case schema.Issued:
		case schema.Revoked:
			if rec.Reason != schema.CertificateHold {
				return fmt.Errorf("%w on %s (%v)", ErrAlreadyRevoked, rec.Revoked.Format(time.RFC3339), rec.Reason)
			}
			if reason == schema.CertificateHold {
				return fmt.Errorf("%w: on hold since %s", ErrAlreadyRevoked, rec.Revoked.Format(time.RFC3339))
			}
			since = schema.Filetime(rec.Revoked) // it has not been good since then
		default:
			return fmt.Errorf("%w: request %d is %v", ErrState, rec.RequestID, rec.Disposition)
		}
		_, err = tx.ExecContext(ctx,
			"UPDATE Requests SET Disposition = ?, RevokedWhen = ?, RevokedEffectiveWhen = ?, RevokedReason = ? WHERE RequestID = ?",
			int64(schema.Revoked), schema.Filetime(now), since, int64(reason), rec.RequestID)
		return err
	})
}

// revokeLost makes a row for a certificate that only a CRL told of.
func (r *run) revokeLost(ctx context.Context, p account.Principal, serial string, reason schema.Reason, now time.Time) error {
	when := schema.Filetime(now)
	return r.store(ctx, &row{
		disposition: schema.Revoked, message: "Revoked before the database was restored; the certificate is lost",
		submitted: when, resolved: when, revoked: when, reason: reason, requester: p.Name,
		cert: &certRow{serial: serial},
	})
}

// Unrevoke takes a certificate off hold; every other revocation is for good. It
// needs the Officer role.
func (s *Server) Unrevoke(ctx context.Context, p account.Principal, serial string) error {
	if err := account.Check(account.RevokeCertificate, p); err != nil {
		return err
	}
	text, err := schema.ParseSerial(serial)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	r, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	err = r.db.Write(ctx, func(tx *sql.Tx) error {
		rec, err := bySerial(ctx, tx, text)
		if err != nil {
			return err
		}
		if rec.Disposition != schema.Revoked || rec.Reason != schema.CertificateHold {
			state := rec.Disposition.String()
			if rec.Disposition == schema.Revoked {
				state += " (" + rec.Reason.String() + ")"
			}
			return fmt.Errorf("%w: the certificate is %s, and only one on hold can be released", ErrState, state)
		}
		if rec.Certificate == nil {
			return fmt.Errorf("%w: the certificate itself is lost", ErrState)
		}
		// As AD CS marks a released certificate.
		_, err = tx.ExecContext(ctx,
			"UPDATE Requests SET Disposition = ?, RevokedWhen = NULL, RevokedEffectiveWhen = NULL, RevokedReason = ? WHERE RequestID = ?",
			int64(schema.Issued), int64(schema.RemoveFromCRL), rec.RequestID)
		return err
	})
	if err != nil {
		return revokeError("release", text, err)
	}
	return nil
}

func revokeError(what, serial string, err error) error {
	for _, known := range []error{ErrState, ErrNotFound, ErrAlreadyRevoked} {
		if errors.Is(err, known) {
			return fmt.Errorf("%s %s: %w", what, serial, err)
		}
	}
	return storeError(what+" "+serial, err)
}
