package backup_test

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
)

// What is said of sets that are verified together is what is said of each alone, and what happens to one does not
// end the others'.
func TestVerifyTogether(t *testing.T) {
	_, dir := standardChain(t)
	ese, f, g := certutilSet(t, nil)
	increment(t, ese, "tue", f, 6, 7)
	broken, _, _ := certutilSet(t, nil)
	flip(filepath.Join("mon", dataBase, "Example CA.edb"), 5*4096)(t, broken)
	for _, level := range []backup.Level{backup.LevelInventory, backup.LevelSealed, backup.LevelContent, backup.LevelDatabase} {
		var sets []backup.VerifyOptions
		for _, s := range []backup.Source{source(ese, "tue"), source(dir, "inc2"), source(dir, "nosuch"), source(broken, "mon"), source(ese, "mon"), source(dir, "full")} {
			sets = append(sets, backup.VerifyOptions{Source: s, Level: level, Scratch: t.TempDir(), CACertificate: g.Authority()})
		}
		reports, errs := backup.VerifyTogether(t.Context(), sets)
		for n, o := range sets {
			alone, err := backup.Verify(t.Context(), o)
			if (err == nil) != (errs[n] == nil) || err != nil && err.Error() != errs[n].Error() {
				t.Errorf("%s, %s: %v, and alone %v", level, o.ID, errs[n], err)
			}
			for _, r := range []*backup.VerifyReport{reports[n], alone} {
				r.Started, r.Duration = time.Time{}, 0
			}
			if !reflect.DeepEqual(reports[n], alone) {
				t.Errorf("%s, %s: %+v\nand alone %+v", level, o.ID, reports[n], alone)
			}
		}
		if !errors.Is(errs[2], backupset.ErrNotFound) || reports[4].OK != true || level == backup.LevelContent && reports[3].OK {
			t.Errorf("%s: %v, %+v, %+v", level, errs, reports[3], reports[4])
		}
	}
}

// Progress goes on to all that was announced, no further, and one call at a time.
func TestVerifyContentProgress(t *testing.T) {
	dir, _, _ := certutilSet(t, nil)
	var last backup.Progress
	rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "mon"), Level: backup.LevelContent, Progress: func(p backup.Progress) {
		if p.Done > p.Total || p.Done < last.Done {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	}})
	if err != nil || !rep.OK || last.Total < 2*rep.Sets[0].Bytes-64<<10 || last.Done != last.Total {
		t.Errorf("%v, %+v, at last %+v", err, rep, last)
	}
}

// Cancelled in the midst of it a verification ends, and what checks pages beside the reading as well.
func TestVerifyContentCanceled(t *testing.T) {
	dir, _, _ := certutilSet(t, nil)
	for stop := range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_, err := backup.Verify(ctx, backup.VerifyOptions{Source: source(dir, "mon"), Level: backup.LevelContent, Progress: func(backup.Progress) {
			if n == stop {
				cancel()
			}
			n++
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at call %d: %v", stop, err)
		}
	}
}
