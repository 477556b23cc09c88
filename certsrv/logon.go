package certsrv

import (
	"log/slog"
	"sync"
	"time"

	"github.com/certkeep/certkeep/certsrv/audit"
)

// RefusedLogon is a caller whose credentials were not accepted. What it says of
// itself is not to be trusted, and must hold no secret.
type RefusedLogon struct {
	Account   string // whoever the caller said to be
	Origin    string // the address that the caller has
	Mechanism string // "ntlm", "kerberos", "basic"
	Reason    string
}

// Bounds of what refused logons add to the audit log: so many one after the
// other, and then one a minute, which is less than half a megabyte a day.
const (
	refusedBurst = 60
	refusedEvery = time.Minute
)

// refusals is a token bucket.
type refusals struct {
	mu     sync.Mutex
	free   int       // how many can be recorded at once
	since  time.Time // when the last one became free; zero: the bucket is full
	missed int       // not recorded since the last one that was
}

// take reports whether one can be recorded now, and how many were not since the
// last one.
func (f *refusals) take(now time.Time) (missed int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch n := int(now.Sub(f.since) / refusedEvery); {
	case f.since.IsZero() || f.free+n >= refusedBurst:
		f.free, f.since = refusedBurst, now
	case n > 0:
		f.free, f.since = f.free+n, f.since.Add(time.Duration(n)*refusedEvery)
	}
	if f.free == 0 {
		f.missed++
		return 0, false
	}
	f.free--
	missed, f.missed = f.missed, 0
	return missed, true
}

// LogonRefused records in the audit log (event 4625) that a caller of one of the
// authority's servers was refused. It is on disk when LogonRefused returns. So
// that a flood cannot fill the disk, 60 are recorded one after the other, and
// beyond that one a minute, which says how many before it are missing. The
// service has to run, or be suspended.
func (s *Server) LogonRefused(l RefusedLogon) error {
	s.mu.RLock()
	if s.state != running && s.state != suspended {
		s.mu.RUnlock()
		return ErrStopped
	}
	r := s.run
	r.calls.Add(1)
	s.mu.RUnlock()
	defer r.calls.Done()
	missed, ok := s.refused.take(s.clock.Now())
	if !ok {
		return nil
	}
	return r.audit.Append(audit.Record{
		Event: audit.LogonRefused, Who: shorten(l.Account), From: shorten(l.Origin), What: s.config().Name, Type: shorten(l.Mechanism),
		Result: shorten(l.Reason), Missed: missed,
	})
}

// summarizeRefused records, when the service stops, how many refused logons are
// missing since the last one.
func (s *Server) summarizeRefused(r *run) {
	s.refused.mu.Lock()
	missed := s.refused.missed
	s.refused.missed = 0
	s.refused.mu.Unlock()
	if missed == 0 {
		return
	}
	rec := audit.Record{Event: audit.LogonRefused, Who: whoami, What: s.config().Name, Result: "too many to record each", Missed: missed}
	if err := r.audit.Append(rec); err != nil {
		s.log.Error("audit log", slog.Any("error", err))
	}
}
