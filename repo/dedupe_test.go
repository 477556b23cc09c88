package repo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/fault"
	"github.com/certkeep/certkeep/repo/internal/chunklist"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

const chunk = 16 << 10

// A second set stores what has changed, and nothing of the rest.
func TestOnlyChangesAreStored(t *testing.T) {
	w := newWorld(t, newTemp())
	first := backupsettest.Full(1, 1, 100*chunk)
	mustPut(t, w.open(), first)
	for i, x := range []struct {
		changed []int // places
		chunks  int64 // that they are in
	}{{nil, 0}, {[]int{0}, 1}, {[]int{5 * chunk, 5*chunk + 1}, 1}, {[]int{chunk - 1, chunk, 99*chunk + 5}, 3}} {
		next := laterSample(first, uint32(i+2), x.changed...)
		r := w.open(noIdentity)
		mustPut(t, r, next)
		infos, err := r.Sets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := newOfDatabase(infos[len(infos)-1], next); got != x.chunks*chunk {
			t.Errorf("%d bytes of the database are new after changes in %d chunks", got, x.chunks)
		}
	}
	sound(t, w.open())
}

// newOfDatabase is how much of a sample's database was stored anew. The rest of a sample is random, but for the map.
func newOfDatabase(i repo.SetInfo, s *backupsettest.Sample) int64 {
	n := i.New
	for _, f := range s.Manifest.Files {
		if f.Role != backupset.RoleDatabase && f.Role != backupset.RoleLocations {
			n -= f.Size
		}
	}
	return n
}

