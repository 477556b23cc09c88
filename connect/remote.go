package connect

import (
	"context"
	"fmt"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/csra"
)

// Stage is a part of connecting to adcs://.
type Stage string

// The stages, in their order.
const (
	StageResolver     Stage = "resolver"     // ServerAlive2, without a logon
	StageAuthenticate Stage = "authenticate" // at the resolver
	StageActivate     Stage = "activate"     // an object of Certificate Services
	StageExporter     Stage = "exporter"     // TCP to the port that the server named
	StageBind         Stage = "bind"         // the logon there, and ICertAdminD
)

// stageOf are the stages by the names that package csra has for them.
var stageOf = map[string]Stage{
	"ServerAlive2": StageResolver, "authenticate": StageAuthenticate, "activate": StageActivate,
	"connect to exporter": StageExporter, "bind": StageBind,
}

func (o Options) stage(name string, err error) {
	if s, ok := stageOf[name]; ok && o.Stage != nil {
		o.Stage(s, err)
	}
}

// openRemote connects to an authority across the network.
func openRemote(ctx context.Context, a Address, o Options) (*Connection, error) {
	how, err := o.Login.Choose(a)
	if err != nil {
		return nil, err
	}
	cred, err := how.credentials(ctx, o.Login)
	if err != nil {
		return nil, err
	}
	client, err := dial(ctx, a, o, cred)
	if err != nil {
		return nil, err
	}
	c := &Connection{Address: a, svc: client}
	c.besides = backup.TakeOptions{Collect: c.inspect, CAPolicy: backupset.NotAttempted, Templates: backupset.NotAttempted}
	return c, nil
}

func dial(ctx context.Context, a Address, o Options, cred csra.Credentials) (*csra.Client, error) {
	return csra.Dial(ctx, csra.Options{
		Host: a.Host, Port: a.Port, Authority: a.Name, Credentials: cred, Stage: o.stage, Logger: o.Logger,
	})
}

// openServed reaches an authority through the process that serves it, as the
// local account: whoever may read the directory's private files could use the
// authority without a server, too. Who may not is told where it is served.
func openServed(ctx context.Context, a Address, o Options, served *certsrv.ServedError) (*Connection, error) {
	if served.Address == "" {
		return nil, served
	}
	at, err := Parse(served.Address)
	if err != nil || at.Scheme != ADCS {
		return nil, served
	}
	local, err := certsrv.ReadLocalSecret(a.Dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", served, err)
	}
	server, err := certsrv.New(a.Dir, certsrv.Options{Logger: o.Logger}) // never started: it knows the files
	if err != nil {
		return nil, err
	}
	client, err := dial(ctx, at, o, csra.NTLM(local.Name, "", []byte(local.Secret)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", served, err)
	}
	c := &Connection{Address: a, svc: client, server: server, servedAt: served.Address}
	c.besides = c.ofDir()
	return c, nil
}

// ServedAt is the address at which a ca:DIR is being served by another process,
// through which this connection goes; "" for any other connection.
func (c *Connection) ServedAt() string { return c.servedAt }
