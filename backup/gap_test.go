package backup_test

import (
	"database/sql"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb/cadbtest"
	"github.com/certkeep/certkeep/cadb/schema"
)

// gapWorld is an authority that was backed up, went on, and was lost.
func gapWorld(t *testing.T) (w *world, dir string, old string) {
	t.Helper()
	w = newWorld(t, 3) // certificate 0 is revoked, CRL 1 published
	w.publish()        // CRL 2, in the set
	w.full("full", nil)
	w.revoke(1)
	w.issue(2) // certificates 3 and 4 are issued after the backup
	w.revoke(3)
	w.publish() // CRL 3
	w.revoke(2) // no CRL tells of this
	old, _ = w.crash(t.TempDir())
	return w, w.sets(), old
}

func planned(t *testing.T, o backup.RestoreOptions) backup.Gap {
	t.Helper()
	o.PlanOnly = true
	rep, err := backup.Restore(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return *rep.Gap
}

func TestGapFromCRL(t *testing.T) {
	w, dir, _ := gapWorld(t)
	target := newTarget(t, w.ca.Cert.Raw)
	o := restoreOptions(t, dir, "full", target)
	if g := planned(t, o); g.Open() || len(g.Issued) > 0 || g.CRLNumber != 2 {
		t.Errorf("nothing newer is known, and the gap is %+v", g)
	}
	for name, raw := range map[string][]byte{"der": w.crl, "pem": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: w.crl})} {
		o.CRLs = []backup.CRLFile{{Name: "newest." + name, Raw: raw}}
		g := planned(t, o)
		if !g.Open() || len(g.Revoked) != 2 || g.CRLNumber != 3 || len(g.Issued) != 1 {
			t.Fatalf("%s: %+v", name, g)
		}
		for _, r := range g.Revoked {
			switch r.Serial {
			case w.ca.Issued[1].Serial:
				if !r.Known || r.Reason != schema.Superseded || !r.Time.Equal(w.ca.Issued[1].When) || r.Source != "newest."+name {
					t.Errorf("%+v", r)
				}
			case w.ca.Issued[3].Serial:
				if r.Known {
					t.Errorf("a certificate that the database lacks is said to be known: %+v", r)
				}
			default:
				t.Errorf("unexpected %+v", r)
			}
		}
		if g.Issued[0].Serial != w.ca.Issued[3].Serial {
			t.Errorf("issued %+v", g.Issued)
		}
	}
	// The target learns of it before anything is set aside or registered.
	target.before["SetAside"] = func() {
		if target.gap == nil || !target.gap.Open() {
			t.Errorf("the gap is not recorded yet: %+v", target.gap)
		}
	}
	rep, err := backup.Restore(t.Context(), o)
	if err != nil || len(rep.Next) != 3 || !strings.Contains(rep.Next[1], "2 certificates") {
		t.Errorf("%v %v", rep.Next, err)
	}
	target = newTarget(t, w.ca.Cert.Raw)
	o.Target, o.AcceptGap = target, true
	if rep, err = backup.Restore(t.Context(), o); err != nil || target.gap.Open() || !target.gap.Accepted || len(target.gap.Revoked) != 2 || len(rep.Next) != 2 {
		t.Errorf("accepted: %+v, %v", target.gap, err)
	}
}

