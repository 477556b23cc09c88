package repo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/fault"
	"github.com/certkeep/certkeep/repo/blob/mem"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// scene is a repository in the state that an operation begins with. Each run of it has a copy.
type scene struct {
	store *mem.Store
	clock *clock
	w     *world
	host  []byte // the host's key, as it was last saved
	have  []*backupsettest.Sample
	next  *backupsettest.Sample
	gone  *backupsettest.Sample // to be forgotten, or forgotten already
	other *scene                // to copy to
}

// newScene has three sets that have chunks in common, and one of nothing but its own.
func newScene(t testing.TB) *scene {
	t.Helper()
	store, c := newClocked()
	s := &scene{store: store, clock: c, w: newWorld(t, store)}
	r := s.w.open()
	first := backupsettest.Full(1, 1, 150<<10)
	s.have = []*backupsettest.Sample{first, laterSample(first, 2, 40_000), laterSample(first, 3, 100_000)}
	s.gone = backupsettest.Full(4, 4, 100<<10)
	s.next = laterSample(first, 5, 1, 70_000, 149_000)
	mustPut(t, r, append(slices.Clone(s.have), s.gone)...)
	s.save(t)
	return s
}

func (s *scene) save(t testing.TB) {
	t.Helper()
	var err error
	if s.host, err = s.w.host.Encode(); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) copy(t testing.TB) *scene {
	t.Helper()
	c := *s
	c.store, c.clock = s.store.Clone(), &clock{now: s.clock.tell()}
	c.store.SetClock(c.clock.tell)
	h, err := repo.DecodeHostKey(s.host)
	if err != nil {
		t.Fatal(err)
	}
	c.w = &world{t: t, blob: c.store, identity: s.w.identity, host: h}
	if s.other != nil {
		c.other = s.other.copy(t)
	}
	return &c
}

// open opens the repository through b, as a new process would.
func (s *scene) open(ctx context.Context, b blob.Store) (*repo.Repository, error) {
	h, err := repo.DecodeHostKey(s.host)
	if err != nil {
		return nil, err
	}
	return repo.Open(ctx, repo.Options{Blob: b, Host: h, SaveHost: func(h *repo.HostKey) (err error) {
		s.host, err = h.Encode()
		return err
	}})
}

// operation is something that can be interrupted. It returns what it reported complete.
type operation struct {
	name    string
	prepare func(testing.TB, *scene)
	run     func(context.Context, *scene, blob.Store) ([]*backupsettest.Sample, error)
}

func runBackup(ctx context.Context, s *scene, b blob.Store) ([]*backupsettest.Sample, error) {
	r, err := s.open(ctx, b)
	if err != nil {
		return nil, err
	}
	// The same set twice is an error; so each try makes a set of its own, as a backup does.
	next := laterSample(s.next, 6, 3)
	if err := put(ctx, r, next); err != nil {
		return nil, err
	}
	return []*backupsettest.Sample{next}, nil
}

func runForget(ctx context.Context, s *scene, b blob.Store) ([]*backupsettest.Sample, error) {
	r, err := s.open(ctx, b)
	if err != nil {
		return nil, err
	}
	err = r.Forget(ctx, s.gone.Manifest.ID)
	if errors.Is(err, backupset.ErrNotFound) {
		err = nil // an earlier try, whose answer was lost, has forgotten it
	}
	return nil, err
}

func runPrune(ctx context.Context, s *scene, b blob.Store) ([]*backupsettest.Sample, error) {
	r, err := s.open(ctx, b)
	if err != nil {
		return nil, err
	}
	_, err = r.Prune(ctx, repo.PruneOptions{Grace: repo.DefaultGrace, MaxUnused: 0.01})
	return nil, err
}

func runCopy(ctx context.Context, s *scene, b blob.Store) ([]*backupsettest.Sample, error) {
	src, err := s.open(ctx, s.store)
	if err != nil {
		return nil, err
	}
	dst, err := s.open(ctx, b)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, x := range s.have {
		ids = append(ids, x.Manifest.ID)
	}
	res, err := repo.Copy(ctx, dst, src, ids, repo.CopyOptions{})
	var done []*backupsettest.Sample
	for _, x := range s.have {
		if slices.Contains(res.Copied, x.Manifest.ID) {
			done = append(done, x)
		}
	}
	return done, err
}