// Files around the borders of chunks, lists in the layout, and segments restore as they are.
func TestBorders(t *testing.T) {
	defer repo.Shrink()()
	w := newWorld(t, newTemp())
	s := backupsettest.Full(1, 1, 10)
	for _, size := range []int{0, 1, chunk - 1, chunk, chunk + 1, 2*chunk - 1, 2 * chunk, 2*chunk + 1, 3 * chunk, 32*chunk - 1, 32 * chunk, 32*chunk + 1, 33 * chunk} {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i*7 + i/chunk + size)
		}
		s.Add(backupset.RoleCompanion, fmt.Sprintf("f%d", size), b)
	}
	mustPut(t, w.open(noIdentity), s)
	r := w.open(noHost)
	restores(t, r, s)
	sound(t, r)
	// Any part of any of them, too.
	set, err := r.Open(t.Context(), s.Manifest.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range set.Manifest().Files {
		x, err := set.Open(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		want := s.Content(f)
		for _, off := range []int64{0, 1, chunk - 1, chunk, chunk + 1, f.Size - 1, f.Size, f.Size + 1} {
			if off < 0 {
				continue
			}
			b := make([]byte, chunk+3)
			n, err := x.ReadAt(b, off)
			expect := want[min(off, int64(len(want))):]
			if int64(len(expect)) > int64(len(b)) {
				expect = expect[:len(b)]
			}
			if string(b[:n]) != string(expect) || (n < len(b)) != errors.Is(err, io.EOF) {
				t.Errorf("%s at %d: %d bytes, %v", f.Name, off, n, err)
			}
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A file whose chunks need more than one list: a gibibyte, nearly all of it the same chunk.
func TestSeveralLists(t *testing.T) {
	if !need.Heavy() {
		t.Skip("CERTKEEP_TEST_HEAVY=1 has it run: a gibibyte for each size")
	}
	for _, chunks := range []int64{chunklist.MaxChunks - 1, chunklist.MaxChunks, chunklist.MaxChunks + 1} {
		ctx := t.Context()
		w := newWorld(t, newTemp())
		s := backupsettest.Full(1, 1, 10)
		wr, err := w.open().Create(ctx, backupset.CreateOptions{CA: s.Manifest.CA})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Write(ctx, wr); err != nil {
			t.Fatal(err)
		}
		size := chunks*chunk - 7
		f, err := backupset.Add(ctx, wr, backupset.RoleCompanion, "big", "", size, &counting{left: size})
		if err != nil {
			t.Fatal(err)
		}
		m := *s.Manifest
		m.Files = append(m.Files, f)
		m.ID = backupset.NewID(m.Start.Add(time.Hour))
		if err := wr.Commit(ctx, &m); err != nil {
			t.Fatal(err)
		}
		r := w.open()
		set, err := r.Open(ctx, m.ID)
		if err == nil {
			err = backupset.Check(ctx, set, f)
		}
		if err != nil {
			t.Errorf("%d chunks: %v", chunks, err)
		}
		sound(t, r)
	}
}

// counting reads zeros, with a number every 512 MiB.
type counting struct{ at, left int64 }

func (c *counting) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), c.left)
	clear(p[:n])
	for i := range n {
		if (c.at+i)%(512<<20) == 0 {
			p[i] = byte((c.at + i) >> 29)
		}
	}
	c.at, c.left = c.at+n, c.left-n
	return int(n), nil
}

// A run that was interrupted is not in vain: the next one uses what it has stored, as long as that is
// kept, and prunes take nothing away that it uses.
func TestResume(t *testing.T) {
	defer repo.Shrink()()
	ctx := context.Background()
	store, clock := newClocked()
	w := newWorld(t, store)
	first := backupsettest.Full(1, 1, 100*chunk)
	interruptedRun(t, w, first, 90*chunk)
	uploaded := storedBytes(t, w)
	if uploaded < 50*chunk {
		t.Fatalf("%d bytes were stored", uploaded)
	}
	keep := store.Clone()
	keep.SetClock(clock.tell)
	again := func(b *world) int64 {
		t.Helper()
		r := b.open(noIdentity)
		next := laterSample(first, 2)
		mustPut(t, r, next)
		restores(t, b.open(), next)
		sound(t, b.open())
		infos, err := r.Sets(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return newOfDatabase(infos[0], next)
	}
	prune := func(b *world) {
		t.Helper()
		for range 2 {
			if _, err := b.open(noIdentity).Prune(ctx, repo.PruneOptions{Grace: repo.DefaultGrace}); err != nil {
				t.Fatal(err)
			}
			clock.advance(repo.DefaultGrace + time.Minute)
		}
	}
	prune(w)
	const whole = 100 * chunk
	if n := again(w); n > whole/5 {
		t.Errorf("%d bytes of %d are stored once more", n, whole)
	}
	// What is too old to be kept is not used either.
	old := &world{t: t, blob: keep, identity: w.identity, host: w.host}
	clock.advance(repo.PartialLife)
	if n := again(old); n < whole*9/10 {
		t.Errorf("only %d bytes of %d are stored: a prune may be deleting the others", n, whole)
	}
}

// telling tells of each pack that is stored how long it is.
type telling struct {
	blob.Store
	packs chan int
}

func (s telling) Put(ctx context.Context, key string, data []byte, o blob.PutOptions) (blob.Info, error) {
	i, err := s.Store.Put(ctx, key, data, o)
	if err == nil && strings.HasPrefix(key, pack.Dir) {
		s.packs <- len(data)
	}
	return i, err
}

// interruptedRun writes a good part of a sample, and gives up when so many bytes are stored: Abort does not wait for packs
// that are on their way.
func interruptedRun(t *testing.T, w *world, s *backupsettest.Sample, stored int) {
	t.Helper()
	ctx := context.Background()
	store := telling{w.blob, make(chan int, 1000)}
	wr, err := w.open(noIdentity, onBlob(store)).Create(ctx, backupset.CreateOptions{CA: s.Manifest.CA})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range s.Manifest.ByRole(backupset.RoleDatabase) {
		fw, err := wr.CreateFile(ctx, f.Role, f.Name, f.Size)
		if err == nil {
			_, err = fw.Write(s.Content(f))
		}
		if err == nil {
			err = fw.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for stored > 0 {
		stored -= <-store.packs
	}
	if err := wr.Abort(); err != nil {
		t.Fatal(err)
	}
}

func storedBytes(t testing.TB, w *world) (n int64) {
	t.Helper()
	for i, err := range w.blob.List(context.Background(), pack.Dir) {
		if err != nil {
			t.Fatal(err)
		}
		n += i.Size
	}
	return n
}

// A store that hangs does not keep a run from being given up.
func TestHangingUpload(t *testing.T) {
	defer repo.Shrink()()
	store := newTemp()
	w := newWorld(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hangs := fault.New(store, func(c fault.Call) fault.Act {
		if _, ok := pack.ParseKey(c.Key); ok && c.Op == fault.Put {
			cancel()
			return fault.Stall
		}
		return fault.None
	}, fault.Options{})
	s := backupsettest.Full(1, 1, 600*chunk)
	err := s.Put(ctx, w.open(onBlob(hangs), noIdentity, func(o *repo.Options) { o.Uploads = 1 }), backupset.CreateOptions{CA: s.Manifest.CA})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	mustPut(t, w.open(), s)
	restores(t, w.open(), s)
}

// Two authorities do not share chunks, and their files' ids say nothing of each other.
func TestAuthoritiesShareNothing(t *testing.T) {
	w := newWorld(t, newTemp())
	a := backupsettest.Full(1, 1, 50*chunk)
	mustPut(t, w.open(), a)
	b := laterSample(a, 2)
	b.Manifest.CA.Name, b.Manifest.CA.SanitizedName = "Another CA", "Another CA"
	r := w.open()
	mustPut(t, r, b)
	infos, err := r.Sets(t.Context())
	if err != nil || len(infos) != 2 || infos[0].CA == infos[1].CA || infos[1].New < 50*chunk {
		t.Errorf("%+v, %v", infos, err)
	}
	restores(t, w.open(noHost), a, b)
}
