// Package retention decides which sets to keep: for each authority the newest of each
// day, week, month and year, and with each the chain that a restore of it needs.
//
// Only sets count that are confirmed, that the caller trusts, and whose chains are whole and
// made of such sets. What becomes of the others:
//
//   - None is forgotten by a policy: an unfinished set may be all that is left of a day. They
//     are named, to be forgotten one by one.
//   - One that is unconfirmed, not trusted, or of the future holds nothing but itself: whoever
//     can add sets can neither push a real one out nor hold one by continuing it. The sets that
//     such a set continues go as the policy says.
//   - One that is confirmed and trusted, and whose chain is broken or has sets that do not
//     count, stays with what is there of its chain: it may still be restored.
//
// Sets are forgotten by id. All entries of an id are kept if one is, so that a forged twin
// cannot take the real set with it.
package retention

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backupset"
)

// Policy says what to keep. A set that any rule keeps is kept.
type Policy struct {
	Last    int // the newest N
	Daily   int // the newest of each of the last N days on which there was one
	Weekly  int // of weeks (ISO 8601)
	Monthly int
	Yearly  int
	Within  time.Duration // all that are no older than the newest by more than this
}

// ErrEmpty: a policy that would keep nothing.
var ErrEmpty = errors.New("the policy keeps nothing")

func (p Policy) validate() error {
	for _, n := range []int{p.Last, p.Daily, p.Weekly, p.Monthly, p.Yearly, int(p.Within / time.Second)} {
		if n < 0 {
			return errors.New("a rule of the policy is negative")
		}
	}
	if p == (Policy{}) {
		return ErrEmpty
	}
	return nil
}

// Options are the options of Decide.
type Options struct {
	Policy Policy
	// Trusted reports whether a set counts beyond being confirmed, such as by who signed
	// it; nil trusts all.
	Trusted func(backupset.Entry) bool
	// Now is the time against which sets of the future are told; they are kept, and count for
	// nothing.
	Now time.Time
	// Zone is where days begin; nil is UTC.
	Zone *time.Location
}

// Decision is what is to become of a set.
type Decision struct {
	Entry backupset.Entry
	Keep  bool
	// Counted says that the policy looked at the set; one that it did not look at is kept.
	Counted bool
	Reasons []string // why it is kept, for people: "daily 2026-03-14"
}

// slack is how far a set may be dated ahead before it is of the future.
const slack = time.Hour

