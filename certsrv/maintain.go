package certsrv

import (
	"context"
	"log/slog"
	"time"
)

const (
	sweepInterval = 24 * time.Hour
	retryInterval = time.Hour // of a CRL that could not be published
)

// maintain is the goroutine for what the service does unasked: it deletes old
// truncated logs, publishes CRLs before they run out, and truncates under
// circular logging.
func (r *run) maintain() {
	s := r.s
	var swept time.Time
	for {
		now := s.clock.Now()
		if now.Sub(swept) >= sweepInterval {
			if err := s.sweep(now); err != nil {
				s.log.Error("old truncated logs could not be deleted", slog.Any("error", err))
			}
			swept = now
		}
		wait := min(swept.Add(sweepInterval).Sub(now), r.renewCRL())
		select {
		case <-s.clock.After(wait):
		case <-r.rolled:
			r.circulate()
			if s.circulated != nil {
				s.circulated()
			}
		case <-r.quit:
			return
		}
	}
}

// renewCRL publishes a CRL if one is due and returns when to look again.
func (r *run) renewCRL() time.Duration {
	s := r.s
	due, wait := r.crlDue(s.clock.Now())
	if !due {
		return max(wait, time.Second)
	}
	if _, err := r.publishCRL(r.ctx); err != nil {
		s.log.Error("the CRL is due and could not be published", slog.Any("error", err))
		return retryInterval
	}
	if due, wait = r.crlDue(s.clock.Now()); due {
		return retryInterval
	}
	return max(wait, time.Second)
}

// circulate drops the logs that the database no longer needs, if circular
// logging is on and no backup is reading them.
func (r *run) circulate() {
	s := r.s
	if !s.config().CircularLogging {
		return
	}
	s.backupMu.Lock()
	defer s.backupMu.Unlock()
	if s.session != nil {
		return
	}
	through := r.db.Status().CheckpointedThrough
	dir := s.at.path(asideName(asideLogsDir, s.clock.Now()))
	ctx, cancel := context.WithTimeout(r.ctx, time.Minute)
	defer cancel()
	if _, err := r.db.Truncate(ctx, through, dir); err != nil {
		s.log.Error("circular logging could not drop old logs", slog.Any("error", err))
	}
}
