package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
	"github.com/certkeep/certkeep/folder"
)

// A page that arrives damaged ends the backup: no set, and nothing is truncated.
func TestTakeADCSPages(t *testing.T) {
	a := &adcs{signature: 1, first: 7, last: 9, change: func(name string, b []byte) {
		if strings.HasSuffix(name, ".edb") {
			esetest.FlipBit(b, 8*5*4096+8000)
			esetest.FlipBit(b, 8*5*4096+8001)
		}
	}}
	dir := t.TempDir()
	_, err := backup.Take(t.Context(), backup.TakeOptions{Service: a, Store: folder.Root(dir, folder.Options{}), Name: "mon"})
	var pe *backup.PagesError
	if !errors.As(err, &pe) || pe.Pages[0].Page != 4 || pe.File != "Corp CA.edb" || !errors.Is(err, ese.ErrChecksum) || slices.Contains(a.calls, "truncate") || !slices.Contains(a.calls, "end") {
		t.Errorf("%v, calls %q", err, a.calls)
	}
	if es, err := os.ReadDir(dir); err != nil || len(es) > 0 {
		t.Errorf("kept %v, %v", es, err)
	}

	// Who wants what there is, gets it, marked, and the logs stay.
	a.calls = nil
	res, err := backup.Take(t.Context(), backup.TakeOptions{Service: a, Store: folder.Root(dir, folder.Options{}), Name: "mon", BadPages: backup.MarkBadPages})
	if err != nil || slices.Contains(a.calls, "truncate") || len(res.Unchecked) != 1 || !strings.Contains(res.Unchecked[0], "page 4") {
		t.Fatalf("%v, %+v, calls %q", err, res, a.calls)
	}
	if b := mustRead(t, filepath.Join(dir, "mon", "Companions", backup.BadPagesName)); !strings.Contains(string(b), "page 4 at offset 20480") {
		t.Errorf("%s", b)
	}
	rep, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(dir, "mon"), Level: backup.LevelContent})
	if err != nil || rep.OK {
		t.Errorf("%v, %+v", err, rep)
	}
}

// eseRestore is a target of that authority, with what was taken of it.
func eseRestore(t *testing.T, change func(*esetest.Request)) (string, controlled, eseCA) {
	t.Helper()
	_, f, g := certutilSet(t, change)
	a := &adcs{signature: 1, first: 3, last: 5, files: map[string][]byte{}}
	for _, path := range append([]string{f.Database}, f.Logs...) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		a.files[filepath.Base(path)] = b
	}
	a.files["Corp CA.edb"] = a.files["Example CA.edb"]
	dir := t.TempDir()
	if _, err := backup.Take(t.Context(), backup.TakeOptions{Service: a, Store: folder.Root(dir, folder.Options{}), Name: "mon"}); err != nil {
		t.Fatal(err)
	}
	target := newControlled(t, g.Authority().Raw)
	target.id.Engine, target.id.Name, target.id.SanitizedName, target.logName = "ese", "Corp CA", "Corp CA", "edb%05X.log"
	return dir, target, g
}

// The rows of the copy, which is not replayed, say what the restored database has.
func TestRestoreESEGap(t *testing.T) {
	dir, target, _ := eseRestore(t, func(r *esetest.Request) {
		if r.ID == 29 { // revoked since
			r.Disposition, r.Revoked, r.RevokedFrom = schema.Issued, time.Time{}, time.Time{}
		}
	})
	later := newESECA(t)
	serials := make(map[string]int64)
	for i := range uint32(80) {
		r, err := later.Request(i + 1)
		if err != nil {
			t.Fatal(err)
		}
		if r.Certificate != nil {
			serials[r.Certificate.Serial] = int64(r.ID)
		}
	}
	crl, err := later.CRL(9)
	if err != nil {
		t.Fatal(err)
	}
	o := restoreOptions(t, dir, "mon", target)
	o.CRLs = []backup.CRLFile{{Name: "newest.crl", Raw: crl.Raw}}
	rep, err := backup.Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	g := rep.Gap
	known := make(map[int64]bool)
	for _, r := range g.Revoked {
		known[serials[r.Serial]] = r.Known
	}
	if g.Blind || !g.Unreplayed || len(known) != 2 || !known[29] || known[69] || g.CRLNumber != 9 || len(g.Issued) != 1 || serials[g.Issued[0].Serial] != 69 {
		t.Errorf("%+v", g)
	}
	if d := rep.Database; d == nil || !d.Unreplayed || d.NewestCRL != 1 || d.Requests != eseRequests || rep.Withheld == nil {
		t.Errorf("%+v, withheld %+v", d, rep.Withheld)
	}
	if !says(rep.NotProven, "recovery", "AD CS alone") || says(rep.NotProven, "authority", "") {
		t.Errorf("%+v", rep.NotProven)
	}

	// Nothing newer is known: the authority may publish.
	dir, target, _ = eseRestore(t, nil)
	if rep, err = backup.Restore(t.Context(), restoreOptions(t, dir, "mon", target)); err != nil || rep.Gap.Open() || !slices.Contains(target.calls, "Release") {
		t.Errorf("%v, %+v, calls %q", err, rep.Gap, target.calls)
	}
}

