package fault_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/blobtest"
	"github.com/certkeep/certkeep/repo/blob/fault"
	"github.com/certkeep/certkeep/repo/blob/mem"
)

func keys(t *testing.T, s blob.Store) []string {
	t.Helper()
	out := []string{}
	for i, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, i.Key)
	}
	return out
}

// TestActs: what each act leaves behind.
func TestActs(t *testing.T) {
	for _, c := range []struct {
		act     fault.Act
		torn    bool
		failed  bool
		content string // "" if it is not there
		puts    int    // that reach the Store
	}{
		{fault.None, false, false, "content", 1},
		{fault.Before, false, true, "", 0},
		{fault.After, false, true, "content", 1},
		{fault.Torn, false, true, "", 0},
		{fault.Torn, true, true, "con", 1},
		{fault.Twice, false, false, "content", 2},
		{fault.Stale, false, false, "content", 1},
	} {
		m := mem.New()
		inner := fault.New(m, nil, fault.Options{})
		s := fault.New(inner, fault.At(1, c.act), fault.Options{Torn: c.torn})
		i, err := s.Put(t.Context(), "a", []byte("content"), blob.PutOptions{})
		if errors.Is(err, fault.ErrInjected) != c.failed || !c.failed && (err != nil || i.Size != 7) {
			t.Errorf("%v: %v, %v", c.act, i, err)
		}
		if b, err := m.Get(t.Context(), "a", 0, -1); string(b) != c.content || (err != nil) != (c.content == "") {
			t.Errorf("%v: holds %q, %v; want %q", c.act, b, err, c.content)
		}
		if n := inner.Count(fault.Put); n != c.puts {
			t.Errorf("%v: %d puts, want %d", c.act, n, c.puts)
		}
		if got := s.Calls(); !reflect.DeepEqual(got, []fault.Call{{N: 1, Nth: 1, Op: fault.Put, Key: "a", Act: c.act}}) {
			t.Errorf("calls %v", got)
		}
	}
}

// TestReading: reads fail without a trace, and give nothing with an error.
func TestReading(t *testing.T) {
	ctx := t.Context()
	m := mem.New()
	if _, err := m.Put(ctx, "a", []byte("content"), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, act := range []fault.Act{fault.Before, fault.After, fault.Torn} {
		s := fault.New(m, fault.From(1, act), fault.Options{Torn: true})
		if b, err := s.Get(ctx, "a", 0, -1); b != nil || !errors.Is(err, fault.ErrInjected) {
			t.Errorf("%v: get: %q, %v", act, b, err)
		}
		if i, err := s.Stat(ctx, "a"); i.Key != "" || !errors.Is(err, fault.ErrInjected) {
			t.Errorf("%v: stat: %v, %v", act, i, err)
		}
		failed := false
		for _, err := range s.List(ctx, "") {
			failed = errors.Is(err, fault.ErrInjected)
		}
		if !failed {
			t.Errorf("%v: the listing does not end in an error", act)
		}
	}
	s := fault.New(m, fault.At(1, fault.After), fault.Options{})
	if err := s.Delete(ctx, "a"); !errors.Is(err, fault.ErrInjected) || len(keys(t, m)) != 0 {
		t.Errorf("delete with a lost answer: %v, left %v", err, keys(t, m))
	}
}

func TestStall(t *testing.T) {
	m := mem.New()
	s := fault.New(m, fault.From(1, fault.Stall), fault.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Put(ctx, "a", nil, blob.PutOptions{}); !errors.Is(err, context.Canceled) {
			t.Errorf("put: %v", err)
		}
	})
	wg.Go(func() {
		for _, err := range s.List(ctx, "") {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("list: %v", err)
			}
		}
	})
	cancel()
	wg.Wait()
	if len(keys(t, m)) != 0 {
		t.Error("a stalled put was done")
	}
	if err := s.Delete(context.Background(), "a"); !errors.Is(err, fault.ErrInjected) {
		t.Errorf("with a context that cannot end: %v", err)
	}
}

func TestStale(t *testing.T) {
	ctx := t.Context()
	stale := false
	s := fault.New(mem.New(), func(fault.Call) fault.Act {
		if stale {
			return fault.Stale
		}
		return fault.None
	}, fault.Options{Back: 3})
	put := func(key string) {
		if _, err := s.Put(ctx, key, []byte(key), blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	put("b")
	put("c")
	before := slices.Collect(func(yield func(blob.Info) bool) {
		for i := range s.List(ctx, "") {
			if !yield(i) {
				return
			}
		}
	})
	put("d")
	if err := errors.Join(s.Delete(ctx, "b"), s.Delete(ctx, "none")); err != nil {
		t.Fatal(err)
	}
	put("e")
	stale = true
	n := 0
	for i, err := range s.List(ctx, "") {
		if err != nil || i != before[n] {
			t.Errorf("stale listing: %v, %v", i, err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("a stale listing of %d", n)
	}
	stale = false
	if got := keys(t, s); !slices.Equal(got, []string{"a", "c", "d", "e"}) {
		t.Errorf("now: %q", got)
	}
}

// TestRandom: what is chosen depends on the seed and on what is done, not on when.
func TestRandom(t *testing.T) {
	run := func(seed uint64, parallel bool) map[string]fault.Act {
		s := fault.New(mem.New(), fault.Random(seed, 0.25, fault.Before, fault.After), fault.Options{})
		var wg sync.WaitGroup
		for n := range 400 {
			one := func() { _, _ = s.Put(context.Background(), fmt.Sprintf("a/%d", n), nil, blob.PutOptions{}) }
			if parallel {
				wg.Go(one)
			} else {
				one()
			}
		}
		wg.Wait()
		out := map[string]fault.Act{}
		for _, c := range s.Calls() {
			if c.Act != fault.None {
				out[c.Key] = c.Act
			}
		}
		return out
	}
	one := run(1, false)
	if len(one) < 60 || len(one) > 140 {
		t.Errorf("%d of 400 with a probability of 1/4", len(one))
	}
	acts := map[fault.Act]int{}
	for _, act := range one {
		acts[act]++
	}
	if acts[fault.Before] < 20 || acts[fault.After] < 20 || len(acts) != 2 {
		t.Errorf("chosen: %v", acts)
	}
	if !reflect.DeepEqual(one, run(1, true)) {
		t.Error("the same seed chooses otherwise")
	}
	if reflect.DeepEqual(one, run(2, false)) {
		t.Error("another seed chooses the same")
	}
}

func TestBytes(t *testing.T) {
	choose := fault.Bytes([]byte{0b11_10_01_00}, [3]fault.Act{fault.Before, fault.After, fault.Twice})
	for n, want := range []fault.Act{fault.None, fault.Before, fault.After, fault.Twice, fault.None} {
		if got := choose(fault.Call{N: n + 1}); got != want {
			t.Errorf("call %d: %v, want %v", n+1, got, want)
		}
	}
}

func TestSuite(t *testing.T) {
	blobtest.Run(t, blobtest.Options{Retains: true, New: func(*testing.T) func() blob.Store {
		s := fault.New(mem.New(), nil, fault.Options{})
		return func() blob.Store { return s }
	}})
}
