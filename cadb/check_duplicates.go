package cadb

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
)

// duplicates reports serial numbers that stand twice. The engine's own unique
// index is not believed.
func (c *checker) duplicates(ctx context.Context) error {
	slices.Sort(c.seen)
	suspects := make(map[uint64]bool)
	for i := 1; i < len(c.seen); i++ {
		if c.seen[i] == c.seen[i-1] {
			suspects[c.seen[i]] = true
		}
	}
	c.seen = nil
	if len(suspects) == 0 {
		return nil
	}
	type place struct {
		n     int
		first []int64
	}
	places := make(map[string]*place)
	for r, err := range c.db.Requests(ctx, Filter{NoRequest: true}) {
		if c.damaged(err) {
			continue
		}
		if err != nil {
			return err
		}
		if !c.ownSerial(&r) || !suspects[maphash.String(c.seed, r.Serial)] {
			continue
		}
		p := places[r.Serial]
		if p == nil {
			p = new(place)
			places[r.Serial] = p
		}
		if p.n++; p.n <= 10 {
			p.first = append(p.first, r.ID)
		}
	}
	for _, serial := range slices.Sorted(maps.Keys(places)) {
		if p := places[serial]; p.n > 1 {
			f := Finding{Severity: Damage, Code: CodeDuplicate, Where: "Certificates.SerialNumber " + serial,
				Message: fmt.Sprintf("stands in %d requests: %d", p.n, p.first)}
			if len(slices.Compact(p.first)) == 1 {
				f = c.explained(f) // one row, twice
			}
			c.add(f)
		}
	}
	return nil
}
