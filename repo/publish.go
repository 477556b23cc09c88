package repo

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// whole makes sure that the lease of a run held, and that all the segments of a table are
// there: what a set refers to. Both at once is enough: the lease held until it was renewed, so a
// prune that did not see it reads the journals after whole was called, and what was published before is in them.
func (r *Repository) whole(ctx context.Context, l *lease, table []chunklist.Entry) error {
	var there map[pack.ID]bool
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.good(gctx) })
	g.Go(func() (err error) { there, err = r.packsThere(gctx); return err })
	if err := g.Wait(); err != nil {
		return err
	}
	r.packs.forget()
	return r.missing(ctx, there, table)
}

// publish writes the records of a set, unless one of its id is there, and looks once more
// whether the set is whole: a prune may have been at work while they were written. One that is not
// is withdrawn. It must have been whole before. Errors do not name the set.
func (r *Repository) publish(ctx context.Context, l *lease, id string, table []chunklist.Entry, records ...any) (published bool, err error) {
	_, err = r.append(ctx, func(s *state) error {
		if len(s.find(id)) > 0 {
			return backupset.ErrExists
		}
		return nil
	}, records...)
	if err != nil {
		return false, err
	}
	lctx, done := lingering(ctx)
	defer done()
	if err := r.whole(lctx, l, table); err != nil {
		_, werr := r.append(lctx, nil, withdrawnRecord{typeWithdrawn, id, err.Error()})
		return true, errors.Join(fmt.Errorf("it was published and is not whole: %w", err), werr)
	}
	return true, nil
}
