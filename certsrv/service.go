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

// The functions of Certadm.dll, for errors.
const (
	opOnline      = "CertSrvIsServerOnline"
	opPrepare     = "CertSrvBackupPrepare"
	opLocations   = "CertSrvRestoreGetDatabaseLocations"
	opNames       = "CertSrvBackupGetDatabaseNames"
	opOpen        = "CertSrvBackupOpenFile"
	opRead        = "CertSrvBackupRead"
	opClose       = "CertSrvBackupClose"
	opLogs        = "CertSrvBackupGetBackupLogs"
	opTruncate    = "CertSrvBackupTruncateLogs"
	opDynamic     = "CertSrvBackupGetDynamicFileList"
	opEnd         = "CertSrvBackupEnd"
	opRestore     = "CertSrvRestorePrepare"
	opRegister    = "CertSrvRestoreRegister"
	opThroughFile = "CertSrvRestoreRegisterThroughFile"
	opComplete    = "CertSrvRestoreRegisterComplete"
	opRestoreEnd  = "CertSrvRestoreEnd"
	opControl     = "CertSrvServerControl"
)

// Service returns a new client of the authority, acting for p. It works on a
// stopped service, too, as far as the calls do. The result also implements
// [certadm.Lister] and [certadm.Identifier].
func (s *Server) Service(p account.Principal) certadm.Service { return &client{s: s, p: p} }

// client is one client's connection.
type client struct {
	s *Server
	p account.Principal

	mu     sync.Mutex
	closed bool
}

var (
	_ certadm.Service    = (*client)(nil)
	_ certadm.Lister     = (*client)(nil)
	_ certadm.Identifier = (*client)(nil)
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
	if err := c.open(ctx, opOnline); err != nil {
		return false, err
	}
	if err := checkAPI(opOnline, account.GetServerState, c.p); err != nil {
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
	return false, notActive(opOnline)
}

func (c *client) ServerControl(ctx context.Context, ctl certadm.Control) ([]byte, error) {
	if err := c.open(ctx, opControl); err != nil {
		return nil, err
	}
	method := account.ServerControl
	if ctl == certadm.ControlShutdown {
		method = account.Shutdown
	}
	if err := checkAPI(opControl, method, c.p); err != nil {
		return nil, err
	}
	switch ctl {
	case certadm.ControlShutdown, certadm.ControlSuspend, certadm.ControlRestart:
	default:
		return nil, newError(opControl, certadm.EInvalidArg, fmt.Errorf("control %d is not known", ctl), "1 stops the service")
	}
	r, leave, err := c.s.enter()
	if errors.Is(err, ErrStopped) {
		return nil, notActive(opControl)
	}
	if ctl != certadm.ControlShutdown {
		if err == nil {
			leave()
		}
		return nil, nil
	}
	if err == nil {
		err = r.audit.Append(audit.Record{Event: audit.ShutdownRequested, Who: c.p.Name, What: c.s.config().Name, Result: "ok"})
		leave() // before the service waits for its calls
		if err != nil {
			return nil, wrapCode(opControl, err)
		}
	}
	return nil, c.s.shutdown(context.WithoutCancel(ctx), opControl)
}

// lists are served without a session; MS-CSRA has no sequencing rule for them.

func (c *client) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	if err := c.reach(ctx, opLocations, account.RestoreGetDatabaseLocations); err != nil {
		return nil, err
	}
	return c.s.locations(), nil
}

func (c *client) DynamicFiles(ctx context.Context) ([]string, error) {
	if err := c.reach(ctx, opDynamic, account.BackupGetDynamicFiles); err != nil {
		return nil, err
	}
	l, err := c.s.dynamicFiles()
	return l, wrapCode(opDynamic, err)
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

// permit applies the rule table and the InterfaceFlags.
func (c *client) permit(op string, m account.Method) error {
	if err := checkAPI(op, m, c.p); err != nil {
		return err
	}
	flags := c.s.config().InterfaceFlags
	switch {
	case !c.p.Local && flags&IfNoRemoteAdminBackup != 0:
		return denied(op, errors.New("the authority refuses remote backups (IF_NOREMOTEICERTADMINBACKUP)"),
			"clear bit 0x40 of interface_flags in config.json, and start the service anew")
	case c.p.Local && flags&IfNoLocalAdminBackup != 0:
		return denied(op, errors.New("the authority refuses local backups (IF_NOLOCALICERTADMINBACKUP)"),
			"clear bit 0x80 of interface_flags in config.json, and start the service anew")
	}
	return nil
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
