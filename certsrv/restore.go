package certsrv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/sqlitelog"
)

// restoreSession is a restore session. It holds nothing but the right to call;
// what was registered is in system/restore.json and outlives it.
type restoreSession struct {
	c *client

	mu   sync.Mutex
	over bool
}

func (c *client) RestorePrepare(ctx context.Context, t certadm.RestoreType) (certadm.Restore, error) {
	if err := c.open(ctx, certadm.FnRestorePrepare); err != nil {
		return nil, err
	}
	if t != certadm.RestoreFull {
		return nil, newError(certadm.FnRestorePrepare, certadm.EInvalidArg, fmt.Errorf("restore type %d is not supported", t), "1 (full) is")
	}
	if err := checkAPI(certadm.FnRestorePrepare, account.RestorePrepare, c.p); err != nil {
		return nil, err
	}
	l, err := c.s.exclusive(certadm.FnRestorePrepare)
	if err != nil {
		return nil, err
	}
	if err := l.release(); err != nil {
		return nil, wrapCode(certadm.FnRestorePrepare, err)
	}
	return &restoreSession{c: c}, nil
}

// exclusive takes the directory's lock for a call that needs a stopped service.
func (s *Server) exclusive(op string) (*dirLock, error) {
	s.mu.RLock()
	st := s.state
	s.mu.RUnlock()
	if st != stopped {
		return nil, newError(op, certadm.ErrorSharingViolation, fmt.Errorf("the service is %v", st), "stop the service first")
	}
	l, err := acquire(s.at)
	var served *ServedError
	if errors.As(err, &served) {
		return nil, newError(op, certadm.ErrorSharingViolation, err, "stop the service first")
	}
	return l, wrapCode(op, err)
}

// begin starts a call of the session that changes the pending restore.
func (r *restoreSession) begin(ctx context.Context, op string, m account.Method) (done func(), err error) {
	r.mu.Lock()
	over := r.over
	r.mu.Unlock()
	if over {
		return nil, invalidHandle(op)
	}
	if err := r.c.open(ctx, op); err != nil {
		return nil, err
	}
	if err := checkAPI(op, m, r.c.p); err != nil {
		return nil, err
	}
	s := r.c.s
	s.restoreMu.Lock()
	l, err := s.exclusive(op)
	if err != nil {
		s.restoreMu.Unlock()
		return nil, err
	}
	return func() {
		if err := l.release(); err != nil {
			s.log.Error("lock", slog.Any("error", err))
		}
		s.restoreMu.Unlock()
	}, nil
}

func (r *restoreSession) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	r.mu.Lock()
	over := r.over
	r.mu.Unlock()
	if over {
		return nil, invalidHandle(certadm.FnRestoreGetDatabaseLocations)
	}
	return r.c.DatabaseLocations(ctx)
}

func (r *restoreSession) Register(ctx context.Context, reg certadm.Registration) error {
	return r.register(ctx, certadm.FnRestoreRegister, account.RestoreRegister, reg)
}

func (r *restoreSession) RegisterThroughFile(ctx context.Context, reg certadm.Registration) error {
	return r.register(ctx, certadm.FnRestoreRegisterThroughFile, account.RestoreRegisterThroughFile, reg)
}

func (r *restoreSession) register(ctx context.Context, op string, m account.Method, reg certadm.Registration) error {
	done, err := r.begin(ctx, op, m)
	if err != nil {
		return err
	}
	defer done()
	s := r.c.s
	set, err := s.checkRegistration(op, reg)
	if err != nil {
		return err
	}
	p, err := readPending(s.fsys, s.at)
	if err != nil {
		return wrapCode(op, err)
	}
	switch {
	case p == nil && !set.full():
		return newError(op, certadm.HrNoFullRestore, errors.New("no full set is registered"), "register the full set first, then the incremental ones")
	case p == nil:
		p = &pendingRestore{Schema: 1}
	case p.State == restoreRegistered:
		return newError(op, certadm.HrRestoreMapExists, errors.New("a registered set waits for RegisterComplete"), "complete it, or take it back with a failure code")
	case p.State != restoreComplete:
		return newError(op, certadm.HrRestoreInProgress, errors.New("a recovery was begun"), "start the service to finish it")
	case set.full():
		return newError(op, certadm.HrRestoreMapExists, errors.New("a full set is registered already"), "start the service to restore it, or take it back with a failure code")
	case len(p.Sets) == maxRestoreSets:
		return newError(op, certadm.EInvalidArg, errors.New("too many sets"), "")
	}
	if err := s.checkFiles(op, p, set); err != nil {
		return err
	}
	p.State, p.By, p.Time = restoreRegistered, r.c.p.Name, s.clock.Now().UTC()
	p.Sets = append(p.Sets, set)
	if err := writePending(s.fsys, s.at, p); err != nil {
		return wrapCode(op, err)
	}
	s.log.Warn("restore registered", slog.String("by", p.By), slog.Bool("full", set.full()),
		slog.Uint64("low", uint64(set.Low)), slog.Uint64("high", uint64(set.High)))
	return nil
}

