package several_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/backupset/several"
	"github.com/certkeep/certkeep/folder"
)

func put(t *testing.T, st backupset.Store, s *backupsettest.Sample, name string, receipt bool) {
	t.Helper()
	err := s.Put(t.Context(), st, backupset.CreateOptions{Name: name})
	if err == nil && receipt {
		err = st.PutReceipt(t.Context(), s.Manifest.ID, s.Receipt(true))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t *testing.T, quorum int, stores ...backupset.Store) *several.Store {
	t.Helper()
	s, err := several.New(stores, quorum)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What makes no quorum: two copies in one Store, and two sets of one id.
func TestVotes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sets")
	twice := folder.Root(dir, folder.Options{})
	full := backupsettest.Full(1, 2, 100)
	put(t, twice, full, "full", true)
	if err := os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(filepath.Join(dir, "full"))); err != nil {
		t.Fatal(err)
	}
	differ := folders(t, 3)
	other := backupsettest.Full(1, 3, 200)
	other.Manifest.ID = full.Manifest.ID
	put(t, differ[0], full, "full", true)
	put(t, differ[1], other, "full", true)
	for name, c := range map[string]struct {
		s    *several.Store
		want int
	}{
		"two copies in one": {newStore(t, 2, twice, folders(t, 1)[0]), 1},
		"two manifests":     {newStore(t, 2, differ...), 2},
	} {
		es, err := c.s.List(t.Context())
		if err != nil || len(es) != c.want {
			t.Errorf("%s: %d entries, %v", name, len(es), err)
		}
		for _, e := range es {
			if e.Confirmed {
				t.Errorf("%s: %s is confirmed", name, e.Location)
			}
		}
	}
}

