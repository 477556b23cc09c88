package repo_test

import (
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
)

// A repository made like another has the other's root journal, with the records of where a prune has put the
// chunks of the other's sets. They are not about sets that were copied since, even where one of the same
// name has the same place in its author's journal.
func TestLikeOneThatWasRewritten(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, newTemp())
	last := backupsettest.Full(1, 1, 4<<20)
	mustPut(t, w.open(), last)
	for g := uint32(2); g < 7; g++ {
		old := last
		last = changed(last, g, 3)
		mustPut(t, w.open(), last)
		if err := w.open().Forget(ctx, old.Manifest.ID); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := w.open().Prune(ctx, repo.PruneOptions{Grace: 0}); err != nil || res.Rewritten == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	entries := func(b *tempStore) (n int) {
		for key := range snapshot(t, b) {
			if strings.HasPrefix(key, "journal/") && !strings.HasPrefix(key, "journal/root/") {
				n++
			}
		}
		return n
	}
	// Each copy begins with more entries: in one of them the set gets the number that it had.
	for before := range entries(w.blob.(*tempStore)) {
		like := newTemp()
		if err := repo.InitLike(ctx, repo.Options{Blob: like}, w.open()); err != nil {
			t.Fatal(err)
		}
		for n := uint32(10); entries(like) < before; n++ {
			if err := put(ctx, w.open(onBlob(like)), backupsettest.Full(n, n, 10)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := repo.Copy(ctx, w.open(onBlob(like)), w.open(), []string{last.Manifest.ID}, repo.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
		r := w.open(onBlob(like))
		restores(t, r, last)
		sound(t, r)
	}
}
