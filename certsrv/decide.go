package certsrv

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// Resubmit issues the certificate of a pending, denied or failed request, as
// MS-CSRA's ResubmitRequest does. It needs the Officer role. A failed request
// that breaks the same rule again stays failed.
func (s *Server) Resubmit(ctx context.Context, p account.Principal, id int64) (Result, error) {
	if err := account.Check(account.ResubmitRequest, p); err != nil {
		return Result{}, err
	}
	r, leave, err := s.enter()
	if err != nil {
		return Result{}, err
	}
	defer leave()
	rec, err := byID(ctx, r.db.Reader(), id)
	if err != nil {
		return Result{}, err
	}
	from := []schema.Disposition{schema.Pending, schema.Denied, schema.Failed}
	if err := rec.allow("resubmitted", from...); err != nil {
		return Result{}, err
	}
	profile, err := r.profileOf(ctx, id)
	if err != nil {
		return Result{}, err
	}
	req, err := policyFor(profile).ParseRequest(rec.Request)
	if err != nil {
		return Result{RequestID: id, Disposition: rec.Disposition, Message: rec.Message}, err
	}
	now := s.clock.Now()
	c, err := r.sign(req, profile, now)
	if err != nil {
		return Result{RequestID: id, Disposition: rec.Disposition, Message: rec.Message}, err
	}
	if c.name, err = schema.SplitSubject(req.RawSubject); err != nil {
		return Result{}, err
	}
	message := "Issued, resubmitted by " + p.Name
	err = r.db.Write(ctx, func(tx *sql.Tx) error {
		err := r.settle(ctx, tx, id, from, schema.Issued, certadm.SOK, message, schema.Filetime(now))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM Certificates WHERE RequestID = ?", id); err != nil {
			return err
		}
		var a batchArgs
		a.add(&row{id: id, cert: c})
		if err := certificatesIssued.insert(ctx, tx, a.certificatesIssued); err != nil {
			return err
		}
		if err := certificatesAny.insert(ctx, tx, a.certificatesAny); err != nil {
			return err
		}
		return a.extensions.insert(ctx, tx)
	})
	if err != nil {
		return Result{}, decideError("resubmit", id, err)
	}
	return Result{RequestID: id, Disposition: schema.Issued, Message: message, Certificate: c.raw, Serial: c.serial}, nil
}

// Deny refuses a pending or failed request for good, as MS-CSRA's DenyRequest
// does. It needs the Officer role.
func (s *Server) Deny(ctx context.Context, p account.Principal, id int64) error {
	if err := account.Check(account.DenyRequest, p); err != nil {
		return err
	}
	r, leave, err := s.enter()
	if err != nil {
		return err
	}
	defer leave()
	err = r.db.Write(ctx, func(tx *sql.Tx) error {
		return r.settle(ctx, tx, id, []schema.Disposition{schema.Pending, schema.Failed}, schema.Denied,
			certadm.EAccessDenied, "Denied by "+p.Name, schema.Filetime(s.clock.Now()))
	})
	if err != nil {
		return decideError("deny", id, err)
	}
	return nil
}

// settle moves a request from one of the dispositions to another.
func (r *run) settle(ctx context.Context, tx *sql.Tx, id int64, from []schema.Disposition, to schema.Disposition,
	status certadm.HRESULT, message string, when int64,
) error {
	rec, err := byID(ctx, tx, id)
	if err != nil {
		return err
	}
	what := "denied"
	if to == schema.Issued {
		what = "resubmitted"
	}
	if err := rec.allow(what, from...); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE Requests SET Disposition = ?, StatusCode = ?, DispositionMessage = ?, ResolvedWhen = ? WHERE RequestID = ?",
		int64(to), int64(status), limit(message, 1024), when, id)
	return err
}

// allow refuses what the record's disposition does not allow.
func (r *Record) allow(what string, from ...schema.Disposition) error {
	if slices.Contains(from, r.Disposition) {
		return nil
	}
	return fmt.Errorf("%w: request %d is %v and cannot be %s", ErrState, r.RequestID, r.Disposition, what)
}

// profileOf reads the profile that a stored request asked for.
func (r *run) profileOf(ctx context.Context, id int64) (authority.Profile, error) {
	var name string
	err := r.db.Reader().QueryRowContext(ctx,
		"SELECT AttributeValue FROM RequestAttributes WHERE AttributeRequestId = ? AND AttributeName = ?", id, ProfileAttribute).Scan(&name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("request %d: attributes: %w", id, err)
	}
	return authority.ParseProfile(name)
}

func decideError(what string, id int64, err error) error {
	if errors.Is(err, ErrState) || errors.Is(err, ErrNotFound) {
		return err
	}
	return storeError(fmt.Sprintf("%s request %d", what, id), err)
}
