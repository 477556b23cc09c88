package csra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/certkeep/certkeep/certadm"
)

// patience is how long the client waits for a call that its caller has given up:
// the call is let finish, so that the session can still be ended in an orderly
// way. After that the connection is cut.
const patience = 10 * time.Second

// Client is one client's connection to Certificate Services on another machine.
//
// A context that ends makes a call return at once. The connection outlives that,
// if the server answers within ten seconds: [certadm.Backup.End] still works. A
// BackupPrepare that is given up takes the connection with it.
//
// Close ends a session that is still open without counting it as a backup;
// nothing is truncated then.
type Client struct {
	calls     calls
	authority *string // nil for the only one there is
	host      string
	log       *slog.Logger
	release   func(context.Context) error
	patience  time.Duration

	serverTime func() (server, local time.Time, ok bool) // nil: not known

	life context.Context // ends with Close
	end  context.CancelFunc
	wg   sync.WaitGroup // calls under way

	mu      sync.Mutex
	closed  bool
	stopped bool // this client has shut the service down
	session *backup
}

var (
	_ certadm.Service    = (*Client)(nil)
	_ certadm.Lister     = (*Client)(nil)
	_ certadm.Identifier = (*Client)(nil)
	_ certadm.Inspector  = (*Client)(nil)
)

func newClient(c calls, authority, host string, log *slog.Logger, release func(context.Context) error) *Client {
	cl := &Client{calls: c, host: host, log: log, release: release, patience: patience}
	if authority != "" {
		cl.authority = &authority
	}
	cl.life, cl.end = context.WithCancel(context.Background())
	return cl
}

// enter begins a call. leave must be called after it.
func (c *Client) enter(ctx context.Context, op string) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, fail(op, "", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, local(op, "", certadm.HrInvalidHandle, "the connection is closed")
	}
	c.wg.Add(1)
	return c.wg.Done, nil
}

// do makes a call that the caller can leave at once while it is let finish.
func do[T any](ctx context.Context, c *Client, op, path string, fn func(context.Context) (T, error)) (T, error) {
	var none T
	leave, err := c.enter(ctx, op)
	if err != nil {
		return none, err
	}
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	inner, cancel := context.WithCancel(c.life)
	go func() {
		defer leave()
		defer cancel()
		v, err := fn(inner)
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, fail(op, path, r.err)
	case <-ctx.Done():
		stop := time.AfterFunc(c.patience, cancel)
		context.AfterFunc(inner, func() { stop.Stop() })
		return none, fail(op, path, ctx.Err())
	}
}

// none is the value of a call that returns nothing but an error.
type none = struct{}

func (c *Client) simple(ctx context.Context, op, path string, fn func(context.Context) error) error {
	_, err := do(ctx, c, op, path, func(ctx context.Context) (none, error) { return none{}, fn(ctx) })
	return err
}

// IsServerOnline asks for the server's state. Servers that lack the call are
// pinged; a refused Ping is as good as an answer, for it is for administrators
// only.
func (c *Client) IsServerOnline(ctx context.Context) (bool, error) {
	return do(ctx, c, certadm.FnIsServerOnline, "", func(ctx context.Context) (bool, error) {
		state, err := c.calls.number(ctx, opGetServerState, c.authority)
		if !errors.Is(err, certadm.ENotImpl) && !errors.Is(err, certadm.RPCNoSuchMethod) {
			return state != 0, err
		}
		err = c.calls.ping(ctx, opPing, c.authority)
		if errors.Is(err, certadm.EAccessDenied) {
			c.log.Warn("the server refuses Ping to this account", slog.Any("error", err))
			err = nil
		}
		return err == nil, err
	})
}

// ServerControl is for administrators.
func (c *Client) ServerControl(ctx context.Context, control certadm.Control) ([]byte, error) {
	b, err := do(ctx, c, certadm.FnServerControl, "", func(ctx context.Context) ([]byte, error) {
		return c.calls.blob(ctx, opServerControl, c.authority, uint32(control))
	})
	if err == nil && control == certadm.ControlShutdown {
		c.mu.Lock()
		c.stopped = true
		c.mu.Unlock()
	}
	return b, err
}

// ServerTime returns what time it was to the server, and here, at the newest
// logon; false if the server did not say, which with Kerberos none does: it
// accepts no clock that is five minutes off.
func (c *Client) ServerTime() (server, local time.Time, ok bool) {
	if c.serverTime == nil {
		return server, local, false
	}
	return c.serverTime()
}

// RestorePrepare fails: the protocol has no call for restores.
func (c *Client) RestorePrepare(ctx context.Context, _ certadm.RestoreType) (certadm.Restore, error) {
	leave, err := c.enter(ctx, certadm.FnRestorePrepare)
	if err != nil {
		return nil, err
	}
	leave()
	return nil, &certadm.Error{Op: certadm.FnRestorePrepare, Code: certadm.ENotImpl, Err: errors.New("MS-CSRA has no restore"),
		Hint: "restore on the CA's own machine, with certutil -restoreDB or certkeep restore --service"}
}

// DatabaseLocations needs no session.
func (c *Client) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	return do(ctx, c, certadm.FnRestoreGetDatabaseLocations, "", c.locations)
}

// DynamicFiles needs no session.
func (c *Client) DynamicFiles(ctx context.Context) ([]string, error) {
	return do(ctx, c, certadm.FnBackupGetDynamicFileList, "", c.dynamicFiles)
}

func (c *Client) locations(ctx context.Context) (certadm.FileList, error) {
	return c.list(ctx, opGetLocations)
}

// list makes a call that returns a tagged list.
func (c *Client) list(ctx context.Context, op uint16) (certadm.FileList, error) {
	units, err := c.calls.list(ctx, op)
	if err != nil {
		return nil, err
	}
	l, err := certadm.DecodeListUnits(units)
	for _, e := range l {
		if err := printable(e.Path); err != nil {
			return nil, err
		}
	}
	return l, err
}

// printable refuses names with control characters, which no file of Windows has:
// errors and logs show names, perhaps on a terminal.
func printable(name string) error {
	if strings.ContainsFunc(name, unicode.IsControl) {
		return &malformed{fmt.Sprintf("the name %.100q has control characters", name)}
	}
	return nil
}

// dynamicFiles takes names with and without a tag: it is not stated whether they
// have one, and a UNC name begins with two backslashes.
func (c *Client) dynamicFiles(ctx context.Context) ([]string, error) {
	units, err := c.calls.list(ctx, opBackupGetDynamic)
	if err != nil {
		return nil, err
	}
	names, err := certadm.DecodeStringsUnits(units)
	for i, name := range names {
		names[i] = untag(name)
		if err := printable(names[i]); err != nil {
			return nil, err
		}
	}
	return names, err
}

// Close releases the server's object. That a service which this client has shut
// down is gone is no error.
func (c *Client) Close() error {
	c.mu.Lock()
	b := c.session
	was, stopped := c.closed, c.stopped
	c.closed, c.session = true, nil
	c.mu.Unlock()
	if was {
		return nil
	}
	if b != nil {
		b.abandon()
	}
	ctx, cancel := context.WithTimeout(c.life, c.patience)
	err := c.release(ctx)
	cancel()
	c.end()
	c.wg.Wait()
	if stopped && err != nil {
		c.log.Debug("releasing the object of a service that was shut down", slog.Any("error", err))
		return nil
	}
	return fail("Close", "", err)
}
