package connect

import (
	"context"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
)

// Target is the authority as [backup.Restore] wants it. The connection must have
// been opened with [Options.Stopped].
func (c *Connection) Target() (backup.Target, error) {
	if c.host != nil {
		return c.host.Target(c.svc), nil
	}
	if c.Server() == nil || c.started {
		return nil, fmt.Errorf("%s: a restore needs an authority that is stopped", c.Address)
	}
	return target{c}, nil
}

type target struct{ *Connection }

var _ backup.Target = target{}

// Locations works on a stopped authority; the Service's answer would not.
func (t target) Locations(context.Context) (certadm.FileList, error) {
	return t.server.Locations(), nil
}

func (t target) SetAside(context.Context) (backup.Displaced, error) {
	d, err := t.server.SetAside()
	return backup.Displaced{Dir: d.Dir, Files: d.Files}, err
}

// RecordGap leaves the gap for the authority's next start. Serial numbers of
// certificates that only a CRL tells of count as issued, too: the authority
// must know them to revoke them again.
func (t target) RecordGap(_ context.Context, g backup.Gap) error {
	gap := certsrv.Gap{Created: time.Now().UTC(), CRLNumber: g.CRLNumber}
	for _, s := range g.Sources {
		if s.Newer {
			if gap.Source != "" {
				gap.Source += ", "
			}
			gap.Source += s.Name
		}
	}
	for _, r := range g.Revoked {
		gap.Revoked = append(gap.Revoked, certsrv.GapEntry{Serial: r.Serial, Time: r.Time, Reason: r.Reason})
		if !r.Known {
			gap.Issued = append(gap.Issued, r.Serial)
		}
	}
	for _, i := range g.Issued {
		gap.Issued = append(gap.Issued, i.Serial)
	}
	if g.Accepted {
		gap.Accepted = &certsrv.GapAcceptance{By: account.LocalUser().Name, Time: gap.Created}
	}
	return certsrv.SetGap(t.server.Dir(), gap)
}
