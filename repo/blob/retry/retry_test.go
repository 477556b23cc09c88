package retry_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/blobtest"
	"github.com/certkeep/certkeep/repo/blob/fault"
	"github.com/certkeep/certkeep/repo/blob/mem"
	"github.com/certkeep/certkeep/repo/blob/retry"
)

// waits collects how long a Store would have slept.
type waits []time.Duration

func (w *waits) sleep(ctx context.Context, d time.Duration) error {
	*w = append(*w, d)
	return ctx.Err()
}

func TestWaits(t *testing.T) {
	for random, want := range map[float64][]time.Duration{
		0:   {50, 100, 200, 250, 250},
		0.5: {100, 200, 400, 500, 500},
	} {
		var w waits
		f := fault.New(mem.New(), fault.From(1, fault.Before), fault.Options{})
		s := retry.New(f, retry.Options{First: 100, Most: 500, Sleep: w.sleep, Random: func() float64 { return random }})
		_, err := s.Stat(t.Context(), "a")
		if !errors.Is(err, fault.ErrInjected) || f.Count(fault.Stat) != 6 {
			t.Errorf("%v after %d tries", err, f.Count(fault.Stat))
		}
		if fmt.Sprint([]time.Duration(w)) != fmt.Sprint(want) {
			t.Errorf("waits %v, want %v", w, want)
		}
	}
}

// TestEachOnce: one fault of any kind anywhere is not seen from above.
func TestEachOnce(t *testing.T) {
	ctx := t.Context()
	for _, act := range []fault.Act{fault.Before, fault.After, fault.Twice, fault.Stall} {
		for n := 1; ; n++ {
			var w waits
			f := fault.New(mem.New(), fault.At(n, act), fault.Options{})
			s := retry.New(f, retry.Options{Sleep: w.sleep, Timeout: time.Second / 20})
			if act == fault.Stall && n > 3 {
				break // a listing has no timeout
			}
			for key, text := range map[string]string{"a/1": "one"} {
				i, err := s.Put(ctx, key, []byte(text), blob.PutOptions{})
				if err != nil || i.Size != 3 || i.Key != key {
					t.Fatalf("%v at %d: put: %v, %v", act, n, i, err)
				}
				if b, err := s.Get(ctx, key, 0, -1); err != nil || string(b) != text {
					t.Fatalf("%v at %d: get: %q, %v", act, n, b, err)
				}
				if j, err := s.Stat(ctx, key); err != nil || i != j {
					t.Fatalf("%v at %d: stat: %v, %v", act, n, j, err)
				}
				listed := 0
				for j, err := range s.List(ctx, "a/") {
					if listed++; err != nil || i != j {
						t.Fatalf("%v at %d: list: %v, %v", act, n, j, err)
					}
				}
				if err := s.Delete(ctx, key); err != nil || listed != 1 {
					t.Fatalf("%v at %d: delete: %v; listed %d", act, n, err, listed)
				}
			}
			if calls := len(f.Calls()); n > calls {
				break
			}
		}
	}
}

