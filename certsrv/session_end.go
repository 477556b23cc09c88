package certsrv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/audit"
)

// complete says why the session is no whole backup yet, nil if it is.
func (b *session) complete() error {
	switch {
	case b.file != nil:
		return errors.New("a file is open")
	case b.kind == certadm.BackupFull && !b.database.read:
		return errors.New("the database was not read to its end")
	case len(b.logs) == 0:
		return errors.New("the logs were not listed")
	case b.stale:
		return errors.New("the database was read after the logs were listed, which do not cover it: list and read them again")
	}
	for _, l := range b.logs {
		if !l.read {
			return fmt.Errorf("log generation %d was not read to its end", l.gen)
		}
	}
	return nil
}

func (b *session) TruncateLogs(ctx context.Context) error {
	unlock, err := b.use(ctx, certadm.FnBackupTruncateLogs)
	if err != nil {
		return err
	}
	defer unlock()
	if err := b.complete(); err != nil {
		return outOfSequence(certadm.FnBackupTruncateLogs, err.Error()+"; nothing was truncated")
	}
	if b.copy != nil {
		// It holds the logs that the set needs; they are in the set now.
		if err := b.copy.Close(); err != nil {
			return wrapCode(certadm.FnBackupTruncateLogs, err)
		}
		b.copy = nil
	}
	b.truncated = true
	s := b.s
	s.observe(PhaseTruncating)
	dir := s.at.path(asideName(asideLogsDir, s.clock.Now()))
	moved, err := b.r.db.Truncate(ctx, b.last, dir)
	s.observe(PhaseTruncated)
	s.log.Info("logs truncated", slog.Int("generations", len(moved)), slog.Any("error", err))
	if err != nil {
		return newError(certadm.FnBackupTruncateLogs, certadm.HrDeleteBackupFileFail, fmt.Errorf("%d logs were moved: %w", len(moved), err), "the next backup will have the rest")
	}
	if s.keepTruncated() == 0 {
		if err := s.sweep(s.clock.Now()); err != nil {
			s.log.Error("truncated logs could not be deleted", slog.Any("error", err))
		}
	}
	return nil
}

func (b *session) End(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return invalidHandle(certadm.FnBackupEnd)
	}
	if b.broken != nil {
		b.over = true
		return newError(certadm.FnBackupEnd, certadm.ErrorServiceNotActive, b.broken, "the backup is incomplete: take another one")
	}
	open := b.file != nil
	whole := b.complete()
	shut := b.release()
	var mark error
	if whole == nil && shut == nil {
		mark = b.r.mark(b.note)
	}
	b.over = true
	b.s.forget(b)
	b.s.observe(PhaseBackupEnd)

	result := "ok"
	var err error
	switch {
	case open:
		err = newError(certadm.FnBackupEnd, certadm.EUnexpected, errors.New("the session ended with a file open"), "the backup is incomplete: take another one")
	case shut != nil:
		err = wrapCode(certadm.FnBackupEnd, shut)
	case mark != nil:
		err = wrapCode(certadm.FnBackupEnd, fmt.Errorf("the time of the backup could not be recorded: %w", mark))
	case whole != nil:
		// The list calls alone make a session, too: no failure, but no backup.
		result = "not counted: " + whole.Error()
	}
	return errors.Join(err, b.record(result, err))
}

// note records that the backup was taken.
func (b *session) note(rec *backupRecord) {
	m := &BackupMark{
		Time: b.s.clock.Now().UTC(), Signature: b.r.db.Status().Signature.String(), First: b.first, Last: b.last,
	}
	if b.kind == certadm.BackupFull {
		rec.LastFull = m
	} else {
		rec.LastIncremental = m
	}
}

// record writes the audit event of the end.
func (b *session) record(result string, err error) error {
	if err != nil {
		result = err.Error()
	}
	b.s.log.Info("backup ended", slog.String("by", b.c.p.Name), slog.String("type", auditType(b.kind)), slog.String("result", result))
	rec := b.c.event(audit.BackupCompleted, result)
	rec.Type = auditType(b.kind)
	if err := b.r.audit.Append(rec); err != nil {
		return wrapCode(certadm.FnBackupEnd, fmt.Errorf("audit log: %w", err))
	}
	return nil
}

// release gives back what the session holds of the engine; the lock is held.
func (b *session) release() error {
	var errs []error
	if b.file != nil {
		errs = append(errs, b.file.shut())
	}
	if b.copy != nil {
		errs = append(errs, b.copy.Close())
		b.copy = nil
	}
	return errors.Join(errs...)
}

// forget makes room for another session.
func (s *Server) forget(b *session) {
	s.backupMu.Lock()
	defer s.backupMu.Unlock()
	if s.session == b {
		s.session = nil
	}
}

// breakOff ends the session because the service stops. Its client learns of it
// by the next call.
func (s *Server) breakOff() {
	s.backupMu.Lock()
	b := s.session
	s.backupMu.Unlock()
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || b.broken != nil {
		return
	}
	b.broken = errors.New("the service stopped during the backup")
	err := b.release()
	s.forget(b)
	s.log.Warn("a backup was broken off", slog.String("by", b.c.p.Name), slog.Any("error", err))
	if err := b.record("broken off", b.broken); err != nil {
		s.log.Error("audit log", slog.Any("error", err))
	}
}

// drop ends the session of a client that is gone: nothing is truncated, and
// nothing recorded as a backup.
func (s *Server) drop(c *client) error {
	s.backupMu.Lock()
	b := s.session
	s.backupMu.Unlock()
	if b == nil || b.c != c {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || b.broken != nil {
		return nil
	}
	b.over = true
	err := b.release()
	s.forget(b)
	return errors.Join(err, b.record("broken off", errors.New("the client is gone")))
}