// A set of another authority, and damage, are found before the target is touched.
func TestRestoreESERefuses(t *testing.T) {
	dir, target, _ := eseRestore(t, func(r *esetest.Request) {
		if r.ID == 5 {
			r.Certificate.Serial = "01"
		}
	})
	if _, err := backup.Restore(t.Context(), restoreOptions(t, dir, "mon", target)); !errors.Is(err, backupset.ErrDamaged) || !strings.Contains(err.Error(), "SerialNumber") || len(target.calls) > 0 {
		t.Errorf("%v, calls %q", err, target.calls)
	}
	dir, target, _ = eseRestore(t, nil)
	other := standardCertificate(t)
	target.id.Certificate = other
	if _, err := backup.Restore(t.Context(), restoreOptions(t, dir, "mon", target)); !errors.Is(err, backup.ErrOtherAuthority) || len(target.calls) > 0 {
		t.Errorf("%v, calls %q", err, target.calls)
	}
	// A folder of certutil's with a page that was damaged since.
	folders, f, g := certutilSet(t, nil)
	target = newControlled(t, g.Authority().Raw)
	target.id.Engine, target.id.Name, target.id.SanitizedName = "ese", "Example CA", "Example CA"
	b := mustRead(t, f.Database)
	esetest.FlipBit(b, 8*5*4096+8000)
	esetest.FlipBit(b, 8*5*4096+8001)
	if err := os.WriteFile(f.Database, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := backup.Restore(t.Context(), restoreOptions(t, folders, "mon", target)); !errors.Is(err, backupset.ErrDamaged) || !strings.Contains(err.Error(), "page 4") || len(target.calls) > 0 {
		t.Errorf("%v, calls %q", err, target.calls)
	}
	// A target whose engine is not AD CS's cannot take it.
	plain := newTarget(t, other)
	if _, err := backup.Restore(t.Context(), restoreOptions(t, dir, "mon", plain)); !errors.Is(err, cadb.ErrUnsupported) || len(plain.calls) > 0 {
		t.Errorf("%v, calls %q", err, plain.calls)
	}
}

func standardCertificate(t *testing.T) []byte {
	s, _ := standardChain(t)
	return s.ca.Cert.Raw
}

// A chain without manifests becomes one folder, with the names that its logs had.
func TestMergeESE(t *testing.T) {
	dir, f, _ := certutilSet(t, nil)
	increment(t, dir, "tue", f, 6, 7)
	to := t.TempDir()
	rep, err := backup.Merge(t.Context(), backup.MergeOptions{Source: source(dir, "tue"), To: folder.Root(to, folder.Options{}), Name: "merged", Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if m := rep.Manifest; m.FirstGeneration != 3 || m.LastGeneration != 7 || m.EarliestTarget != 5 || !says(rep.Proven, "chain", "recovery needs") || !says(rep.NotProven, "recovery", "") {
		t.Errorf("%+v, %+v", m, rep.Proven)
	}
	v, err := backup.Verify(t.Context(), backup.VerifyOptions{Source: source(to, "merged"), Scratch: t.TempDir()})
	if err != nil || !v.OK || v.Database.Requests != eseRequests {
		t.Errorf("%v, %+v", err, v)
	}
	if _, err := certadm.DecodeLocations(mustRead(t, filepath.Join(to, "merged", dataBase, "certbkxp.dat"))); err != nil {
		t.Error(err)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
