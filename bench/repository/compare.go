package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// step is one line of the result for each tool.
type step struct {
	name    string
	targets string
}

var steps = []step{
	{"first full", "restic ≥ 1.8, aim 2.5; pipeline ≥ 0.8"},
	{"again, 1 % of pages changed, scattered", "restic ≥ 1.8, aim 3; added: no more"},
	{"again, 1 % of pages changed, runs of 64", "restic ≥ 1.8, aim 3; added: no more"},
	{"restore", "restic ≥ 2"},
	{"verify", "restic ≥ 2"},
}

// results are the costs of each step and tool, and what it added to the repository.
type results struct {
	costs map[[2]string][]cost
	added map[[2]string]int64
	mib   float64
}

func compare(ctx context.Context, dir string, s settings) error {
	all, err := tools(dir, s.tools)
	if err != nil {
		return err
	}
	original := filepath.Join(dir, "original.edb")
	if s.reuse != "" {
		err = copyFile(original, s.reuse)
	} else {
		_, err = all[0].run(ctx, []string{all[0].init[0], "database", original, dir, strconv.FormatInt(s.mib, 10)})
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(original)
	if err != nil {
		return err
	}
	res := &results{costs: map[[2]string][]cost{}, added: map[[2]string]int64{}, mib: float64(info.Size()) / (1 << 20)}
	fmt.Printf("%s/%s, %d cores, %s; %.0f MiB of AD CS's database; %d rounds\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), res.mib, s.rounds)
	for n := range s.rounds {
		// In another order each time: what comes first may pay for what was before.
		if err := round(ctx, dir, original, rotate(all, n), uint64(n), res); err != nil {
			return err
		}
	}
	res.print(all)
	return nil
}

func rotate(all []tool, by int) []tool {
	by %= len(all)
	return slices.Concat(all[by:], all[:by])
}

// round measures every step of every tool once, with fresh repositories.
func round(ctx context.Context, dir, original string, all []tool, seed uint64, res *results) error {
	// Under the same name each time: restic and borg look for what a file was before.
	database := filepath.Join(dir, "Bench CA.edb")
	if err := copyFile(database, original); err != nil {
		return err
	}
	for _, t := range all {
		if t.init == nil {
			continue
		}
		if err := t.clear(); err != nil {
			return err
		}
		if _, err := t.run(ctx, t.init); err != nil {
			return err
		}
	}
	sum, err := hashOf(database)
	if err != nil {
		return err
	}
	for i, run := range []int{0, 1, 64} {
		if run > 0 {
			if sum, err = change(database, seed, run); err != nil {
				return err
			}
		}
		for _, t := range all {
			if run > 0 && t.init == nil {
				continue
			}
			if err := res.measure(ctx, t, steps[i].name, t.backup(database)); err != nil {
				return err
			}
		}
	}
	for _, t := range all {
		if t.restore == nil {
			continue
		}
		target := filepath.Join(dir, "restored")
		if err := os.Mkdir(target, 0o700); err != nil {
			return err
		}
		if err := res.measure(ctx, t, steps[3].name, t.restore(target)); err != nil {
			return err
		}
		if err := same(target, sum); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		if err := os.RemoveAll(target); err != nil {
			return err
		}
	}
	for _, t := range all {
		if t.verify == nil {
			continue
		}
		if err := res.measure(ctx, t, steps[4].name, t.verify); err != nil {
			return err
		}
	}
	return nil
}

// clear takes away the tool's repository.
func (t tool) clear() error {
	for _, name := range []string{t.dir, t.dir + "-cache", t.dir + "-base"} {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

func (r *results) measure(ctx context.Context, t tool, step string, command []string) error {
	before, err := storedBy(t)
	if err != nil {
		return err
	}
	settle()
	c, err := t.run(ctx, command)
	if err != nil {
		return err
	}
	after, err := storedBy(t)
	if err != nil {
		return err
	}
	key := [2]string{step, t.name}
	r.costs[key] = append(r.costs[key], c)
	r.added[key] = after - before
	return nil
}

func storedBy(t tool) (int64, error) {
	if t.init == nil {
		return 0, nil
	}
	return stored(t.dir)
}

// same looks for a database below a directory, and whether it is what was backed up.
func same(dir string, want [sha256.Size]byte) error {
	found := false
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(name) != "Bench CA.edb" {
			return err
		}
		got, err := hashOf(name)
		if err == nil && got != want {
			err = fmt.Errorf("%s is not what was backed up", name)
		}
		found = true
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("nothing was restored to %s", dir)
	}
	return err
}

func (r *results) print(all []tool) {
	fmt.Println("| step | by | wall | MiB/s | times certkeep's | processor | times certkeep's | peak MiB | MiB added | target |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, s := range steps {
		wall := func(c cost) time.Duration { return c.wall }
		cpu := func(c cost) time.Duration { return c.cpu }
		base := r.costs[[2]string{s.name, "certkeep"}]
		target := s.targets
		for _, t := range all {
			key := [2]string{s.name, t.name}
			c := r.costs[key]
			if len(c) == 0 {
				continue
			}
			w, p := median(c, wall), median(c, cpu)
			peak := slices.MaxFunc(c, func(a, b cost) int { return int(a.peak - b.peak) }).peak
			fmt.Printf("| %s | %s | %.2f s | %.0f | %.2f | %.2f s | %.2f | %.0f | %.1f | %s |\n", s.name, t.name, w.Seconds(), r.mib/w.Seconds(),
				float64(w)/float64(median(base, wall)), p.Seconds(), float64(p)/float64(median(base, cpu)),
				float64(peak)/(1<<20), float64(r.added[key])/(1<<20), target)
			target = ""
		}
	}
}

func median(costs []cost, of func(cost) time.Duration) time.Duration {
	var v []time.Duration
	for _, c := range costs {
		v = append(v, of(c))
	}
	slices.Sort(v)
	return v[len(v)/2]
}
