package connect

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// TakeOptions are the options of [backup.Take] that depend on where the authority
// is: the Service, and how what the procedure does not hold is got at. In a
// directory of this machine the dynamic files can be copied; across the network they
// can only be named, and the server is asked for what is in the most important of
// them. The caller adds the rest.
func (c *Connection) TakeOptions() backup.TakeOptions {
	o := c.besides
	o.Service = c.svc
	return o
}

// ofDir is for an embedded authority, which has none of the parts that only AD CS
// has.
func (c *Connection) ofDir() backup.TakeOptions {
	return backup.TakeOptions{OpenDynamic: c.OpenDynamic, CAPolicy: backupset.Absent, Templates: backupset.Absent}
}

// OpenDynamic opens a file of an embedded authority's dynamic file list for reading,
// by the name in that list and by no other: the list never names keys or accounts.
func (c *Connection) OpenDynamic(ctx context.Context, name string) (io.ReadCloser, error) {
	names, err := certadm.Dynamic(ctx, c.svc)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(names, name) {
		return nil, fmt.Errorf("%s: not in the list of dynamic files", name)
	}
	path, err := c.server.LocalPath(name)
	if err != nil {
		return nil, err
	}
	relative, err := filepath.Rel(c.server.Dir(), path)
	if err != nil {
		return nil, err
	}
	return os.OpenInRoot(c.server.Dir(), relative) // no link leads out of the directory
}

// inspect asks a server across the network for certificates, CRLs and the list of
// templates.
func (c *Connection) inspect(ctx context.Context) (backup.Collected, error) {
	in, ok := c.svc.(certadm.Inspector)
	if !ok {
		return backup.Collected{}, nil
	}
	name := ""
	if id, err := c.Identity(ctx); err == nil {
		name = id.SanitizedName
	}
	return backup.Inspect(ctx, in, name)
}
