package repo_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/fault"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// Many hosts write, forget and prune at once, each by itself: every set that was reported complete
// and not forgotten is there.
func TestManyAtOnce(t *testing.T) {
	defer repo.Shrink()()
	ctx := t.Context()
	w := newWorld(t, newTemp())
	first := backupsettest.Full(1, 1, 10*chunk)
	mustPut(t, w.open(), first)
	hosts := []*repo.HostKey{w.host, w.host} // the same host twice
	for i := range 2 {
		hosts = append(hosts, w.addHost(fmt.Sprint("host", i), nil, first.Manifest.CA.SanitizedName))
	}
	var mu sync.Mutex
	complete := []*backupsettest.Sample{first}
	var writers, pruners sync.WaitGroup
	for i, h := range hosts {
		writers.Go(func() {
			r, err := repo.Open(ctx, repo.Options{Blob: w.blob, Host: h})
			if err != nil {
				t.Error(err)
				return
			}
			var mine []*backupsettest.Sample
			for n := range 5 {
				s := laterSample(first, uint32(10*i+n+2), n*chunk, (n+i)*chunk+i)
				if err := put(ctx, r, s); err != nil {
					t.Errorf("host %d: %v", i, err)
					return
				}
				mine = append(mine, s)
				if n%2 == 1 { // what the next would build on
					if err := r.Forget(ctx, s.Manifest.ID); err != nil {
						t.Error(err)
					}
					mine = mine[:len(mine)-1]
				}
			}
			mu.Lock()
			defer mu.Unlock()
			complete = append(complete, mine...)
		})
	}
	done := make(chan struct{})
	for i, o := range []repo.PruneOptions{{Grace: time.Millisecond, MaxUnused: 0.01}, {MaxUnused: 0.01}} {
		pruners.Go(func() {
			ids := []age.Identity(nil)
			if i > 0 {
				ids = []age.Identity{w.identity}
			}
			r, err := repo.Open(ctx, repo.Options{Blob: w.blob, Host: hosts[i+1], Identities: ids})
			for n := 0; err == nil; n++ {
				if _, err = r.Prune(ctx, o); err != nil {
					break
				}
				select {
				case <-done:
					if n > 2 {
						return
					}
				default:
				}
			}
			t.Errorf("prune: %v", err)
		})
	}
	writers.Wait()
	close(done)
	pruners.Wait()
	r := w.open(noHost)
	if p := r.Problems(); len(p) > 0 {
		t.Fatal(p)
	}
	restores(t, r, complete...)
	sound(t, r)
}

// A run that was held up for longer than its lease is good publishes nothing; the next does.
func TestLapsedLease(t *testing.T) {
	store, clock := newClocked()
	w := newWorld(t, store)
	s := backupsettest.Full(1, 1, 10*chunk)
	ctx := t.Context()
	wr, err := w.open().Create(ctx, backupset.CreateOptions{CA: s.Manifest.CA})
	if err == nil {
		err = s.Write(ctx, wr)
	}
	if err != nil {
		t.Fatal(err)
	}
	clock.advance(repo.LeaseTime)
	if err := wr.Commit(ctx, s.Manifest); !errors.Is(err, repo.ErrLease) {
		t.Errorf("commit: %v", err)
	}
	if err := wr.Abort(); err != nil {
		t.Errorf("abort: %v", err)
	}
	if sets := recordsOf(t, store, w.host.Host, "set"); len(sets) > 0 {
		t.Errorf("published, if only to be withdrawn: %v", sets)
	}
	mustPut(t, w.open(), s)
	restores(t, w.open(), s)
}

// prunes has everything deleted that can be, at once.
func prunes(t testing.TB, w *world, change ...func(*repo.Options)) (deleted int) {
	t.Helper()
	for range 2 {
		res, err := w.open(change...).Prune(context.Background(), repo.PruneOptions{MaxUnused: 0.01})
		if err != nil {
			t.Fatal(err)
		}
		deleted += res.Deleted
	}
	return deleted
}

