package repo_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob/fault"
)

// A set is copied again after it was forgotten, a prune has noted its objects, and another prune deletes them
// just before the set would be published: it is not reported complete. Afterwards it can be copied.
func TestCopiedAgainBesideAPrune(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, newTemp())
	s := backupsettest.Full(1, 1, 2*chunk)
	mustPut(t, w.open(), s)
	dst, clock := newClocked()
	if err := repo.InitLike(ctx, repo.Options{Blob: dst}, w.open()); err != nil {
		t.Fatal(err)
	}
	copied := func(to *repo.Repository) error {
		_, err := repo.Copy(ctx, to, w.open(), []string{s.Manifest.ID}, repo.CopyOptions{})
		return err
	}
	prune := func() {
		t.Helper()
		if _, err := w.open(onBlob(dst), noIdentity).Prune(ctx, repo.PruneOptions{Grace: repo.DefaultGrace}); err != nil {
			t.Fatal(err)
		}
	}
	if err := copied(w.open(onBlob(dst))); err != nil {
		t.Fatal(err)
	}
	if err := w.open(onBlob(dst)).Forget(ctx, s.Manifest.ID); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Minute)
	prune()
	clock.advance(2 * repo.DefaultGrace)
	pruned := false
	b := fault.New(dst, func(c fault.Call) fault.Act {
		if c.Op == fault.Put && strings.HasPrefix(c.Key, "journal/") && !pruned {
			pruned = true
			prune()
		}
		return fault.None
	}, fault.Options{})
	err := copied(w.open(onBlob(b)))
	if err == nil {
		restores(t, w.open(onBlob(dst)), s)
		t.Fatal("copied, although its objects were to be deleted at any moment")
	}
	if !errors.Is(err, repo.ErrNoted) {
		t.Fatal(err)
	}
	prune()
	if err := copied(w.open(onBlob(dst))); err != nil {
		t.Fatal(err)
	}
	restores(t, w.open(onBlob(dst)), s)
}
