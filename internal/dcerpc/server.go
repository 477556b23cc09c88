package dcerpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

// Handler carries out a call and returns the stub of its response. The server
// owns the returned slice from then on: it becomes the next call's Reply. So a
// handler appends to c.Reply[:0], and never returns bytes that others use.
//
// The error decides the fault that the client gets: a [*Fault] its own status,
// an [*ndr.Error] StatusBadStubData; any other is logged, and the client learns
// nothing but StatusFaultUnspecified. ctx ends with the connection, with the
// server, and when the client cancels the call.
type Handler func(ctx context.Context, c *Call) (stub []byte, err error)

// Call is a call to be carried out.
type Call struct {
	Conn      *Conn
	Syntax    Syntax
	Opnum     uint16
	Object    ndr.GUID // zero unless HasObject
	HasObject bool
	AuthType  AuthType
	Level     Level
	Peer      gss.Peer // zero at LevelNone
	Stub      []byte   // the encoded parameters, valid during the call
	Reply     []byte   // of length 0: the space to put the response into
}

// Interface is an interface that a server offers. Clients may ask for its major
// version, and for minor versions up to its own.
type Interface struct {
	Syntax   Syntax
	MinLevel func(opnum uint16) Level // below it, calls are denied; nil is LevelNone
	Handler  Handler
}

// LogonEvent tells how an authentication ended. It is reported once for each
// that began and came to an end, be it by a refusal. Connections that break off
// before report nothing.
type LogonEvent struct {
	Remote   net.Addr
	AuthType AuthType
	Level    Level
	Peer     gss.Peer // empty if Err is set, unless it has proven itself before
	Err      error    // nil: it is who it says
}

// ServerConfig says what a Server offers, and to whom.
type ServerConfig struct {
	Interfaces []Interface

	// Accept makes the security context for an authentication that a client
	// begins. An error refuses the type. nil refuses all.
	Accept func(t AuthType, c *Conn) (gss.Context, error)

	// RequireHeaderSigning says whether a client that authenticated with the
	// mechanism (gss.Peer's) is refused when it did not offer to sign headers.
	// nil requires it of all but "ntlm", which signs them anyway.
	RequireHeaderSigning func(mechanism string) bool

	Limits Limits

	// OnLogon, if set, is called as an authentication ends, by the connection's
	// goroutine.
	OnLogon func(LogonEvent)

	Logger *slog.Logger // nil discards
}

// Server serves interfaces to any number of connections, each by a goroutine.
type Server struct {
	cfg    ServerConfig
	limits Limits
	log    *slog.Logger
	byUUID map[ndr.GUID]*Interface
	logons *logonLimiter

	lastConn, lastGroup atomic.Uint64

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     connTable
	wait      sync.WaitGroup
}

// NewServer makes a Server. It does nothing before Serve.
func NewServer(cfg ServerConfig) *Server {
	s := &Server{
		cfg:       cfg,
		limits:    cfg.Limits.withDefaults(),
		log:       cfg.Logger,
		byUUID:    make(map[ndr.GUID]*Interface),
		listeners: make(map[net.Listener]struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.RequireHeaderSigning == nil {
		s.cfg.RequireHeaderSigning = func(mechanism string) bool { return mechanism != "ntlm" }
	}
	for i := range cfg.Interfaces {
		s.byUUID[cfg.Interfaces[i].Syntax.UUID] = &cfg.Interfaces[i]
	}
	s.logons = newLogonLimiter(s.limits.Logons, s.limits.AllLogons, time.Now)
	s.conns.init(s.limits.Connections, s.limits.PerHost)
	return s
}

// find returns the interface for a client's abstract syntax, or nil.
func (s *Server) find(want Syntax) *Interface {
	i := s.byUUID[want.UUID]
	if i == nil || i.Syntax.Major != want.Major || i.Syntax.Minor < want.Minor {
		return nil
	}
	return i
}

// Serve accepts connections from l until ctx ends, or Close is called, or l
// fails. It closes l and its connections, and returns when their handlers have
// returned: their contexts end, and what they still answer is sent. It may be called for several listeners; limits are for all of them.
// The error is nil when ctx or Close ended it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !s.listen(l) {
		l.Close()
		return nil
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer s.unlisten(l)

	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	pause := time.Duration(0)
	for {
		nc, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Too many open files, a connection that broke off while it
			// waited: all that passes.
			var temporary interface{ Temporary() bool }
			if !errors.As(err, &temporary) || !temporary.Temporary() {
				return fmt.Errorf("accept: %w", err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.Warn("accept failed", "error", err, "pause", pause)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		c := s.newConn(ctx, nc)
		if !s.conns.add(c) {
			s.log.Warn("connection refused: too many", "remote", nc.RemoteAddr())
			c.close()
			continue
		}
		conns.Go(c.serve)
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	s.wait.Add(1)
	return true
}

func (s *Server) unlisten(l net.Listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
	l.Close()
	s.wait.Done()
}

// Close ends every Serve, with its connections, and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
	s.wait.Wait()
	return nil
}
