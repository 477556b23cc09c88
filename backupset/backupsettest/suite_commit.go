package backupsettest

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/need"
)

// countdown is a context that is cancelled when it has been asked n times.
type countdown struct {
	context.Context
	n, asked int
	done     chan struct{}
	mu       sync.Mutex
}

func (c *countdown) Done() <-chan struct{} { return c.done }

func (c *countdown) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked++; c.asked == c.n {
		close(c.done)
	}
	if c.asked >= c.n {
		return context.Canceled
	}
	return nil
}

// cancel cancels at each point where the context is asked: the set is whole or
// not there, and the error says which.
func (s suite) cancel(t *testing.T) {
	open := s.New(t)
	for n := 1; ; n++ {
		ctx := &countdown{Context: t.Context(), n: n, done: make(chan struct{})}
		full := Full(1, 1, 100)
		err := full.Put(ctx, open(), backupset.CreateOptions{Name: "full"})
		if err == nil {
			if n < 5 {
				t.Fatalf("the context was asked %d times only", ctx.asked)
			}
			set, err := open().Open(t.Context(), full.Manifest.ID)
			must(t, err, full.Same(t.Context(), set))
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at step %d: %v", n, err)
		}
		if set, err := open().Open(t.Context(), full.Manifest.ID); s.Late && err == nil {
			must(t, full.Same(t.Context(), set))
			return
		}
		entries(t, open(), 0)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	set, err := open().Open(t.Context(), entries(t, open(), 1)[0].ID)
	must(t, err)
	for what, f := range map[string]func() error{
		"List":       func() error { _, err := open().List(ctx); return err },
		"Open":       func() error { _, err := open().Open(ctx, set.ID()); return err },
		"Create":     func() error { _, err := open().Create(ctx, backupset.CreateOptions{Name: "x"}); return err },
		"PutReceipt": func() error { return open().PutReceipt(ctx, set.ID(), Full(1, 1, 1).Receipt(true)) },
		"Set.Open":   func() error { _, err := set.Open(ctx, set.Manifest().Files[0]); return err },
	} {
		if err := f(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	r, err := set.Open(ctx, set.Manifest().Files[0])
	must(t, err)
	defer r.Close()
	stop()
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	if _, err := r.ReadAt(make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read at: %v", err)
	}
}

func (s suite) receipts(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	full, other := Full(1, 1, 100), Full(1, 2, 100)
	must(t, full.Put(ctx, open(), backupset.CreateOptions{Name: "full"}), other.Put(ctx, open(), backupset.CreateOptions{Name: "other"}))
	state := func() (backupset.Entry, *backupset.Receipt, error) {
		set, err := open().Open(ctx, full.Manifest.ID)
		must(t, err)
		r, err := set.Receipt()
		return entries(t, open(), 2)[0], r, err
	}
	if e, r, err := state(); e.Confirmed || r != nil || !errors.Is(err, backupset.ErrUnconfirmed) {
		t.Errorf("no receipt: %+v, %v, %v", e, r, err)
	}
	wrong := full.Receipt(true)
	wrong.ManifestSHA256 = other.Manifest.SHA256
	if err := open().PutReceipt(ctx, full.Manifest.ID, wrong); !errors.Is(err, backupset.ErrDamaged) {
		t.Errorf("receipt of another manifest: %v", err)
	}
	wrong = full.Receipt(true)
	wrong.SetID = other.Manifest.ID
	if err := open().PutReceipt(ctx, full.Manifest.ID, wrong); !errors.Is(err, backupset.ErrDamaged) {
		t.Errorf("receipt of another set: %v", err)
	}
	wrong = full.Receipt(false)
	wrong.Confirmed = true
	if err := open().PutReceipt(ctx, full.Manifest.ID, wrong); err == nil {
		t.Error("stored a receipt that contradicts itself")
	}
	if e, _, err := state(); e.Receipt != nil || !errors.Is(err, backupset.ErrUnconfirmed) {
		t.Errorf("after refused receipts: %+v, %v", e, err)
	}
	for _, confirmed := range []bool{false, true, false} { // each in place of the one before
		must(t, open().PutReceipt(ctx, full.Manifest.ID, full.Receipt(confirmed)))
		e, r, err := state()
		must(t, err)
		if e.Confirmed != confirmed || r.Confirmed != confirmed || r.SetID != full.Manifest.ID || r.ManifestSHA256 != full.Manifest.SHA256 ||
			r.Truncation.Removed.String() != "00001-00002" || e.Receipt == nil {
			t.Errorf("%+v, %+v", e, r)
		}
	}
	set, err := open().Open(ctx, full.Manifest.ID)
	must(t, err, full.Same(ctx, set))
}

// collision: a name that is taken is refused at once; of two that are written
// at the same time one wins, and both can be told apart.
func (s suite) collision(t *testing.T) {
	if !s.Named {
		t.Skip("its sets have no names")
	}
	open := s.New(t)
	ctx := t.Context()
	one, two := Full(1, 1, 100), Full(1, 2, 100)
	w1, err := open().Create(ctx, backupset.CreateOptions{Name: "same"})
	must(t, err)
	defer w1.Abort()
	w2, err := open().Create(ctx, backupset.CreateOptions{Name: "same"})
	must(t, err, one.Write(ctx, w1), two.Write(ctx, w2), w1.Commit(ctx, one.Manifest))
	if err := w2.Commit(ctx, two.Manifest); !errors.Is(err, backupset.ErrExists) {
		t.Errorf("the second of one name: %v", err)
	}
	must(t, w2.Abort())
	if w, err := open().Create(ctx, backupset.CreateOptions{Name: "same"}); !errors.Is(err, backupset.ErrExists) {
		t.Errorf("a name that is taken: %v", err)
		_ = w.Abort()
	}
	entries(t, open(), 1)
	set, err := open().Open(ctx, "same")
	must(t, err, one.Same(ctx, set))
}

// replace: with Force the old set is there until the new one is, and not after.
func (s suite) replace(t *testing.T) {
	if !s.Named {
		t.Skip("its sets have no names")
	}
	open := s.New(t)
	ctx := t.Context()
	old, new := Full(1, 1, 100), Incremental(Full(1, 1, 100), 2, 100)
	must(t, old.Put(ctx, open(), backupset.CreateOptions{Name: "same"}), open().PutReceipt(ctx, "same", old.Receipt(true)))
	for _, commit := range []bool{false, true} {
		w, err := open().Create(ctx, backupset.CreateOptions{Name: "same", Force: true})
		must(t, err, new.Write(ctx, w))
		set, err := open().Open(ctx, "same")
		must(t, err, old.Same(ctx, set))
		if e := entries(t, open(), 1)[0]; !e.Confirmed {
			t.Errorf("the old set is %s", e.State())
		}
		if commit {
			must(t, w.Commit(ctx, new.Manifest))
		} else {
			must(t, w.Abort())
		}
	}
	set, err := open().Open(ctx, "same")
	must(t, err, new.Same(ctx, set))
	if _, err := set.Receipt(); !errors.Is(err, backupset.ErrUnconfirmed) {
		t.Errorf("the new set has a receipt: %v", err)
	}
	if extra, err := set.Extra(ctx); err != nil || len(extra) > 0 {
		t.Errorf("left of the old set: %v, %v", extra, err)
	}
	if _, err := open().Open(ctx, old.Manifest.ID); !errors.Is(err, backupset.ErrNotFound) {
		t.Errorf("the old set: %v", err)
	}
	entries(t, open(), 1)
}

// streaming writes and reads a large file, and looks at the memory used.
func (s suite) streaming(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	size := int64(48 << 20)
	if need.Heavy() {
		size = 1 << 30
	} else {
		t.Log("48 MiB; with CERTKEEP_TEST_HEAVY=1 it is 1 GiB")
	}
	most := uint64(24 << 20)
	if s.Allocates > 0 {
		most += uint64(s.Allocates * float64(size))
	}
	full := Full(1, 1, 100)
	w, err := open().Create(ctx, backupset.CreateOptions{Name: "large"})
	must(t, err, full.Write(ctx, w))
	defer w.Abort()
	before := allocated()
	f, err := backupset.Add(ctx, w, backupset.RoleCompanion, "large", "", size, io.LimitReader(pattern{}, size))
	must(t, err)
	if used := allocated() - before; used > most {
		t.Errorf("writing %d bytes allocated %d", size, used)
	}
	full.Manifest.Files = append(full.Manifest.Files, f)
	must(t, w.Commit(ctx, full.Manifest))
	set, err := open().Open(ctx, full.Manifest.ID)
	must(t, err)
	before = allocated()
	must(t, backupset.Check(ctx, set, f))
	if used := allocated() - before; used > most {
		t.Errorf("reading %d bytes allocated %d", size, used)
	}
	wrong := f
	wrong.SHA256 = strings.Repeat("0", 64)
	if err := backupset.Check(ctx, set, wrong); !errors.Is(err, backupset.ErrDamaged) || !strings.Contains(err.Error(), "large") {
		t.Errorf("another hash: %v", err)
	}
	wrong = f
	wrong.Size++
	if err := backupset.Check(ctx, set, wrong); !errors.Is(err, backupset.ErrDamaged) || !strings.Contains(err.Error(), "large") {
		t.Errorf("another size: %v", err)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// pattern is an endless source.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 7)
	}
	return len(p), nil
}
