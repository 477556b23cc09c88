package backupset

import (
	"errors"
	"fmt"
	"slices"
)

func resolve(entries []Entry, id string, o ResolveOptions) (Chain, error) {
	e, err := find(entries, id)
	if err != nil {
		return nil, err
	}
	return resolveEntry(entries, e, o)
}

// find looks an entry up by id, then by name. Several entries of one id are one
// set if their manifests are the same, as when a user has copied a folder.
func find(entries []Entry, id string) (Entry, error) {
	var hits, named []Entry
	for i := range entries {
		switch e := &entries[i]; {
		case id == "":
		case e.ID == id:
			hits = append(hits, *e)
		case e.Name == id:
			named = append(named, *e)
		}
	}
	if len(hits) == 0 {
		hits = named
	}
	return choose(hits, id)
}

// choose is the set that entries of one id, or name, are.
func choose(hits []Entry, id string) (Entry, error) {
	if len(hits) == 0 {
		return Entry{}, fmt.Errorf("set %.300q: %w", id, ErrNotFound)
	}
	best := hits[0]
	for _, h := range hits[1:] {
		if best.Manifest == nil || h.Manifest == nil || h.Manifest.SHA256 != best.Manifest.SHA256 {
			return Entry{}, fmt.Errorf("set %s: %w: it is in %s and, different, in %s", id, ErrAmbiguous, best.Location, h.Location)
		}
		if h.Confirmed && !best.Confirmed {
			best = h
		}
	}
	if best.Manifest == nil {
		return Entry{}, fmt.Errorf("set %s: %w", best.Label(), orDamaged(best.Err))
	}
	return best, nil
}

func orDamaged(err error) error {
	if err == nil {
		return ErrDamaged
	}
	return err
}

func resolveEntry(entries []Entry, tip Entry, o ResolveOptions) (Chain, error) {
	if tip.Manifest.Type == Full {
		return Chain{tip}, nil
	}
	if tip.Manifest.Synthesized {
		return resolveRanges(entries, tip, o)
	}
	once := make(map[string]int, len(entries)) // where the only entry of an id is; -1 if there are several
	for i := range entries {
		id := entries[i].ID
		if _, ok := once[id]; ok {
			once[id] = -1
		} else {
			once[id] = i
		}
	}
	chain := Chain{tip}
	seen := map[string]bool{tip.ID: true}
	for e := tip; e.Manifest.Type == Incremental; {
		id := e.Manifest.Parent
		var p Entry
		var err error
		if i, ok := once[id]; ok && i >= 0 && id != "" {
			p, err = choose(entries[i:i+1], id)
		} else {
			p, err = find(entries, id)
		}
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, fmt.Errorf("%w: set %s continues set %s, which is missing", ErrChain, e.Label(), id)
		case err != nil:
			return nil, fmt.Errorf("%w: set %s continues %w", ErrChain, e.Label(), err)
		case seen[p.ID]:
			return nil, fmt.Errorf("%w: set %s continues itself", ErrChain, p.ID)
		}
		if err := follows(p, e, o); err != nil {
			return nil, err
		}
		seen[p.ID] = true
		chain = append(chain, p)
		e = p
	}
	slices.Reverse(chain)
	if err := chain.contiguous(); err != nil {
		return nil, err
	}
	return chain, nil
}

// contiguous checks that each set's generations go on where the sets before it
// end; they may overlap, and a set may be empty.
func (c Chain) contiguous() error {
	last := uint64(c[0].Manifest.LastGeneration)
	for _, e := range c[1:] {
		m := e.Manifest
		if m.LastGeneration == 0 {
			continue
		}
		if first := uint64(m.FirstGeneration); first > last+1 {
			return fmt.Errorf("%w: set %s begins at generation %d, and %d to %d are in no set before it", ErrChain, e.Label(), first, last+1, first-1)
		}
		if uint64(m.LastGeneration) < last {
			return fmt.Errorf("%w: set %s ends at generation %d, and a set before it at %d", ErrChain, e.Label(), m.LastGeneration, last)
		}
		last = uint64(m.LastGeneration)
	}
	return nil
}

// unconfirmed says why a set is.
func (e Entry) unconfirmed() error {
	switch {
	case e.Err != nil:
		return fmt.Errorf("%w: %w", ErrUnconfirmed, e.Err)
	case e.Receipt != nil && e.Receipt.Confirmed:
		return fmt.Errorf("%w: too few of the places that are to keep it have it with its receipt", ErrUnconfirmed)
	}
	return fmt.Errorf("%w: it has no good receipt", ErrUnconfirmed)
}

// follows checks that set e may continue set p.
func follows(p, e Entry, o ResolveOptions) error {
	pm, em := p.Manifest, e.Manifest
	broken := func(format string, a ...any) error {
		return fmt.Errorf("%w: set %s continues set %s, "+format, append([]any{ErrChain, e.Label(), p.Label()}, a...)...)
	}
	switch {
	case pm.Synthesized:
		return broken("which has no manifest")
	case !p.Confirmed && !o.AllowUnconfirmed:
		return broken("which is %w", p.unconfirmed())
	case pm.CA.CertificateSHA256 != em.CA.CertificateSHA256 || pm.CA.Name != em.CA.Name:
		return broken("which is of another authority (%s, not %s)", pm.CA.Name, em.CA.Name)
	case pm.Engine != em.Engine || pm.Signature != em.Signature:
		return broken("which is of another database (signature %s, not %s)", pm.Signature, em.Signature)
	}
	return nil
}

func newest(entries []Entry, match func(*Manifest) bool, o ResolveOptions) (Chain, error) {
	e, err := newestEntry(entries, match)
	if err != nil {
		return nil, err
	}
	return resolveEntry(entries, e, o)
}

func newestEntry(entries []Entry, match func(*Manifest) bool) (Entry, error) {
	var best Entry
	for _, e := range entries {
		if e.Manifest == nil || match != nil && !match(e.Manifest) {
			continue
		}
		if best.Manifest == nil || !newerThan(best, e) {
			best = e
		}
	}
	if best.Manifest == nil {
		return Entry{}, fmt.Errorf("no set: %w", ErrNotFound)
	}
	return find(entries, best.Key())
}

// newerThan compares by end; folders that certutil wrote know no better than
// their files' times, so generations decide next.
func newerThan(a, b Entry) bool {
	if c := a.Manifest.End.Compare(b.Manifest.End); c != 0 {
		return c > 0
	}
	return a.Manifest.LastGeneration > b.Manifest.LastGeneration
}

func parent(entries []Entry, match func(*Manifest) bool) (Chain, error) {
	e, err := newestEntry(entries, match)
	if err != nil {
		return nil, err
	}
	switch {
	case e.Manifest.Synthesized:
		return nil, fmt.Errorf("set %s has no manifest: %w", e.Label(), ErrUnconfirmed)
	case !e.Confirmed:
		return nil, fmt.Errorf("set %s is %w", e.Label(), e.unconfirmed())
	}
	return resolveEntry(entries, e, ResolveOptions{})
}
