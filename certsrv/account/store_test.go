package account

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

var cheap = Cost{Memory: 8, Time: 1, Threads: 1}

func newStore(t testing.TB, o Options) (*Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "accounts.json")
	if o.Cost == (Cost{}) {
		o.Cost = cheap
	}
	s, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, path
}

func mustAdd(t testing.TB, s *Store, name string, r Roles, password string) {
	t.Helper()
	if err := s.Add(t.Context(), name, r, []byte(password)); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600))
	s, path := newStore(t, Options{Now: func() time.Time { return now }})
	ctx := t.Context()
	if l, err := s.List(ctx); err != nil || len(l) != 0 {
		t.Fatalf("new: %v, %v", l, err)
	}
	mustAdd(t, s, "zoe", Enroll, "zoes password")
	mustAdd(t, s, "Alice", Operator|Auditor, "pässwort")
	l, err := s.List(ctx)
	if err != nil || len(l) != 2 || l[0] != (Account{"Alice", Operator | Auditor, now.UTC().Truncate(time.Second), false}) || l[1].Name != "zoe" {
		t.Fatalf("list %+v, %v", l, err)
	}
	if runtime.GOOS != "windows" {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", fi, err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(text), "password\": \"zoes") || strings.Count(string(text), `"$argon2id$v=19$m=8,t=1,p=1$`) != 2 {
		t.Errorf("file %s, %v", text, err)
	}

	p, err := s.Authenticate(ctx, "ALICE", []byte("pässwort"))
	if want := (Principal{Name: "Alice", Roles: Operator | Auditor, BackupPrivilege: true}); err != nil || p != want {
		t.Errorf("alice: %+v, %v", p, err)
	}
	p, err = s.Authenticate(ctx, "zoe", []byte("zoes password"))
	if want := (Principal{Name: "zoe", Roles: Enroll}); err != nil || p != want {
		t.Errorf("zoe: %+v, %v", p, err)
	}
	for _, c := range [][2]string{{"zoe", "pässwort"}, {"zoe", ""}, {"nobody", "pässwort"}, {"", ""}, {"zoe\x00", "zoes password"}, {"zo\u1d07", "zoes password"}, {"zoe", strings.Repeat("x", 2000)}} {
		if p, err := s.Authenticate(ctx, c[0], []byte(c[1])); !errors.Is(err, ErrBadCredentials) || p != (Principal{}) {
			t.Errorf("%q: %+v, %v", c, p, err)
		}
	}

	if err := s.Add(ctx, "ZOE", Read, []byte("another password")); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	if err := s.Remove(ctx, "alice"); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, "alice"); !errors.Is(err, ErrUnknown) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := s.Authenticate(ctx, "alice", []byte("pässwort")); !errors.Is(err, ErrBadCredentials) {
		t.Errorf("removed (and remembered): %v", err)
	}
	if again, err := Open(path, Options{Cost: cheap}); err != nil {
		t.Error(err)
	} else if _, err := again.Authenticate(ctx, "zoe", []byte("zoes password")); err != nil {
		t.Error(err)
	}
}

func TestAddRefuses(t *testing.T) {
	s, path := newStore(t, Options{})
	for name, c := range map[string]struct {
		name     string
		roles    Roles
		password string
		is       error
	}{
		"short":       {"a", Read, "7 chars", ErrPassword},
		"bytes":       {"a", Read, "äöüß", ErrPassword}, // 8 bytes, 4 characters
		"long":        {"a", Read, strings.Repeat("x", 1025), ErrPassword},
		"no role":     {"a", 0, "password", nil},
		"odd role":    {"a", 0x4000, "password", nil},
		"empty":       {"", Read, "password", nil},
		"colon":       {"a:b", Read, "password", nil},
		"newline":     {"a\n", Read, "password", nil},
		"not ASCII":   {"ä", Read, "password", nil},
		"hyphen":      {"-a", Read, "password", nil},
		"65 letters":  {strings.Repeat("a", 65), Read, "password", nil},
		"a path":      {"../a", Read, "password", nil},
		"blank":       {"a b", Read, "password", nil},
		"domain user": {`A\b`, Read, "password", nil},
	} {
		if err := s.Add(t.Context(), c.name, c.roles, []byte(c.password)); err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refusal wrote the file: %v", err)
	}
	if _, err := Open(path, Options{Cost: Cost{Memory: 1 << 30, Time: 1, Threads: 1}}); err == nil {
		t.Error("absurd cost accepted")
	}
}

