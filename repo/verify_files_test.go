package repo_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/mem"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// wholePacks counts the packs that are read as a whole.
type wholePacks struct {
	blob.Store
	n atomic.Int64
}

func (s *wholePacks) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	if strings.HasPrefix(key, pack.Dir) && n < 0 {
		s.n.Add(1)
	}
	return s.Store.Get(ctx, key, off, n)
}

// twoSets is a repository with a full set and one that shares most of its chunks.
func twoSets(t *testing.T) (*world, *mem.Store, []*backupsettest.Sample) {
	t.Helper()
	store, _ := newClocked()
	w := newWorld(t, store)
	first := backupsettest.Full(1, 2, 1<<20)
	second := laterSample(first, 3, 0, 500_000)
	mustPut(t, w.open(), first, second)
	return w, store, []*backupsettest.Sample{first, second}
}

// readThrough reads the sets' files through; the damage that it meets is the verifier's to find.
func readThrough(sets ...*backupsettest.Sample) func(context.Context, backupset.Store) error {
	return func(ctx context.Context, from backupset.Store) error {
		for _, s := range sets {
			set, err := from.Open(ctx, s.Manifest.ID)
			if err != nil {
				return err
			}
			if err := s.Same(ctx, set); err != nil && !errors.Is(err, backupset.ErrDamaged) {
				return err
			}
		}
		return nil
	}
}

// What is read through with the sets' files is not read again, and counts as if it had been.
func TestVerifyWithFiles(t *testing.T) {
	defer repo.Shrink()()
	w, store, sets := twoSets(t)
	verify := func(files func(context.Context, backupset.Store) error) (*repo.VerifyResult, int64) {
		t.Helper()
		count := &wholePacks{Store: store}
		res, err := w.open(noHost, onBlob(count)).Verify(t.Context(), repo.VerifyOptions{Level: repo.LevelContent, Files: files})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Findings) > 0 {
			t.Fatal(res.Findings)
		}
		return res, count.n.Load()
	}
	plain, all := verify(nil)
	if all < 10 {
		t.Fatalf("%d packs are too few for this test", all)
	}
	for _, c := range []struct {
		name  string
		files func(context.Context, backupset.Store) error
		whole func(packs int64) bool // how many are read whole yet
	}{
		{"all", readThrough(sets...), func(n int64) bool { return n == 0 }},
		{"the first set's", readThrough(sets[0]), func(n int64) bool { return n > 0 && n < all/2 }},
		{"none", readThrough(), func(n int64) bool { return n == all }},
	} {
		res, whole := verify(c.files)
		if !c.whole(whole) {
			t.Errorf("%s: %d of %d packs are read whole", c.name, whole, all)
		}
		if res.Segments != plain.Segments || res.Chunks != plain.Chunks || res.Objects != plain.Objects || !slices.Equal(res.Sound, plain.Sound) {
			t.Errorf("%s: %+v, and without %+v", c.name, res, plain)
		}
	}
}

// Damage is found whether files are read or not, also if what is damaged was read before in the same process.
func TestVerifyWithFilesFindsDamage(t *testing.T) {
	defer repo.Shrink()()
	w, store, sets := twoSets(t)
	objects := snapshot(t, store)
	for _, files := range []func(context.Context, backupset.Store) error{nil, readThrough(sets...), readThrough(sets[1])} {
		r := w.open(noHost)
		restores(t, r, sets...)
		for key, was := range objects {
			if !strings.HasPrefix(key, pack.Dir) {
				continue
			}
			for _, at := range []int{len(was) * 2 / 3, 9} { // a segment, the header
				b := []byte(was)
				b[at] ^= 1
				store.Replace(key, b)
				res, err := r.Verify(t.Context(), repo.VerifyOptions{Level: repo.LevelContent, Files: files})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(res.Findings, func(f repo.Finding) bool { return f.Object == key && errors.Is(f.Err, backupset.ErrDamaged) }) {
					t.Errorf("%s: byte %d is damaged, and found is %v", key, at, res.Findings)
				}
			}
			store.Replace(key, []byte(was))
		}
	}
}

// Files belongs to the level of contents, and its error is the verification's.
func TestVerifyFilesError(t *testing.T) {
	w, _, _ := twoSets(t)
	broken := errors.New("broken")
	fail := func(context.Context, backupset.Store) error { return broken }
	for _, o := range []repo.VerifyOptions{{Level: repo.LevelInventory}, {Level: repo.LevelSealed}, {Level: repo.LevelContent, Part: 1, Parts: 2}} {
		o.Files = fail
		if _, err := w.open().Verify(t.Context(), o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := w.open().Verify(t.Context(), repo.VerifyOptions{Level: repo.LevelContent, Files: fail}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// Several may read one open file at once, at different places; none reads after it was closed.
func TestReadAtTogether(t *testing.T) {
	defer repo.Shrink()()
	w, _, sets := twoSets(t)
	f := sets[1].Manifest.ByRole(backupset.RoleDatabase)[0]
	want := sets[1].Content(f)
	set, err := w.open(noHost).Open(t.Context(), sets[1].Manifest.ID)
	if err != nil {
		t.Fatal(err)
	}
	r, err := set.Open(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	const readers, size = 4, 5000
	for n := range readers {
		go func() {
			b := make([]byte, size)
			for at := n * size; at < len(want); at += readers * size {
				k, err := r.ReadAt(b, int64(at))
				if err != nil && !errors.Is(err, io.EOF) {
					done <- err
					return
				}
				if string(b[:k]) != string(want[at:min(at+size, len(want))]) {
					done <- errors.New("other bytes than were stored")
					return
				}
			}
			done <- nil
		}()
	}
	for range readers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("it is read after it was closed")
	}
}
