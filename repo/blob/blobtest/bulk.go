package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/certkeep/certkeep/repo/blob"
)

// race: of several that put the same object, exactly one does.
func (t *suite) race() {
	for round := range 5 {
		key := fmt.Sprintf("race/%d", round)
		won := make([]bool, t.o.Racers)
		gate := make(chan struct{})
		go close(gate)
		t.parallel(t.o.Racers, func(n int) error {
			s := t.s
			if n%2 == 1 {
				s = t.other
			}
			<-gate
			_, err := s.Put(t.ctx, key, text(uint64(n), 3000+n), blob.PutOptions{})
			won[n] = err == nil
			if errors.Is(err, blob.ErrExists) {
				return nil
			}
			return err
		})
		b, err := t.s.Get(t.ctx, key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		winners := 0
		for n, w := range won {
			if w {
				winners++
			}
			if same := bytes.Equal(b, text(uint64(n), 3000+n)); same != w && !t.o.Replaces {
				t.Errorf("%s: racer %d won: %v, and its content is there: %v", key, n, w, same)
			}
		}
		if winners != 1 && !t.o.Replaces || winners == 0 {
			t.Errorf("%s: %d winners", key, winners)
		}
	}
}

func (t *suite) large() {
	for n := range 3 {
		data := text(uint64(n), t.o.Large+n)
		key := fmt.Sprintf("big/%d", n)
		t.put(key, data)
		t.holds(key, data)
		for _, off := range []int{1, len(data) / 2, len(data) - 100} {
			b, err := t.s.Get(t.ctx, key, int64(off), 100)
			if err != nil || !bytes.Equal(b, data[off:off+100]) {
				t.Errorf("100 bytes from %d on: %d, %v", off, len(b), err)
			}
		}
	}
}

// wholeOrAbsent reads an object while it is being written.
func (t *suite) wholeOrAbsent() {
	data := text(3, t.o.Large)
	for round := range 3 {
		key := fmt.Sprintf("p/%d", round)
		var written atomic.Bool
		done := make(chan error, 1)
		go func() {
			_, err := t.s.Put(t.ctx, key, data, blob.PutOptions{})
			written.Store(true)
			done <- err
		}()
		for last := false; !last; {
			last = written.Load()
			for i, err := range t.other.List(t.ctx, "p/") {
				if err != nil || i.Size != int64(len(data)) {
					t.Errorf("listed while it was written: %+v, %v", i, err)
				}
			}
			b, err := t.other.Get(t.ctx, key, 0, -1)
			if errors.Is(err, blob.ErrNotFound) && !last {
				continue
			}
			if err != nil || !bytes.Equal(b, data) {
				t.Errorf("got %d bytes of %d, %v", len(b), len(data), err)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func (t *suite) tooLarge() {
	if _, err := t.s.Put(t.ctx, "big/too", make([]byte, blob.MaxSize+1), blob.PutOptions{}); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("put: %v, want ErrTooLarge", err)
	}
	t.absent("big/too")
	t.put("big/small", []byte("x"))
	if _, err := t.s.Get(t.ctx, "big/small", 0, blob.MaxSize+1); !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("get: %v, want ErrTooLarge", err)
	}
}

// cancelled: a call whose context has ended does nothing and says so.
func (t *suite) cancelled() {
	t.put("c/a", []byte("x"))
	done, cancel := context.WithCancel(t.ctx)
	cancel()
	if _, err := t.s.Put(done, "c/b", []byte("x"), blob.PutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	t.absent("c/b")
	if _, err := t.s.Get(done, "c/a", 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := t.s.Stat(done, "c/a"); !errors.Is(err, context.Canceled) {
		t.Errorf("stat: %v", err)
	}
	if err := t.s.Delete(done, "c/a"); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: %v", err)
	}
	t.holds("c/a", []byte("x"))
	n := 0
	for _, err := range t.s.List(done, "c/") {
		if n++; !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("list yields %d times", n)
	}
}

// concurrent: many goroutines, each with its own objects.
func (t *suite) concurrent() {
	t.parallel(8, func(n int) error {
		for i := range 6 {
			key := fmt.Sprintf("con/%d/%d", i, n)
			data := text(uint64(100*n+i), 1000*n+i)
			if _, err := t.s.Put(t.ctx, key, data, blob.PutOptions{}); err != nil {
				return err
			}
			b, err := t.other.Get(t.ctx, key, 0, -1)
			if err != nil || !bytes.Equal(b, data) {
				return fmt.Errorf("%s: %d bytes, %w", key, len(b), err)
			}
			if i%2 == 0 {
				if err := t.other.Delete(t.ctx, key); err != nil {
					return err
				}
			}
			for _, err := range t.s.List(t.ctx, fmt.Sprintf("con/%d/", i)) {
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if got := t.list("con/"); len(got) != 24 {
		t.Errorf("%d objects are left of 24: %q", len(got), got)
	}
}
