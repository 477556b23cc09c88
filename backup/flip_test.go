package backup_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/internal/need"
)

// smallSet is one full set with two logs, as small as they get.
func smallSet(tb testing.TB) string {
	tb.Helper()
	w := newWorld(tb, 2)
	w.full("full", func() { w.issue(1) })
	dir := filepath.Join(tb.TempDir(), "sets")
	copyTree(tb, w.sets(), dir)
	return dir
}

// offsets are the bytes of a file to flip: about as many as asked for, from a
// start that differs from run to run.
func offsets(size, some int, rng *rand.Rand) []int {
	step := max(1, size/some)
	var out []int
	for at := rng.IntN(step); at < size; at += step {
		out = append(out, at)
	}
	return out
}

func seeded(tb testing.TB) *rand.Rand {
	seed := rand.Uint64()
	tb.Logf("seed %d; CERTKEEP_TEST_HEAVY=1 flips more bytes", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// eachFlip calls try with one byte of one file after another changed: some bytes
// of each, or, where there is time for it, many.
func eachFlip(t *testing.T, dir string, some, many int, try func(file string, at int)) {
	t.Helper()
	rng := seeded(t)
	if need.Heavy() {
		some = many
	}
	n := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		whole, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		for _, at := range offsets(len(whole), some, rng) {
			flipped := whole[at] ^ byte(1<<rng.IntN(8))
			if _, err := f.WriteAt([]byte{flipped}, int64(at)); err != nil {
				return err
			}
			try(filepath.ToSlash(rel), at)
			n++
			if _, err := f.WriteAt(whole[at:at+1], int64(at)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes flipped", n)
}

// With a manifest every flipped byte of a set is found, and the finding names
// the file.
func TestFlipWithManifest(t *testing.T) {
	dir := smallSet(t)
	eachFlip(t, dir, 40, math.MaxInt, func(file string, at int) {
		rep := verify(t, dir, "full", backup.LevelSealed)
		name := filepath.Base(file)
		if name == manifest || name == receipt {
			name = "full" // the set is what is damaged
		}
		if rep.OK || len(damageIn(rep.Findings, name)) == 0 {
			t.Errorf("%s, byte %d: not found: %v", file, at, rep.Findings)
		}
	})
	if rep := verify(t, dir, "full", backup.LevelDatabase); !rep.OK {
		t.Fatalf("the set was not put right again: %v", rep.Findings)
	}
}

// protected is everything in a recovered database that verification without a
// manifest answers for; docs/verification.md lists what it leaves out.
func protected(tb testing.TB, src backup.Source) string {
	tb.Helper()
	ctx := context.Background()
	r, err := backup.Recover(ctx, backup.RecoverOptions{Source: src, Scratch: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	var b strings.Builder
	for q, err := range r.DB.Requests(ctx, cadb.Filter{}) {
		if err != nil {
			tb.Fatal(err)
		}
		fmt.Fprintf(&b, "%d %v %s %v %v %s %s %x %x %x %x %v %v", q.ID, q.Disposition, q.Serial, q.NotBefore, q.NotAfter, q.Hash, q.SubjectKeyIdentifier,
			q.RawCertificate, q.RawRequest, q.RawSubject, q.RawPublicKey, q.Subject, q.Asked)
		if q.Disposition == schema.Revoked {
			fmt.Fprintf(&b, " %v %v", q.RevokedEffectiveWhen, *q.Reason)
		}
		for e, err := range r.DB.Extensions(ctx, q.ID) {
			if err != nil {
				tb.Fatal(err)
			}
			fmt.Fprintf(&b, " %s %v %x", e.OID, e.Flags&schema.ExtensionCritical, e.Value)
		}
		b.WriteByte('\n')
	}
	for c, err := range r.DB.CRLs(ctx) {
		if err != nil {
			tb.Fatal(err)
		}
		fmt.Fprintf(&b, "CRL %d %d %d %v %v %x\n", c.Number, c.MinBase, c.Count, c.ThisUpdate, c.NextUpdate, c.Raw)
	}
	return b.String()
}

// Without a manifest a flipped byte of a log is found. One of the database is
// found, or is one that recovery replaces, or is in a place that
// docs/verification.md names: then everything else is still what it was. In
// the restore map it is found if the map cannot be read any more.
func TestFlipWithoutManifest(t *testing.T) {
	dir := smallSet(t)
	forgetManifests(t, dir)
	want := protected(t, source(dir, "full"))
	passed := 0
	eachFlip(t, dir, 40, 6000, func(file string, at int) {
		rep := verify(t, dir, "full", backup.LevelDatabase)
		warned := false
		for _, f := range rep.Findings {
			warned = warned || f.Severity != cadb.Note
		}
		if warned {
			if !rep.OK && len(damageIn(rep.Findings, filepath.Base(file))) == 0 {
				t.Errorf("%s, byte %d: the findings do not name it: %v", file, at, rep.Findings)
			}
			return
		}
		passed++
		if strings.HasSuffix(file, ".log") {
			t.Errorf("%s, byte %d: not found", file, at)
		}
		if got := protected(t, source(dir, "full")); got != want {
			t.Errorf("%s, byte %d: not found, and the contents differ:\n%s", file, at, difference(want, got))
		}
	})
	t.Logf("%d flips changed nothing that is protected", passed)
}

// difference is the first line that differs.
func difference(a, b string) string {
	la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(la), len(lb)) {
		if la[i] != lb[i] {
			return la[i] + "\n" + lb[i]
		}
	}
	return fmt.Sprintf("%d and %d lines", len(la), len(lb))
}
