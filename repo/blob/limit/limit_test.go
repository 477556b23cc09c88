package limit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/blobtest"
	"github.com/certkeep/certkeep/repo/blob/limit"
	"github.com/certkeep/certkeep/repo/blob/mem"
)

// clock goes on only while someone sleeps.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return nil
}

func TestRate(t *testing.T) {
	const kib = 1 << 10
	ctx := t.Context()
	c := &clock{now: time.Unix(1_000_000, 0)}
	start := c.now
	s := limit.New(mem.New(), limit.Options{Up: 100 * kib, Down: 400 * kib, Now: c.Now, Sleep: c.Sleep})
	took := func(what string, want time.Duration, act func()) {
		t.Helper()
		start = c.now
		act()
		if got := c.now.Sub(start); got != want {
			t.Errorf("%s: took %v, want %v", what, got, want)
		}
	}
	key := func(i int) string { return fmt.Sprintf("o/%d", i) }
	took("11 puts, of which the last need not be paid for", 10*time.Second, func() {
		for i := range 11 {
			if _, err := s.Put(ctx, key(i), make([]byte, 100*kib), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	})
	get := func(n int64, times int) func() {
		return func() {
			for i := range times {
				if _, err := s.Get(ctx, key(i), 0, n); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	took("5 gets of known length", time.Second, get(100*kib, 5))
	took("4 gets of unknown length, after one", time.Second, get(-1, 4))
	took("stat", 0, func() { _, _ = s.Stat(ctx, key(0)) })

	// Who gives up while waiting gives back what it had not sent.
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Put(ctx, "more/1", make([]byte, 100*kib), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := s.Put(done, "more/2", make([]byte, 100*kib), blob.PutOptions{}); !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled: %v", err)
		}
	}
	took("after 100 that gave up", time.Second, func() { _, _ = s.Put(ctx, "more/3", nil, blob.PutOptions{}) })
}

func TestUnlimited(t *testing.T) {
	never := func(context.Context, time.Duration) error { panic("slept") }
	s := limit.New(mem.New(), limit.Options{Sleep: never})
	for i := range 10 {
		if _, err := s.Put(t.Context(), fmt.Sprint(i), make([]byte, 1<<20), blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSuite(t *testing.T) {
	c := &clock{}
	blobtest.Run(t, blobtest.Options{Retains: true, New: func(*testing.T) func() blob.Store {
		m := mem.New()
		return func() blob.Store {
			return limit.New(m, limit.Options{Up: 1 << 20, Down: 1 << 20, Now: c.Now, Sleep: c.Sleep})
		}
	}})
}
