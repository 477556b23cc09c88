// Package backupsettest is the suite that every backupset.Store passes, and a
// maker of sample sets.
package backupsettest

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/durable"
)

// Options tell the suite about a Store.
type Options struct {
	// New makes an empty place for sets, and returns what opens a Store on it,
	// each time as a new process would.
	New func(t *testing.T) func() backupset.Store

	// OnFS opens a Store on a file system that has nothing but what the Store
	// wrote there. It is for the tests of power loss and failing operations;
	// they are skipped if it is nil.
	OnFS func(fsys durable.FS) backupset.Store

	// Named says that CreateOptions.Name is the name of a set, which only one
	// can have.
	Named bool

	// Late says that a Commit that fails may leave a whole set behind, unconfirmed.
	Late bool

	// Allocates is how many bytes of memory may be allocated, and given back, for each
	// byte that is written or read, where that is not bounded by some buffers.
	Allocates float64
}

// Run runs the suite.
func Run(t *testing.T, o Options) {
	s := suite{o}
	for name, f := range map[string]func(*testing.T){
		"RoundTrip": s.roundTrip, "Shapes": s.shapes, "Invisible": s.invisible, "Abort": s.abort, "Order": s.order, "Sizes": s.sizes,
		"WrongManifest": s.wrongManifest, "HostileNames": s.hostileNames, "FileNames": s.fileNames, "Cancel": s.cancel, "Receipts": s.receipts,
		"Parallel": s.parallel, "Collision": s.collision, "Replace": s.replace, "Streaming": s.streaming, "Missing": s.missing,
		"PowerLoss": s.powerLoss, "PowerLossReplacing": s.powerLossReplacing, "Faults": s.faults,
	} {
		t.Run(name, f)
	}
}

type suite struct{ Options }

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// entries lists a store and expects so many entries, none damaged.
func entries(t testing.TB, store backupset.Store, n int) []backupset.Entry {
	t.Helper()
	es, err := store.List(context.Background())
	must(t, err)
	for _, e := range es {
		if e.Err != nil {
			t.Fatalf("%s: %v", e.Label(), e.Err)
		}
	}
	if len(es) != n {
		t.Fatalf("%d sets, want %d: %v", len(es), n, es)
	}
	return es
}

func (s suite) roundTrip(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	store := open()
	entries(t, store, 0)
	full := Full(1, 3, 3000)
	incr := Incremental(full, 5, 1000)
	must(t, full.Put(ctx, store, backupset.CreateOptions{Name: "full"}), store.PutReceipt(ctx, full.Manifest.ID, full.Receipt(true)),
		incr.Put(ctx, store, backupset.CreateOptions{Name: "incremental"}))
	if full.Manifest.SHA256 == "" {
		t.Error("Commit did not fill in the manifest's digest")
	}
	for _, store := range []backupset.Store{store, open()} {
		es := entries(t, store, 2)
		for i, want := range []*Sample{full, incr} {
			e := es[i]
			if e.ID != want.Manifest.ID || e.Location == "" || e.Confirmed != (want == full) || (e.Receipt != nil) != e.Confirmed {
				t.Errorf("entry %d: %+v", i, e)
			}
			if s.Named && e.Name != []string{"full", "incremental"}[i] {
				t.Errorf("entry %d is called %q", i, e.Name)
			}
			if diff := cmp.Diff(want.Manifest, e.Manifest); diff != "" {
				t.Errorf("manifest in the list (-want +got):\n%s", diff)
			}
			for _, id := range []string{e.ID, e.Name} {
				if id == "" {
					continue
				}
				set, err := store.Open(ctx, id)
				must(t, err, want.Same(ctx, set))
				if set.ID() != e.ID || set.Location() != e.Location {
					t.Errorf("opened %s in %s", set.ID(), set.Location())
				}
				if extra, err := set.Extra(ctx); err != nil || len(extra) > 0 {
					t.Errorf("extra files: %v, %v", extra, err)
				}
			}
		}
		if c, err := backupset.Resolve(es, incr.Manifest.ID, backupset.ResolveOptions{}); err != nil || len(c) != 2 {
			t.Errorf("chain: %v, %v", c, err)
		}
	}
	readAt(t, store, full)
}