// checkRange bounds the generations of a registration.
func checkRange(low, high uint32) error {
	if low == 0 || low > high || high > sqlitelog.MaxGeneration {
		return fmt.Errorf("log generations %#x to %#x: 1 to %#x in ascending order are possible", low, high, sqlitelog.MaxGeneration)
	}
	return nil
}

// checkRegistration judges the arguments alone.
func (s *Server) checkRegistration(op string, reg certadm.Registration) (set pendingSet, err error) {
	invalid := func(err error) (pendingSet, error) {
		return pendingSet{}, newError(op, certadm.EInvalidArg, err, "")
	}
	if err := checkRange(reg.LowLog, reg.HighLog); err != nil {
		return invalid(err)
	}
	c := s.config()
	set = pendingSet{LogDir: logDir, Low: reg.LowLog, High: reg.HighLog}
	switch len(reg.Map) {
	case 0:
	case 1:
		m := reg.Map[0]
		if m.Database == "" || m.NewDatabase == "" || len(m.Database) > 4096 {
			return invalid(errors.New("the restore map needs a saved and a new database name"))
		}
		if set.Database, err = c.relativeName(m.NewDatabase); err != nil {
			return set, pathError(op, shorten(m.NewDatabase), certadm.HrInvalidPath, err, "")
		}
		if err := checkDatabaseName(set.Database); err != nil {
			return set, pathError(op, shorten(m.NewDatabase), certadm.HrInvalidPath, err, "choose a place such as "+c.uncName(c.Database))
		}
		set.Saved = m.Database
	default:
		return invalid(fmt.Errorf("%d entries in the restore map: a full set has one, an incremental one none", len(reg.Map)))
	}
	for _, unc := range []string{reg.CheckpointPath, reg.LogPath, reg.BackupLogPath} {
		if unc == "" {
			continue
		}
		name, err := c.relativeName(unc)
		if err != nil {
			return set, pathError(op, shorten(unc), certadm.HrInvalidPath, err, "")
		}
		if unc != reg.CheckpointPath {
			set.LogDir = path.Clean(name)
		}
	}
	return set, nil
}

func (r *restoreSession) RegisterComplete(ctx context.Context, state certadm.HRESULT) error {
	done, err := r.begin(ctx, certadm.FnRestoreRegisterComplete, account.RestoreRegisterComplete)
	if err != nil {
		return err
	}
	defer done()
	s := r.c.s
	p, err := readPending(s.fsys, s.at)
	if err != nil {
		return wrapCode(certadm.FnRestoreRegisterComplete, err)
	}
	switch {
	case p == nil:
		return outOfSequence(certadm.FnRestoreRegisterComplete, "nothing is registered")
	case p.State == restoreAdopted:
		return newError(certadm.FnRestoreRegisterComplete, certadm.HrRestoreInProgress, errors.New("the restored database is live already"), "start the service to finish")
	case state != certadm.SOK:
		// A restore of which a part failed must not be half applied: all of it is
		// taken back, and every file kept.
		if err := removePending(s.fsys, s.at); err != nil {
			return wrapCode(certadm.FnRestoreRegisterComplete, err)
		}
		s.log.Warn("restore taken back", slog.String("by", r.c.p.Name), slog.Any("state", state))
		return nil
	case p.State != restoreRegistered:
		return outOfSequence(certadm.FnRestoreRegisterComplete, "nothing is registered that is not complete")
	}
	p.State = restoreComplete
	p.Sets[len(p.Sets)-1].Complete = true
	return wrapCode(certadm.FnRestoreRegisterComplete, writePending(s.fsys, s.at, p))
}

func (r *restoreSession) End(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return invalidHandle(certadm.FnRestoreEnd)
	}
	r.over = true
	return nil
}
