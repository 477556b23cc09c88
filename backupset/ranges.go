package backupset

import (
	"fmt"
	"slices"
)

// resolveRanges finds what a synthesized incremental set continues, by its
// generations alone.
func resolveRanges(entries []Entry, tip Entry, o ResolveOptions) (Chain, error) {
	var full *Entry
	for i, e := range entries {
		m := e.Manifest
		if m == nil || m.Type != Full || m.Engine != tip.Manifest.Engine || m.LastGeneration >= tip.Manifest.LastGeneration {
			continue
		}
		if full != nil && m.CA.SanitizedName != full.Manifest.CA.SanitizedName {
			return nil, fmt.Errorf("set %s: %w: it may continue %s or %s", tip.Label(), ErrAmbiguous, full.Label(), e.Label())
		}
		if full == nil || m.LastGeneration > full.Manifest.LastGeneration {
			full = &entries[i]
		}
	}
	if full == nil {
		return nil, fmt.Errorf("%w: no full set ends before generation %d, the last of set %s", ErrChain, tip.Manifest.LastGeneration, tip.Label())
	}
	chain := Chain{*full}
	for last := full.Manifest.LastGeneration; last+1 < tip.Manifest.FirstGeneration; {
		next := bridge(entries, tip, last)
		if next == nil {
			return nil, fmt.Errorf("%w: set %s begins at generation %d, and %d to %d are in no set", ErrChain,
				tip.Label(), tip.Manifest.FirstGeneration, last+1, tip.Manifest.FirstGeneration-1)
		}
		chain = append(chain, *next)
		last = next.Manifest.LastGeneration
	}
	return append(slices.Clip(chain), tip), nil
}

// bridge is the incremental set that reaches furthest from generation last
// without passing the tip.
func bridge(entries []Entry, tip Entry, last uint32) *Entry {
	var best *Entry
	for i, e := range entries {
		m := e.Manifest
		if m == nil || m.Type != Incremental || m.Engine != tip.Manifest.Engine ||
			m.FirstGeneration > last+1 || m.LastGeneration <= last || m.LastGeneration >= tip.Manifest.LastGeneration {
			continue
		}
		if best == nil || m.LastGeneration > best.Manifest.LastGeneration {
			best = &entries[i]
		}
	}
	return best
}
