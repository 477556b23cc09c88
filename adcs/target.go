package adcs

import (
	"context"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
)

// Target is this machine's authority as [backup.Restore] wants it: the Host, and
// the Service that speaks the restore procedure.
type Target struct {
	*Host
	svc certadm.Service
}

var (
	_ backup.Target     = (*Target)(nil)
	_ backup.Controller = (*Target)(nil)
	_ backup.LogKeeper  = (*Target)(nil)
	_ backup.Speller    = (*Target)(nil)
)

// Target joins the Host with a Service, whose Close is left to the caller.
func (h *Host) Target(svc certadm.Service) *Target { return &Target{h, svc} }

// Service is the authority's own.
func (t *Target) Service() certadm.Service { return t.svc }

// Identity is [Host.Identity], but without a certificate there is nothing to
// restore into: the error is then [ErrNoCertificate].
func (t *Target) Identity(ctx context.Context) (certadm.Identity, error) {
	if _, err := t.Certificate(); err != nil {
		return certadm.Identity{}, err
	}
	return t.Host.Identity(ctx)
}

// NewerLogs implements [backup.LogKeeper] by [Host.NewerLogs].
func (t *Target) NewerLogs(ctx context.Context, d backup.Displaced, after uint32) (paths []string, stopped string, err error) {
	n, err := t.Host.NewerLogs(ctx, d, after)
	for _, l := range n.Logs {
		paths = append(paths, l.Path)
	}
	return paths, n.Stopped, err
}
