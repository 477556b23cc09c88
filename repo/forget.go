package repo

import (
	"context"
	"fmt"

	"github.com/certkeep/certkeep/backupset"
)

// Forget forgets sets: they are no longer listed, and a prune gives their room back. It
// takes the role of retention. Who forgets must take care of chains: see package
// backupset/retention.
func (r *Repository) Forget(ctx context.Context, ids ...string) error {
	if err := r.role(RoleRetention); err != nil {
		return err
	}
	if err := r.refresh(ctx); err != nil {
		return err
	}
	s := r.now()
	rec := forgetRecord{Type: typeForget}
	for _, id := range ids {
		found := s.find(id)
		if len(found) == 0 {
			return fmt.Errorf("%s: set %.80q: %w", r.blob.Location(), id, backupset.ErrNotFound)
		}
		if len(found) > 1 {
			// Whoever publishes a set under the id of another's must not have that one forgotten.
			return r.ambiguous(id, len(found))
		}
		rec.Sets = append(rec.Sets, found[0].name())
	}
	if len(rec.Sets) == 0 {
		return nil
	}
	_, err := r.append(ctx, nil, rec)
	return err
}
