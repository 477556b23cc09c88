package backup

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/durable"
)

// Source says which sets a job works on.
type Source struct {
	Store backupset.Store

	// ID is the id or name of the last set of the chain; empty for the newest
	// set there is.
	ID string
}

// chain finds the sets that a restore needs. Unconfirmed ones are used as well:
// whether their files are whole is looked at, not concluded.
func (s Source) chain(ctx context.Context) (backupset.Chain, []backupset.Entry, error) {
	entries, err := s.Store.List(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing sets: %w", err)
	}
	o := backupset.ResolveOptions{AllowUnconfirmed: true}
	var chain backupset.Chain
	if s.ID == "" {
		chain, err = backupset.Newest(entries, nil, o)
	} else {
		chain, err = backupset.Resolve(entries, s.ID, o)
	}
	return chain, entries, err
}

// open opens a set of a chain by what its Store knows it by.
func open(ctx context.Context, store backupset.Store, e backupset.Entry) (backupset.Set, error) {
	return store.Open(ctx, e.Key())
}

// scratch makes a directory that only this user can read: it will hold the
// authority's database. remove takes it away again.
func scratch(parent string) (dir string, remove func(*error), err error) {
	if dir, err = os.MkdirTemp(parent, "certkeep-scratch-"); err != nil {
		return "", nil, err
	}
	return dir, func(errp *error) { *errp = errors.Join(*errp, durable.OS.RemoveAll(dir)) }, nil
}
