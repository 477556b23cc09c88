package certdll

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// patience is how long Close, and an End whose context has ended, wait for calls
// that are in progress.
const patience = 10 * time.Second

// Options are what [Open] can be told besides the server.
type Options struct {
	// Identity tells which authority this is; nil for what can be known from the
	// library alone, see [Client.Identity].
	Identity func(ctx context.Context) (certadm.Identity, error)

	// NoPrivileges leaves the process's token alone. By default a backup session
	// enables SeBackupPrivilege as long as it lasts, a restore session
	// SeRestorePrivilege, and neither begins if that fails.
	NoPrivileges bool

	// Logger takes what nobody is there to be told; nil for nothing.
	Logger *slog.Logger
}

// Client is Certadm.dll, loaded, and the server that its functions are called for.
// It is one client: it has at most one backup session.
type Client struct {
	procs    procs
	server   string
	identify func(context.Context) (certadm.Identity, error)
	enable   func(names ...string) (restore func() error, err error) // nil: not
	log      *slog.Logger
	patience time.Duration

	wg sync.WaitGroup // sessions, and calls without one

	mu       sync.Mutex
	closed   bool
	backup   *backup
	sessions map[*session]bool
	known    *certadm.Identity // what the locations told
}

var (
	_ certadm.Service    = (*Client)(nil)
	_ certadm.Identifier = (*Client)(nil)
)

// Open loads Certadm.dll from the system directory, and finds its functions. The
// server is a NetBIOS or DNS name; "" is this machine. Nothing is called yet, so
// that a server does not answer shows at the first call.
//
// Restore functions may be absent; then [Client.RestorePrepare] fails. Any other
// missing function is an error that names it.
func Open(server string, options ...Options) (*Client, error) {
	return open(systemLibrary, server, options...)
}

// open is Open with a library that is found in the given way.
func open(load func() (procs, error), server string, options ...Options) (*Client, error) {
	if err := validString(server); err != nil {
		return nil, local(fnLoad, shorten(server), certadm.EInvalidArg, "the server's name %w", err)
	}
	if server == "" {
		var err error
		if server, err = computerName(); err != nil {
			return nil, fail(fnLoad, "", err)
		}
	}
	p, err := load()
	if err != nil {
		return nil, err
	}
	var o Options
	for _, given := range options {
		o = given
	}
	return newClient(p, server, o), nil
}

func newClient(p procs, server string, o Options) *Client {
	c := &Client{procs: p, server: server, identify: o.Identity, enable: EnablePrivileges, log: o.Logger, patience: patience, sessions: make(map[*session]bool)}
	if o.NoPrivileges {
		c.enable = nil
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Server is the name that the functions are called with.
func (c *Client) Server() string { return c.server }

// outside makes a call without a session, on a thread for it. ctx can end the
// waiting for it, not the call. Nothing that fn writes to may be looked at after
// an error.
func (c *Client) outside(ctx context.Context, op string, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return fail(op, "", err)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return closedClient(op)
	}
	c.wg.Add(1)
	c.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		defer c.wg.Done()
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- fn()
	}()
	select {
	case err := <-done:
		return fail(op, "", err)
	case <-ctx.Done():
		c.log.Warn("a call of Certadm.dll was canceled, and goes on", slog.String("call", op))
		return fail(op, "", ctx.Err())
	}
}

func closedClient(op string) error {
	return local(op, "", certadm.HrInvalidHandle, "the client is closed")
}

// IsServerOnline needs no privilege.
func (c *Client) IsServerOnline(ctx context.Context) (bool, error) {
	var online bool
	err := c.outside(ctx, certadm.FnIsServerOnline, func() error {
		on, hr := c.procs.isServerOnline(c.server)
		online = on
		return result(hr)
	})
	if err != nil {
		return false, err
	}
	return online, nil
}

// ServerControl is for administrators of the CA.
func (c *Client) ServerControl(ctx context.Context, control certadm.Control) ([]byte, error) {
	var out []byte
	err := c.outside(ctx, certadm.FnServerControl, func() error {
		b, size, hr := c.procs.serverControl(c.server, uint32(control))
		if err := result(hr); err != nil {
			return err
		}
		var err error
		out, err = c.take(b, size)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// begin counts a session in.
func (c *Client) begin(op string, s *session) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return closedClient(op)
	}
	c.wg.Add(1)
	c.sessions[s] = true
	return nil
}

// forget counts a session out that has ended.
func (c *Client) forget(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.sessions[s] {
		return
	}
	delete(c.sessions, s)
	if c.backup != nil && c.backup.session == s {
		c.backup = nil
	}
	c.wg.Done()
}

// Close ends the sessions that are open, none of which counts then, and frees the
// library. A call that does not return within ten seconds keeps the library
// loaded, and Close says so; the rest is done when it has returned.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	for s := range c.sessions {
		go s.stop()
	}
	c.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		c.wg.Wait()
		done <- c.procs.release()
	}()
	t := time.NewTimer(c.patience)
	defer t.Stop()
	select {
	case err := <-done:
		return fail(fnFree, libraryName, err)
	case <-t.C:
		return local(fnFree, libraryName, certadm.RPCCallFailed, "a call has not returned: the library stays loaded until it does")
	}
}
