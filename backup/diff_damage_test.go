package backup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/ese/esetest"
)

// What could not be read differs for that: it is said, and of which state.
func TestDiffESEDamaged(t *testing.T) {
	g, dir := newESECA(t), t.TempDir()
	f, err := esetest.WriteLive(filepath.Join(dir, "CertLog"), esetest.FolderOptions{Stream: small}, false, g.fill(eseRequests, nil))
	if err != nil {
		t.Fatal(err)
	}
	b := mustRead(t, f.Database)
	damaged := filepath.Join(dir, "damaged.edb")
	for page := range uint32(len(b)/4096 - 2) { // two bits of each that is a leaf of something
		if p := esetest.PageOf(b, 4096, page+1); page > 50 && p[36]&2 != 0 {
			esetest.FlipBit(p, 8*3000)
			esetest.FlipBit(p, 8*3000+1)
		}
	}
	if err := os.WriteFile(damaged, b, 0o600); err != nil {
		t.Fatal(err)
	}
	rep, err := backup.Diff(t.Context(), backup.DiffOptions{Old: backup.DiffSide{Database: f.Database}, New: backup.DiffSide{Database: damaged}})
	if err != nil || !rep.Damaged || !strings.Contains(strings.Join(rep.Notes, "\n"), "the new state is damaged") || strings.Contains(strings.Join(rep.Notes, "\n"), "the old state is damaged") {
		t.Errorf("%v, %+v", err, rep)
	}
	seen := make(map[string]bool)
	for _, n := range rep.Notes {
		if seen[n] {
			t.Errorf("twice: %s", n)
		}
		seen[n] = true
	}
}

// A long value that a copy does not have yet does not make another certificate.
func TestDiffESEUnread(t *testing.T) {
	_, f, _ := certutilSet(t, nil)
	whole := mustRead(t, f.Database)
	path := filepath.Join(t.TempDir(), "stale.edb")
	unread := func() (n int) {
		db, err := cadb.Open(t.Context(), path)
		if err != nil {
			return 0
		}
		defer db.Close()
		rows := 0
		for r, err := range db.Requests(t.Context(), cadb.Filter{}) {
			if err != nil {
				return 0
			}
			rows++
			for _, u := range r.Unread {
				if u.Column == "Certificates.RawCertificate" {
					n++
				}
			}
		}
		if rows < eseRequests {
			return 0
		}
		return n
	}
	n := 0
	for page := uint32(len(whole)/4096 - 4); page > 10 && n == 0; page-- {
		b := bytes.Clone(whole)
		esetest.LoseWrite(b, 4096, page)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		n = unread()
	}
	if n == 0 {
		t.Fatal("no page has certificates alone")
	}
	rep, err := backup.Diff(t.Context(), backup.DiffOptions{Old: backup.DiffSide{Database: path}, New: backup.DiffSide{Database: f.Database}})
	if err != nil || rep.Damaged || rep.Other.Count != n {
		t.Fatalf("%v, %d unread, %+v", err, n, rep)
	}
	for _, c := range rep.Other.List {
		if c.What != "not all of it could be read" {
			t.Errorf("%+v", c)
		}
	}
}