func TestGapFromOldDatabase(t *testing.T) {
	w, dir, old := gapWorld(t)
	target := newTarget(t, w.ca.Cert.Raw)
	for _, suffix := range []string{"", "-wal"} {
		if err := os.Rename(old+suffix, filepath.Join(target.dir, "database", dbName+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	before := treeState(t, target.dir)
	g := planned(t, restoreOptions(t, dir, "full", target))
	sameTree(t, "looking for the gap", before, treeState(t, target.dir))
	if len(g.Revoked) != 3 || len(g.Issued) != 2 || g.CRLNumber != 3 || g.RequestID != w.ca.NextID-1 {
		t.Errorf("%+v", g)
	}
	for _, c := range g.Issued {
		if c.CommonName == "" || c.NotAfter == nil || len(c.SHA256) != 64 {
			t.Errorf("%+v", c)
		}
	}
}

// A database that is older than the backup must not undo what was taken off hold.
func TestGapOldDatabaseIsOlder(t *testing.T) {
	w := newWorld(t, 2)
	w.ca.Now = time.Now().Add(-time.Minute)
	w.write(func(tx *sql.Tx) error { return w.ca.Revoke(tx, &w.ca.Issued[1], schema.CertificateHold) })
	old, _ := w.crash(t.TempDir())
	w.write(func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE Requests SET Disposition = 20, RevokedWhen = NULL, RevokedEffectiveWhen = NULL, RevokedReason = 8 WHERE RequestID = ?", w.ca.Issued[1].ID)
		return err
	})
	w.ca.Issued[1].Revoked = false
	w.issue(1)
	w.publish()
	w.full("full", nil)
	target := newTarget(t, w.ca.Cert.Raw)
	for _, suffix := range []string{"", "-wal"} {
		if err := os.Rename(old+suffix, filepath.Join(target.dir, "database", dbName+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	g := planned(t, restoreOptions(t, w.sets(), "full", target))
	if g.Open() || len(g.Issued) > 0 {
		t.Errorf("%+v", g)
	}
	found := false
	for _, s := range g.Sources {
		found = found || s.Kind == "database" && !s.Newer && strings.Contains(s.Note, "adds nothing")
	}
	if !found {
		t.Errorf("that it is of no use is not said: %+v", g.Sources)
	}
}

func TestGapUnreadableOldDatabase(t *testing.T) {
	w, dir, _ := gapWorld(t)
	target := newTarget(t, w.ca.Cert.Raw)
	if err := os.WriteFile(filepath.Join(target.dir, "database", dbName), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	rep, err := backup.Restore(t.Context(), restoreOptions(t, dir, "full", target))
	if err != nil {
		t.Fatal(err)
	}
	said := false
	for _, s := range rep.Gap.Sources {
		said = said || s.Kind == "database" && strings.Contains(s.Note, "could not be read")
	}
	if !said || statement(rep.NotProven, "gap") == "" {
		t.Errorf("%+v, %v", rep.Gap.Sources, rep.NotProven)
	}
}

func TestGapRefusesForgedCRL(t *testing.T) {
	w, dir, _ := gapWorld(t)
	forger := cadbtest.New(t, caName)
	forger.CRLNumber = 50
	forged, err := forger.CRL()
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte(nil), w.crl...)
	changed[len(changed)-5] ^= 1
	for name, raw := range map[string][]byte{"forged": forged, "changed": changed, "rubbish": []byte("x"), "empty": nil} {
		target := newTarget(t, w.ca.Cert.Raw)
		o := restoreOptions(t, dir, "full", target)
		o.CRLs = []backup.CRLFile{{Name: name, Raw: raw}}
		if _, err := backup.Restore(t.Context(), o); !errors.Is(err, backup.ErrForeignCRL) || !strings.Contains(err.Error(), name) || len(target.calls) > 0 {
			t.Errorf("%s: %v, %v", name, err, target.calls)
		}
		// One that merely lay about is passed over, and that is said.
		o.CRLs[0].Found = true
		g := planned(t, o)
		if g.Open() || g.CRLNumber != 2 || !strings.Contains(g.Sources[0].Note, "passed over") {
			t.Errorf("%s: %+v", name, g)
		}
	}
}

// Nothing was issued after the backup, and no CRL published: there is only the
// row that says that a certificate was revoked.
func TestGapOnlyARevocation(t *testing.T) {
	w := newWorld(t, 2)
	w.full("full", nil)
	w.revoke(1)
	old, _ := w.crash(t.TempDir())
	target := newTarget(t, w.ca.Cert.Raw)
	for _, suffix := range []string{"", "-wal"} {
		if err := os.Rename(old+suffix, filepath.Join(target.dir, "database", dbName+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	if g := planned(t, restoreOptions(t, w.sets(), "full", target)); len(g.Revoked) != 1 || g.Revoked[0].Serial != w.ca.Issued[1].Serial {
		t.Errorf("%+v", g)
	}
}

// A CRL from before the backup tells nothing: what it lists and the database
// does not was taken off hold since.
func TestGapStaleCRL(t *testing.T) {
	w := newWorld(t, 2)
	w.write(func(tx *sql.Tx) error { return w.ca.Revoke(tx, &w.ca.Issued[1], schema.CertificateHold) })
	stale := w.publish()
	w.write(func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE Requests SET Disposition = 20, RevokedWhen = NULL, RevokedEffectiveWhen = NULL, RevokedReason = 8 WHERE RequestID = ?", w.ca.Issued[1].ID)
		return err
	})
	w.ca.Issued[1].Revoked = false
	w.publish()
	w.full("full", nil)
	o := restoreOptions(t, w.sets(), "full", newTarget(t, w.ca.Cert.Raw))
	o.CRLs = []backup.CRLFile{{Name: "stale", Raw: stale}}
	if g := planned(t, o); g.Open() || g.CRLNumber != 3 || !strings.Contains(g.Sources[0].Note, "adds nothing") {
		t.Errorf("%+v", g)
	}
}

// Certificates in the displaced database count only if the authority signed
// them: the file may have been tampered with.
func TestGapForgedDatabase(t *testing.T) {
	w, dir, _ := gapWorld(t)
	forger := cadbtest.New(t, caName)
	forger.NextID = 500
	target := newTarget(t, w.ca.Cert.Raw)
	cadbtest.File(t, filepath.Join(target.dir, "database", dbName), forger, 2)
	g := planned(t, restoreOptions(t, dir, "full", target))
	if g.Open() || len(g.Issued) > 0 {
		t.Errorf("%+v", g)
	}
	if n := len(g.Sources); n == 0 || !strings.Contains(g.Sources[n-1].Note, "not signed by this authority") {
		t.Errorf("%+v", g.Sources)
	}
}
