package backupset_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/folder"
)

func newFolders(t *testing.T) (*folder.Store, string) {
	dir := filepath.Join(t.TempDir(), "sets")
	return folder.Root(dir, folder.Options{}), dir
}

func TestTransfer(t *testing.T) {
	ctx := t.Context()
	src, dir := newFolders(t)
	dst, _ := newFolders(t)
	full := backupsettest.Full(1, 2, 3000)
	incr := backupsettest.Incremental(full, 4, 500)
	for _, s := range []*backupsettest.Sample{full, incr} {
		if err := errors.Join(s.Put(ctx, src, backupset.CreateOptions{Name: s.Manifest.ID}), src.PutReceipt(ctx, s.Manifest.ID, s.Receipt(s == full))); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []*backupsettest.Sample{full, incr} {
		set, err := src.Open(ctx, s.Manifest.ID)
		if err != nil {
			t.Fatal(err)
		}
		var done, total int64
		o := backupset.TransferOptions{Name: "copy of " + s.Manifest.ID, Progress: func(_ string, d, n int64) { done, total = d, n }}
		if _, err := backupset.Transfer(ctx, dst, set, o); err != nil {
			t.Fatal(err)
		}
		if done != s.Manifest.Size() || total != done {
			t.Errorf("progress ended at %d of %d, want %d", done, total, s.Manifest.Size())
		}
		if _, err := backupset.Transfer(ctx, dst, set, backupset.TransferOptions{Name: "again"}); !errors.Is(err, backupset.ErrExists) {
			t.Errorf("a second time: %v", err)
		}
		got, err := dst.Open(ctx, s.Manifest.ID)
		if err == nil {
			err = s.Same(ctx, got)
		}
		if err != nil {
			t.Fatal(err)
		}
		if r, err := got.Receipt(); err != nil || r.Confirmed != (s == full) {
			t.Errorf("receipt: %+v, %v", r, err)
		}
	}
	// A set that is damaged is refused, whole.
	db, _ := full.Manifest.Find(backupset.RoleDatabase)
	path := filepath.Join(dir, full.Manifest.ID, "DataBase", db.Name)
	b, err := os.ReadFile(path)
	if err == nil {
		b[7] ^= 1
		err = os.WriteFile(path, b, 0o600)
	}
	set, oerr := src.Open(ctx, full.Manifest.ID)
	if err = errors.Join(err, oerr); err != nil {
		t.Fatal(err)
	}
	other, _ := newFolders(t)
	if _, err := backupset.Transfer(ctx, other, set, backupset.TransferOptions{Name: "x"}); !errors.Is(err, backupset.ErrDamaged) {
		t.Errorf("a damaged set: %v", err)
	}
	if es, err := other.List(ctx); err != nil || len(es) > 0 {
		t.Errorf("left: %v, %v", es, err)
	}
}

// A file that is shorter or longer than the manifest says is damage, of the source.
func TestTransferSize(t *testing.T) {
	ctx := t.Context()
	for name, change := range map[string]func([]byte) []byte{
		"short": func(b []byte) []byte { return b[:len(b)-1] },
		"long":  func(b []byte) []byte { return append(b, 0) },
		"empty": func([]byte) []byte { return nil },
	} {
		src, dir := newFolders(t)
		full := backupsettest.Full(1, 2, 3000)
		if err := full.Put(ctx, src, backupset.CreateOptions{Name: "a"}); err != nil {
			t.Fatal(err)
		}
		db, _ := full.Manifest.Find(backupset.RoleDatabase)
		path := filepath.Join(dir, "a", "DataBase", db.Name)
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, change(b), 0o600)
		}
		set, oerr := src.Open(ctx, "a")
		if err = errors.Join(err, oerr); err != nil {
			t.Fatal(err)
		}
		dst, _ := newFolders(t)
		if _, err := backupset.Transfer(ctx, dst, set, backupset.TransferOptions{Name: "x"}); !errors.Is(err, backupset.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// unwritable is a Store that begins no set.
type unwritable struct{ *folder.Store }

func (unwritable) Create(context.Context, backupset.CreateOptions) (backupset.Writer, error) {
	return nil, errors.New("begun")
}

// Folders without a manifest, as certutil writes them, are taken in as a chain.
func TestTransferSynthesized(t *testing.T) {
	ctx := t.Context()
	src, dir := newFolders(t)
	full := backupsettest.Full(1, 2, 3000)
	incr := backupsettest.Incremental(full, 4, 500)
	last := backupsettest.Incremental(incr, 5, 500)
	for name, s := range map[string]*backupsettest.Sample{"a": full, "b": incr, "c": last} {
		if err := s.Put(ctx, src, backupset.CreateOptions{Name: name}); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, name, folder.ManifestName)); err != nil {
			t.Fatal(err)
		}
	}
	dst, _ := newFolders(t)
	take := func(ctx context.Context) ([]*backupset.Manifest, int) {
		es, err := src.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := backupset.Resolve(es, "c", backupset.ResolveOptions{AllowUnconfirmed: true})
		if err != nil || len(chain) != 3 {
			t.Fatalf("%v, %v", chain, err)
		}
		ms, copied, err := backupset.TransferChain(ctx, named{dst}, src, chain, backupset.TransferOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return ms, copied
	}
	ms, copied := take(ctx)
	if copied != 3 || ms[1].Parent != ms[0].ID || ms[2].Parent != ms[1].ID || ms[2].CA.Name != "Sample CA" || ms[0].Synthesized {
		t.Fatalf("%d copied: %+v", copied, ms)
	}
	es, err := dst.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := backupset.Resolve(es, ms[2].ID, backupset.ResolveOptions{AllowUnconfirmed: true})
	if err != nil || len(chain) != 3 || chain.Tip().Confirmed {
		t.Errorf("as a chain: %v, %v", chain, err)
	}
	again, copied := take(ctx)
	if copied != 0 || again[2].ID != ms[2].ID {
		t.Errorf("a second time %d were copied", copied)
	}
	// The times of the files do not matter.
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		later := time.Now().Add(-time.Minute)
		return errors.Join(err, os.Chtimes(path, later, later))
	})
	if err != nil {
		t.Fatal(err)
	}
	again, copied = take(ctx)
	if copied != 0 || again[0].ID != ms[0].ID || again[2].ID != ms[2].ID {
		t.Errorf("with other times %d were copied", copied)
	}
	set, err := src.Open(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	_, err = backupset.Transfer(ctx, unwritable{dst}, set, backupset.TransferOptions{Name: "x"})
	if !errors.Is(err, backupset.ErrExists) || !strings.Contains(err.Error(), ms[0].ID) {
		t.Errorf("a set that is there, where nothing can be written: %v", err)
	}
}

// named gives each set a name, which folders need.
type named struct{ *folder.Store }

func (n named) Create(ctx context.Context, o backupset.CreateOptions) (backupset.Writer, error) {
	o.Name = backupset.NewID(time.Now())
	return n.Store.Create(ctx, o)
}
