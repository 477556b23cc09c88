package main

import (
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo"
)

// TestAuthorities is about which set or proof decides how old an authority's backup is.
func TestAuthorities(t *testing.T) {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	ago := func(hours int) time.Time { return now.Add(-time.Duration(hours) * time.Hour) }
	set := func(id, ca string, hours int, change ...func(*repo.SetInfo)) repo.SetInfo {
		s := repo.SetInfo{Standing: true, At: ago(hours)}
		s.ID, s.Confirmed = id, true
		s.Manifest = &backupset.Manifest{CA: backupset.CA{Name: ca, SanitizedName: ca, Host: "srv01"}, ID: id, Type: backupset.Full, Start: ago(hours)}
		for _, f := range change {
			f(&s)
		}
		return s
	}
	proof := func(level backup.Level, p repo.Proof) func(*repo.SetInfo) {
		return func(s *repo.SetInfo) {
			if s.Proofs == nil {
				s.Proofs = map[string]repo.Proof{}
			}
			s.Proofs[string(level)] = p
		}
	}
	full := func(s *repo.SetInfo) { s.Manifest.FirstGeneration, s.Manifest.LastGeneration = 1, 2 }
	increment := func(s *repo.SetInfo) {
		s.Manifest.Type, s.Manifest.Parent, s.Manifest.FirstGeneration, s.Manifest.LastGeneration = backupset.Incremental, "a", 3, 4
	}
	for _, tt := range []struct {
		name  string
		level backup.Level
		sets  []repo.SetInfo
		want  string // the newest of each authority, and its age in hours
	}{
		{"none", "", nil, ""},
		{"the newest", "", []repo.SetInfo{set("a", "X", 30), set("b", "X", 3)}, "X b 3h"},
		{"of each authority", "", []repo.SetInfo{set("a", "X", 30), set("b", "Y", 3)}, "X a 30h, Y b 3h"},
		{"unconfirmed ones do not count", "", []repo.SetInfo{set("a", "X", 30), set("b", "X", 3, func(s *repo.SetInfo) { s.Confirmed = false })}, "X a 30h"},
		{"nor those of a host without standing", "", []repo.SetInfo{set("a", "X", 30), set("b", "X", 3, func(s *repo.SetInfo) { s.Standing = false })}, "X a 30h"},
		{"only unconfirmed ones", "", []repo.SetInfo{set("b", "X", 3, func(s *repo.SetInfo) { s.Confirmed = false })}, "X never"},
		{"hidden ones are of nobody", "", []repo.SetInfo{set("b", "X", 3, func(s *repo.SetInfo) { s.Manifest = nil })}, ""},
		{"a host's clock that is ahead does not help", "", []repo.SetInfo{set("a", "X", 30, func(s *repo.SetInfo) { s.Manifest.Start = ago(-1000) })}, "X a 30h"},
		{"a copy is as old as the set", "", []repo.SetInfo{set("a", "X", 30, func(s *repo.SetInfo) { s.At = ago(1) })}, "X a 30h"},
		{"a store ahead of this clock", "", []repo.SetInfo{set("a", "X", -1)}, "X a 0h"},
		{"a proof of an older set", backup.LevelSealed, []repo.SetInfo{
			set("a", "X", 30, proof(backup.LevelSealed, repo.Proof{At: ago(5)})), set("b", "X", 3)}, "X a 5h"},
		{"a deeper proof", backup.LevelSealed, []repo.SetInfo{set("a", "X", 30, proof(backup.LevelDatabase, repo.Proof{At: ago(5)}))}, "X a 5h"},
		{"a shallower proof", backup.LevelContent, []repo.SetInfo{set("a", "X", 30, proof(backup.LevelSealed, repo.Proof{At: ago(5)}))}, "X never"},
		{"shares that are not all read", backup.LevelContent, []repo.SetInfo{set("a", "X", 30, proof(backup.LevelContent, repo.Proof{Parts: 3, Of: 30}))}, "X never"},
		{"damage that was found since", backup.LevelSealed, []repo.SetInfo{
			set("a", "X", 30, proof(backup.LevelContent, repo.Proof{At: ago(9)}), proof(backup.LevelSealed, repo.Proof{At: ago(9), Failed: ago(5)}))}, "X never"},
		{"damage in the newest", "", []repo.SetInfo{set("a", "X", 30), set("b", "X", 3, proof(backup.LevelSealed, repo.Proof{Failed: ago(1)}))}, "X never"},
		{"damage in an older one", "", []repo.SetInfo{set("a", "X", 30, proof(backup.LevelSealed, repo.Proof{Failed: ago(1)})), set("b", "X", 3)}, "X b 3h"},
		{"damage in the newest, and a proof of another", backup.LevelSealed, []repo.SetInfo{
			set("a", "X", 30, proof(backup.LevelSealed, repo.Proof{At: ago(1)})), set("b", "X", 3, proof(backup.LevelInventory, repo.Proof{Failed: ago(1)}))}, "X never"},
		{"a chain that is broken", "", []repo.SetInfo{set("a", "X", 30), set("b", "X", 3, func(s *repo.SetInfo) {
			s.Manifest.Type, s.Manifest.Parent = backupset.Incremental, "gone"
		})}, "X never"},
		{"damage in the chain", "", []repo.SetInfo{set("a", "X", 30, proof(backup.LevelContent, repo.Proof{Failed: ago(1)}), full), set("b", "X", 3, increment)}, "X never"},
		{"a chain that is whole", "", []repo.SetInfo{set("a", "X", 30, full), set("b", "X", 3, increment)}, "X b 3h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, a := range authorities(tt.sets, tt.level, now) {
				age := "never"
				if a.Seconds != nil {
					age = a.Newest + " " + strings.TrimSuffix(a.age.String(), "0m0s")
				}
				got = append(got, a.Authority+" "+strings.Replace(age, " 0s", " 0h", 1))
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

// TestDeepest is what list says of a set's proofs.
func TestDeepest(t *testing.T) {
	at, later := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		proofs map[backup.Level]repo.Proof
		want   string
	}{
		{nil, "none"},
		{map[backup.Level]repo.Proof{backup.LevelSealed: {At: at, Parts: 1, Of: 1}, backup.LevelInventory: {At: later, Parts: 1, Of: 1}}, "sealed 2026-03-01 00:00:00Z"},
		{map[backup.Level]repo.Proof{backup.LevelContent: {Parts: 12, Of: 30}, backup.LevelSealed: {At: at, Parts: 1, Of: 1}}, "content 12/30"},
		{map[backup.Level]repo.Proof{backup.LevelDatabase: {At: at, Parts: 1, Of: 1}, backup.LevelSealed: {Failed: later}}, "DAMAGED (sealed, 2026-03-02 00:00:00Z)"},
	} {
		s := repo.SetInfo{Proofs: map[string]repo.Proof{}}
		for l, p := range tt.proofs {
			s.Proofs[string(l)] = p
		}
		r := newSetResult(s, nil)
		if got := r.deepest(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.proofs, got, tt.want)
		}
	}
}

func TestFlagsOfPrune(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Duration
		ok   bool
	}{{"0", 0, true}, {"1h", time.Hour, true}, {"2d", 48 * time.Hour, true}, {"-1h", 0, false}, {"soon", 0, false}, {"", 0, false}} {
		var w wait
		if err := w.Set(tt.text); (err == nil) != tt.ok || tt.ok && time.Duration(w) != tt.want {
			t.Errorf("--grace %q is %v, %v", tt.text, time.Duration(w), err)
		}
	}
	for d, want := range map[time.Duration]string{0: "0", time.Hour: "1h", 26 * time.Hour: "26h", 48 * time.Hour: "2d", 90 * time.Minute: "1h30m0s"} {
		w := wait(d)
		if got := w.String(); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
		if err := w.Set(want); err != nil || time.Duration(w) != d {
			t.Errorf("%q is read as %v, %v", want, time.Duration(w), err)
		}
	}
	for text, want := range map[string]percent{"25%": 25, "1": 1, "99%": 99, "0": 0, "100%": 0, "a": 0, "-3%": 0} {
		var p percent
		if err := p.Set(text); (err == nil) != (want != 0) || err == nil && p != want {
			t.Errorf("--max-unused %q is %v, %v", text, p, err)
		}
	}
}
