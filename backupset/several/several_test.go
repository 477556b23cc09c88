package several_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/backupset/several"
	"github.com/certkeep/certkeep/folder"
)

func folders(t *testing.T, n int) []backupset.Store {
	t.Helper()
	var out []backupset.Store
	for range n {
		out = append(out, folder.Root(filepath.Join(t.TempDir(), "sets"), folder.Options{}))
	}
	return out
}

func TestSuite(t *testing.T) {
	backupsettest.Run(t, backupsettest.Options{
		New: func(t *testing.T) func() backupset.Store {
			dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
			return func() backupset.Store {
				var stores []backupset.Store
				for _, d := range dirs {
					stores = append(stores, folder.Root(d, folder.Options{}))
				}
				s, err := several.New(stores, 0)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
		},
		Named: true, Allocates: 2, Late: true,
	})
}

var errBroken = errors.New("broken")

// broken is a Store that fails at one step.
type broken struct {
	backupset.Store
	at string
}

func (b *broken) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	if b.at == "create" {
		return nil, errBroken
	}
	w, err := b.Store.Create(ctx, o)
	return &brokenWriter{w, b}, err
}

func (b *broken) List(ctx context.Context) ([]backupset.Entry, error) {
	if b.at == "list" {
		return nil, errBroken
	}
	return b.Store.List(ctx)
}

func (b *broken) PutReceipt(ctx context.Context, id string, r backupset.Receipt) error {
	if b.at == "receipt" {
		return errBroken
	}
	return b.Store.PutReceipt(ctx, id, r)
}

type brokenWriter struct {
	backupset.Writer
	b *broken
}

func (w *brokenWriter) CreateFile(ctx context.Context, role backupset.Role, name string, size int64) (io.WriteCloser, error) {
	if w.b.at == "file" {
		return nil, errBroken
	}
	f, err := w.Writer.CreateFile(ctx, role, name, size)
	return &brokenFile{f, w.b}, err
}

func (w *brokenWriter) Commit(ctx context.Context, m *backupset.Manifest) error {
	if w.b.at == "commit" {
		return errBroken
	}
	return w.Writer.Commit(ctx, m)
}

type brokenFile struct {
	io.WriteCloser
	b *broken
}

func (f *brokenFile) Write(p []byte) (int, error) {
	if f.b.at == "write" {
		return 0, errBroken
	}
	return f.WriteCloser.Write(p)
}

func (f *brokenFile) Close() error {
	err := f.WriteCloser.Close()
	if f.b.at == "close" {
		return errBroken
	}
	return err
}

// One Store that fails, wherever, costs only itself where the quorum allows it, and
// everything where it does not.
func TestFailures(t *testing.T) {
	for _, at := range []string{"create", "file", "write", "close", "commit", "receipt"} {
		for _, quorum := range []int{2, 3} {
			t.Run(fmt.Sprint(at, quorum), func(t *testing.T) {
				ctx := t.Context()
				stores := folders(t, 3)
				bad := &broken{stores[1], at}
				s, err := several.New([]backupset.Store{stores[0], bad, stores[2]}, quorum)
				if err != nil {
					t.Fatal(err)
				}
				full := backupsettest.Full(1, 2, 3<<20)
				err = full.Put(ctx, s, backupset.CreateOptions{Name: "full"})
				if err == nil {
					err = s.PutReceipt(ctx, full.Manifest.ID, full.Receipt(true))
				}
				if (err == nil) != (quorum == 2) || err != nil && !errors.Is(err, errBroken) {
					t.Fatalf("quorum %d: %v", quorum, err)
				}
				if m := s.Missed(); len(m) != 1 || !errors.Is(m[0].Err, errBroken) {
					t.Errorf("missed: %v", m)
				}
				if err != nil {
					return
				}
				for _, i := range []int{0, 2} {
					set, err := stores[i].Open(ctx, full.Manifest.ID)
					if err == nil {
						err = full.Same(ctx, set)
					}
					if err != nil {
						t.Errorf("store %d: %v", i, err)
					}
				}
			})
		}
	}
}

// An incremental set goes only where its parent is.
func TestParent(t *testing.T) {
	ctx := t.Context()
	stores := folders(t, 3)
	full := backupsettest.Full(1, 2, 100)
	for _, i := range []int{0, 2} {
		if err := errors.Join(full.Put(ctx, stores[i], backupset.CreateOptions{Name: "full"}), stores[i].PutReceipt(ctx, full.Manifest.ID, full.Receipt(true))); err != nil {
			t.Fatal(err)
		}
	}
	confirmed := func(quorum int) bool {
		s, err := several.New(stores, quorum)
		if err != nil {
			t.Fatal(err)
		}
		es, err := s.List(ctx)
		if err != nil || len(es) != 1 {
			t.Fatalf("%v, %v", es, err)
		}
		_, err = backupset.Parent(es, func(*backupset.Manifest) bool { return true })
		if !es[0].Confirmed && (!errors.Is(err, backupset.ErrUnconfirmed) || !strings.Contains(err.Error(), "too few of the places")) {
			t.Errorf("its receipt is good, and what is said is: %v", err)
		}
		return es[0].Confirmed
	}
	if confirmed(3) || !confirmed(2) {
		t.Error("what two of three have is a parent for a quorum of two, and of two only")
	}
	s, err := several.New(stores, 2)
	if err != nil {
		t.Fatal(err)
	}
	incr := backupsettest.Incremental(full, 3, 100)
	if err := incr.Put(ctx, s, backupset.CreateOptions{Name: "incremental"}); err != nil {
		t.Fatal(err)
	}
	for i, st := range stores {
		_, err := st.Open(ctx, incr.Manifest.ID)
		if (err == nil) != (i != 1) {
			t.Errorf("store %d: %v", i, err)
		}
	}
	if m := s.Missed(); len(m) != 1 || !errors.Is(m[0].Err, backupset.ErrNotFound) {
		t.Errorf("missed: %v", m)
	}
}

// A Store that hangs ends with the context.
func TestHang(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	stores := folders(t, 2)
	s, err := several.New([]backupset.Store{stores[0], &hanging{stores[1], cancel}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Create(ctx, backupset.CreateOptions{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = backupset.Add(ctx, w, backupset.RoleCompanion, "f", "", 64<<20, bytes.NewReader(make([]byte, 64<<20)))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("adding: %v", err)
	}
	if err := w.Abort(); err != nil {
		t.Errorf("abort: %v", err)
	}
}

type hanging struct {
	backupset.Store
	hung func()
}

func (h *hanging) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	w, err := h.Store.Create(ctx, o)
	return &hangingWriter{w, h}, err
}

type hangingWriter struct {
	backupset.Writer
	h *hanging
}

func (w *hangingWriter) CreateFile(ctx context.Context, role backupset.Role, name string, size int64) (io.WriteCloser, error) {
	f, err := w.Writer.CreateFile(ctx, role, name, size)
	return &hangingFile{f, ctx, w.h.hung}, err
}

type hangingFile struct {
	io.WriteCloser
	ctx  context.Context
	hung func()
}

func (f *hangingFile) Write([]byte) (int, error) {
	f.hung()
	<-f.ctx.Done()
	return 0, f.ctx.Err()
}
