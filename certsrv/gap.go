package certsrv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/internal/durable"
)

// Gap is what the world knows of an authority and its restored database does
// not: certificates that were revoked after the backup, told by a CRL that was
// published before the loss, and certificates known to have been issued since.
//
// A CRL made of such a database would bring revoked certificates back to life.
// So the authority publishes none until each serial in Revoked is revoked again
// or an administrator accepts the gap.
type Gap struct {
	Schema  int       `json:"schema"` // 1; set by SetGap
	Created time.Time `json:"created"`

	// Source says where this is known from, in words.
	Source string `json:"source,omitempty"`

	// CRLNumber is the highest CRL number known to have been published; the
	// next one will be above it. 0 if unknown.
	CRLNumber int64 `json:"crl_number,omitempty"`

	Revoked []GapEntry `json:"revoked,omitempty"`

	// Issued are serial numbers of certificates that the database lacks.
	Issued []string `json:"issued,omitempty"`

	// Accepted says who let the gap be, and when.
	Accepted *GapAcceptance `json:"accepted,omitempty"`
}

// GapEntry is one entry of the CRL that told of the gap.
type GapEntry struct {
	Serial string        `json:"serial"` // as [schema.SerialText]
	Time   time.Time     `json:"time"`   // of revocation
	Reason schema.Reason `json:"reason"`
}

// GapAcceptance says who accepted a gap.
type GapAcceptance struct {
	By   string    `json:"by"`
	Time time.Time `json:"time"`
}

// blocks reports whether the gap stands in the way of a CRL.
func (g *Gap) blocks() bool { return g != nil && g.Accepted == nil && len(g.Revoked) > 0 }

// SetGap records a gap for the authority in dir, which must be stopped
// (*[ServedError] otherwise). A gap that is there already is added to.
func SetGap(dir string, g Gap) error { return setGap(durable.OS, layout{dir}, g) }

func setGap(fsys durable.FS, at layout, g Gap) (err error) {
	l, err := acquire(at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.release()) }()
	old, err := readGap(fsys, at)
	if err != nil {
		return err
	}
	if err := g.normalize(); err != nil {
		return fmt.Errorf("gap: %w", err)
	}
	if old != nil {
		g.merge(old)
	}
	return writeGap(fsys, at, &g)
}

// normalize checks the serial numbers and brings them into the database's form.
func (g *Gap) normalize() (err error) {
	g.Schema = 1
	if g.CRLNumber < 0 || g.CRLNumber > maxLong {
		return fmt.Errorf("CRL number %d is out of range", g.CRLNumber)
	}
	for i := range g.Revoked {
		if g.Revoked[i].Serial, err = schema.ParseSerial(g.Revoked[i].Serial); err != nil {
			return err
		}
	}
	for i := range g.Issued {
		if g.Issued[i], err = schema.ParseSerial(g.Issued[i]); err != nil {
			return err
		}
	}
	return nil
}

// merge adds what an earlier restore left. An acceptance of the earlier gap
// does not cover the new one.
func (g *Gap) merge(old *Gap) {
	g.CRLNumber = max(g.CRLNumber, old.CRLNumber)
	issued := make(map[string]bool)
	for _, s := range append(g.Issued, old.Issued...) {
		issued[s] = true
	}
	g.Issued = slices.Sorted(maps.Keys(issued))
	if old.Accepted != nil {
		return
	}
	have := make(map[string]bool)
	for _, e := range g.Revoked {
		have[e.Serial] = true
	}
	for _, e := range old.Revoked {
		if !have[e.Serial] {
			g.Revoked = append(g.Revoked, e)
		}
	}
}

func readGap(fsys durable.FS, at layout) (*Gap, error) {
	var g Gap
	ok, err := readJSON(fsys, at.path(gapName), &g)
	if err == nil && ok && g.Schema != 1 {
		err = fmt.Errorf("%s: schema %d is not known here", at.path(gapName), g.Schema)
	}
	if err != nil {
		return nil, fmt.Errorf("gap: %w", err)
	}
	if !ok {
		return nil, nil
	}
	return &g, nil
}

func writeGap(fsys durable.FS, at layout, g *Gap) error {
	if err := writeJSON(fsys, at.path(gapName), g, fileMode); err != nil {
		return fmt.Errorf("gap: %w", err)
	}
	return nil
}

// Gap returns what a restore left open, or nil. The service need not run.
func (s *Server) Gap() (*Gap, error) { return readGap(s.fsys, s.at) }

// ClearGap ends the gap. Without accept every serial of it must have been
// revoked again ([ErrGap] otherwise), and the service must run. With accept the
// gap is let be, and who said so stays on record; that works on a stopped
// service, too. It needs the Administrator role.
func (s *Server) ClearGap(ctx context.Context, p account.Principal, accept bool) error {
	if err := account.Check(account.PublishCRL, p); err != nil {
		return err
	}
	r, leave, err := s.enter()
	if errors.Is(err, ErrStopped) && accept {
		return s.acceptStopped(p)
	}
	if err != nil {
		return err
	}
	defer leave()
	if !accept {
		r.crlMu.Lock()
		defer r.crlMu.Unlock()
		return r.closeGap(ctx)
	}
	r.gapMu.Lock()
	defer r.gapMu.Unlock()
	if r.gap == nil {
		return nil
	}
	g := *r.gap
	if err := s.accept(&g, p); err != nil {
		return err
	}
	r.gap = &g
	return nil
}

func (s *Server) acceptStopped(p account.Principal) (err error) {
	l, err := acquire(s.at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.release()) }()
	g, err := readGap(s.fsys, s.at)
	if err != nil || g == nil {
		return err
	}
	return s.accept(g, p)
}

func (s *Server) accept(g *Gap, p account.Principal) error {
	g.Accepted = &GapAcceptance{By: p.Name, Time: s.clock.Now().UTC()}
	if err := writeGap(s.fsys, s.at, g); err != nil {
		return err
	}
	s.log.Warn("the gap of a restore was accepted", slog.String("by", p.Name), slog.Int("serials", len(g.Revoked)))
	return nil
}

// inGap reports whether the gap names the serial number.
func (r *run) inGap(serial string) bool {
	r.gapMu.Lock()
	defer r.gapMu.Unlock()
	if r.gap == nil {
		return false
	}
	return slices.Contains(r.gap.Issued, serial) ||
		slices.ContainsFunc(r.gap.Revoked, func(e GapEntry) bool { return e.Serial == serial })
}

// closeGap fails with ErrGap while there is something left to revoke, and
// removes the gap when there is not.
func (r *run) closeGap(ctx context.Context) error {
	r.gapMu.Lock()
	defer r.gapMu.Unlock()
	if !r.gap.blocks() {
		return nil
	}
	var left []string
	for _, e := range r.gap.Revoked {
		rec, err := bySerial(ctx, r.db.Reader(), e.Serial)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err != nil || rec.Disposition != schema.Revoked {
			left = append(left, e.Serial)
		}
	}
	if n := len(left); n > 0 {
		return fmt.Errorf("%w: %d left, the first is %s; revoke them again, or accept the gap", ErrGap, n, left[0])
	}
	if err := removeDurably(r.s.fsys, r.s.at.path(systemDir), r.s.at.path(gapName)); err != nil {
		return fmt.Errorf("gap: %w", err)
	}
	r.gap = nil
	r.s.log.Info("the gap of a restore is closed")
	return nil
}
