package backupsettest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/need"
)

var hostile = []string{"", ".", "..", "../x", `..\x`, "/etc/passwd", `C:\x`, "C:x", "a/b", `a\b`, "x:stream", "nul", "COM1.db", "a\x00b", "a\nb",
	"a\u202eb", "x.", "x ", " x", "\xff", "a*", "a?", "a|b", "a<", `a"`, strings.Repeat("x", 300)}

// hostileNames: a set cannot be called so; and nothing is found under such a
// name or id.
func (s suite) hostileNames(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	for _, name := range hostile {
		if s.Named && name != "" && name != "." {
			if w, err := open().Create(ctx, backupset.CreateOptions{Name: name, Force: true}); err == nil {
				t.Errorf("made a set called %q", name)
				must(t, w.Abort())
			}
		}
		if set, err := open().Open(ctx, name); !errors.Is(err, backupset.ErrNotFound) {
			t.Errorf("opened %q: %v, %v", name, set, err)
		}
		full := Full(1, 1, 10)
		r := full.Receipt(true)
		r.ManifestSHA256, r.SetID = strings.Repeat("0", 64), full.Manifest.ID
		if err := open().PutReceipt(ctx, name, r); !errors.Is(err, backupset.ErrNotFound) {
			t.Errorf("receipt for %q: %v", name, err)
		}
	}
	entries(t, open(), 0)
}

// fileNames: a file cannot be called so, nor like another in other letters; and
// what cannot be written can still not be opened.
func (s suite) fileNames(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	full := Full(1, 1, 100)
	w, err := open().Create(ctx, backupset.CreateOptions{Name: "full"})
	must(t, err, full.Write(ctx, w))
	defer w.Abort()
	for _, name := range append(hostile, "CA.CRT", "ca.crt") {
		if f, err := w.CreateFile(ctx, backupset.RoleCompanion, name, -1); err == nil {
			t.Errorf("made a file called %q", name)
			_ = f.Close()
		}
	}
	if f, err := w.CreateFile(ctx, "registry", "x", -1); err == nil {
		t.Error("made a file of an unknown role")
		_ = f.Close()
	}
	if f, err := w.CreateFile(ctx, backupset.RoleLog, "sample ca.DB", -1); err == nil {
		t.Error("a log is called like the database")
		_ = f.Close()
	}
	must(t, w.Commit(ctx, full.Manifest)) // refusing does no harm
	set, err := open().Open(ctx, full.Manifest.ID)
	must(t, err)
	for _, name := range append(hostile, "../certkeep.json") {
		for _, role := range []backupset.Role{backupset.RoleDatabase, backupset.RoleCompanion, "", "x"} {
			if f, err := set.Open(ctx, backupset.File{Role: role, Name: name}); !errors.Is(err, backupset.ErrNotFound) {
				t.Errorf("opened %q of role %q: %v, %v", name, role, f, err)
			}
		}
	}
}

// missing: what is not there is ErrNotFound.
func (s suite) missing(t *testing.T) {
	open := s.New(t)
	ctx := t.Context()
	full := Full(1, 1, 100)
	for _, n := range []int{0, 1} {
		entries(t, open(), n)
		for _, id := range []string{Full(9, 9, 1).Manifest.ID, "no such set", "latest", full.Manifest.ID[:12]} {
			if _, err := open().Open(ctx, id); !errors.Is(err, backupset.ErrNotFound) {
				t.Errorf("opened %q: %v", id, err)
			}
			if err := open().PutReceipt(ctx, id, full.Receipt(true)); !errors.Is(err, backupset.ErrNotFound) {
				t.Errorf("receipt for %q: %v", id, err)
			}
		}
		if n == 0 {
			must(t, full.Put(ctx, open(), backupset.CreateOptions{Name: "full"}))
		}
	}
	set, err := open().Open(ctx, full.Manifest.ID)
	must(t, err)
	if _, err := set.Open(ctx, backupset.File{Role: backupset.RoleLog, Name: "log0ffff.log"}); !errors.Is(err, backupset.ErrNotFound) {
		t.Errorf("opened a missing file: %v", err)
	}
}

// shapes puts sets of all shapes in, and gets them out again.
func (s suite) shapes(t *testing.T) {
	open := s.New(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		if n++; n > 20 && !need.Heavy() {
			return // each costs a dozen syncs
		}
		first := rapid.Uint32Range(1, 0xFFFF0).Draw(rt, "first")
		sample := Full(first, first+rapid.Uint32Range(0, 3).Draw(rt, "more"), rapid.IntRange(0, 3<<20).Draw(rt, "size"))
		if rapid.Bool().Draw(rt, "incremental") {
			sample = Incremental(sample, sample.Manifest.LastGeneration+rapid.Uint32Range(0, 2).Draw(rt, "logs"), 100)
			if len(sample.Manifest.Files) == 0 {
				sample.Manifest.FirstGeneration, sample.Manifest.LastGeneration = 0, 0
			}
		}
		var names backupset.Names
		for i, name := range rapid.SliceOfN(rapid.String(), 0, 3).Draw(rt, "names") {
			sample.Add(backupset.RoleCompanion, names.Add(fmt.Sprint("x", i, name)), []byte(name))
		}
		ctx := t.Context()
		if err := sample.Put(ctx, open(), backupset.CreateOptions{Name: fmt.Sprint("set", n)}); err != nil {
			rt.Fatal(err)
		}
		set, err := open().Open(ctx, sample.Manifest.ID)
		if err == nil {
			err = sample.Same(ctx, set)
		}
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// parallel writes several sets at once, through one Store and through several.
func (s suite) parallel(t *testing.T) {
	open := s.New(t)
	store := open()
	samples := make([]*Sample, 6)
	errs := make([]error, len(samples))
	var wg sync.WaitGroup
	for i := range samples {
		samples[i] = Full(1, uint32(i+1), 50_000)
		wg.Go(func() {
			mine := store
			if i%2 == 1 {
				mine = open()
			}
			errs[i] = errors.Join(samples[i].Put(t.Context(), mine, backupset.CreateOptions{Name: fmt.Sprint("set ", i)}),
				mine.PutReceipt(t.Context(), samples[i].Manifest.ID, samples[i].Receipt(true)))
		})
	}
	wg.Wait()
	must(t, errs...)
	for _, e := range entries(t, open(), len(samples)) {
		if !e.Confirmed {
			t.Errorf("%s is not confirmed", e.Label())
		}
	}
	for _, sample := range samples {
		set, err := open().Open(t.Context(), sample.Manifest.ID)
		must(t, err, sample.Same(t.Context(), set))
	}

	// And several files of one set at once.
	sample := Full(1, 8, 100_000)
	w, err := store.Create(t.Context(), backupset.CreateOptions{Name: "files"})
	must(t, err)
	defer w.Abort()
	errs = make([]error, len(sample.Manifest.Files))
	for i, f := range sample.Manifest.Files {
		wg.Go(func() {
			_, errs[i] = backupset.Add(t.Context(), w, f.Role, f.Name, "", f.Size, bytes.NewReader(sample.Content(f)))
		})
	}
	wg.Wait()
	must(t, append(errs, w.Commit(t.Context(), sample.Manifest))...)
	set, err := open().Open(t.Context(), sample.Manifest.ID)
	must(t, err, sample.Same(t.Context(), set))
}
