package certsrv

import (
	"context"
	"fmt"
	"log/slog"
	"math/big"

	"github.com/certkeep/certkeep/sqlitelog"
)

// engineEvent passes on what the engine does.
func (s *Server) engineEvent(e sqlitelog.Event) {
	s.observe(string(e.Phase))
	if e.Phase == sqlitelog.PhaseRollEnd {
		if r := s.rolling.Load(); r != nil {
			select {
			case r.rolled <- struct{}{}:
			default: // one token is enough
			}
		}
	}
}

func (s *Server) noteRolls(r *run) { s.rolling.Store(r) }

// loadNumbers sets the sequences. The log signature at the last start tells
// whether the database's past is what it was: after a restore, or when a lost
// log was accepted, numbers may have been given that it does not know, and both
// sequences jump ahead.
func (r *run) loadNumbers(ctx context.Context) error {
	s := r.s
	rec, err := readRecord(s.fsys, s.at)
	if err != nil {
		return err
	}
	id, crl, err := highest(ctx, r.db.Reader())
	if err != nil {
		return err
	}
	if c := s.publishedCRL(); c != nil {
		crl = max(crl, c.Number)
	}
	if r.gap != nil {
		crl = max(crl, r.gap.CRLNumber)
	}
	if sig := r.db.Status().Signature.String(); rec.Signature != sig {
		rec.RequestFloor = max(rec.RequestFloor, jump(id, requestJump))
		rec.CRLFloor = max(rec.CRLFloor, jump(crl, crlJump))
		rec.LastFull, rec.LastIncremental = nil, nil
		rec.Signature = sig
		s.log.Warn("the database has a new past: numbers jump ahead, and a full backup is due",
			slog.Int64("request id", rec.RequestFloor), slog.Int64("crl number", rec.CRLFloor))
	}
	// What only a gap or a published file told of must outlive them.
	rec.CRLFloor = max(rec.CRLFloor, crl+1)
	if err := writeRecord(s.fsys, s.at, rec); err != nil {
		return err
	}
	r.record = rec
	r.ids.raise(max(id+1, rec.RequestFloor))
	r.crls.raise(max(crl+1, rec.CRLFloor))
	return nil
}

// crlNumber keeps a CRL number that others may have chosen within the column.
func crlNumber(n *big.Int) int64 {
	if n == nil || n.Sign() < 0 || !n.IsInt64() || n.Int64() > maxLong {
		return 0
	}
	return n.Int64()
}

// mark changes the backup record durably.
func (r *run) mark(change func(*backupRecord)) error {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	rec := r.record
	change(&rec)
	if err := writeRecord(r.s.fsys, r.s.at, rec); err != nil {
		return fmt.Errorf("%w", err)
	}
	r.record = rec
	return nil
}

func (r *run) marks() backupRecord {
	r.recordMu.Lock()
	defer r.recordMu.Unlock()
	return r.record
}
