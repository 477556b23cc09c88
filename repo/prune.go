package repo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/internal/hint"
	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/internal/journal"
	"github.com/certkeep/certkeep/repo/internal/pack"
	"github.com/certkeep/certkeep/repo/internal/seal"
)

// DefaultGrace is how long an object has been noted as dead before it is deleted: twice as
// long as a lease is good.
const DefaultGrace = 2 * leaseTime

// PruneOptions are the options of Prune.
type PruneOptions struct {
	// DryRun changes nothing.
	DryRun bool
	// Grace is how long ago a prune must have noted an object before one deletes it; 0 deletes
	// at once what this prune finds.
	Grace time.Duration
	// MaxUnused is the share of a pack that may be dead before the rest is moved; 0 means a
	// quarter.
	MaxUnused float64
	// KeepPartly leaves segments alone that are partly dead. Otherwise, if the repository was
	// opened with a restore identity, what is needed of those that are mostly dead is put into
	// new ones.
	KeepPartly bool
	Progress   func(phase string)
}

// PruneResult is what a prune found and did. Sizes are in bytes.
type PruneResult struct {
	Deleted int   // objects
	Freed   int64 // deleted
	Noted   int64 // to be deleted by a prune after Grace
	Moved   int64 // of segments still in use, out of packs that were mostly dead
	Waiting int   // runs on their way, for whose sake something was left alone

	Used int64 // by segments in use
	// Partly is about how much of the segments in use is no longer needed. It stays, until
	// segments are rewritten with a restore identity.
	Partly int64

	// Rewritten is how much of Partly was given up by rewriting segments.
	Rewritten int64

	// Damaged are packs that were left alone because they are not what they were.
	Damaged []error
}

// markRecord notes what was found dead.
type markRecord struct {
	Type   string `json:"type"`
	Object Ref    `json:"object"` // a list of keys, zstd
}

const typeMark = "dead"

// mark is a note as it stands in a journal.
type mark struct {
	published
	markRecord
}

// Prune deletes what no set needs: in two steps, so that a run on its way, or a listing
// that is behind, does no harm. What is dead is computed anew each time; a note only says
// since when.
func (r *Repository) Prune(ctx context.Context, o PruneOptions) (res PruneResult, err error) {
	if err := r.role(RoleRetention); err != nil {
		return res, err
	}
	if o.MaxUnused <= 0 {
		o.MaxUnused = 0.25
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	p := &pruner{r: r, o: o, res: &res}
	if o.DryRun {
		return res, p.dry(ctx)
	}
	err = r.during(ctx, func(l *lease) error {
		p.lease = l
		return p.run(ctx)
	})
	return res, err
}

type pruner struct {
	r     *Repository
	o     PruneOptions
	res   *PruneResult
	lease *lease
}

// dry only looks. The store's time is that of its newest object, at least.
func (p *pruner) dry(ctx context.Context) error {
	now, err := p.r.newest(ctx)
	if err != nil {
		return err
	}
	c, dead, err := p.look(ctx, now.Add(1), "")
	if err != nil {
		return err
	}
	for _, u := range p.sparse(c) {
		p.res.Moved += u.live
	}
	for _, size := range dead {
		p.res.Noted += size
	}
	return nil
}

// newest is when the newest object of the journals or leases was written.
func (r *Repository) newest(ctx context.Context) (t time.Time, err error) {
	for _, dir := range []string{journal.Dir, leaseDir} {
		for info, err := range r.blob.List(ctx, dir) {
			if err != nil {
				return t, err
			}
			t = later(t, info.Time)
		}
	}
	return t, nil
}

func (p *pruner) look(ctx context.Context, now time.Time, self string) (*census, map[string]int64, error) {
	p.o.Progress("looking for what is in use")
	c, err := p.r.census(ctx, now, self)
	if err != nil {
		return nil, nil, err
	}
	if len(c.s.problems) > 0 {
		// Whoever hides an entry must not have sets deleted by it.
		return nil, nil, hint.With(fmt.Errorf("%s: the journals cannot be relied on: %w", p.r.blob.Location(), errors.Join(c.s.problems...)),
			"nothing was deleted; docs/repository-format.md, \"Rolled back\", says what to do")
	}
	dead, err := c.dead(ctx)
	if err != nil {
		return nil, nil, err
	}
	p.res.Damaged = c.damaged
	p.res.Used, p.res.Partly = c.sizes()
	p.res.Waiting = c.waiting
	return c, dead, nil
}

// sizes are how much is in use, and about how much of it is not needed any more.
func (c *census) sizes() (used, partly int64) {
	for _, u := range c.packs {
		for _, s := range u.segments {
			if bits := c.segments[s.ID]; bits != 0 {
				used += s.Length
				partly += int64(deadShare(bits) * float64(s.Length))
			}
		}
	}
	return used, partly
}

func (p *pruner) run(ctx context.Context) error {
	c, dead, err := p.look(ctx, p.lease.at(), p.lease.run)
	if err != nil {
		return err
	}
	if p.r.rootKey != nil && !p.o.KeepPartly {
		if err := p.rewrite(ctx, c); err != nil {
			return err
		}
		if p.res.Rewritten > 0 {
			// As of now: the new layouts are older.
			if err := p.lease.good(ctx); err != nil {
				return err
			}
			if c, dead, err = p.look(ctx, p.lease.at(), p.lease.run); err != nil {
				return err
			}
		}
	}
	if err := p.move(ctx, c, dead); err != nil {
		return err
	}
	if err := p.deleteLeases(ctx, c); err != nil {
		return err
	}
	since, err := p.r.noted(ctx)
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		again, err := p.delete(ctx, c, dead, since)
		if err != nil {
			return err
		}
		if !again {
			break
		}
		// Computing anew took part of the time for which it holds.
		if c, dead, err = p.look(ctx, p.lease.at(), p.lease.run); err != nil {
			return err
		}
	}
	return p.note(ctx, dead, since)
}

