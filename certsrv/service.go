package certsrv

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/audit"
)

// Service returns a new client of the authority, acting for p. It works on a
// stopped service, too, as far as the calls do. The result also implements
// [certadm.Lister], [certadm.Identifier] and [certadm.Inspector].
func (s *Server) Service(p account.Principal) certadm.Service { return s.ServiceFrom(p, "") }

// ServiceFrom is [Server.Service] for a client that came over the network: the
// audit log says of its sessions that they came from origin, such as
// "192.0.2.7:49152". What the client may do depends on p alone.
func (s *Server) ServiceFrom(p account.Principal, origin string) certadm.Service {
	return &client{s: s, p: p, origin: origin}
}

// client is one client's connection.
type client struct {
	s      *Server
	p      account.Principal
	origin string // "" in this process

	mu     sync.Mutex
	closed bool
}

var (
	_ certadm.Service    = (*client)(nil)
	_ certadm.Lister     = (*client)(nil)
	_ certadm.Identifier = (*client)(nil)
	_ certadm.Inspector  = (*client)(nil)
)

// open refuses calls after Close.
func (c *client) open(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return newError(op, certadm.ErrorCancelled, err, "")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return newError(op, certadm.HrInvalidHandle, errors.New("the connection is closed"), "")
	}
	return nil
}

// Close ends the connection and the session that it may hold; nothing is
// truncated, and the session does not count as a backup.
func (c *client) Close() error {
	c.mu.Lock()
	was := c.closed
	c.closed = true
	c.mu.Unlock()
	if was {
		return nil
	}
	return c.s.drop(c)
}

func (c *client) IsServerOnline(ctx context.Context) (bool, error) {
	if err := c.open(ctx, certadm.FnIsServerOnline); err != nil {
		return false, err
	}
	if err := c.admit(certadm.FnIsServerOnline, account.GetServerState); err != nil {
		return false, err
	}
	c.s.mu.RLock()
	st := c.s.state
	c.s.mu.RUnlock()
	switch st {
	case running:
		return true, nil
	case suspended, starting:
		return false, nil
	}
	return false, notActive(certadm.FnIsServerOnline)
}

func (c *client) ServerControl(ctx context.Context, ctl certadm.Control) ([]byte, error) {
	if err := c.open(ctx, certadm.FnServerControl); err != nil {
		return nil, err
	}
	method := account.ServerControl
	if ctl == certadm.ControlShutdown {
		method = account.Shutdown
	}
	if err := c.admit(certadm.FnServerControl, method); err != nil {
		return nil, err
	}
	switch ctl {
	case certadm.ControlShutdown, certadm.ControlSuspend, certadm.ControlRestart:
	default:
		return nil, newError(certadm.FnServerControl, certadm.EInvalidArg, fmt.Errorf("control %d is not known", ctl), "1 stops the service")
	}
	r, leave, err := c.s.enter()
	if errors.Is(err, ErrStopped) {
		return nil, notActive(certadm.FnServerControl)
	}
	if ctl != certadm.ControlShutdown {
		if err == nil {
			leave()
		}
		return nil, nil
	}
	if err == nil {
		err = r.audit.Append(c.event(audit.ShutdownRequested, "ok"))
		leave() // before the service waits for its calls
		if err != nil {
			return nil, wrapCode(certadm.FnServerControl, err)
		}
	}
	return nil, c.s.shutdown(context.WithoutCancel(ctx), certadm.FnServerControl)
}

// lists are served without a session; MS-CSRA has no sequencing rule for them.

func (c *client) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	if err := c.reach(ctx, certadm.FnRestoreGetDatabaseLocations, account.RestoreGetDatabaseLocations); err != nil {
		return nil, err
	}
	return c.s.locations(), nil
}

func (c *client) DynamicFiles(ctx context.Context) ([]string, error) {
	if err := c.reach(ctx, certadm.FnBackupGetDynamicFileList, account.BackupGetDynamicFiles); err != nil {
		return nil, err
	}
	l, err := c.s.dynamicFiles()
	return l, wrapCode(certadm.FnBackupGetDynamicFileList, err)
}

// reach checks what every backup method does: connection, service, right, flags.
func (c *client) reach(ctx context.Context, op string, m account.Method) error {
	if err := c.open(ctx, op); err != nil {
		return err
	}
	_, leave, err := c.s.enter()
	if err != nil {
		return notActive(op)
	}
	leave()
	return c.permit(op, m)
}

// event makes an audit record of what the client does.
func (c *client) event(e audit.Event, result string) audit.Record {
	return audit.Record{Event: e, Who: c.p.Name, From: c.origin, What: c.s.config().Name, Result: result}
}

// admit applies the rule table, and the InterfaceFlags for all of ICertAdminD.
func (c *client) admit(op string, m account.Method) error {
	if err := checkAPI(op, m, c.p); err != nil {
		return err
	}
	return c.flagged(op, certadm.IfNoRemoteAdmin, certadm.IfNoLocalAdmin, "calls")
}

// permit is admit for the backup methods.
func (c *client) permit(op string, m account.Method) error {
	if err := c.admit(op, m); err != nil {
		return err
	}
	return c.flagged(op, certadm.IfNoRemoteAdminBackup, certadm.IfNoLocalAdminBackup, "backups")
}

// flagged refuses a remote or a local caller if that flag is set.
func (c *client) flagged(op string, remote, local certadm.InterfaceFlags, what string) error {
	flag, where := remote, "remote"
	if c.p.Local {
		flag, where = local, "local"
	}
	if c.s.config().InterfaceFlags&flag == 0 {
		return nil
	}
	return denied(op, fmt.Errorf("the authority refuses %s %s: InterfaceFlags has %v", where, what, flag),
		fmt.Sprintf("clear bit %#x of interface_flags in config.json, and start the service anew", uint32(flag)))
}

// Identity works on a stopped service, too.
func (c *client) Identity(ctx context.Context) (certadm.Identity, error) {
	if err := c.open(ctx, "Identity"); err != nil {
		return certadm.Identity{}, err
	}
	conf := c.s.config()
	return certadm.Identity{
		Name: conf.Name, SanitizedName: conf.SanitizedName, Host: conf.Host, Engine: "sqlite",
		Certificate: c.s.CACertificate().Raw,
	}, nil
}
