package blobtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/repo/blob"
)

func (t *suite) prefixes() {
	all := []string{
		"a-b/1", "a-b/2", "a.b/1", "a/1", "a/2", "a0/1", "ab", "journal/ab/1", "journal/ab/2", "journal/ab-c", "journal/ab.c", "journal/abc", "journal/ac", "z",
	}
	slices.Sort(all)
	for _, key := range all {
		t.put(key, []byte(key))
	}
	for _, prefix := range []string{
		"", "a", "a/", "a-", "a-b", "a-b/", "a.", "a.b", "a/1", "a/1/", "ab", "ab/", "j", "journal", "journal/", "journal/a", "journal/ab", "journal/ab/",
		"journal/ab-", "journal/ab.", "journal/ab/1", "journal/abd", "journal/b", "y", "none/such/", "z", "z/", "z/z/z", strings.Repeat("x", 128),
	} {
		want := slices.DeleteFunc(slices.Clone(all), func(key string) bool { return !strings.HasPrefix(key, prefix) })
		if got := t.list(prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
	for i, err := range t.s.List(t.ctx, "") { // ends when it is told to
		if err != nil || i.Key != all[0] || i.Size != int64(len(all[0])) {
			t.Errorf("first: %+v, %v", i, err)
		}
		break
	}
}

// order has names side by side that a walk of directories brings in another order
// than that of keys: "a-b/1" is before "a/1", and "a.b" too.
func (t *suite) order() {
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "ab-._019z"
	want := []string{}
	directories := map[string]bool{}
	for len(want) < t.o.Objects {
		var elements []string
		for range 1 + r.IntN(3) {
			e := []byte("x")
			for range r.IntN(3) {
				e = append(e, letters[r.IntN(len(letters))])
			}
			elements = append(elements, string(bytes.TrimRight(e, ".")))
		}
		key := strings.Join(elements, "/") + fmt.Sprintf("/%x", r.IntN(50))
		free := !directories[key]
		for i := range key {
			free = free && (key[i] != '/' || !slices.Contains(want, key[:i]))
		}
		if !free || slices.Contains(want, key) {
			continue
		}
		for i := range key {
			if key[i] == '/' {
				directories[key[:i]] = true
			}
		}
		want = append(want, key)
	}
	t.parallel(8, func(n int) error {
		for i := n; i < len(want); i += 8 {
			if _, err := t.s.Put(t.ctx, want[i], []byte(want[i]), blob.PutOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	slices.Sort(want)
	if got := t.list(""); !slices.Equal(got, want) {
		t.Errorf("%d objects are listed as %d: the first that differs is %s", len(want), len(got), differs(got, want))
	}
	for range 20 {
		key := want[r.IntN(len(want))]
		prefix := key[:r.IntN(len(key))]
		some := slices.DeleteFunc(slices.Clone(want), func(key string) bool { return !strings.HasPrefix(key, prefix) })
		if got := t.list(prefix); !slices.Equal(got, some) {
			t.Errorf("list %q: %d, want %d: the first that differs is %s", prefix, len(got), len(some), differs(got, some))
		}
	}
}

func differs(got, want []string) string {
	for n := range want {
		if n >= len(got) || got[n] != want[n] {
			return fmt.Sprintf("%d, %q", n, want[n])
		}
	}
	return "beyond the last"
}

// parallel runs act n times at once and fails on an error of any.
func (t *suite) parallel(n int, act func(n int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = act(i) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listWhileChanging: what stays is listed, once and in order, whatever else comes
// and goes.
func (t *suite) listWhileChanging() {
	var stays []string
	for n := range 40 {
		key := fmt.Sprintf("w/%02d/s", n)
		stays = append(stays, key)
		t.put(key, nil)
		t.put(fmt.Sprintf("w/%02d/gone", n), nil)
	}
	stop := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := t.other.Put(t.ctx, fmt.Sprintf("w/%02d/new-%d", n%40, n), nil, blob.PutOptions{}); err != nil {
				failed <- err
				return
			}
			if err := t.other.Delete(t.ctx, fmt.Sprintf("w/%02d/gone", n%40)); err != nil {
				failed <- err
				return
			}
		}
	}()
	for range 5 {
		var got []string
		last := ""
		for _, key := range t.list("w/") {
			if key <= last {
				t.Errorf("%s after %s", key, last)
			}
			last = key
			if strings.HasSuffix(key, "/s") {
				got = append(got, key)
			}
		}
		if !slices.Equal(got, stays) {
			t.Errorf("listed %q of %q", got, stays)
		}
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}

	// Deleting what was just listed, from within.
	for i, err := range t.s.List(t.ctx, "w/") {
		if err != nil {
			t.Fatal(err)
		}
		if err := t.s.Delete(t.ctx, i.Key); err != nil {
			t.Fatal(err)
		}
	}
	if left := t.list(""); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