// While a run is on its way, prunes keep what it may refer to, whatever happens to the sets that were
// there when it began.
func TestPruneBesideARun(t *testing.T) {
	ctx := context.Background()
	first := backupsettest.Full(1, 1, 40*chunk)
	for name, meanwhile := range map[string]func(*testing.T, *world){
		"nothing": func(*testing.T, *world) {},
		"its base is forgotten": func(t *testing.T, w *world) {
			if err := w.open().Forget(ctx, first.Manifest.ID); err != nil {
				t.Fatal(err)
			}
		},
		"its base is taken apart": func(t *testing.T, w *world) {
			// Another set keeps a page of each segment.
			mustPut(t, w.open(), backupsettest.Full(7, 7, 10))
			if err := w.open().Forget(ctx, first.Manifest.ID); err != nil {
				t.Fatal(err)
			}
		},
		"another run of the same host is done": func(t *testing.T, w *world) {
			mustPut(t, w.open(), laterSample(first, 8, 3))
		},
		"another, that needs nothing of it": func(t *testing.T, w *world) {
			mustPut(t, w.open(), backupsettest.Full(8, 8, 10))
		},
		"and that is forgotten as well": func(t *testing.T, w *world) {
			s := laterSample(first, 8, 3)
			mustPut(t, w.open(), s)
			if err := w.open().Forget(ctx, s.Manifest.ID, first.Manifest.ID); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, resumes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, resuming %v", name, resumes), func(t *testing.T) {
				defer repo.Shrink()()
				store, clock := newClocked()
				w := newWorld(t, store)
				if resumes {
					interruptedRun(t, w, first, 0)
				}
				mustPut(t, w.open(), first)
				if resumes {
					if err := w.open().Forget(ctx, first.Manifest.ID); err != nil {
						t.Fatal(err)
					}
					// Left by a run that began after that.
					interruptedRun(t, w, laterSample(first, 5, 1, 20*chunk), 0)
				}
				next := laterSample(first, 6, 5*chunk)
				wr, err := w.open(noIdentity).Create(ctx, backupset.CreateOptions{CA: next.Manifest.CA})
				if err != nil {
					t.Fatal(err)
				}
				defer wr.Abort()
				clock.advance(time.Minute)
				if !resumes || !strings.Contains(name, "base") && !strings.Contains(name, "as well") {
					meanwhile(t, w)
				}
				prunes(t, w)
				if err := next.Write(ctx, wr); err != nil {
					t.Fatal(err)
				}
				prunes(t, w)
				if err := wr.Commit(ctx, next.Manifest); err != nil {
					t.Fatal(err)
				}
				prunes(t, w)
				restores(t, w.open(), next)
				sound(t, w.open())
			})
		}
	}
}

// Nothing is deleted before it has been noted, without a break, for as long as it is asked.
func TestPruneGrace(t *testing.T) {
	ctx := t.Context()
	store, clock := newClocked()
	w := newWorld(t, store)
	keep, gone := backupsettest.Full(1, 1, 2*chunk), backupsettest.Full(2, 2, 2*chunk)
	mustPut(t, w.open(), keep, gone)
	before := storedBytes(t, w)
	if err := w.open().Forget(ctx, gone.Manifest.ID); err != nil {
		t.Fatal(err)
	}
	prune := func() repo.PruneResult {
		t.Helper()
		res, err := w.open().Prune(ctx, repo.PruneOptions{Grace: repo.DefaultGrace})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	snap := snapshot(t, store)
	if res, err := w.open().Prune(ctx, repo.PruneOptions{DryRun: true}); err != nil || res.Noted < 2*chunk || res.Deleted > 0 || len(snapshot(t, store)) != len(snap) {
		t.Errorf("dry run: %+v, %v", res, err)
	}
	for range 3 {
		if res := prune(); res.Deleted != 0 || res.Noted < 2*chunk || storedBytes(t, w) != before {
			t.Errorf("%+v", res)
		}
		clock.advance(repo.DefaultGrace/3 - time.Minute)
	}
	clock.advance(5 * time.Minute)
	if res := prune(); res.Deleted == 0 || res.Freed < 2*chunk || storedBytes(t, w) >= before {
		t.Errorf("%+v", res)
	}
	restores(t, w.open(), keep)
	if _, err := w.open().Open(ctx, gone.Manifest.ID); !errors.Is(err, backupset.ErrNotFound) {
		t.Errorf("the forgotten set: %v", err)
	}
}

// hiding is a store whose listings leave out some objects.
type hiding struct {
	blob.Store
	hides func(key string) bool
}

func (s *hiding) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for i, err := range s.Store.List(ctx, prefix) {
			if (err != nil || !s.hides(i.Key)) && !yield(i, err) {
				return
			}
		}
	}
}

