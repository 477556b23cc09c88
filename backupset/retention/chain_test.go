package retention_test

import (
	"slices"
	"testing"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/retention"
)

var lastOne = retention.Options{Policy: retention.Policy{Last: 1}, Now: noon}

// A set whose chain cannot be restored pushes none out that can.
func TestNewestWhole(t *testing.T) {
	old := set("a", noon.AddDate(0, 0, -9), 1, 2, nil)
	full := set("a", noon.AddDate(0, 0, -3), 1, 2, nil)
	open := set("a", noon.AddDate(0, 0, -2), 1, 2, nil)
	open.Confirmed = false
	for _, c := range []struct {
		name string
		tip  backupset.Entry
		with []backupset.Entry
	}{
		{"missing parent", set("a", noon.AddDate(0, 0, -1), 3, 3, &open), nil},
		{"unconfirmed parent", set("a", noon.AddDate(0, 0, -1), 3, 3, &open), []backupset.Entry{open}},
	} {
		got := kept(t, append([]backupset.Entry{old, full, c.tip}, c.with...), lastOne)
		if got[old.ID] != nil || len(got[full.ID]) == 0 || got[full.ID][0] != "newest" || got[c.tip.ID] == nil {
			t.Errorf("%s: kept %v", c.name, got)
		}
	}
}

// What is there of a real set's chain stays with it, though the chain is broken or not confirmed
// throughout.
func TestRestOfChain(t *testing.T) {
	full := set("a", noon.AddDate(0, 0, -9), 1, 2, nil)
	gap := set("a", noon.AddDate(0, 0, -8), 5, 5, &full)
	now := set("a", noon.AddDate(0, 0, -1), 1, 9, nil)
	got := kept(t, []backupset.Entry{full, gap, now}, lastOne)
	if !slices.Equal(got[full.ID], []string{"needed by " + gap.ID}) || got[gap.ID] == nil {
		t.Errorf("broken: kept %v", got)
	}
	open := set("a", noon.AddDate(0, 0, -8), 3, 3, &full)
	open.Confirmed = false
	tip := set("a", noon.AddDate(0, 0, -7), 4, 4, &open)
	got = kept(t, []backupset.Entry{full, open, tip, now}, lastOne)
	if !slices.Equal(got[full.ID], []string{"needed by " + tip.ID}) {
		t.Errorf("unconfirmed in between: kept %v", got)
	}
}

// A set that does not count holds none that does.
func TestNoPin(t *testing.T) {
	old := set("a", noon.AddDate(0, 0, -30), 1, 2, nil)
	cur := set("a", noon.AddDate(0, 0, -1), 1, 2, nil)
	forged := set("a", noon, 3, 3, &old)
	open := set("a", noon.AddDate(0, 0, -2), 3, 3, &old)
	open.Confirmed = false
	future := set("a", noon.AddDate(1, 0, 0), 3, 3, &old)
	o := lastOne
	o.Trusted = func(e backupset.Entry) bool { return e.ID != forged.ID }
	got := kept(t, []backupset.Entry{old, cur, forged, open, future}, o)
	if got[old.ID] != nil || len(got) != 4 {
		t.Errorf("kept %v", got)
	}
}

// A twin of an id does not get the real set forgotten, nor what that needs; a mere copy counts
// once.
func TestTwin(t *testing.T) {
	old := set("a", noon.AddDate(0, 0, -9), 1, 1, nil)
	full := set("a", noon.AddDate(0, 0, -3), 1, 2, nil)
	full.Manifest.SHA256 = "aa"
	tip := set("a", noon.AddDate(0, 0, -1), 3, 3, &full)
	twin := set("a", noon.AddDate(0, 0, -3), 1, 2, nil)
	twin.Manifest.SHA256, twin.Location = "bb", "twin"
	for _, trusted := range []bool{false, true} {
		for _, entries := range [][]backupset.Entry{{old, full, tip, twin}, {twin, tip, full, old}} {
			o := lastOne
			o.Trusted = func(e backupset.Entry) bool { return trusted || e.Location == "" }
			ds, err := retention.Decide(entries, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range ds {
				isOld := d.Entry.ID == old.ID
				if !d.Keep && !isOld || isOld && d.Keep != trusted { // two that are trusted leave no whole chain but the old one
					t.Errorf("trusted %v: %s %s: %+v", trusted, d.Entry.ID, d.Entry.Location, d)
				}
			}
		}
	}
	// Forgetting is by id: the real set stays if its twin does, and so does what it needs.
	late := set("a", noon, 1, 9, nil)
	o := lastOne
	o.Trusted = func(e backupset.Entry) bool { return e.Location == "" }
	forged := tip
	forged.Location = "twin"
	if got := kept(t, []backupset.Entry{old, full, tip, late, forged}, o); len(got) != 3 || got[tip.ID] == nil || got[full.ID] == nil {
		t.Errorf("the twin of an old set: kept %v", got)
	}
	ds, err := retention.Decide([]backupset.Entry{tip, late, full, forged}, o)
	if err != nil || !ds[0].Keep {
		t.Errorf("the real twin is forgotten: %+v, %v", ds, err)
	}
	same := full
	same.Location = "a copy"
	got := kept(t, []backupset.Entry{old, full, same}, retention.Options{Policy: retention.Policy{Last: 2}})
	if got[old.ID] == nil {
		t.Errorf("a copy takes the place of another set: kept %v", got)
	}
}
