package repo_test

import (
	"context"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
)

// changed is a full set like another, with every n-th page of its database changed.
func changed(s *backupsettest.Sample, last uint32, every int) *backupsettest.Sample {
	next := backupsettest.Full(last, last, 10)
	for i, f := range s.Manifest.Files {
		if f.Role != backupset.RoleDatabase {
			continue
		}
		b := append([]byte(nil), s.Content(f)...)
		for off := (i % every) << 14; off < len(b); off += every << 14 {
			b[off] ^= byte(last)
		}
		for i, f := range next.Manifest.Files {
			if f.Role == backupset.RoleDatabase {
				next.Manifest.Files = append(next.Manifest.Files[:i], next.Manifest.Files[i+1:]...)
				break
			}
		}
		next.Add(f.Role, f.Name, b)
	}
	return next
}

func usage(t *testing.T, s *tempStore) (n int64) {
	t.Helper()
	for i, err := range s.List(context.Background(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n += i.Size
	}
	return n
}

// A prune with the restore identity gives up what is partly dead, and every set that stays
// is what it was.
func TestPruneRewrites(t *testing.T) {
	ctx := t.Context()
	store := newTemp()
	w := newWorld(t, store)
	r := w.open()
	s := backupsettest.Full(1, 1, 4<<20)
	sets := []*backupsettest.Sample{s}
	for g := uint32(2); g < 7; g++ {
		s = changed(s, g, 3)
		sets = append(sets, s)
	}
	for _, s := range sets {
		if err := s.Put(ctx, r, backupset.CreateOptions{CA: s.Manifest.CA}); err != nil {
			t.Fatal(err)
		}
		if err := r.PutReceipt(ctx, s.Manifest.ID, s.Receipt(true)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range sets[:5] {
		if err := r.Forget(ctx, s.Manifest.ID); err != nil {
			t.Fatal(err)
		}
	}
	before := usage(t, store)
	host := w.open(func(o *repo.Options) { o.Identities = nil })
	res, err := host.Prune(ctx, repo.PruneOptions{Grace: 0})
	if err != nil || res.Partly == 0 || res.Rewritten != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	without := usage(t, store)
	res, err = w.open().Prune(ctx, repo.PruneOptions{Grace: 0})
	if err != nil || res.Rewritten == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	t.Logf("%d bytes, %d after a prune without the identity, %d with it: %+v", before, without, usage(t, store), res)
	if after := usage(t, store); after > without*4/5 {
		t.Errorf("%d bytes after rewriting, %d before", after, without)
	}
	for _, r := range []*repo.Repository{r, w.open()} {
		set, err := r.Open(ctx, sets[5].Manifest.ID)
		if err == nil {
			err = sets[5].Same(ctx, set)
		}
		if err != nil {
			t.Error(err)
		}
		v, err := r.Verify(ctx, repo.VerifyOptions{Level: repo.LevelContent})
		if err != nil || len(v.Findings) > 0 {
			t.Errorf("%+v, %v", v, err)
		}
	}
	// What comes next still finds what is stored.
	next := changed(sets[5], 9, 100)
	if err := next.Put(ctx, w.open(), backupset.CreateOptions{CA: next.Manifest.CA}); err != nil {
		t.Fatal(err)
	}
	if n := w.open().StoredBy(next.Manifest.ID); n == 0 || n > 512<<10 {
		t.Errorf("the next set took %d bytes", n)
	}
}
