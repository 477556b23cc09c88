package mem_test

import (
	"errors"
	"testing"
	"time"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/blobtest"
	"github.com/certkeep/certkeep/repo/blob/mem"
)

func TestSuite(t *testing.T) {
	blobtest.Run(t, blobtest.Options{Retains: true, New: func(*testing.T) func() blob.Store {
		s := mem.New()
		return func() blob.Store { return s }
	}})
}

func TestClock(t *testing.T) {
	ctx := t.Context()
	s := mem.New()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	s.SetClock(func() time.Time { return now })
	i, err := s.Put(ctx, "a", []byte("x"), blob.PutOptions{RetainUntil: now.Add(time.Hour)})
	if err != nil || i.Time != now {
		t.Fatalf("put: %v, %v", i, err)
	}
	now = now.Add(time.Hour - 1)
	if err := s.Delete(ctx, "a"); !errors.Is(err, blob.ErrDenied) {
		t.Errorf("before its time: %v", err)
	}
	now = now.Add(1)
	if err := s.Delete(ctx, "a"); err != nil {
		t.Errorf("at its time: %v", err)
	}
}

// TestDirectories: what a directory cannot hold is refused here too.
func TestDirectories(t *testing.T) {
	ctx := t.Context()
	s := mem.New()
	if _, err := s.Put(ctx, "a/b", nil, blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "a/b/c", "a/b/c/d"} {
		if _, err := s.Put(ctx, key, nil, blob.PutOptions{}); err == nil || errors.Is(err, blob.ErrExists) {
			t.Errorf("put %s beside a/b: %v", key, err)
		}
	}
}

func TestCloneAndReplace(t *testing.T) {
	ctx := t.Context()
	s := mem.New()
	if _, err := s.Put(ctx, "a", []byte("old"), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	c := s.Clone()
	c.Replace("a", []byte("new"))
	c.Replace("b", []byte("more"))
	if b, _ := s.Get(ctx, "a", 0, -1); string(b) != "old" {
		t.Errorf("the original has %q", b)
	}
	if b, _ := c.Get(ctx, "a", 0, -1); string(b) != "new" {
		t.Errorf("the clone has %q", b)
	}
	c.Replace("a", nil)
	if _, err := c.Get(ctx, "a", 0, -1); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
}
