package several

import (
	"context"
	"fmt"

	"github.com/certkeep/certkeep/backupset"
)

// dropWithoutParent drops the Stores that lack what the set continues, where others have it:
// confirmed if any has it so, and of the manifest that most of them have.
func (w *writer) dropWithoutParent(ctx context.Context, m *backupset.Manifest) error {
	if m.Parent == "" {
		return nil
	}
	lacks := make([]error, len(w.s.stores))
	hashes := make([]string, len(w.s.stores))
	err := w.s.each(ctx, "keeping set "+m.ID, func(i int, s *member) error {
		set, err := s.Open(ctx, m.Parent)
		if err != nil {
			lacks[i] = err
			return ctx.Err()
		}
		hashes[i] = set.Manifest().SHA256
		r, err := set.Receipt()
		if err == nil && !r.Confirmed {
			err = backupset.ErrUnconfirmed
		}
		lacks[i] = err
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	agreed := mostly(hashes, func(i int) bool { return lacks[i] == nil })
	if agreed == "" { // nowhere confirmed: that is for the caller to know
		if agreed = mostly(hashes, func(int) bool { return true }); agreed == "" {
			return nil
		}
		for i := range lacks {
			if hashes[i] != "" {
				lacks[i] = nil
			}
		}
	}
	return w.s.each(ctx, "keeping set "+m.ID, func(i int, _ *member) error {
		err := lacks[i]
		if err == nil && hashes[i] != agreed {
			err = fmt.Errorf("%w: its manifest is not that of the other stores", backupset.ErrDamaged)
		}
		if err != nil {
			return fmt.Errorf("the set that it continues: %w", err)
		}
		return nil
	})
}

// mostly is the hash that most have of those that count; the first of several.
func mostly(hashes []string, counts func(int) bool) (best string) {
	votes := map[string]int{}
	for i, h := range hashes {
		if h != "" && counts(i) {
			votes[h]++
		}
	}
	for _, h := range hashes {
		if votes[h] > votes[best] {
			best = h
		}
	}
	return best
}
