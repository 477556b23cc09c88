package certsrv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv/audit"
	"github.com/certkeep/certkeep/sqlitelog"
)

// Status is what an operator wants to know of an authority.
type Status struct {
	Config Config
	State  string // stopped, starting, running, suspended or stopping

	CertificateNotAfter time.Time // the CA's own

	LastFull        *BackupMark // nil: none that counts
	LastIncremental *BackupMark
	LastRecovery    time.Time

	// PendingRestore is "" or the state of the restore that the next start
	// carries out: registered (not complete, so that the service does not
	// start), complete, replayed or adopted.
	PendingRestore string

	Gap *Gap // nil: none

	// Of a running service only.
	Counts      map[schema.Disposition]int
	Log         sqlitelog.Status
	CRL         CRL // Raw is nil if there is none
	NextRequest int64
	BackupBy    string // who takes a backup at the moment
}

// Status reports on the authority, as far as that is possible in its state.
func (s *Server) Status(ctx context.Context) (Status, error) {
	st := Status{Config: s.Config(), CertificateNotAfter: s.CACertificate().NotAfter}
	s.mu.RLock()
	st.State = s.state.String()
	s.mu.RUnlock()
	rec, err := readRecord(s.fsys, s.at)
	if err != nil {
		return st, err
	}
	st.LastFull, st.LastIncremental, st.LastRecovery = rec.LastFull, rec.LastIncremental, rec.LastRecovery
	p, err := readPending(s.fsys, s.at)
	if err != nil {
		return st, err
	}
	if p != nil {
		st.PendingRestore = string(p.State)
	}
	if st.Gap, err = s.Gap(); err != nil {
		return st, err
	}
	r, leave, err := s.enter()
	if err != nil {
		return st, nil // what is known of a stopped one
	}
	defer leave()
	st.Log = r.db.Status()
	st.NextRequest = r.ids.next.Load()
	if c := r.crl.Load(); c != nil {
		st.CRL = *c
	}
	s.backupMu.Lock()
	if s.session != nil {
		st.BackupBy = s.session.c.p.Name
	}
	s.backupMu.Unlock()
	st.Counts, err = r.counts(ctx)
	return st, err
}

func (r *run) counts(ctx context.Context) (map[schema.Disposition]int, error) {
	rows, err := r.db.Reader().QueryContext(ctx, "SELECT Disposition, count(*) FROM Requests GROUP BY Disposition")
	if err != nil {
		return nil, fmt.Errorf("count requests: %w", err)
	}
	defer rows.Close()
	counts := make(map[schema.Disposition]int)
	for rows.Next() {
		var d int64
		var n int
		if err := rows.Scan(&d, &n); err != nil {
			return nil, fmt.Errorf("count requests: %w", err)
		}
		counts[schema.Disposition(d)] = n
	}
	return counts, rows.Err()
}

// Configure changes the configuration, durably, and of a running service at
// once as far as it concerns policy, flags, audit and times. Name, host and
// database cannot be changed so.
func (s *Server) Configure(change func(*Config)) (err error) {
	s.confMu.Lock()
	defer s.confMu.Unlock()
	if _, leave, err := s.enter(); err == nil {
		defer leave()
	} else if l, err := s.exclusive("configure"); err != nil {
		return err
	} else {
		defer func() { err = errors.Join(err, l.release()) }()
	}
	old := s.Config()
	c := old
	change(&c)
	if c.Schema != old.Schema || c.Name != old.Name || c.SanitizedName != old.SanitizedName || c.Host != old.Host || c.Database != old.Database {
		return fmt.Errorf("configure: name, host and database cannot be changed")
	}
	if err := writeConfig(s.fsys, s.at.dir, c); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conf = c
	if s.run != nil {
		s.run.audit.SetFilter(audit.Filter(c.AuditFilter))
	}
	return nil
}