// Decide decides for each entry, in the order given. A counted set that is kept keeps its
// whole chain. For each authority the newest chain whose sets all count is always kept.
func Decide(entries []backupset.Entry, o Options) ([]Decision, error) {
	if err := o.Policy.validate(); err != nil {
		return nil, err
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	d := &decider{o: o, entries: entries, out: make([]Decision, len(entries)), sound: make([]bool, len(entries)), index: map[string][]int{}}
	var sound []backupset.Entry
	for i, e := range entries {
		d.out[i].Entry = e
		d.index[e.ID] = append(d.index[e.ID], i)
	}
	for i, e := range entries {
		if why := d.uncounted(e); why != "" {
			d.keep(i, why)
			continue
		}
		d.sound[i] = true
		sound = append(sound, e)
	}
	byCA := map[string][]int{}
	seen := map[string]bool{} // a set that is there twice counts once
	for i, e := range entries {
		if !d.sound[i] {
			continue
		}
		if _, err := backupset.Resolve(sound, e.ID, backupset.ResolveOptions{}); err != nil {
			d.keep(i, "its chain is broken, or has sets that do not count")
			continue
		}
		d.out[i].Counted = true
		if !seen[e.ID] {
			seen[e.ID] = true
			byCA[Authority(e.Manifest.CA)] = append(byCA[Authority(e.Manifest.CA)], i)
		}
	}
	for _, list := range byCA {
		d.authority(list)
	}
	d.chains(sound)
	return d.out, nil
}

// Authority tells authorities apart: by name and host. A renewed certificate is the same
// authority's.
func Authority(ca backupset.CA) string {
	name := ca.SanitizedName
	if name == "" {
		name = ca.Name
	}
	return strings.ToLower(ca.Host) + "\\" + strings.ToLower(name)
}

type decider struct {
	o       Options
	entries []backupset.Entry
	out     []Decision
	sound   []bool           // confirmed, trusted and of the past, whatever its chain
	index   map[string][]int // by id
}

// keep keeps an entry, and with it all others of its id.
func (d *decider) keep(i int, why string) {
	d.reason(i, why)
	id := d.entries[i].ID
	if id == "" {
		return
	}
	for _, twin := range d.index[id] {
		if twin != i {
			d.reason(twin, "another set has its id")
		}
	}
}

func (d *decider) reason(i int, why string) {
	d.out[i].Keep = true
	if !slices.Contains(d.out[i].Reasons, why) {
		d.out[i].Reasons = append(d.out[i].Reasons, why)
	}
}

// uncounted says why a set does not count; empty if it does.
func (d *decider) uncounted(e backupset.Entry) string {
	switch {
	case e.Manifest == nil || e.Err != nil:
		return "cannot be read"
	case d.o.Trusted != nil && !d.o.Trusted(e):
		return "not of a host in good standing"
	case !e.Confirmed:
		return "unconfirmed"
	case !d.o.Now.IsZero() && e.Manifest.Start.Sub(d.o.Now) > slack:
		return "dated in the future"
	}
	return ""
}

// authority applies the rules to the counted sets of one authority, whose chains are whole.
func (d *decider) authority(list []int) {
	slices.SortStableFunc(list, func(a, b int) int { // the newest first
		return d.entries[b].Manifest.Start.Compare(d.entries[a].Manifest.Start)
	})
	d.keep(list[0], "newest")
	p := d.o.Policy
	newest := d.entries[list[0]].Manifest.Start
	for n, i := range list {
		if n < p.Last {
			d.keep(i, fmt.Sprintf("last %d", n+1))
		}
		if p.Within > 0 && newest.Sub(d.entries[i].Manifest.Start) <= p.Within {
			d.keep(i, "within "+FormatDuration(p.Within))
		}
	}
	for _, r := range []struct {
		name  string
		n     int
		bound func(time.Time) string
	}{
		{"daily", p.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{"weekly", p.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprintf("%d-W%02d", y, w) }},
		{"monthly", p.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
		{"yearly", p.Yearly, func(t time.Time) string { return t.Format("2006") }},
	} {
		seen := map[string]bool{}
		for _, i := range list {
			period := r.bound(d.entries[i].Manifest.Start.In(d.o.Zone))
			if !seen[period] && len(seen) < r.n {
				d.keep(i, r.name+" "+period)
			}
			if len(seen) < r.n {
				seen[period] = true
			}
		}
	}
}

// chains keeps what kept sets need.
func (d *decider) chains(sound []backupset.Entry) {
	for i := range d.entries {
		if !d.out[i].Keep || !d.sound[i] {
			continue
		}
		id, label := d.entries[i].ID, d.entries[i].Label()
		chain, err := backupset.Resolve(sound, id, backupset.ResolveOptions{})
		if err != nil {
			chain, err = backupset.Resolve(d.entries, id, backupset.ResolveOptions{AllowUnconfirmed: true})
		}
		if err != nil {
			// Broken already; what is left of it stays with it.
			d.parents(i)
			continue
		}
		for _, e := range chain[:len(chain)-1] {
			d.need(e.ID, label)
		}
	}
}

func (d *decider) need(id, label string) {
	for _, i := range d.index[id] {
		if d.sound[i] || !d.out[i].Keep {
			d.reason(i, "needed by "+label)
		}
	}
}

// parents keeps the parents that are there of a chain that is broken.
func (d *decider) parents(i int) {
	label := d.entries[i].Label()
	next := []string{d.entries[i].Manifest.Parent}
	seen := map[string]bool{"": true}
	for len(next) > 0 {
		id := next[0]
		next = next[1:]
		if seen[id] {
			continue
		}
		seen[id] = true
		d.need(id, label)
		for _, j := range d.index[id] { // of twins it is not known which is meant
			if m := d.entries[j].Manifest; m != nil {
				next = append(next, m.Parent)
			}
		}
	}
}
