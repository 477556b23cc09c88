package retention_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/retention"
)

var noon = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

// set makes an entry; parent is nil for a full set.
func set(ca string, at time.Time, first, last uint32, parent *backupset.Entry) backupset.Entry {
	m := &backupset.Manifest{ID: fmt.Sprintf("%s-%s", at.Format("20060102T150405"), ca), Type: backupset.Full, Engine: "ese", Signature: "00",
		CA: backupset.CA{Name: ca, SanitizedName: ca, Host: "h"}, Start: at, End: at, FirstGeneration: first, LastGeneration: last}
	if parent != nil {
		m.Type, m.Parent = backupset.Incremental, parent.ID
	}
	return backupset.Entry{ID: m.ID, Manifest: m, Confirmed: true}
}

func kept(t testing.TB, entries []backupset.Entry, o retention.Options) map[string][]string {
	t.Helper()
	ds, err := retention.Decide(entries, o)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, d := range ds {
		if d.Keep {
			out[d.Entry.ID] = d.Reasons
		}
	}
	return out
}

func TestRules(t *testing.T) {
	var fulls []backupset.Entry
	for day := range 400 {
		fulls = append(fulls, set("a", noon.AddDate(0, 0, -day), 1, 1, nil))
	}
	for _, c := range []struct {
		p    retention.Policy
		want int
	}{
		{retention.Policy{Last: 3}, 3}, {retention.Policy{Daily: 10}, 10}, {retention.Policy{Weekly: 4}, 4}, {retention.Policy{Monthly: 5}, 5},
		{retention.Policy{Yearly: 2}, 2}, {retention.Policy{Yearly: 9}, 2}, {retention.Policy{Within: 9 * retention.Day}, 10},
		{retention.Policy{Daily: 7, Monthly: 12}, 7 + 11},
	} {
		if got := kept(t, fulls, retention.Options{Policy: c.p, Now: noon}); len(got) != c.want {
			t.Errorf("%+v keeps %d sets, want %d: %v", c.p, len(got), c.want, got)
		}
	}
	if _, err := retention.Decide(fulls, retention.Options{}); !errors.Is(err, retention.ErrEmpty) {
		t.Errorf("an empty policy: %v", err)
	}
	got := kept(t, fulls, retention.Options{Policy: retention.Policy{Weekly: 2, Monthly: 1}})
	if r := got[fulls[0].ID]; !slices.Contains(r, "weekly 2026-W14") || !slices.Contains(r, "monthly 2026-03") || !slices.Contains(r, "newest") {
		t.Errorf("reasons %v", r)
	}
}

// A full set outlives the incremental ones that need it.
func TestChain(t *testing.T) {
	full := set("a", noon.AddDate(0, 0, -3), 1, 2, nil)
	one := set("a", noon.AddDate(0, 0, -2), 3, 3, &full)
	two := set("a", noon.AddDate(0, 0, -1), 4, 4, &one)
	old := set("a", noon.AddDate(0, 0, -9), 1, 1, nil)
	got := kept(t, []backupset.Entry{old, full, one, two}, retention.Options{Policy: retention.Policy{Last: 1}})
	if len(got) != 3 || got[old.ID] != nil || got[full.ID][0] != "needed by "+two.ID {
		t.Errorf("kept %v", got)
	}
}

// Sets that do not count push none out, and are not forgotten.
func TestUncounted(t *testing.T) {
	good := set("a", noon.AddDate(0, 0, -5), 1, 1, nil)
	open := set("a", noon, 1, 1, nil)
	open.Confirmed = false
	forged := set("a", noon.Add(-time.Hour), 1, 1, nil)
	future := set("a", noon.AddDate(3, 0, 0), 1, 1, nil)
	other := set("b", noon.AddDate(-3, 0, 0), 1, 1, nil)
	got := kept(t, []backupset.Entry{other, good, forged, open, future}, retention.Options{Policy: retention.Policy{Last: 1}, Now: noon,
		Trusted: func(e backupset.Entry) bool { return e.ID != forged.ID }})
	for id, want := range map[string]string{good.ID: "newest", open.ID: "unconfirmed", forged.ID: "not of a host in good standing", future.ID: "dated in the future", other.ID: "newest"} {
		if len(got[id]) == 0 || got[id][0] != want {
			t.Errorf("%s: %v, want %s", id, got[id], want)
		}
	}
}

