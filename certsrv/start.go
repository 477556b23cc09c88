package certsrv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/audit"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/sqlitelog"
)

// run is what the service has while it runs.
type run struct {
	s      *Server
	lock   *dirLock
	audit  *audit.Log
	ca     *authority.Authority
	db     *sqlitelog.DB
	local  *LocalAccount   // nil: the service has no address
	ctx    context.Context // ends when the service is to stop at once
	cancel context.CancelFunc

	calls   sync.WaitGroup // calls under way
	issuing atomic.Int64   // of them, requests being issued
	work    sync.WaitGroup // goroutines of the service's own

	rows      chan *row
	ids, crls sequence
	quit      chan struct{} // ends the service's own goroutines
	rolled    chan struct{} // has a token after a generation was closed

	recordMu sync.Mutex
	record   backupRecord

	gapMu sync.Mutex
	gap   *Gap

	crlMu sync.Mutex // one CRL at a time
	crl   atomic.Pointer[CRL]

	waiting waitingRequests
}

// Start takes the directory's lock, carries out a pending restore, opens the
// database and begins to answer requests. If another process holds the
// directory the error is a *[ServedError]; if a restore was registered and not
// completed it is [certadm.HrRestoreInProgress]. After a failure the service is
// stopped and every file is kept.
//
// Configuration and key are read anew at each start.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	if s.state != stopped {
		defer s.mu.Unlock()
		return fmt.Errorf("start: the service is %v already", s.state)
	}
	s.state = starting
	s.idle = make(chan struct{})
	select {
	case <-s.done:
		s.done = make(chan struct{})
	default:
	}
	s.mu.Unlock()

	r, err := s.start(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.state = stopped
		close(s.idle)
		s.log.Error("the service did not start", slog.Any("error", err))
		return err
	}
	s.run, s.state = r, running
	s.log.Info("the service has started", slog.String("authority", s.conf.Name), slog.String("address", s.opts.Address))
	return nil
}

func (s *Server) start(ctx context.Context) (_ *run, err error) {
	r := &run{
		s:      s,
		rows:   make(chan *row, maxBatch),
		quit:   make(chan struct{}),
		rolled: make(chan struct{}, 1),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			r.cancel()
			err = errors.Join(err, r.close())
		}
	}()
	if r.lock, err = acquire(s.at); err != nil {
		return nil, err
	}
	if err := r.lock.announce(s.opts.Address, s.clock.Now()); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if err := r.publishLocal(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if err := s.reload(); err != nil {
		return nil, err
	}
	if r.audit, err = s.openAudit(); err != nil {
		return nil, err
	}
	if err := s.recoverPending(ctx, r.audit); err != nil {
		return nil, err
	}
	if err := s.reload(); err != nil { // a restore may have moved the database
		return nil, err
	}
	if r.ca, err = s.openAuthority(); err != nil {
		return nil, err
	}
	if r.db, err = sqlitelog.Open(ctx, s.logConfig(s.config().Database)); err != nil {
		return nil, openError(err)
	}
	s.noteRolls(r)
	if r.gap, err = readGap(s.fsys, s.at); err != nil {
		return nil, err
	}
	if err := r.loadNumbers(ctx); err != nil {
		return nil, err
	}
	if err := r.loadCRL(ctx); err != nil {
		return nil, err
	}
	if err := r.waiting.load(ctx, r.db.Reader()); err != nil {
		return nil, err
	}
	if err := r.audit.Append(audit.Record{Event: audit.ServiceStarted, Who: whoami, What: s.config().Name, Result: "ok"}); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	r.renewCRL() // before anybody can ask for it; a failure is tried again later
	r.work.Go(r.writeRows)
	r.work.Go(r.maintain)
	return r, nil
}

// openError is the answer to a database that cannot be opened.
func openError(err error) error {
	var state *sqlitelog.StateError
	hint := ""
	if errors.As(err, &state) {
		hint = state.Hint
	}
	code := codeOf(err)
	if code == certadm.EFail && state != nil {
		code = certadm.HrDatabaseInconsistent
	}
	return newError("start", code, fmt.Errorf("open database: %w", err), hint)
}

func (s *Server) openAudit() (*audit.Log, error) {
	l, err := audit.Open(s.at.path(auditName), audit.Filter(s.config().AuditFilter), audit.Options{Now: s.clock.Now, FS: s.fsys})
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return l, nil
}

func (s *Server) openAuthority() (*authority.Authority, error) {
	key, err := authority.ReadKey(s.at.path(keyName), s.opts.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("CA key: %w", err)
	}
	c := s.config()
	return authority.New(s.CACertificate(), key, authority.Options{IssuingCertificateURLs: c.IssuerURLs, CRLDistributionPoints: c.CRLURLs})
}

// logConfig is the engine's configuration for a database of this authority.
func (s *Server) logConfig(database string) sqlitelog.Config {
	size := s.opts.GenerationSize
	if size == 0 {
		size = s.config().GenerationSize
	}
	return sqlitelog.Config{
		Database:       s.at.path(database),
		LogDir:         s.at.path(logDir),
		StateDir:       s.at.path(systemDir),
		GenerationSize: size,
		AcceptLoss:     s.opts.AcceptLoss,
		FS:             s.fsys,
		Observe:        s.engineEvent,
		Logger:         s.log,
	}
}

// Stop ends a backup that is under way, lets the calls under way finish, closes
// the database and gives the lock back. When ctx ends before the calls have,
// they are broken off; the service is stopped in any case when Stop returns. To
// stop a stopped service is no error.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	switch s.state {
	case running, suspended:
	case stopped:
		s.mu.Unlock()
		return nil
	default: // starting or stopping: another goroutine is at it
		idle, st := s.idle, s.state
		s.mu.Unlock()
		if st == starting {
			return fmt.Errorf("stop: the service is %v", st)
		}
		select {
		case <-idle:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.state = stopping
	r := s.run
	s.mu.Unlock()

	err := r.stop(ctx)

	s.mu.Lock()
	s.run, s.state = nil, stopped
	close(s.idle)
	s.mu.Unlock()
	s.log.Info("the service has stopped", slog.Any("error", err))
	return err
}

func (r *run) stop(ctx context.Context) error {
	r.s.observe(PhaseStopping)
	r.s.breakOff()
	left := make(chan struct{})
	go func() {
		r.calls.Wait()
		close(left)
	}()
	select {
	case <-left:
	case <-ctx.Done():
		r.cancel()
		<-left
	}
	r.s.breakOff() // one that began just before
	close(r.quit)
	close(r.rows)
	r.work.Wait()
	r.cancel()
	r.s.summarizeRefused(r)
	err := r.audit.Append(audit.Record{Event: audit.ServiceStopped, Who: whoami, What: r.s.config().Name, Result: "ok"})
	return errors.Join(err, r.close())
}

// close gives back what start took, in whatever state it got to.
func (r *run) close() error {
	var errs []error
	if r.db != nil {
		if err := r.db.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close database: %w", err))
		}
	}
	if r.audit != nil {
		errs = append(errs, r.audit.Close())
	}
	if r.lock != nil {
		errs = append(errs, r.withdrawLocal(), r.lock.release())
	}
	return errors.Join(errs...)
}
