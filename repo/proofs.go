package repo

import "time"

// proven folds proofs into what is known of each set. A record of the whole (no parts) counts at
// once; shares count when all of the same number of shares have been read.
func (s *state) proven() map[setName]map[string]Proof {
	type key struct {
		set   setName
		level string
	}
	whole := map[key]time.Time{}
	failed := map[key]time.Time{}
	shares := map[key]map[int]map[int]time.Time{} // parts → part → when
	for _, p := range s.proofs {
		for _, set := range p.Sets {
			k := key{s.exactly(set), p.Level}
			switch {
			case !p.OK:
				failed[k] = later(failed[k], p.stored)
			case p.Parts <= 1:
				whole[k] = later(whole[k], p.stored)
			case p.Part >= 1 && p.Part <= p.Parts && p.Parts <= maxShares:
				if shares[k] == nil {
					shares[k] = map[int]map[int]time.Time{}
				}
				if shares[k][p.Parts] == nil {
					shares[k][p.Parts] = map[int]time.Time{}
				}
				shares[k][p.Parts][p.Part] = later(shares[k][p.Parts][p.Part], p.stored)
			}
		}
	}
	out := map[setName]map[string]Proof{}
	put := func(k key, p Proof) {
		if out[k.set] == nil {
			out[k.set] = map[string]Proof{}
		}
		out[k.set][k.level] = p
	}
	for k, at := range whole {
		put(k, Proof{At: at, Parts: 1, Of: 1})
	}
	for k, byParts := range shares {
		p := out[k.set][k.level]
		for parts, read := range byParts {
			if len(read) < parts {
				if p.At.IsZero() && len(read)*max(p.Of, 1) >= p.Parts*parts {
					p.Parts, p.Of = len(read), parts
				}
				continue
			}
			var earliest time.Time
			for _, at := range read {
				if earliest.IsZero() || at.Before(earliest) {
					earliest = at
				}
			}
			if earliest.After(p.At) {
				p = Proof{At: earliest, Parts: parts, Of: parts}
			}
		}
		put(k, p)
	}
	for k, at := range failed {
		p := out[k.set][k.level]
		if at.After(p.At) {
			p.Failed = at
		}
		put(k, p)
	}
	return out
}

// exactly is a name with its entry, if it lacks that: the last set of that id.
func (s *state) exactly(n setName) setName {
	if n.Entry == 0 {
		for _, set := range s.sets {
			if set.author == n.Author && set.Set == n.Set {
				n.Entry = max(n.Entry, set.seq)
			}
		}
	}
	return n
}

// maxShares is into how many shares a verification may be divided.
const maxShares = 10_000

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
