package repo_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/certkeep/certkeep/backup"
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
func twoSets(t *testing.T, size int) (*world, *mem.Store, []*backupsettest.Sample) {
	t.Helper()
	store, _ := newClocked()
	w := newWorld(t, store)
	first := backupsettest.Full(1, 2, size)
	second := laterSample(first, 3, 0, size/2)
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
	w, store, sets := twoSets(t, 1<<20)
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
	w, store, sets := twoSets(t, 100_000)
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
	w, _, _ := twoSets(t, 100_000)
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
	w, _, sets := twoSets(t, 1<<20)
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

// gets counts what is read of packs, in bytes.
type gets struct {
	blob.Store
	n atomic.Int64
}

func (s *gets) Get(ctx context.Context, key string, off, n int64) ([]byte, error) {
	b, err := s.Store.Get(ctx, key, off, n)
	if strings.HasPrefix(key, pack.Dir) {
		s.n.Add(int64(len(b)))
	}
	return b, err
}

// What sets share is fetched once for all of them when they are verified together, though their databases are larger
// than what is kept of opened segments.
func TestVerifyTogetherFetchesOnce(t *testing.T) {
	const size = 16 << 20
	defer repo.SetReading(1<<20, size/2)()
	store, _ := newClocked()
	w := newWorld(t, store)
	sets := []*backupsettest.Sample{backupsettest.Full(1, 1, size)}
	mustPut(t, w.open(), sets[0])
	for gen := range uint32(3) {
		next := laterSample(sets[0], 2+gen, int(gen)*1_000_000, 14_000_000)
		mustPut(t, w.open(), next)
		sets = append(sets, next)
	}
	verify := func(sets ...*backupsettest.Sample) int64 {
		t.Helper()
		count := &gets{Store: store}
		r := w.open(noHost, onBlob(count))
		var o []backup.VerifyOptions
		for _, s := range sets {
			o = append(o, backup.VerifyOptions{Source: backup.Source{Store: r, ID: s.Manifest.ID}, Level: backup.LevelSealed})
		}
		reports, errs := backup.VerifyTogether(t.Context(), o)
		for n, report := range reports {
			if errs[n] != nil || !report.OK {
				t.Errorf("%s: %v, %+v", sets[n].Manifest.ID, errs[n], report)
			}
		}
		return count.n.Load()
	}
	alone := int64(0)
	for _, s := range sets {
		alone += verify(s)
	}
	// The database once in place of four times, and what else is in each. Who begins late, because its logs come first,
	// may find the first five mebibytes gone again.
	if got, want := verify(sets...), alone-3*size; got > want+3*(5<<20) {
		t.Errorf("together they read %d bytes, and not %d; one by one they read %d", got, want, alone)
	}
}

// However many files are read at once, what is opened ahead is bounded; all of it is given back.
func TestReadersTogetherAreBounded(t *testing.T) {
	defer repo.Shrink()()
	store, _ := newClocked()
	w := newWorld(t, store)
	r := w.open()
	var open []backupset.ReadAtCloser
	for gen := range uint32(4) {
		s := backupsettest.Full(1+gen, 1+gen, 3<<20) // it shares nothing
		mustPut(t, r, s)
		set, err := r.Open(t.Context(), s.Manifest.ID)
		if err != nil {
			t.Fatal(err)
		}
		f, err := set.Open(t.Context(), s.Manifest.ByRole(backupset.RoleDatabase)[0])
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	most := 0
	b := make([]byte, 10_000)
	for range 200 {
		for _, f := range open {
			if _, err := f.Read(b); err != nil {
				t.Fatal(err)
			}
			most = max(most, r.InUse())
		}
	}
	if most > repo.MaxInUse+len(open) || most < repo.MaxInUse {
		t.Errorf("%d segments were opened ahead", most)
	}
	for _, f := range open {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := r.InUse(); n != 0 {
		t.Errorf("%d are still in use", n)
	}
}

// A pack whose segments a prune moves while files are read is no damage: they are found where they went.
func TestVerifyBesideAPrune(t *testing.T) {
	defer repo.Shrink()()
	w, store, sets := twoSets(t, 400_000)
	if err := w.open().Forget(t.Context(), sets[0].Manifest.ID); err != nil {
		t.Fatal(err)
	}
	moved := int64(0)
	prune := func(ctx context.Context, _ backupset.Store) error {
		for range 2 { // noted, deleted
			res, err := w.open(noIdentity).Prune(ctx, repo.PruneOptions{MaxUnused: 0.01})
			if err != nil {
				return err
			}
			moved += res.Moved
		}
		return nil
	}
	packs := func() (n int) {
		for key := range snapshot(t, store) {
			if strings.HasPrefix(key, pack.Dir) {
				n++
			}
		}
		return n
	}
	before := packs()
	res, err := w.open(noHost).Verify(t.Context(), repo.VerifyOptions{Level: repo.LevelContent, Files: prune})
	if err != nil || len(res.Findings) > 0 || len(res.Sound) != 1 {
		t.Errorf("%v, %+v", err, res)
	}
	if now := packs(); moved == 0 || now >= before {
		t.Errorf("%d bytes were moved; %d packs before, and %d after it", moved, before, now)
	}
}