// readAt reads a file out of order.
func readAt(t *testing.T, store backupset.Store, s *Sample) {
	t.Helper()
	set, err := store.Open(t.Context(), s.Manifest.ID)
	must(t, err)
	f := s.Manifest.Files[0]
	r, err := set.Open(t.Context(), f)
	must(t, err)
	defer r.Close()
	if r.Size() != f.Size {
		t.Errorf("size %d, want %d", r.Size(), f.Size)
	}
	want := s.Content(f)
	buf := make([]byte, 10)
	for _, off := range []int64{f.Size - 10, 0, f.Size - 3} {
		n, err := r.ReadAt(buf, off)
		if wantN := min(10, int(f.Size-off)); n != wantN || string(buf[:n]) != string(want[off:off+int64(n)]) || n < 10 && err != io.EOF {
			t.Errorf("at %d: %d bytes, %v", off, n, err)
		}
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != string(want) {
		t.Errorf("reading after ReadAt: %d bytes, %v", len(b), err)
	}
}

// invisible: a set that is being written is nowhere to be seen.
func (s suite) invisible(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	store, full := open(), Full(1, 1, 100)
	w, err := store.Create(ctx, backupset.CreateOptions{Name: "full"})
	must(t, err, full.Write(ctx, w))
	for _, other := range []backupset.Store{store, open()} {
		entries(t, other, 0)
		for _, id := range []string{full.Manifest.ID, "full"} {
			if set, err := other.Open(ctx, id); !errors.Is(err, backupset.ErrNotFound) {
				t.Errorf("opened %s: %v, %v", id, set, err)
			}
		}
	}
	must(t, w.Commit(ctx, full.Manifest))
	entries(t, open(), 1)
}

// abort: nothing is left, and the name is free.
func (s suite) abort(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	full := Full(1, 1, 100)
	w, err := open().Create(ctx, backupset.CreateOptions{Name: "full"})
	must(t, err, full.Write(ctx, w))
	f, err := w.CreateFile(ctx, backupset.RoleCompanion, "open.txt", -1)
	must(t, err)
	if _, err := io.WriteString(f, "text"); err != nil {
		t.Fatal(err)
	}
	must(t, w.Abort(), w.Abort())
	if _, err := io.WriteString(f, "text"); err == nil {
		t.Error("wrote to a file of an aborted set")
	}
	if err := f.Close(); err == nil {
		t.Error("closed a file of an aborted set without an error")
	}
	if err := w.Commit(ctx, full.Manifest); err == nil {
		t.Error("committed an aborted set")
	}
	entries(t, open(), 0)
	must(t, full.Put(ctx, open(), backupset.CreateOptions{Name: "full"}))
	entries(t, open(), 1)
}

// order: Abort after Commit does nothing; Commit is once, and last.
func (s suite) order(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	full := Full(1, 1, 100)
	w, err := open().Create(ctx, backupset.CreateOptions{Name: "full"})
	must(t, err, full.Write(ctx, w), w.Commit(ctx, full.Manifest), w.Abort())
	if err := w.Commit(ctx, full.Manifest); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second commit: %v", err)
	}
	if _, err := w.CreateFile(ctx, backupset.RoleCompanion, "late", -1); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("file after the commit: %v", err)
	}
	set, err := open().Open(ctx, full.Manifest.ID)
	must(t, err, full.Same(ctx, set))

	late := Full(1, 1, 100)
	w, err = open().Create(ctx, backupset.CreateOptions{Name: "late"})
	must(t, err, late.Write(ctx, w))
	f, err := w.CreateFile(ctx, backupset.RoleCompanion, "open", 0)
	must(t, err)
	late.Add(backupset.RoleCompanion, "open", nil)
	if err := w.Commit(ctx, late.Manifest); err == nil {
		t.Error("committed with a file open")
	}
	_ = f.Close()
	must(t, w.Abort())
	entries(t, open(), 1)
}

// sizes: a file must get the size that was said.
func (s suite) sizes(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	for _, c := range []struct {
		said, written int64
		good          bool
	}{{10, 10, true}, {-1, 10, true}, {0, 0, true}, {-1, 0, true}, {10, 9, false}, {10, 11, false}, {0, 1, false}, {10, 0, false}} {
		full := Full(1, 1, 100)
		w, err := open().Create(ctx, backupset.CreateOptions{})
		must(t, err, full.Write(ctx, w))
		f, err := w.CreateFile(ctx, backupset.RoleCompanion, "extra", c.said)
		must(t, err)
		content := make([]byte, c.written)
		full.Add(backupset.RoleCompanion, "extra", content)
		_, werr := f.Write(content)
		cerr := f.Close()
		err = w.Commit(ctx, full.Manifest)
		if c.good {
			must(t, werr, cerr, err)
		} else if errors.Join(werr, cerr) == nil || err == nil {
			t.Errorf("%d bytes of %d: write %v, close %v, commit %v", c.written, c.said, werr, cerr, err)
		}
		must(t, w.Abort())
	}
	entries(t, open(), 4)
}

// wrongManifest: it must list what was written, and be valid.
func (s suite) wrongManifest(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	for name, spoil := range map[string]func(m *backupset.Manifest){
		"file missing":    func(m *backupset.Manifest) { m.Files = m.Files[:len(m.Files)-1] },
		"file not there":  func(m *backupset.Manifest) { m.Files[len(m.Files)-1].Name = "other" },
		"file in letters": func(m *backupset.Manifest) { m.Files[len(m.Files)-1].Name = "CA.crt" },
		"size":            func(m *backupset.Manifest) { m.Files[0].Size++ },
		"role":            func(m *backupset.Manifest) { m.Files[len(m.Files)-1].Role = backupset.RoleDynamic },
		"no id":           func(m *backupset.Manifest) { m.ID = "" },
		"no hash":         func(m *backupset.Manifest) { m.Files[0].SHA256 = "" },
		"synthesized":     func(m *backupset.Manifest) { m.Synthesized = true },
	} {
		full := Full(1, 1, 100)
		w, err := open().Create(ctx, backupset.CreateOptions{Name: "full"})
		must(t, err, full.Write(ctx, w))
		spoil(full.Manifest)
		if err := w.Commit(ctx, full.Manifest); err == nil {
			t.Errorf("%s: committed", name)
		}
		must(t, w.Abort())
		entries(t, open(), 0)
	}
}