func drawEntries(t *rapid.T) []backupset.Entry {
	var entries []backupset.Entry
	at := noon.AddDate(-2, 0, 0)
	var tip *backupset.Entry
	for range rapid.IntRange(1, 40).Draw(t, "sets") {
		at = at.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "hours")) * time.Hour)
		var e backupset.Entry
		if tip != nil && rapid.Bool().Draw(t, "incremental") {
			g := tip.Manifest.LastGeneration + 1
			e = set("a", at, g, g, tip)
		} else {
			e = set("a", at, 1, 1, nil)
		}
		e.Confirmed = rapid.IntRange(0, 5).Draw(t, "confirmed") > 0
		entries = append(entries, e)
		if e.Confirmed {
			tip = &entries[len(entries)-1]
			c := *tip
			tip = &c
		}
	}
	return entries
}

func drawPolicy(t *rapid.T) retention.Policy {
	n := rapid.IntRange(0, 5)
	return retention.Policy{Last: n.Draw(t, "last") + 1, Daily: n.Draw(t, "daily"), Weekly: n.Draw(t, "weekly"), Monthly: n.Draw(t, "monthly"),
		Yearly: n.Draw(t, "yearly"), Within: time.Duration(n.Draw(t, "within")) * retention.Week}
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		entries := drawEntries(rt)
		p := drawPolicy(rt)
		got := kept(t, entries, retention.Options{Policy: p, Now: noon})
		var left []backupset.Entry
		for _, e := range entries {
			if got[e.ID] != nil {
				left = append(left, e)
			}
		}
		for _, e := range left { // no chain is broken
			_, before := backupset.Resolve(entries, e.ID, backupset.ResolveOptions{AllowUnconfirmed: true})
			if _, err := backupset.Resolve(left, e.ID, backupset.ResolveOptions{AllowUnconfirmed: true}); err != nil && before == nil && e.Confirmed {
				rt.Fatalf("set %s: %v", e.ID, err)
			}
		}
		if again := kept(t, left, retention.Options{Policy: p, Now: noon}); len(again) != len(left) {
			rt.Fatalf("the same policy keeps %d of the %d it kept", len(again), len(left))
		}
		more := p
		more.Last, more.Monthly = p.Last+1, p.Monthly+1
		wider := kept(t, entries, retention.Options{Policy: more, Now: noon})
		for id := range got {
			if wider[id] == nil {
				rt.Fatalf("a larger policy forgets %s", id)
			}
		}
		// Whoever adds sets that do not count changes nothing for those that do.
		flood := slices.Clone(entries)
		for i := range rapid.IntRange(1, 20).Draw(rt, "flood") {
			e := set("a", noon.Add(-time.Duration(i)*time.Minute), 1, 1, nil)
			e.ID += "-forged"
			e.Manifest.ID, e.Confirmed = e.ID, rapid.Bool().Draw(rt, "forged receipt")
			if i%2 == 1 {
				e.Manifest.Type, e.Manifest.Parent = backupset.Incremental, rapid.SampledFrom(entries).Draw(rt, "continues").ID
			}
			flood = append(flood, e)
		}
		trusted := func(e backupset.Entry) bool { return len(e.ID) < 6 || e.ID[len(e.ID)-6:] != "forged" }
		flooded := kept(t, flood, retention.Options{Policy: p, Now: noon, Trusted: trusted})
		for _, e := range entries {
			if (flooded[e.ID] != nil) != (got[e.ID] != nil) {
				rt.Fatalf("forged sets change what becomes of %s", e.ID)
			}
		}
	})
}

func TestDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{"26h": 26 * time.Hour, "30d": 30 * retention.Day, "1y6m": retention.Year + 6*retention.Month, "2w3d": 17 * retention.Day} {
		if got, err := retention.ParseDuration(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
		if got, err := retention.ParseDuration(retention.FormatDuration(want)); err != nil || got != want {
			t.Errorf("%s is written %s: %v, %v", s, retention.FormatDuration(want), got, err)
		}
	}
	for _, s := range []string{"", "0d", "d", "5", "-1d", "1.5d", "99999999999d", "200y", "1s", "1d "} {
		if d, err := retention.ParseDuration(s); err == nil {
			t.Errorf("%q is %v", s, d)
		}
	}
}
