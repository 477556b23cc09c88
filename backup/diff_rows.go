package backup

import (
	"bytes"
	"context"
	"errors"
	"iter"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
)

// pull is one side of a comparison, a row at a time.
type pull struct {
	next func() (cadb.Request, error, bool)
	row  cadb.Request
	more bool
	s    *DiffState
	d    *differ
	name string
}

func (p *pull) advance() error {
	for {
		row, err, ok := p.next()
		if err != nil {
			if err := p.d.incomplete(p.name, err); err != nil {
				return err
			}
			continue
		}
		p.row, p.more = row, ok
		if ok {
			p.s.Requests++
			p.s.Dispositions[row.Disposition]++
		}
		return nil
	}
}

func (d *differ) requests(ctx context.Context, from, to *cadb.DB) error {
	filter := cadb.Filter{NoRequest: true}
	nextOld, stopOld := iter.Pull2(from.Requests(ctx, filter))
	defer stopOld()
	nextNew, stopNew := iter.Pull2(to.Requests(ctx, filter))
	defer stopNew()
	was, is := &pull{next: nextOld, s: &d.rep.Old, d: d, name: states[0]}, &pull{next: nextNew, s: &d.rep.New, d: d, name: states[1]}
	err := errors.Join(was.advance(), is.advance())
	for err == nil && (was.more || is.more) {
		switch {
		case !is.more, was.more && was.row.ID < is.row.ID:
			d.add(&d.rep.Gone, &was.row, was.row.Disposition, 0, "")
			err = was.advance()
		case !was.more, is.row.ID < was.row.ID:
			d.appeared(&is.row)
			err = is.advance()
		default:
			d.compare(&was.row, &is.row)
			err = errors.Join(was.advance(), is.advance())
		}
	}
	return err
}

func (d *differ) add(l *DiffList, r *cadb.Request, was, is schema.Disposition, what string) {
	if l.Count++; len(l.List) >= d.o.Limit {
		return
	}
	c := DiffChange{RequestID: r.ID, Serial: r.Serial, CommonName: r.CommonName(), Requester: r.RequesterName, Was: was, Is: is, What: what}
	if is == schema.Revoked || l == &d.rep.Released {
		c.Reason = r.Reason
		if t := r.RevokedWhen; !t.IsZero() {
			c.RevokedWhen = &t
		}
	}
	if t := r.NotAfter; !t.IsZero() {
		c.NotAfter = &t
	}
	l.List = append(l.List, c)
}

// appeared is a request that the old state does not have.
func (d *differ) appeared(r *cadb.Request) {
	switch r.Disposition {
	case schema.Issued, schema.Revoked:
		d.add(&d.rep.Issued, r, 0, r.Disposition, "")
		if r.Disposition == schema.Revoked {
			d.add(&d.rep.Revoked, r, 0, r.Disposition, "")
		}
	case schema.Pending:
		d.add(&d.rep.Pending, r, 0, r.Disposition, "")
	default:
		d.add(&d.rep.Other, r, 0, r.Disposition, "a new request")
	}
}

// compare is a request that both have.
func (d *differ) compare(was, is *cadb.Request) {
	a, b := was.Disposition, is.Disposition
	had := a == schema.Issued || a == schema.Revoked
	has := b == schema.Issued || b == schema.Revoked
	switch {
	case a == b && len(was.Unread)+len(is.Unread) > 0:
		// A value that is not there, in a copy whose logs were not replayed, is no other one.
		if was.Serial != is.Serial || !bytes.Equal(was.RawCertificate, is.RawCertificate) || a == schema.Revoked && !sameRevocation(was, is) {
			d.add(&d.rep.Other, is, a, b, "not all of it could be read")
		}
	case a == b && a == schema.Revoked && !sameRevocation(was, is):
		d.add(&d.rep.Revoked, is, a, b, "date or reason changed")
	case a == b && (was.Serial != is.Serial || !bytes.Equal(was.RawCertificate, is.RawCertificate)):
		d.add(&d.rep.Other, is, a, b, "another certificate")
	case a == b:
	case a == schema.Pending && !has:
		d.add(&d.rep.Resolved, is, a, b, "")
	case !had && has:
		if a == schema.Pending {
			d.add(&d.rep.Resolved, is, a, b, "")
		}
		d.add(&d.rep.Issued, is, a, b, "")
		if b == schema.Revoked {
			d.add(&d.rep.Revoked, is, a, b, "")
		}
	case a == schema.Issued && b == schema.Revoked:
		d.add(&d.rep.Revoked, is, a, b, "")
	case a == schema.Revoked && b == schema.Issued:
		d.add(&d.rep.Released, is, a, b, "")
	case b == schema.Pending:
		d.add(&d.rep.Pending, is, a, b, "")
	default:
		d.add(&d.rep.Other, is, a, b, "another disposition")
	}
}

func sameRevocation(a, b *cadb.Request) bool {
	reason := func(r *cadb.Request) schema.Reason {
		if r.Reason == nil {
			return schema.Unspecified
		}
		return *r.Reason
	}
	return a.RevokedWhen.Equal(b.RevokedWhen) && a.RevokedEffectiveWhen.Equal(b.RevokedEffectiveWhen) && reason(a) == reason(b)
}
