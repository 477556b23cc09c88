package backup_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese/esetest"
)

func TestDiffESE(t *testing.T) {
	dir, _, _ := certutilSet(t, func(r *esetest.Request) {
		if r.ID == 9 { // not yet
			r.Disposition, r.Revoked, r.RevokedFrom = schema.Issued, time.Time{}, time.Time{}
		}
	})
	g := newESECA(t)
	if _, err := esetest.WriteBackup(filepath.Join(dir, "tue"), esetest.FolderOptions{Stream: small, Low: 6, High: 7}, func(ca *esetest.CA) error {
		if err := g.fill(eseRequests+10, func(r *esetest.Request) {
			switch r.ID {
			case 17: // was pending
				issued, err := g.Request(1017)
				if err != nil {
					t.Fatal(err)
				}
				r.Disposition, r.Certificate = schema.Issued, issued.Certificate
			}
		})(ca); err != nil {
			return err
		}
		l, err := g.CRL(2)
		if err != nil {
			return err
		}
		return ca.AddCRL(l)
	}); err != nil {
		t.Fatal(err)
	}
	side := func(id string) backup.DiffSide { return backup.DiffSide{Source: source(dir, id)} }
	rep, err := backup.Diff(t.Context(), backup.DiffOptions{Old: side("mon"), New: side("tue"), Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	list := func(l backup.DiffList) (ids []int64) {
		if l.Count != len(l.List) {
			t.Errorf("%d of %d listed", len(l.List), l.Count)
		}
		for _, c := range l.List {
			ids = append(ids, c.RequestID)
		}
		return ids
	}
	for _, x := range []struct {
		name string
		l    backup.DiffList
		want []int64
	}{
		{"issued", rep.Issued, []int64{17, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70}},
		{"revoked", rep.Revoked, []int64{9, 69}}, {"resolved", rep.Resolved, []int64{17}}, {"pending", rep.Pending, nil},
		{"released", rep.Released, nil}, {"gone", rep.Gone, nil}, {"other", rep.Other, nil},
	} {
		if got := list(x.l); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", x.name, got, x.want)
		}
	}
	if len(rep.CRLs) != 1 || rep.CRLs[0].Number != 2 || len(rep.CRLsGone) > 0 || rep.Same() || len(rep.Notes) != 2 || !rep.Old.Unreplayed || rep.New.Requests != eseRequests+10 || rep.New.NewestCRL != 2 {
		t.Errorf("%+v", rep)
	}
	c := rep.Revoked.List[0]
	if c.Was != schema.Issued || c.Is != schema.Revoked || *c.Reason != schema.KeyCompromise || c.RevokedWhen == nil || c.Serial == "" || c.CommonName == "" || c.NotAfter == nil {
		t.Errorf("%+v", c)
	}
	// The other way round, and with itself; a limit does not change the counts.
	if rep, err = backup.Diff(t.Context(), backup.DiffOptions{Old: side("tue"), New: side("mon"), Limit: 3, Scratch: t.TempDir()}); err != nil || rep.Gone.Count != 10 || len(rep.Gone.List) != 3 ||
		!slices.Equal(list(rep.Released), []int64{9}) || len(rep.CRLsGone) != 1 || rep.Pending.Count+rep.Other.Count != 1 {
		t.Errorf("%v, %+v", err, rep)
	}
	if rep, err = backup.Diff(t.Context(), backup.DiffOptions{Old: side("mon"), New: backup.DiffSide{Database: filepath.Join(dir, "mon", dataBase, "Example CA.edb")}, Scratch: t.TempDir()}); err != nil || !rep.Same() {
		t.Errorf("%v, %+v", err, rep)
	}
}

func TestDiffSQLite(t *testing.T) {
	s, dir := standardChain(t)
	side := func(id string) backup.DiffSide { return backup.DiffSide{Source: source(dir, id)} }
	rep, err := backup.Diff(t.Context(), backup.DiffOptions{Old: side("full"), New: side("inc2"), Scratch: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Issued.Count != s.counts[2]-s.counts[0] || rep.Revoked.Count != 1 || len(rep.CRLs) != 1 || rep.Gone.Count+rep.Other.Count > 0 || len(rep.Notes) > 0 || rep.New.Generation != s.gens[2][1] {
		t.Errorf("%+v", rep)
	}
}
