package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// endTimeout bounds what is written to clean up after a run that was interrupted.
var endTimeout = 30 * time.Second

// lingering is a context that ends only endTimeout after ctx does: for finishing what must not be left
// half-way, though not for ever.
func lingering(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(endTimeout, cancel)
		context.AfterFunc(out, func() { t.Stop() })
	})
	return out, func() { stop(); cancel() }
}

// clockSlack is how far this machine's clock may be behind what it wrote before.
const clockSlack = 5 * time.Minute

// manifestReaders is how many manifests are read at once.
const manifestReaders = 16

// List implements backupset.Store. Sets of authorities whose keys are not at hand are
// not listed; see Hidden.
func (r *Repository) List(ctx context.Context) ([]backupset.Entry, error) {
	infos, err := r.Sets(ctx)
	if err != nil {
		return nil, err
	}
	var entries []backupset.Entry
	for _, i := range infos {
		if !i.Hidden && (!r.o.OwnSets || r.o.Host == nil || i.Author == r.o.Host.Host) {
			entries = append(entries, i.Entry)
		}
	}
	backupset.Sort(entries)
	return entries, nil
}

// entry describes a set.
func (r *Repository) entry(ctx context.Context, s *storedSet) (e backupset.Entry, hidden bool, err error) {
	e = backupset.Entry{ID: s.Set, Location: r.location(s.Set), SignedBy: r.now().hostName(s.author)}
	ss, err := r.openManifest(ctx, s)
	switch {
	case errors.Is(err, errForeign):
		return e, true, nil
	case errors.Is(err, backupset.ErrDamaged), errors.Is(err, ErrNewer), errors.Is(err, backupset.ErrNewer), errors.Is(err, ErrKey):
		e.Err = err
		return e, false, nil
	case err != nil:
		return e, false, err
	}
	e.Manifest = ss.manifest
	rec, err := ss.receipt(ctx)
	switch {
	case err == nil:
		e.Receipt, e.Confirmed = rec, rec.Confirmed
	case errors.Is(err, backupset.ErrUnconfirmed):
	case errors.Is(err, backupset.ErrDamaged), errors.Is(err, backupset.ErrNewer):
		e.Err = err
	default:
		return e, false, err
	}
	return e, false, nil
}

func (r *Repository) location(set string) string { return r.blob.Location() + " set " + set }

// entries describes sets, several at a time.
func (r *Repository) entries(ctx context.Context, sets []*storedSet) ([]backupset.Entry, []bool, error) {
	entries, hidden := make([]backupset.Entry, len(sets)), make([]bool, len(sets))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(manifestReaders)
	for i, s := range sets {
		g.Go(func() (err error) {
			entries[i], hidden[i], err = r.entry(gctx, s)
			return err
		})
	}
	return entries, hidden, g.Wait()
}

// Open implements backupset.Store. ErrKey if the set is there, and nothing at hand opens
// its manifest.
func (r *Repository) Open(ctx context.Context, id string) (backupset.Set, error) {
	ss, err := r.openSet(ctx, id)
	if err != nil {
		return nil, err // and not a Set that is nil
	}
	return ss, nil
}

func (r *Repository) openSet(ctx context.Context, id string) (*sealedSet, error) {
	s, err := r.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.openManifest(ctx, s)
}

func (r *Repository) find(ctx context.Context, id string) (*storedSet, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	found := r.now().find(id)
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("%s: set %.80q: %w", r.blob.Location(), id, backupset.ErrNotFound)
	case len(found) > 1:
		return nil, r.ambiguous(id, len(found))
	}
	return found[0], nil
}

func (r *Repository) ambiguous(id string, hosts int) error {
	return hint.With(fmt.Errorf("%s: set %s was published by %d hosts: %w", r.blob.Location(), id, hosts, backupset.ErrAmbiguous),
		"one of the hosts did what it should not: revoke it, as of before it did; see docs/security.md")
}

// PutReceipt implements backupset.Store. Only who wrote a set can confirm it.
func (r *Repository) PutReceipt(ctx context.Context, id string, rec backupset.Receipt) error {
	s, err := r.find(ctx, id)
	if err != nil {
		return err
	}
	if author, _, err := r.author(); err != nil {
		return err
	} else if author != s.author {
		return fmt.Errorf("%w: set %s is of another host", ErrRole, id)
	}
	ss, err := r.openManifest(ctx, s)
	if err != nil {
		return err
	}
	if rec.SetID == "" {
		rec.SetID = id
	}
	if rec.ManifestSHA256 == "" {
		rec.ManifestSHA256 = ss.manifest.SHA256
	}
	if err := rec.Matches(ss.manifest); err != nil {
		return err
	}
	b, err := rec.Encode()
	if err != nil {
		return err
	}
	return r.during(ctx, func(l *lease) error {
		ref, err := r.putSealed(ctx, b, ss.keys.metadata.Recipient())
		if err == nil {
			err = l.good(ctx)
		}
		if err == nil {
			_, err = r.append(ctx, nil, receiptRecord{typeReceipt, id, ref})
		}
		return err
	})
}

// ID implements backupset.Set.
func (s *sealedSet) ID() string { return s.s.Set }

// Location implements backupset.Set.
func (s *sealedSet) Location() string { return s.r.location(s.s.Set) }

// Manifest implements backupset.Set.
func (s *sealedSet) Manifest() *backupset.Manifest { return s.manifest }

// Receipt implements backupset.Set.
func (s *sealedSet) Receipt() (*backupset.Receipt, error) { return s.receipt(context.Background()) }

func (s *sealedSet) receipt(ctx context.Context) (*backupset.Receipt, error) {
	rec := s.s.receipt
	if rec == nil {
		return nil, fmt.Errorf("set %s: no receipt: %w", s.s.Set, backupset.ErrUnconfirmed)
	}
	b, err := s.r.getSealed(ctx, rec.Object, seal.LimitLarge, s.keys.metadata)
	if err != nil {
		return nil, fmt.Errorf("set %s: receipt: %w", s.s.Set, err)
	}
	got, err := backupset.DecodeReceipt(b)
	if err == nil {
		err = got.Matches(s.manifest)
	}
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", s.s.Set, err)
	}
	return got, nil
}

// Extra implements backupset.Set: nothing can be added to a set.
func (s *sealedSet) Extra(context.Context) ([]string, error) { return nil, nil }