// TestPutAgain: who puts again and finds an object takes it for its own only if it is
// the same, and never at the first try.
func TestPutAgain(t *testing.T) {
	ctx := t.Context()
	put := func(there string, choose fault.Chooser) error {
		var w waits
		m := mem.New()
		if there != "" {
			if _, err := m.Put(ctx, "a", []byte(there), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := retry.New(fault.New(m, choose, fault.Options{}), retry.Options{Sleep: w.sleep}).Put(ctx, "a", []byte("mine"), blob.PutOptions{})
		if b, e := m.Get(ctx, "a", 0, -1); e != nil || string(b) != "mine" && string(b) != there {
			t.Errorf("holds %q, %v", b, e)
		}
		return err
	}
	for name, c := range map[string]struct {
		there  string
		choose fault.Chooser
		exists bool
	}{
		"lost answer":                          {"", fault.On(fault.Put, "a", 1, fault.After), false},
		"lost answer, failing comparison":      {"", fault.First(fault.On(fault.Put, "a", 1, fault.After), fault.On(fault.Get, "a", 1, fault.Before), fault.On(fault.Stat, "a", 1, fault.Before)), false},
		"another's, first try":                 {"other", nil, true},
		"the same, first try":                  {"mine", nil, true},
		"another's, second try":                {"other", fault.On(fault.Put, "a", 1, fault.Before), true},
		"the same, second try":                 {"mine", fault.On(fault.Put, "a", 1, fault.Before), false},
		"torn by a Store that breaks its word": {"mi", fault.On(fault.Put, "a", 1, fault.Before), true},
	} {
		if err := put(c.there, c.choose); errors.Is(err, blob.ErrExists) != c.exists || !c.exists && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFinal(t *testing.T) {
	ctx := t.Context()
	for _, err := range []error{blob.ErrNotFound, blob.ErrExists, blob.ErrTooLarge, blob.ErrShort, blob.ErrReadOnly, blob.ErrUnsupported, blob.ErrDenied, blob.ErrKey, says(false)} {
		b := &broken{err: fmt.Errorf("a: %w", err)}
		var w waits
		if _, got := retry.New(b, retry.Options{Sleep: w.sleep}).Get(ctx, "a", 0, -1); !errors.Is(got, err) || b.calls != 1 || len(w) != 0 {
			t.Errorf("%v: %v after %d tries", err, got, b.calls)
		}
	}
	for _, err := range []error{errors.New("connection reset"), context.DeadlineExceeded, says(true)} {
		b := &broken{err: err}
		var w waits
		if _, got := retry.New(b, retry.Options{Sleep: w.sleep, Tries: 3}).Get(ctx, "a", 0, -1); !errors.Is(got, err) || b.calls != 3 || len(w) != 2 {
			t.Errorf("%v: %v after %d tries", err, got, b.calls)
		}
	}
}

type says bool

func (s says) Error() string   { return fmt.Sprintf("worth it: %v", bool(s)) }
func (s says) Retryable() bool { return bool(s) }

type broken struct {
	blob.Store
	err   error
	calls int
}

func (b *broken) Get(context.Context, string, int64, int64) ([]byte, error) {
	b.calls++
	return nil, b.err
}

// TestCalledOff: the caller's context ends a wait, and its end is no reason to try again.
func TestCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := fault.New(mem.New(), fault.From(1, fault.Before), fault.Options{})
	s := retry.New(f, retry.Options{Sleep: func(ctx context.Context, _ time.Duration) error {
		cancel()
		return ctx.Err()
	}})
	if err := s.Delete(ctx, "a"); !errors.Is(err, context.Canceled) || !errors.Is(err, fault.ErrInjected) || len(f.Calls()) != 1 {
		t.Errorf("%v after %d calls", err, len(f.Calls()))
	}
	if err := s.Delete(ctx, "a"); err == nil || len(f.Calls()) != 2 {
		t.Errorf("after its end: %v after %d calls", err, len(f.Calls()))
	}
}

// TestListing: a listing that fails again and again, but gets on, comes to its end, with each
// object once.
func TestListing(t *testing.T) {
	ctx := t.Context()
	m := mem.New()
	const count = 64
	for n := range count {
		if _, err := m.Put(ctx, fmt.Sprintf("a/%02d", n), nil, blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(s blob.Store) (keys []string, failed error) {
		for i, err := range s.List(ctx, "a/") {
			if err != nil {
				failed = err
				continue
			}
			keys = append(keys, i.Key)
		}
		return keys, failed
	}
	var w waits
	keys, err := list(retry.New(&halves{Store: m}, retry.Options{Sleep: w.sleep, Tries: 2}))
	if err != nil || len(keys) != count || len(w) < 3 {
		t.Errorf("%d keys, %v, after %d waits", len(keys), err, len(w))
	}
	for n, key := range keys {
		if key != fmt.Sprintf("a/%02d", n) {
			t.Errorf("%d: %s", n, key)
		}
	}
	f := fault.New(m, fault.From(1, fault.After), fault.Options{}) // never beyond the middle
	if keys, err := list(retry.New(f, retry.Options{Sleep: w.sleep, Tries: 4})); !errors.Is(err, fault.ErrInjected) || len(keys) != count/2 || f.Count(fault.List) != 4 {
		t.Errorf("%d keys, %v, after %d listings", len(keys), err, f.Count(fault.List))
	}
}

// halves lists ten more objects each time, and fails then.
type halves struct {
	*mem.Store
	most int
}

func (h *halves) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	h.most += 10
	return func(yield func(blob.Info, error) bool) {
		n := 0
		for i, err := range h.Store.List(ctx, prefix) {
			if n++; n > h.most {
				yield(blob.Info{}, errors.New("reset"))
				return
			}
			if !yield(i, err) {
				return
			}
		}
	}
}

// TestRandomFaults: over any faults with less than a full row of failures, the Store does
// what one without faults does.
func TestRandomFaults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		m := mem.New()
		var w waits
		f := fault.New(m, fault.Random(rapid.Uint64().Draw(t, "seed"), 0.3, fault.Before, fault.After, fault.Twice), fault.Options{})
		s := retry.New(f, retry.Options{Sleep: w.sleep, Tries: 60})
		want := map[string]string{}
		for n := range rapid.IntRange(1, 20).Draw(t, "n") {
			key := rapid.SampledFrom([]string{"a", "b", "c/d"}).Draw(t, "key")
			if rapid.Bool().Draw(t, "delete") {
				if err := s.Delete(ctx, key); err != nil {
					t.Fatal(err)
				}
				delete(want, key)
				continue
			}
			text := fmt.Sprint(n)
			_, err := s.Put(ctx, key, []byte(text), blob.PutOptions{})
			if _, there := want[key]; there != errors.Is(err, blob.ErrExists) || !there && err != nil {
				t.Fatalf("put %s, there: %v: %v", key, there, err)
			}
			if err == nil {
				want[key] = text
			}
		}
		for key, text := range want {
			if b, err := s.Get(ctx, key, 0, -1); err != nil || string(b) != text {
				t.Fatalf("%s: %q, %v; want %q", key, b, err, text)
			}
		}
		n := 0
		for _, err := range s.List(ctx, "") {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		if n != len(want) {
			t.Fatalf("%d objects, want %d", n, len(want))
		}
	})
}

func TestSuite(t *testing.T) {
	blobtest.Run(t, blobtest.Options{Retains: true, New: func(*testing.T) func() blob.Store {
		m := mem.New()
		return func() blob.Store { return retry.New(m, retry.Options{}) }
	}})
}
