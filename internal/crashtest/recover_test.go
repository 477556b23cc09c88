//go:build unix

package crashtest

import (
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/folder"
)

// prepareRecovery leaves a restore to be carried out by the next start: of the
// newest chain, which holds everything in the record, because the authority has
// not run since check took it.
func (h *harness) prepareRecovery() {
	h.t.Helper()
	ctx := h.t.Context()
	store := folder.Root(h.sets(), folder.Options{})
	if len(h.record.issued) == 0 { // a new authority
		srv, err := certsrv.New(h.ca(), certsrv.Options{})
		if err != nil {
			h.fail("opening: %v", err)
		}
		if err := srv.Start(ctx); err != nil {
			h.fail("starting: %v", err)
		}
		svc := srv.Service(account.LocalUser())
		_, err = backup.Take(ctx, backup.TakeOptions{Service: svc, Store: store, Name: fmt.Sprintf("first-%d", h.round)})
		if err = errors.Join(err, svc.Close(), srv.Stop(ctx)); err != nil {
			h.fail("a first backup: %v", err)
		}
	}
	c, err := connect.Open(ctx, "ca:"+h.ca(), connect.Options{Stopped: true})
	if err != nil {
		h.fail("opening: %v", err)
	}
	target, err := c.Target()
	if err != nil {
		h.fail("opening: %v", err)
	}
	rep, err := backup.Restore(ctx, backup.RestoreOptions{Source: backup.Source{Store: store}, Target: target, Scratch: h.dir})
	if err = errors.Join(err, c.Close()); err != nil {
		h.fail("restoring: %v", err)
	}
	if g := rep.Gap; g != nil && len(g.Revoked)+len(g.Issued) > 0 {
		h.fail("a restore of everything reports a gap: %+v", g)
	}
}
