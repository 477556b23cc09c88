package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/pack"
)

// partialLife is how long what an interrupted run has stored is kept for the next.
const partialLife = 7 * 24 * time.Hour

// census is what of a repository is in use at one time.
type census struct {
	r *Repository
	s *state

	now     time.Time // the store's
	waiting int       // other runs on their way
	oldest  time.Time // when the oldest of them began; zero if there is none
	stale   []string  // objects of leases that are over

	refs     map[string]bool    // objects of metadata in use, by key
	segments map[pack.ID]uint64 // segments in use, and which parts
	packs    map[pack.ID]*packUse
	checked  map[pack.ID]bool // read whole, and good
	damaged  []error
}

// packUse is a pack and what of it is in use.
type packUse struct {
	id       pack.ID
	info     blob.Info
	segments []pack.Segment
	live     int64 // bytes of segments in use
	dead     int64
}

// protected reports whether an object that nothing refers to may be of a run on its way: one that
// was listed, or one that began since, and was not.
func (c *census) protected(t time.Time) bool {
	return !t.Before(c.now) || !c.oldest.IsZero() && !t.Before(c.oldest)
}

// census is what is in use as of the store's time now, for the run self.
func (r *Repository) census(ctx context.Context, now time.Time, self string) (*census, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	c := &census{r: r, s: r.now(), now: now, refs: map[string]bool{}, segments: map[pack.ID]uint64{}, packs: map[pack.ID]*packUse{}, checked: map[pack.ID]bool{}}
	// Leases before sets: a run that is over by then has published its set.
	active, stale, err := r.leases(ctx, now)
	if err != nil {
		return nil, err
	}
	c.stale = stale
	for _, l := range active {
		if l.Run == self {
			continue
		}
		if c.waiting++; c.oldest.IsZero() || l.Began.Before(c.oldest) {
			c.oldest = l.Began
		}
	}
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	c.s = r.now()
	if err := c.count(ctx); err != nil {
		return nil, err
	}
	return c, c.readPacks(ctx)
}

// count finds what is referred to.
func (c *census) count(ctx context.Context) error {
	c.use(c.s.keyRefs()...)
	var tables []Ref
	live := map[Ref]bool{}
	newest := map[string]uint64{}
	for _, set := range c.s.sets {
		// A run that began before the set was there continues what an unfinished one has left.
		if set.live() && !c.protected(set.stored) {
			newest[set.author+"/"+set.CA] = max(newest[set.author+"/"+set.CA], set.seq)
		}
		// A run on its way may refer to a set that was there when the run began.
		if !set.live() && !c.protected(set.forgotten) {
			continue
		}
		c.use(set.refs()...)
		tables = append(tables, set.now.Table)
		live[set.now.Table] = live[set.now.Table] || set.live()
		for _, b := range set.before {
			if c.protected(b.at) { // a run that began before may refer to it
				c.use(b.refs()...)
				tables = append(tables, b.Table)
			}
		}
	}
	for _, p := range c.s.partials {
		// A run on its way may refer to what was not too old when it began.
		began := c.now
		if !c.oldest.IsZero() && c.oldest.Before(began) {
			began = c.oldest
		}
		if p.seq > newest[p.author+"/"+p.CA] && began.Sub(p.stored) < partialLife {
			c.use(p.refs()...)
			tables = append(tables, p.Table)
		}
	}
	if m := c.s.mark; m != nil {
		c.use(m.Object)
	}
	for o := range inOrder(ctx, tables, smallAtOnce, c.r.readTable) {
		if errors.Is(o.err, blob.ErrNotFound) && !live[o.item] {
			continue // another prune was here first
		}
		if o.err != nil {
			return hint.With(fmt.Errorf("it is not known what a set needs: %w", o.err),
				"nothing was deleted; certkeep verify names the set: forget it, if no other copy of the object can be had")
		}
		for _, e := range o.got {
			if e.Used != 0 {
				c.segments[e.Segment] |= e.Used
			}
		}
	}
	return nil
}

func (c *census) use(refs ...Ref) {
	for _, ref := range refs {
		c.refs[ref.key()] = true
	}
}

// readPacks reads the headers of all packs.
func (c *census) readPacks(ctx context.Context) error {
	listed, err := c.r.listPacks(ctx)
	if err != nil {
		return err
	}
	for o := range inOrder(ctx, listed, headersAtOnce, func(ctx context.Context, p packInfo) ([]pack.Segment, error) {
		return pack.ReadHeader(ctx, c.r.blob, p.id, p.info.Size)
	}) {
		u := &packUse{id: o.item.id, info: o.item.info, segments: o.got}
		if errors.Is(o.err, pack.ErrDamaged) || errors.Is(o.err, blob.ErrNotFound) { // left alone, and reported
			c.damaged = append(c.damaged, fmt.Errorf("%s: %w", u.info.Key, backupset.ErrDamaged))
			continue
		}
		if o.err != nil {
			return o.err
		}
		for _, s := range u.segments {
			if c.segments[s.ID] != 0 {
				u.live += s.Length
			} else {
				u.dead += s.Length
			}
		}
		c.packs[u.id] = u
	}
	return nil
}

// superseded reports whether a prune has moved all that is in use of a pack elsewhere.
func (c *census) superseded(u *packUse) bool {
	to := c.s.moved[u.id]
	if len(to) == 0 {
		return false
	}
	there := map[pack.ID]bool{}
	for _, id := range to {
		if p := c.packs[id]; p != nil && id != u.id {
			for _, s := range p.segments {
				there[s.ID] = true
			}
		}
	}
	for _, s := range u.segments {
		if c.segments[s.ID] != 0 && !there[s.ID] {
			return false
		}
	}
	return true
}

// good reports whether the packs hold what their headers say; those that are missing hold nothing.
func (c *census) good(ctx context.Context, ids []pack.ID) (bool, error) {
	for _, id := range ids {
		if c.packs[id] == nil || c.checked[id] {
			continue
		}
		switch _, err := pack.Check(ctx, c.r.blob, id); {
		case errors.Is(err, pack.ErrDamaged), errors.Is(err, blob.ErrNotFound):
			c.damaged = append(c.damaged, fmt.Errorf("%w: %w", err, backupset.ErrDamaged))
			return false, nil
		case err != nil:
			return false, err
		}
		c.checked[id] = true
	}
	return true, nil
}

// dead lists the objects that nothing refers to, with their sizes.
func (c *census) dead(ctx context.Context) (map[string]int64, error) {
	dead := map[string]int64{}
	for _, u := range c.packs {
		if c.protected(u.info.Time) || u.live > 0 && !c.superseded(u) {
			continue
		}
		if u.live > 0 {
			// The last time that both are there: what was moved must be what it says.
			good, err := c.good(ctx, c.s.moved[u.id])
			if err != nil {
				return nil, err
			}
			if !good {
				continue
			}
		}
		dead[u.info.Key] = u.info.Size
	}
	for info, err := range c.r.blob.List(ctx, metaDir) {
		if err != nil {
			return nil, err
		}
		if !c.refs[info.Key] && !c.protected(info.Time) {
			dead[info.Key] = info.Size
		}
	}
	return dead, nil
}