// noted says since when objects have been noted as dead without a break.
func (r *Repository) noted(ctx context.Context) (map[string]time.Time, error) {
	since := map[string]time.Time{}
	m := r.now().mark
	if m == nil {
		return since, nil
	}
	b, err := r.getMeta(ctx, m.Object)
	if ignoreDamage(err) != nil {
		return nil, err
	}
	if err != nil {
		return since, nil // then they are noted once more
	}
	plain, err := seal.Expand(b, seal.LimitLarge)
	if err != nil {
		return since, nil
	}
	for line := range strings.Lines(string(plain)) {
		key, at, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if t, err := time.Parse(time.RFC3339Nano, at); err == nil && !t.After(m.stored) {
			since[key] = t
		} else {
			since[key] = m.stored
		}
	}
	return since, nil
}

// batch is how many objects are deleted between two looks at the clock.
const batch = 200

// delete deletes the dead objects that have been noted for long enough. again says that
// what is dead must be computed anew, because that was too long ago.
func (p *pruner) delete(ctx context.Context, c *census, dead map[string]int64, since map[string]time.Time) (again bool, err error) {
	due := slices.DeleteFunc(slices.Sorted(maps.Keys(dead)), func(key string) bool {
		at, noted := since[key]
		return p.o.Grace > 0 && (!noted || c.now.Sub(at) < p.o.Grace)
	})
	for keys := range slices.Chunk(due, batch) {
		p.o.Progress("deleting")
		if err := p.lease.good(ctx); err != nil {
			return false, err
		}
		if p.lease.at().Sub(c.now) > leaseTime/2 {
			return true, nil
		}
		for o := range p.deleteAll(ctx, keys) {
			if o.err != nil {
				return false, o.err
			}
			p.res.Deleted++
			p.res.Freed += dead[o.item]
			delete(dead, o.item)
		}
	}
	return false, nil
}

// deleteAll deletes objects, several at a time.
func (p *pruner) deleteAll(ctx context.Context, keys []string) iter.Seq[outcome[string, any]] {
	return inOrder(ctx, keys, smallAtOnce, func(ctx context.Context, key string) (any, error) { return nil, p.r.blob.Delete(ctx, key) })
}

