package certsrv

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/durable"
)

// Options of a Server; the zero value serves without being reachable by others.
type Options struct {
	// Address is where this process serves the authority. It is told to other
	// processes that want the directory, see [ServedError].
	Address string

	// Passphrase opens the CA's key, if it is encrypted.
	Passphrase []byte

	// KeepTruncated overrides the configuration's setting if not 0; negative
	// deletes at once.
	KeepTruncated time.Duration

	// GenerationSize overrides the configuration's setting if not 0, in bytes.
	GenerationSize int64

	// AcceptLoss lets the service start although the log of the last run is
	// gone. What it held is lost; incremental backups are refused until a new
	// full one.
	AcceptLoss bool

	// Observe, if set, hears the phases that the service goes through: those of
	// package sqlitelog, and the Phase… constants of this one. It is called by
	// the goroutine that does the work, must be quick, and must not call back.
	Observe func(phase string)

	Clock  Clock        // nil is the system's
	FS     durable.FS   // our own writing; nil is durable.OS
	Logger *slog.Logger // nil discards
}

// Phases that [Options.Observe] hears of, besides those of package sqlitelog.
const (
	PhaseIssuing    = "issuing"           // a group of requests is about to be committed
	PhaseIssued     = "issued"            // it is on disk, and about to be acknowledged
	PhaseStopping   = "stopping"          // the service was told to stop and lets calls finish
	PhaseBackup     = "backing up"        // a backup session began
	PhaseCopying    = "copying"           // the database file is opened for reading
	PhaseBackupEnd  = "backup ended"      //
	PhaseTruncating = "truncating"        // logs are about to be moved aside
	PhaseTruncated  = "truncated"         //
	PhaseRecovering = "recovering"        // a pending restore is about to be carried out
	PhaseReplaying  = "replaying"         // logs are about to be replayed
	PhaseAdopting   = "adopting"          // the database is about to be made live
	PhaseRecovered  = "restore completed" // the pending restore is done with
)

// state is the state of the service.
type state int

const (
	stopped state = iota
	starting
	running
	suspended
	stopping
)

func (s state) String() string {
	return [...]string{"stopped", "starting", "running", "suspended", "stopping"}[s]
}

// Server is one certification authority. Its methods may be called by several
// goroutines.
type Server struct {
	at    layout
	opts  Options
	log   *slog.Logger
	clock Clock
	fsys  durable.FS

	mu    sync.RWMutex
	state state
	run   *run          // while running, suspended or stopping
	idle  chan struct{} // closed when the service has stopped
	done  chan struct{} // closed when it was shut down
	conf  Config
	cert  *x509.Certificate

	confMu sync.Mutex // one change of the configuration at a time

	rolling atomic.Pointer[run] // hears of closed generations

	backupMu sync.Mutex // of session; taken before a session's own lock
	session  *session   // the backup in progress, if any

	restoreMu sync.Mutex // one restore call at a time

	refused refusals // refused logons

	// fail makes a test's crash happen at a named step; nil outside tests.
	fail func(step string) error

	// circulated tells a test that a closed generation was dealt with.
	circulated func()
}

// New opens the authority in dir, which [Init] made; the service is stopped. The
// directory is not locked before Start or a restore call.
func New(dir string, o Options) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	if o.FS == nil {
		o.FS = durable.OS
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{at: layout{dir}, opts: o, log: o.Logger, clock: o.Clock, fsys: o.FS, done: make(chan struct{})}
	s.idle = make(chan struct{})
	close(s.idle)
	if err := s.reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// reload reads configuration and CA certificate.
func (s *Server) reload() error {
	c, err := readConfig(s.fsys, s.at.dir)
	if err != nil {
		return err
	}
	cert, err := readCACertificate(s.fsys, s.at.path(publishedDir+"/"+c.SanitizedName+crtExt))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conf, s.cert = c, cert
	return nil
}

func (s *Server) config() *Config {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.conf
	return &c
}

// Config returns the configuration in force.
func (s *Server) Config() Config { return *s.config() }

// Dir is the authority's directory.
func (s *Server) Dir() string { return s.at.dir }

// CACertificate is the authority's own certificate; it must not be changed.
func (s *Server) CACertificate() *x509.Certificate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.cert
}

// Running reports whether the service runs and answers requests.
func (s *Server) Running() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state == running
}

// Done returns a channel that is closed when the service has stopped because of
// a ServerControl shutdown. After the next Start there is a new one.
func (s *Server) Done() <-chan struct{} {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.done
}

// Suspend makes the service refuse requests and backups while it goes on
// running, until Resume. It fails if the service does not run.
func (s *Server) Suspend() error { return s.move(running, suspended) }

// Resume ends Suspend.
func (s *Server) Resume() error { return s.move(suspended, running) }

func (s *Server) move(from, to state) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != from && s.state != to {
		return fmt.Errorf("%w: it is %v", ErrStopped, s.state)
	}
	s.state = to
	return nil
}

// enter begins a call that needs the running service; leave ends it. Stop waits
// for the calls that have entered.
func (s *Server) enter() (r *run, leave func(), err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch s.state {
	case running:
		s.run.calls.Add(1)
		return s.run, s.run.calls.Done, nil
	case suspended:
		return nil, nil, ErrSuspended
	}
	return nil, nil, ErrStopped
}

// observe tells the phase.
func (s *Server) observe(phase string) {
	if s.opts.Observe != nil {
		s.opts.Observe(phase)
	}
}

// step is a place where a test can end the work as a crash would.
func (s *Server) step(name string) error {
	if s.fail == nil {
		return nil
	}
	return s.fail(name)
}

func readCACertificate(fsys durable.FS, name string) (*x509.Certificate, error) {
	der, err := durable.ReadFile(fsys, name, configLimit)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("CA certificate %s: %w", name, err)
	}
	return cert, nil
}

// whoami is this process, in the audit log, for what it does unasked.
const whoami = "certkeep"

// isEmptyDir reports whether dir is missing or has nothing in it.
func isEmptyDir(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if isNotExist(err) {
		return true, nil
	}
	return err == nil && len(entries) == 0, err
}

// shutdown stops the service for a ServerControl.
func (s *Server) shutdown(ctx context.Context, op string) error {
	s.mu.RLock()
	done := s.done
	s.mu.RUnlock()
	err := s.Stop(ctx)
	s.mu.Lock()
	select {
	case <-done:
	default:
		close(done)
	}
	s.mu.Unlock()
	if err != nil {
		return newError(op, certadm.EFail, err, "")
	}
	return nil
}
