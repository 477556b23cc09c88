package connect

import (
	"context"
	"io"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
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

// What a backup needs besides the procedure depends on where the server is. In
// a directory of this machine the dynamic files can be copied; across the network
// they can only be named, and the server is asked for what is in the most
// important of them.

// DynamicOpener is OpenDynamic where the server's files can be reached, else nil.
func (c *Connection) DynamicOpener() func(ctx context.Context, name string) (io.ReadCloser, error) {
	if c.server == nil {
		return nil
	}
	return c.OpenDynamic
}

// Collector asks a server across the network for certificates, CRLs and the list
// of templates; nil where the dynamic files have them, or nothing can be asked.
func (c *Connection) Collector() func(context.Context) (backup.Collected, error) {
	in, ok := c.svc.(certadm.Inspector)
	if c.server != nil || !ok {
		return nil
	}
	return func(ctx context.Context) (backup.Collected, error) {
		name := ""
		if id, err := c.Identity(ctx); err == nil {
			name = id.SanitizedName
		}
		return backup.Inspect(ctx, in, name)
	}
}

// Elsewhere is what a set says of parts that only AD CS has: the embedded
// authority has none, and on another machine nobody looked.
func (c *Connection) Elsewhere() backupset.Presence {
	if c.server == nil {
		return backupset.NotAttempted
	}
	return backupset.Absent
}

// ServedAt is the address at which a ca:DIR is being served by another process,
// through which this connection goes; "" for any other connection.
func (c *Connection) ServedAt() string { return c.servedAt }