// forgetAndNote has something to delete that was noted long ago, something that has not,
// and segments to move.
func forgetAndNote(t testing.TB, s *scene) {
	t.Helper()
	ctx := context.Background()
	r, err := s.open(ctx, s.store)
	if err == nil {
		err = r.Forget(ctx, s.gone.Manifest.ID)
	}
	if err == nil {
		_, err = r.Prune(ctx, repo.PruneOptions{Grace: repo.DefaultGrace})
	}
	if err == nil {
		s.clock.advance(2 * repo.DefaultGrace)
		err = r.Forget(ctx, s.have[0].Manifest.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.have = s.have[1:]
}

func operations() []operation {
	return []operation{
		{name: "backup", run: runBackup},
		{name: "first backup", run: runBackup, prepare: func(t testing.TB, s *scene) {
			s.store, s.clock = newClocked()
			s.w, s.have = newWorld(t, s.store), nil
			s.save(t)
		}},
		{name: "forget", run: runForget},
		{name: "prune", run: runPrune, prepare: forgetAndNote},
		{name: "copy", run: runCopy, prepare: func(t testing.TB, s *scene) {
			store, c := newClocked()
			ctx := context.Background()
			if err := repo.InitLike(ctx, repo.Options{Blob: store}, s.w.open()); err != nil {
				t.Fatal(err)
			}
			s.other = &scene{store: store, clock: c, w: &world{t: t, blob: store, identity: s.w.identity}, host: s.host}
		}},
	}
}

// target is the repository that the operation changes.
func (s *scene) target() *scene {
	if s.other != nil {
		return s.other
	}
	return s
}

// Every operation of a store can fail, before or after it took effect, hang, be done twice,
// leave half an object, or list what was: at each step of everything that changes a
// repository. Afterwards the same, uninterrupted, succeeds, and every set that was reported complete
// is there bit for bit.
func TestFaults(t *testing.T) {
	defer repo.Shrink()()
	base := newScene(t)
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			s := base.copy(t)
			if op.prepare != nil {
				op.prepare(t, s)
			}
			probe := s.copy(t)
			count := fault.New(probe.target().store, nil, fault.Options{})
			if _, err := op.run(t.Context(), probe, count); err != nil {
				t.Fatal(err)
			}
			steps := len(count.Calls())
			if steps < 5 {
				t.Fatalf("%d steps", steps)
			}
			moves := slices.ContainsFunc(count.Calls(), func(c fault.Call) bool { return c.Op == fault.Put && strings.HasPrefix(c.Key, pack.Dir) })
			if op.name == "prune" && (!moves || count.Count(fault.Delete) == 0) {
				t.Fatalf("this prune moves nothing, or deletes nothing: %v", count.Calls())
			}
			stride := 1
			if !need.Heavy() {
				stride = 61
			}
			acts := []fault.Act{fault.Before, fault.After, fault.Stall, fault.Torn, fault.Twice, fault.Stale}
			hit := 0
			for n := 1; n <= steps; n++ {
				for i, act := range acts {
					if ((n-1)*len(acts)+i)%stride == 0 {
						if err := interrupted(t, op, s.copy(t), n, act); err != nil {
							t.Errorf("%v at step %d of %d (%s): %v", act, n, steps, count.Calls()[n-1], err)
						}
						hit++
					}
				}
			}
			t.Logf("%d steps, %d faults", steps, hit)
		})
	}
}

// interrupted runs an operation with a fault, then again without.
func interrupted(t *testing.T, op operation, s *scene, n int, act fault.Act) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	complete := slices.Clone(s.have)
	if s.other != nil {
		complete = nil
	}
	chosen := func(c fault.Call) fault.Act {
		if c.N != n {
			return fault.None
		}
		// Torn is Before here: half an object is what a Store promises never to show (see package blob, and
		// its tests of power loss); TestTorn has one that does.
		if act == fault.Stall {
			cancel()
		}
		return act
	}
	target := s.target()
	done, err := op.run(ctx, s, fault.New(target.store, chosen, fault.Options{}))
	complete = append(complete, done...)
	if act == fault.Twice && err != nil {
		return fmt.Errorf("it fails: %w", err)
	}
	// Whatever it said, the next goes well; also after a lapse of time, and beside prunes.
	for _, pause := range []time.Duration{0, 2 * repo.DefaultGrace, 2 * repo.DefaultGrace} {
		target.clock.advance(pause)
		again, err := op.run(context.Background(), s, target.store)
		if err != nil {
			return fmt.Errorf("once more: %w", err)
		}
		complete = append(complete, again...)
		if _, err := runPrune(context.Background(), target, target.store); err != nil {
			return fmt.Errorf("prune: %w", err)
		}
		r, err := repo.Open(context.Background(), repo.Options{Blob: target.store, Identities: []age.Identity{s.w.identity}})
		if err != nil {
			return err
		}
		if problems := r.Problems(); len(problems) > 0 {
			return errors.Join(problems...)
		}
		for _, x := range complete {
			if err := same(r, x); err != nil {
				return fmt.Errorf("after %v: a set that was complete: %w", pause, err)
			}
		}
		if err := findings(r, repo.LevelContent); err != nil {
			return fmt.Errorf("after %v: %w", pause, err)
		}
	}
	return nil
}

// A store that breaks its word, and shows half an object, loses no set that was complete: a pack, a list
// or a lease that is torn is stored anew. Half an entry of a journal is reported, and stops its author until somebody
// removes it: nothing can be written in its place.
func TestTorn(t *testing.T) {
	defer repo.Shrink()()
	s := newScene(t)
	count := fault.New(s.copy(t).store, nil, fault.Options{})
	if _, err := runBackup(t.Context(), s.copy(t), count); err != nil {
		t.Fatal(err)
	}
	torn := 0
	for n := range count.Calls() {
		c := s.copy(t)
		tearing := fault.New(c.store, fault.At(n+1, fault.Torn), fault.Options{Torn: true})
		if _, err := runBackup(t.Context(), c, tearing); err == nil {
			t.Errorf("step %d: torn, and reported complete", n+1)
		}
		hit := tearing.Calls()[n]
		if hit.Op != fault.Put {
			continue
		}
		torn++
		again, err := runBackup(t.Context(), c, c.store)
		if _, _, ok := journal.ParseKey(hit.Key); ok {
			r, oerr := c.open(t.Context(), c.store)
			if oerr != nil || len(r.Problems()) == 0 {
				t.Errorf("%s is torn: %v, and no problem is shown", hit.Key, oerr)
			}
			if err == nil {
				t.Errorf("%s is torn, and somebody wrote behind it", hit.Key)
			}
			c.store.Replace(hit.Key, nil)
			again, err = runBackup(t.Context(), c, c.store)
		}
		if err != nil {
			t.Errorf("%s is torn: once more: %v", hit.Key, err)
			continue
		}
		r, err := repo.Open(t.Context(), repo.Options{Blob: c.store, Identities: []age.Identity{s.w.identity}})
		if err != nil {
			t.Fatal(err)
		}
		restores(t, r, append(again, s.have...)...)
		sound(t, r)
	}
	if torn < 5 {
		t.Errorf("%d objects were torn only", torn)
	}
}