// A prune that does not see a set, because its listing is behind, does no harm; nor does one that comes long
// after, when one in between saw it.
func TestPruneNotesAnew(t *testing.T) {
	ctx := t.Context()
	store, clock := newClocked()
	w := newWorld(t, store)
	first, unseen := backupsettest.Full(1, 1, 2*chunk), backupsettest.Full(3, 3, 2*chunk)
	mustPut(t, w.open(), first)
	pruner := w.addHost("pruner", nil)
	before := snapshot(t, store)
	mustPut(t, w.open(), unseen)
	clock.advance(time.Minute)
	for n, stale := range []bool{true, false, true, false} {
		b := &hiding{store, func(key string) bool {
			return stale && before[key] == "" && strings.HasPrefix(key, "journal/"+w.host.Host)
		}}
		res, err := w.open(onBlob(b), asHost(pruner), noIdentity).Prune(ctx, repo.PruneOptions{Grace: repo.DefaultGrace})
		if err != nil {
			t.Fatal(err)
		}
		if (res.Noted > 2*chunk) != stale {
			t.Errorf("%d: %+v", n, res)
		}
		restores(t, w.open(), first, unseen)
		clock.advance(2 * repo.DefaultGrace)
	}
}

// A run that begins when a prune has looked for runs already loses nothing to it.
func TestPruneLooksTooEarly(t *testing.T) {
	ctx := t.Context()
	for _, when := range []string{"leases/", "journal/", pack.Dir, "meta/"} {
		store, _ := newClocked()
		w := newWorld(t, store)
		first := backupsettest.Full(1, 1, 2*chunk)
		mustPut(t, w.open(), first)
		other := w.addHost("other", nil, first.Manifest.CA.SanitizedName)
		next := laterSample(first, 2, 1)
		ran := false
		b := fault.New(store, func(c fault.Call) fault.Act {
			if c.Op == fault.List && c.Key == when && c.N > 20 && !ran {
				ran = true
				mustPut(t, w.open(asHost(other), onBlob(store)), next)
			}
			return fault.None
		}, fault.Options{})
		r := w.open(onBlob(b))
		for range 3 {
			if _, err := r.Prune(ctx, repo.PruneOptions{MaxUnused: 0.01}); err != nil {
				t.Fatal(err)
			}
		}
		if !ran {
			t.Errorf("no run during the prune's listing of %s", when)
		}
		restores(t, w.open(), first, next)
		sound(t, w.open())
	}
}

// A set that turns out not to be whole just after it was published is taken back, and said to be.
func TestWithdrawn(t *testing.T) {
	ctx := t.Context()
	store := newTemp()
	w := newWorld(t, store)
	first := backupsettest.Full(1, 1, 2*chunk)
	mustPut(t, w.open(), first)
	gone := 0
	b := fault.New(store, func(c fault.Call) fault.Act {
		// When the run begins, before it publishes, after it has published.
		if c.Op == fault.List && c.Key == pack.Dir && c.Nth == 3 {
			for key := range snapshot(t, store) {
				if strings.HasPrefix(key, pack.Dir) {
					store.Replace(key, nil)
					gone++
				}
			}
		}
		return fault.None
	}, fault.Options{})
	next := laterSample(first, 2, 1)
	err := next.Put(ctx, w.open(onBlob(b)), backupset.CreateOptions{CA: next.Manifest.CA})
	if !errors.Is(err, backupset.ErrDamaged) || gone == 0 {
		t.Errorf("%v, %d packs deleted", err, gone)
	}
	r := w.open()
	if _, err := r.Open(ctx, next.Manifest.ID); !errors.Is(err, backupset.ErrNotFound) {
		t.Errorf("open: %v", err)
	}
	mustPut(t, r, next) // under the same id
	restores(t, w.open(), next)
	if p := w.open().Problems(); len(p) > 0 {
		t.Error(p)
	}
}

// A set that was forgotten can be copied again.
func TestCopiedAgain(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, newTemp())
	s := backupsettest.Full(1, 1, 2*chunk)
	mustPut(t, w.open(), s)
	dst := newTemp()
	if err := repo.InitLike(ctx, repo.Options{Blob: dst}, w.open()); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		to := w.open(onBlob(dst))
		res, err := repo.Copy(ctx, to, w.open(), []string{s.Manifest.ID}, repo.CopyOptions{})
		if err != nil || len(res.Copied) != 1 {
			t.Fatalf("%d: %+v, %v", n, res, err)
		}
		restores(t, w.open(onBlob(dst)), s)
		if p := w.open(onBlob(dst)).Problems(); len(p) > 0 {
			t.Error(p)
		}
		if err := to.Forget(ctx, s.Manifest.ID); err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			prunes(t, &world{t: t, blob: dst, identity: w.identity, host: w.host})
		}
	}
}