// A Store whose parent is not as good as that of the others does not get what continues it.
func TestWorseParent(t *testing.T) {
	for _, how := range []string{"unconfirmed", "bad receipt", "damaged", "another manifest"} {
		t.Run(how, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sets")
			bad := folder.Root(dir, folder.Options{})
			st := folders(t, 2)
			full := backupsettest.Full(1, 2, 100)
			put(t, st[0], full, "full", true)
			put(t, st[1], full, "full", true)
			if how == "another manifest" {
				other := backupsettest.Full(1, 2, 200)
				other.Manifest.ID = full.Manifest.ID
				put(t, bad, other, "full", true)
			} else {
				put(t, bad, full, "full", how == "damaged")
			}
			if how == "bad receipt" {
				if err := bad.PutReceipt(t.Context(), full.Manifest.ID, full.Receipt(false)); err != nil {
					t.Fatal(err)
				}
			}
			if how == "damaged" {
				if err := os.WriteFile(filepath.Join(dir, "full", folder.ManifestName), []byte("{}"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := newStore(t, 2, bad, st[0], st[1])
			incr := backupsettest.Incremental(full, 3, 100)
			put(t, s, incr, "incr", false)
			for i, each := range []backupset.Store{bad, st[0], st[1]} {
				if _, err := each.Open(t.Context(), incr.Manifest.ID); (err == nil) != (i > 0) {
					t.Errorf("store %d: %v", i, err)
				}
			}
			if m := s.Missed(); len(m) != 1 {
				t.Errorf("missed: %v", m)
			}
		})
	}
}

// Where no Store has the parent confirmed, those that have it at all go on.
func TestParentUnconfirmed(t *testing.T) {
	st := folders(t, 2)
	full := backupsettest.Full(1, 2, 100)
	s := newStore(t, 0, st...)
	put(t, s, full, "full", false)
	put(t, s, backupsettest.Incremental(full, 3, 100), "incr", false)
	if m := s.Missed(); len(m) > 0 {
		t.Errorf("missed: %v", m)
	}
}

type source struct {
	blocks int
	err    error
}

func (f *source) Read(p []byte) (int, error) {
	if f.blocks == 0 {
		return 0, f.err
	}
	f.blocks--
	return len(p), nil
}

// A source that fails, is short or long, and a manifest that is wrong, are no Store's failure.
func TestSourceFails(t *testing.T) {
	ctx := t.Context()
	errSource := errors.New("the source broke")
	for name, src := range map[string]*source{"broken": {3, errSource}, "short": {1, io.EOF}, "long": {9, io.EOF}} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, 0, folders(t, 2)...)
			w, err := s.Create(ctx, backupset.CreateOptions{Name: "x"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = backupset.Add(ctx, w, backupset.RoleCompanion, "f", "", 4<<20, src)
			if err == nil || errors.Is(err, errSource) != (name == "broken") {
				t.Errorf("adding: %v", err)
			}
			m := *backupsettest.Full(1, 2, 100).Manifest
			if err := w.Commit(ctx, &m); err == nil {
				t.Error("it was committed")
			}
			if err := w.Abort(); err != nil {
				t.Error(err)
			}
			if m := s.Missed(); len(m) > 0 {
				t.Errorf("missed: %v", m)
			}
			put(t, s, backupsettest.Full(1, 2, 100), "y", true)
		})
	}
	s := newStore(t, 0, folders(t, 2)...)
	w, err := s.Create(ctx, backupset.CreateOptions{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	m := *backupsettest.Full(1, 2, 100).Manifest // its files are not there
	if err := w.Commit(ctx, &m); err == nil {
		t.Error("a manifest of other files was committed")
	}
	if err := w.Abort(); err != nil || len(s.Missed()) > 0 {
		t.Errorf("%v, missed: %v", err, s.Missed())
	}
}

// A context that ends is no Store's failure.
func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newStore(t, 0, folders(t, 2)...)
	if _, err := s.Create(ctx, backupset.CreateOptions{Name: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v", err)
	}
	if m := s.Missed(); len(m) > 0 {
		t.Errorf("missed: %v", m)
	}
	put(t, s, backupsettest.Full(1, 2, 100), "y", true)
}

// Close returns when the context ends, though a Store has not finished, and says so.
func TestCloseCancelled(t *testing.T) {
	st := folders(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	slow := &slow{Store: st[1], release: make(chan struct{}), closed: make(chan struct{}, 1)}
	s := newStore(t, 0, st[0], slow)
	w, err := s.Create(t.Context(), backupset.CreateOptions{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.CreateFile(ctx, backupset.RoleCompanion, "f", 4)
	if err == nil {
		_, err = f.Write([]byte("abcd"))
	}
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	closed := make(chan error)
	go func() { closed <- f.Close() }()
	select {
	case err := <-closed:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("close: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Close waits for a store that hangs")
	}
	m := *backupsettest.Full(1, 2, 100).Manifest
	if err := w.Commit(t.Context(), &m); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	close(slow.release)
	<-slow.closed
	if err := w.Abort(); err != nil || len(s.Missed()) > 0 {
		t.Errorf("%v, missed: %v", err, s.Missed())
	}
}

// Abort ends files that nobody closed.
func TestAbortOpen(t *testing.T) {
	st := folders(t, 1)
	open := &slow{Store: st[0], release: make(chan struct{}), closed: make(chan struct{}, 1)}
	close(open.release)
	s := newStore(t, 0, open)
	w, err := s.Create(t.Context(), backupset.CreateOptions{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.CreateFile(t.Context(), backupset.RoleCompanion, "f", 100)
	if err == nil {
		_, err = f.Write(bytes.Repeat([]byte("x"), 50))
	}
	if err = errors.Join(err, w.Abort()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-open.closed:
	default:
		t.Error("the store's file is still open")
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("a write after Abort")
	}
	if m := s.Missed(); len(m) > 0 {
		t.Errorf("missed: %v", m)
	}
}

// A receipt of a set that too few have.
func TestReceiptQuorum(t *testing.T) {
	st := folders(t, 3)
	full := backupsettest.Full(1, 2, 100)
	put(t, st[1], full, "full", false)
	for quorum := 1; quorum <= 3; quorum++ {
		err := newStore(t, quorum, st...).PutReceipt(t.Context(), full.Manifest.ID, full.Receipt(true))
		if (err == nil) != (quorum == 1) {
			t.Errorf("quorum %d: %v", quorum, fmt.Sprint(err))
		}
	}
}

// slow is a Store whose writes wait for release, whatever the context; closed hears of files that
// are closed.
type slow struct {
	backupset.Store
	release, closed chan struct{}
}

func (h *slow) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	w, err := h.Store.Create(ctx, o)
	return &slowWriter{w, h}, err
}

type slowWriter struct {
	backupset.Writer
	h *slow
}

func (w *slowWriter) CreateFile(ctx context.Context, role backupset.Role, name string, size int64) (io.WriteCloser, error) {
	f, err := w.Writer.CreateFile(ctx, role, name, size)
	return &slowFile{f, w.h}, err
}

type slowFile struct {
	io.WriteCloser
	h *slow
}

func (f *slowFile) Write(p []byte) (int, error) {
	<-f.h.release
	return f.WriteCloser.Write(p)
}

func (f *slowFile) Close() error {
	defer func() { f.h.closed <- struct{}{} }()
	return f.WriteCloser.Close()
}