// TestOtherProcess: a second Store on the same file stands for another process.
func TestOtherProcess(t *testing.T) {
	s, path := newStore(t, Options{})
	other, err := Open(path, Options{Cost: cheap})
	if err != nil {
		t.Fatal(err)
	}
	mustAdd(t, other, "alice", Read, "password")
	if _, err := s.Authenticate(t.Context(), "alice", []byte("password")); err != nil {
		t.Fatalf("not seen: %v", err)
	}
	if err := other.Remove(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Authenticate(t.Context(), "alice", []byte("password")); err == nil {
		t.Fatal("still valid after its removal")
	}
	mustAdd(t, other, "alice", Enroll, "another one")
	if _, err := s.Authenticate(t.Context(), "alice", []byte("password")); err == nil {
		t.Fatal("the old password is valid again")
	}
	if p, err := s.Authenticate(t.Context(), "alice", []byte("another one")); err != nil || p.Roles != Enroll {
		t.Fatalf("%+v, %v", p, err)
	}

	// Concurrent changes through both lose nothing.
	var wg sync.WaitGroup
	for i := range 10 {
		for j, st := range []*Store{s, other} {
			wg.Go(func() {
				if err := st.Add(t.Context(), fmt.Sprintf("user%d-%d", i, j), Read, []byte("password")); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if l, err := s.List(t.Context()); err != nil || len(l) != 21 {
		t.Errorf("%d accounts, %v", len(l), err)
	}
}

func TestCache(t *testing.T) {
	now := time.Unix(1e9, 0)
	s, _ := newStore(t, Options{Now: func() time.Time { return now }, CacheFor: time.Minute, MaxConcurrent: 1, MaxWaiting: 1})
	mustAdd(t, s, "alice", Read, "password")
	ctx := t.Context()
	if _, err := s.Authenticate(ctx, "alice", []byte("password")); err != nil {
		t.Fatal(err)
	}
	// With its only slot taken, no hash can be computed.
	s.slots <- struct{}{}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Authenticate(short, "alice", []byte("password")); err != nil {
		t.Errorf("not remembered: %v", err)
	}
	if _, err := s.Authenticate(short, "alice", []byte("Password")); !errors.Is(err, context.Canceled) {
		t.Errorf("a wrong password was not hashed: %v", err)
	}
	now = now.Add(time.Minute)
	if _, err := s.Authenticate(short, "alice", []byte("password")); !errors.Is(err, context.Canceled) {
		t.Errorf("remembered for too long: %v", err)
	}
	<-s.slots

	off, _ := newStore(t, Options{CacheFor: -1, MaxConcurrent: 1})
	mustAdd(t, off, "alice", Read, "password")
	if _, err := off.Authenticate(ctx, "alice", []byte("password")); err != nil {
		t.Fatal(err)
	}
	off.slots <- struct{}{}
	if _, err := off.Authenticate(short, "alice", []byte("password")); !errors.Is(err, context.Canceled) {
		t.Errorf("remembered although off: %v", err)
	}
	<-off.slots

	c := s.cache
	for i := range 3 * maxCache {
		c.put(fmt.Sprint(i), "", nil, now)
	}
	if len(c.entries) > maxCache {
		t.Errorf("the cache grew to %d", len(c.entries))
	}
	if c.digest("ab", "c", nil) == c.digest("a", "bc", nil) {
		t.Error("digest is ambiguous")
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	s, _ := newStore(t, Options{MaxConcurrent: 1, MaxWaiting: 2, CacheFor: -1})
	mustAdd(t, s, "alice", Read, "password")
	s.slots <- struct{}{} // somebody computes
	results := make(chan error)
	for range 2 {
		go func() {
			_, err := s.Authenticate(t.Context(), "alice", []byte("password"))
			results <- err
		}()
	}
	for s.waiting.Load() < 2 {
		runtime.Gosched()
	}
	if _, err := s.Authenticate(t.Context(), "alice", []byte("password")); !errors.Is(err, ErrBusy) {
		t.Errorf("third waiter: %v", err)
	}
	<-s.slots
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := s.waiting.Load(); n != 0 {
		t.Errorf("%d still waiting", n)
	}
}

func TestUnknownNamesAreHashed(t *testing.T) {
	s, _ := newStore(t, Options{})
	for i, name := range []string{"nobody", "", "a b"} {
		if _, err := s.Authenticate(t.Context(), name, []byte("password")); !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%q: %v", name, err)
		}
		if n := s.hashed.Load(); n != int64(i+1) {
			t.Errorf("%q: answered without a hash, which tells that there is no such name", name)
		}
	}
	if s.nobody.cost != s.o.Cost {
		t.Errorf("unknown names cost %+v", s.nobody.cost)
	}
}

func TestInsecureFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	s, path := newStore(t, Options{})
	mustAdd(t, s, "alice", Read, "password")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path, Options{})
	var e *InsecureFileError
	if !errors.As(err, &e) || e.Mode != 0o644 || !strings.Contains(e.Hint(), "chmod 600") {
		t.Errorf("%v", err)
	}
}

// failing breaks the rename that makes a new file visible.
type failing struct{ durable.FS }

var errDisk = errors.New("disk trouble")

func (failing) Rename(string, string) error { return errDisk }

func TestFailedWriteChangesNothing(t *testing.T) {
	s, path := newStore(t, Options{})
	mustAdd(t, s, "alice", Read, "password")
	bad, err := Open(path, Options{Cost: cheap, FS: failing{durable.OS}})
	if err != nil {
		t.Fatal(err)
	}
	if err := bad.Add(t.Context(), "bob", Read, []byte("password")); !errors.Is(err, errDisk) {
		t.Errorf("add: %v", err)
	}
	if l, err := s.List(t.Context()); err != nil || len(l) != 1 {
		t.Errorf("%v, %v", l, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if n := e.Name(); n != "accounts.json" && n != "accounts.json.lock" {
			t.Errorf("left behind: %s", n)
		}
	}
}

func TestDefaultCost(t *testing.T) {
	if err := DefaultCost.check(); err != nil {
		t.Error(err)
	}
	h, err := newHash([]byte("x"), DefaultCost)
	if err != nil || !strings.HasPrefix(h.String(), "$argon2id$v=19$m=19456,t=2,p=1$") || !h.matches([]byte("x")) || h.matches([]byte("y")) {
		t.Errorf("%v, %v", h, err)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	for name, ttl := range map[string]time.Duration{"hashed": -1, "remembered": time.Hour} {
		b.Run(name, func(b *testing.B) {
			s, _ := newStore(b, Options{Cost: DefaultCost, CacheFor: ttl})
			mustAdd(b, s, "alice", Enroll, "password")
			for b.Loop() {
				if _, err := s.Authenticate(b.Context(), "alice", []byte("password")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