// note notes what is dead and was not deleted.
func (p *pruner) note(ctx context.Context, dead map[string]int64, since map[string]time.Time) error {
	if len(dead) == 0 && len(since) == 0 {
		return nil
	}
	// A note of nothing counts too: what is dead, alive and dead again must be noted anew.
	var b strings.Builder
	news := false
	for _, key := range slices.Sorted(maps.Keys(dead)) {
		p.res.Noted += dead[key]
		b.WriteString(key)
		if at, ok := since[key]; ok {
			b.WriteString(" " + at.UTC().Format(time.RFC3339Nano))
		} else {
			news = true
		}
		b.WriteByte('\n')
	}
	if !news && len(since) == len(dead) {
		return nil
	}
	ref, err := p.r.putMeta(ctx, seal.Compress([]byte(b.String()), nil))
	if err != nil && !errors.Is(err, ErrNoted) { // a note that is deleted only has what is dead noted anew
		return err
	}
	_, err = p.r.append(ctx, nil, markRecord{typeMark, ref})
	return err
}

func (p *pruner) deleteLeases(ctx context.Context, c *census) error {
	stale := slices.DeleteFunc(c.stale, func(key string) bool { return strings.Contains(key, "/"+p.lease.run+"-") })
	for o := range p.deleteAll(ctx, stale) {
		if o.err != nil {
			return o.err
		}
	}
	return nil
}

// sparse are the packs whose segments are worth moving.
func (p *pruner) sparse(c *census) (out []*packUse) {
	for _, u := range c.packs {
		if u.live > 0 && u.dead > 0 && float64(u.dead) > p.o.MaxUnused*float64(u.dead+u.live) && !c.protected(u.info.Time) && !c.superseded(u) {
			out = append(out, u)
		}
	}
	slices.SortFunc(out, func(a, b *packUse) int { return strings.Compare(a.info.Key, b.info.Key) })
	return out
}

// move puts segments in use of packs that are mostly dead into new packs, as they are: no key
// is needed. The old packs are dead then.
func (p *pruner) move(ctx context.Context, c *census, dead map[string]int64) error {
	var b pack.Builder
	rec := movedRecord{Type: typeMoved}
	var from []*packUse
	flush := func() error {
		if b.Len() == 0 {
			return nil
		}
		again := b
		id, object, _ := b.Build()
		err := p.r.put(ctx, pack.Key(id), object)
		if errors.Is(err, blob.ErrExists) {
			// Of a prune that was interrupted here: all it holds is in use, so it stays.
			if _, err = pack.Check(ctx, p.r.blob, id); errors.Is(err, pack.ErrDamaged) {
				id, _, err = p.r.putPack(ctx, &again)
			}
		}
		if err != nil {
			return err
		}
		rec.To = append(rec.To, id.String())
		return p.lease.good(ctx)
	}
	put := map[pack.ID]bool{}
	for _, u := range p.sparse(c) {
		p.o.Progress("moving segments")
		whole := true
		var need []pack.Segment
		for _, s := range u.segments {
			if c.segments[s.ID] != 0 && !put[s.ID] {
				need = append(need, s)
			}
		}
		for o := range inOrder(ctx, need, segmentsAtOnce, func(ctx context.Context, s pack.Segment) ([]byte, error) { return pack.Read(ctx, p.r.blob, u.id, s) }) {
			if errors.Is(o.err, pack.ErrDamaged) {
				p.res.Damaged = append(p.res.Damaged, o.err)
				whole = false
				continue
			}
			if o.err != nil {
				return fmt.Errorf("moving segments: %w", o.err)
			}
			if put[o.item.ID] { // twice in one pack
				continue
			}
			put[o.item.ID] = true
			p.res.Moved += o.item.Length
			if b.Add(o.item.ID, o.got) {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		if whole {
			rec.From = append(rec.From, u.id.String())
			from = append(from, u)
		}
	}
	if len(from) == 0 {
		return nil
	}
	if err := flush(); err != nil {
		return err
	}
	if _, err := p.r.append(ctx, nil, rec); err != nil {
		return err
	}
	for _, u := range from {
		dead[u.info.Key] = u.info.Size
	}
	return nil
}
