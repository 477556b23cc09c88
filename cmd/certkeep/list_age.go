package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/retention"
	"github.com/certkeep/certkeep/repo"
)

// authorities tells of each authority how new its newest confirmed set is; or with a level, the
// newest proof of one. Sets that are damaged, or whose chain is, do not count; and if that is
// so of the newest, none does.
func authorities(sets []repo.SetInfo, level backup.Level, now time.Time) []authorityResult {
	out := []authorityResult{}
	index := map[string]int{}
	var newest []repo.SetInfo // confirmed, of each
	broken := brokenSets(sets)
	for _, s := range sets {
		m := s.Manifest
		if m == nil {
			continue
		}
		key := retention.Authority(m.CA)
		i, ok := index[key]
		if !ok {
			i = len(out)
			index[key] = i
			out, newest = append(out, authorityResult{Authority: m.CA.Name, Host: m.CA.Host}), append(newest, repo.SetInfo{})
		}
		a := &out[i]
		a.Sets++
		if !s.Confirmed || !s.Standing {
			continue
		}
		a.Confirmed++
		if newest[i].Manifest == nil || !taken(s).Before(taken(newest[i])) {
			newest[i] = s
		}
		at := taken(s)
		if level != "" {
			at = proven(s, level)
		}
		if broken[s.ID] == "" && !at.IsZero() && !at.Before(a.At) {
			a.Newest, a.At = s.ID, at.UTC()
		}
	}
	for i := range out {
		a := &out[i]
		if why := broken[newest[i].ID]; why != "" {
			a.Newest, a.At, a.Problem = newest[i].ID, time.Time{}, why
		}
		if !a.At.IsZero() {
			a.age = max(now.Sub(a.At), 0)
			seconds := int64(a.age / time.Second)
			a.Seconds = &seconds
		}
	}
	return out
}

// brokenSets are the sets that cannot be restored as far as is known, by id, with the reason.
func brokenSets(sets []repo.SetInfo) map[string]string {
	damaged := map[string]bool{}
	for _, s := range sets {
		for _, p := range s.Proofs {
			if !p.Failed.IsZero() {
				damaged[s.ID] = true
			}
		}
	}
	out := map[string]string{}
	entries := entriesOf(sets)
	for _, s := range sets {
		if s.Manifest == nil {
			continue
		}
		chain, err := backupset.Resolve(entries, s.ID, backupset.ResolveOptions{AllowUnconfirmed: true})
		if err != nil {
			out[s.ID] = err.Error()
		}
		for _, link := range chain {
			if damaged[link.ID] {
				out[s.ID] = "damage was found in " + link.ID
			}
		}
	}
	return out
}

// taken is when a set was taken: what the host says, but not after it was stored.
func taken(s repo.SetInfo) time.Time {
	if s.At.Before(s.Manifest.Start) {
		return s.At
	}
	return s.Manifest.Start
}

// proven is when a set was last found good at a level or a deeper one; zero if it was not.
func proven(s repo.SetInfo, level backup.Level) (at time.Time) {
	for _, l := range backup.Levels[slices.Index(backup.Levels, level):] {
		if p := s.Proofs[string(l)]; p.At.After(at) {
			at = p.At
		}
	}
	return at
}

// judge is the error of a repository that has no set, or no proof, that is new enough.
func (r *listResult) judge(o *listOptions) error {
	limit, what := time.Duration(o.maxAge), "confirmed set"
	if o.level != "" {
		what = "proof at level " + o.level
	}
	var old []string
	for i := range r.Authorities {
		a := &r.Authorities[i]
		switch {
		case a.Problem != "":
			old = append(old, fmt.Sprintf("%s: the newest confirmed set, %s, cannot be restored: %s", a.Authority, a.Newest, a.Problem))
		case a.At.IsZero():
			old = append(old, fmt.Sprintf("%s: there is no %s", a.Authority, what))
		case a.age > limit:
			old = append(old, fmt.Sprintf("%s: the newest %s is %s old (%s)", a.Authority, what, howOld(a.age), a.Newest))
		default:
			continue
		}
		a.TooOld = true
	}
	switch {
	case len(r.Authorities) == 0 && o.ca != "":
		old = append(old, "there is no set of "+o.ca)
	case len(r.Authorities) == 0:
		old = append(old, "there is no set")
	}
	if old == nil {
		return nil
	}
	r.TooOld = true
	return withExit(exitTooOld, fmt.Errorf("older than %s: %s", period(limit), strings.Join(old, "; ")))
}

// howOld writes how old something is: from two days on in days.
func howOld(d time.Duration) string {
	if d >= 2*oneDay {
		return plural(int64(d/oneDay), "day", "days")
	}
	return took(d)
}
