package repo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"filippo.io/age"
	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob/fault"
	"github.com/certkeep/certkeep/repo/blob/mem"
)

// model is a repository, and what must be in it.
type model struct {
	t     testing.TB
	store *mem.Store
	clock *clock
	w     *world

	hosts    []*repo.HostKey
	ids      []*age.X25519Identity
	complete map[string]*backupsettest.Sample // reported complete, and not forgotten
	maybe    map[string]*backupsettest.Sample // there or not: nobody was told
	copies   *mem.Store
	copied   map[string]*backupsettest.Sample
	gen      uint32
	seed     *backupsettest.Sample
}

func newModel(t testing.TB, seed *backupsettest.Sample) *model {
	store, c := newClocked()
	m := &model{t: t, store: store, clock: c, w: newWorld(t, store), complete: map[string]*backupsettest.Sample{}, maybe: map[string]*backupsettest.Sample{},
		copied: map[string]*backupsettest.Sample{}, seed: seed, gen: 1}
	m.hosts, m.ids = []*repo.HostKey{m.w.host}, []*age.X25519Identity{m.w.identity}
	m.backup(m.w.host)
	m.hosts = append(m.hosts, m.w.addHost("second", nil, seed.Manifest.CA.SanitizedName))
	m.copies = mem.New()
	m.copies.SetClock(c.tell)
	m.must(repo.InitLike(context.Background(), repo.Options{Blob: m.copies}, m.w.open()))
	return m
}

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) sample() *backupsettest.Sample {
	m.gen++
	return laterSample(m.seed, m.gen, int(m.gen)*5000%(6*chunk), int(m.gen)*70_000%(6*chunk))
}

func (m *model) backup(h *repo.HostKey) {
	m.t.Helper()
	s := m.sample()
	m.must(put(context.Background(), m.w.open(asHost(h), noIdentity), s))
	m.complete[s.Manifest.ID] = s
}

// crash has the store fail for good in the midst of a backup: nothing more comes of it.
func (m *model) crash(h *repo.HostKey, n int, first fault.Act) {
	m.t.Helper()
	s := m.sample()
	b := fault.New(m.store, fault.First(fault.At(n, first), fault.From(n+1, fault.Before)), fault.Options{})
	r, err := m.w.try(onBlob(b), asHost(h), noIdentity)
	if err == nil {
		err = put(context.Background(), r, s)
	}
	if err == nil {
		m.complete[s.Manifest.ID] = s
	} else {
		m.maybe[s.Manifest.ID] = s
	}
}

func (m *model) forget(h *repo.HostKey, s *backupsettest.Sample) {
	m.t.Helper()
	m.must(m.w.open(asHost(h), noIdentity).Forget(context.Background(), s.Manifest.ID))
	delete(m.complete, s.Manifest.ID)
}

func (m *model) prune(h *repo.HostKey, o repo.PruneOptions, identity bool) {
	m.t.Helper()
	keys := []func(*repo.Options){asHost(h)}
	if !identity {
		keys = append(keys, noIdentity)
	}
	_, err := m.w.open(keys...).Prune(context.Background(), o)
	m.must(err)
}

func (m *model) crashPrune(h *repo.HostKey, n int) {
	b := fault.New(m.store, fault.From(n, fault.Before), fault.Options{})
	if r, err := m.w.try(onBlob(b), asHost(h)); err == nil {
		_, _ = r.Prune(context.Background(), repo.PruneOptions{MaxUnused: 0.01}) // it does not get far
	}
}

// rotate lets another restorer in, and takes the one before out.
func (m *model) rotate() {
	m.t.Helper()
	ctx := context.Background()
	id, err := age.GenerateX25519Identity()
	m.must(err)
	r := m.w.open(noHost)
	m.must(r.AddRecipient(ctx, recipient(id)))
	m.must(r.RemoveRecipient(ctx, m.w.identity.Recipient().String(), func(rc repo.Recipient) (age.Recipient, error) {
		return age.ParseX25519Recipient(rc.Public)
	}))
	m.w.identity = id
}

// revoke ends a host, and enrolls another in its place. What it has written stays.
func (m *model) revoke(i int) {
	m.t.Helper()
	m.must(m.w.open(noHost).RevokeHost(context.Background(), m.hosts[i].Host, "", 0))
	m.hosts[i] = m.w.addHost(fmt.Sprint("host of ", m.gen), nil, m.seed.Manifest.CA.SanitizedName)
	m.gen++
}

