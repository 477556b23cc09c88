package repo_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/mem"
)

// clock is a store's clock: it goes on by a millisecond each time it is asked.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)} }

func (c *clock) tell() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Millisecond)
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// tempStore is a store in memory that asks once for each listing whether somebody is still interested, not for each
// object: backupsettest cancels at each point where it is asked, until there are no more.
type tempStore struct{ *mem.Store }

func (s *tempStore) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	if err := ctx.Err(); err != nil {
		return func(yield func(blob.Info, error) bool) { yield(blob.Info{}, err) }
	}
	return s.Store.List(context.WithoutCancel(ctx), prefix)
}

// newTemp is a store in memory with a clock of its own.
func newTemp() *tempStore {
	s, _ := newClocked()
	return &tempStore{s}
}

func newClocked() (*mem.Store, *clock) {
	s, c := mem.New(), newClock()
	s.SetClock(c.tell)
	return s, c
}

// world is a repository and who has keys of it.
type world struct {
	t        testing.TB
	blob     blob.Store
	identity *age.X25519Identity
	host     *repo.HostKey
}

func newWorld(t testing.TB, b blob.Store) *world {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, blob: b, identity: id}
	w.host, err = repo.Init(context.Background(), repo.Options{Blob: b}, repo.InitOptions{
		Recipients: []repo.Recipient{recipient(id)}, Host: "backup1"})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func recipient(id *age.X25519Identity) repo.Recipient {
	return repo.NewRecipient(id.Recipient().String(), "safe", id.Recipient())
}

// open opens the repository with the host's key, and with the restore identity.
func (w *world) open(change ...func(*repo.Options)) *repo.Repository {
	w.t.Helper()
	r, err := w.try(change...)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) try(change ...func(*repo.Options)) (*repo.Repository, error) {
	o := repo.Options{Blob: w.blob, Host: w.host, Identities: []age.Identity{w.identity}}
	for _, c := range change {
		c(&o)
	}
	return repo.Open(context.Background(), o)
}

// Ways to open a repository.
func noHost(o *repo.Options)                     { o.Host = nil }
func noIdentity(o *repo.Options)                 { o.Identities = nil }
func onBlob(b blob.Store) func(*repo.Options)    { return func(o *repo.Options) { o.Blob = b } }
func asHost(h *repo.HostKey) func(*repo.Options) { return func(o *repo.Options) { o.Host = h } }
func with(ids ...age.Identity) func(*repo.Options) {
	return func(o *repo.Options) { o.Identities = ids }
}

// addHost enrolls another host.
func (w *world) addHost(name string, roles []string, cas ...string) *repo.HostKey {
	w.t.Helper()
	h, err := w.open(noHost).AddHost(context.Background(), name, roles, cas...)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

// put stores a sample and confirms it.
func put(ctx context.Context, r *repo.Repository, s *backupsettest.Sample) error {
	if err := s.Put(ctx, r, backupset.CreateOptions{CA: s.Manifest.CA}); err != nil {
		return err
	}
	return r.PutReceipt(ctx, s.Manifest.ID, s.Receipt(true))
}

func mustPut(t testing.TB, r *repo.Repository, samples ...*backupsettest.Sample) {
	t.Helper()
	for _, s := range samples {
		if err := put(context.Background(), r, s); err != nil {
			t.Fatal(err)
		}
	}
}

// restores checks that sets restore bit for bit.
func restores(t testing.TB, r *repo.Repository, samples ...*backupsettest.Sample) {
	t.Helper()
	for _, s := range samples {
		if err := same(r, s); err != nil {
			t.Fatal(err)
		}
	}
}

func same(r *repo.Repository, s *backupsettest.Sample) error {
	set, err := r.Open(context.Background(), s.Manifest.ID)
	if err != nil {
		return err
	}
	return s.Same(context.Background(), set)
}

// sound checks that everything there verifies, down to the contents.
func sound(t testing.TB, r *repo.Repository) {
	t.Helper()
	if err := findings(r, repo.LevelContent); err != nil {
		t.Fatal(err)
	}
}

func findings(r *repo.Repository, level string) error {
	res, err := r.Verify(context.Background(), repo.VerifyOptions{Level: level})
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range res.Findings {
		errs = append(errs, fmt.Errorf("%s %s: %w", f.Set, f.Object, f.Err))
	}
	return errors.Join(errs...)
}

// laterSample makes a sample whose database is that of an earlier one, but for a changed byte at each
// of the places given.
func laterSample(s *backupsettest.Sample, gen uint32, changed ...int) *backupsettest.Sample {
	was := s.Content(s.Manifest.ByRole(backupset.RoleDatabase)[0])
	next := backupsettest.Full(gen, gen, len(was))
	for i := range next.Manifest.Files {
		f := &next.Manifest.Files[i]
		if f.Role != backupset.RoleDatabase {
			continue
		}
		b := next.Content(*f) // the sample's own
		copy(b, was)
		for _, at := range changed {
			b[at] ^= 0x5a
		}
		h := sha256.Sum256(b)
		f.SHA256 = hex.EncodeToString(h[:])
	}
	return next
}

// snapshot is every object of a store.
func snapshot(t testing.TB, s blob.Store) map[string]string {
	t.Helper()
	out := map[string]string{}
	for i, err := range s.List(context.Background(), "") {
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Get(context.Background(), i.Key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		out[i.Key] = string(b)
	}
	return out
}

// seedKey is the key that a host signs with.
func seedKey(t testing.TB, h *repo.HostKey) ed25519.PrivateKey {
	t.Helper()
	seed, err := hex.DecodeString(h.Seed)
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(seed)
}

func rootKey(t testing.TB, w *world) ed25519.PrivateKey {
	t.Helper()
	return w.open(noHost).RootKey()
}