func (m *model) copy(s *backupsettest.Sample) {
	m.t.Helper()
	src, dst := m.w.open(noHost), m.w
	// The hosts may be others by now; the root writes.
	to, err := dst.try(noHost, onBlob(m.copies), with(m.ids[0]))
	m.must(err)
	_, err = repo.Copy(context.Background(), to, src, []string{s.Manifest.ID}, repo.CopyOptions{})
	if errors.Is(err, repo.ErrOtherKeys) {
		return // the keys were changed since
	}
	m.must(err)
	m.copied[s.Manifest.ID] = s
}

// check holds the repository against the model.
func (m *model) check() {
	m.t.Helper()
	r := m.w.open(noHost)
	if p := r.Problems(); len(p) > 0 {
		m.t.Fatal(errors.Join(p...))
	}
	entries, err := r.List(context.Background())
	m.must(err)
	for _, e := range entries {
		s := m.complete[e.ID]
		if s == nil {
			if s = m.maybe[e.ID]; s == nil {
				m.t.Fatalf("%s is there again", e.ID)
			}
		} else if !e.Confirmed {
			m.t.Fatalf("%s is not confirmed any more", e.ID)
		}
		m.must(e.Err)
	}
	for _, s := range m.complete {
		m.must(same(r, s))
	}
	c, err := m.w.try(noHost, onBlob(m.copies), with(m.ids[0]))
	m.must(err)
	for _, s := range m.copied {
		m.must(same(c, s))
	}
}

// Whatever is done in whatever order, every set that was reported complete and not forgotten is there
// bit for bit, those forgotten are not, and in the end everything verifies.
func TestModel(t *testing.T) {
	defer repo.Shrink()()
	seed := backupsettest.Full(1, 1, 6*chunk)
	steps := 3
	if need.Heavy() {
		steps = 30
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(rt2{t, rt}, seed)
		for range rapid.IntRange(1, steps).Draw(rt, "steps") {
			m.step(rt)
			m.check()
		}
		sound(m.t, m.w.open(noHost))
	})
}

// rt2 is a rapid.T where a testing.TB is asked for.
type rt2 struct {
	testing.TB
	rt *rapid.T
}

func (t rt2) Helper()                      { t.rt.Helper() }
func (t rt2) Fatal(args ...any)            { t.rt.Helper(); t.rt.Fatal(args...) }
func (t rt2) Fatalf(f string, args ...any) { t.rt.Helper(); t.rt.Fatalf(f, args...) }
func (t rt2) Error(args ...any)            { t.rt.Helper(); t.rt.Error(args...) }
func (t rt2) Errorf(f string, args ...any) { t.rt.Helper(); t.rt.Errorf(f, args...) }

func (m *model) step(rt *rapid.T) {
	h := rapid.SampledFrom(m.hosts).Draw(rt, "host")
	some := func() *backupsettest.Sample {
		ids := slices.Collect(func(yield func(string) bool) {
			for id := range m.complete {
				if !yield(id) {
					return
				}
			}
		})
		if len(ids) == 0 {
			return nil
		}
		slices.Sort(ids)
		return m.complete[rapid.SampledFrom(ids).Draw(rt, "set")]
	}
	switch what := rapid.SampledFrom([]string{"backup", "backup", "crash", "crash", "forget", "forget", "prune", "prune", "crash prune", "rotate", "revoke", "copy", "wait"}).Draw(rt, "what"); what {
	case "backup":
		m.backup(h)
	case "crash":
		m.crash(h, rapid.IntRange(3, 50).Draw(rt, "call"), rapid.SampledFrom([]fault.Act{fault.Before, fault.After}).Draw(rt, "act"))
	case "forget":
		if s := some(); s != nil {
			m.forget(h, s)
		}
	case "prune":
		m.prune(h, repo.PruneOptions{Grace: rapid.SampledFrom([]time.Duration{0, repo.DefaultGrace}).Draw(rt, "grace"),
			MaxUnused: rapid.SampledFrom([]float64{0.01, 0.3, 0.9}).Draw(rt, "unused")}, rapid.Bool().Draw(rt, "with the identity"))
	case "crash prune":
		m.crashPrune(h, rapid.IntRange(3, 60).Draw(rt, "call"))
	case "rotate":
		m.rotate()
	case "revoke":
		m.revoke(slices.Index(m.hosts, h))
	case "copy":
		if s := some(); s != nil {
			m.copy(s)
		}
	case "wait":
		m.clock.advance(rapid.SampledFrom([]time.Duration{time.Minute, repo.LeaseTime, 2 * repo.DefaultGrace, repo.PartialLife}).Draw(rt, "for"))
	}
}
