package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/retention"
	"github.com/certkeep/certkeep/repo"
)

type forgetOptions struct {
	repositoryOptions
	pruneFlags
	policy retention.Policy
	within string
	ca     string
	prune  bool
	dryRun bool
}

func (o *forgetOptions) addFlags(f *pflag.FlagSet) {
	o.repositoryOptions.addFlags(f, "the repository")
	f.IntVar(&o.policy.Last, "keep-last", 0, "keep the newest `N` sets")
	f.IntVar(&o.policy.Daily, "keep-daily", 0, "keep the newest set of each of the last `N` days that have one")
	f.IntVar(&o.policy.Weekly, "keep-weekly", 0, "of the last `N` weeks")
	f.IntVar(&o.policy.Monthly, "keep-monthly", 0, "of the last `N` months")
	f.IntVar(&o.policy.Yearly, "keep-yearly", 0, "of the last `N` years")
	f.StringVar(&o.within, "keep-within", "", "keep all sets that are younger than the newest by at most `TIME`: 30d, 1y6m, 26h")
	f.StringVar(&o.ca, "authority", "", "only sets of the authority `NAME`")
	f.BoolVar(&o.prune, "prune", false, "prune afterwards")
	o.addPruneFlags(f)
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be forgotten, and forget nothing")
}

func newForgetCommand(c *console) *cobra.Command {
	var o forgetOptions
	cmd := &cobra.Command{
		Use:   "forget -r REPO (SET… | --keep-last N --keep-daily N …) [--prune] [--dry-run]",
		Short: "take sets out of a repository, by a policy or by name",
		Long: `forget takes sets out of a repository; prune then gives their room back. A set stays if any
rule keeps it, and with it the chain that a restore of it needs; so does the newest
confirmed set of each authority, whatever the rules say. Rules apply to each authority by
itself; days are those of UTC.

Only sets count that are confirmed, and signed by a host in good standing. Others push none of
those out, and no rule forgets them: name them. A SET that others continue is refused unless
they are named as well.

It takes a host's key that may do it (not one of --append-only), or a restore identity.`,
		Args: cobra.ArbitraryArgs,
		RunE: c.do(func(ctx context.Context, args []string) error { return runForget(ctx, c, o, args, time.Now()) }),
	}
	o.addFlags(cmd.Flags())
	return describeRepository(cmd, "certkeep forget -r /mnt/backup/pki --keep-daily 14 --keep-monthly 12 --keep-yearly 10 --prune", exitPartly)
}

type forgetResult struct {
	Repository string         `json:"repository"`
	Sets       []forgetAnswer `json:"sets"`
	Kept       int            `json:"kept"`
	Forgotten  int            `json:"forgotten"`
	Prune      *pruneResult   `json:"prune,omitempty"`
	DryRun     bool           `json:"dry_run,omitempty"`
}

type forgetAnswer struct {
	Set       string    `json:"set"`
	Authority string    `json:"authority,omitempty"`
	Type      string    `json:"type,omitempty"`
	Start     time.Time `json:"start,omitzero"`
	Keep      bool      `json:"keep"`
	Counted   bool      `json:"counted"` // the policy looked at it
	Why       []string  `json:"why,omitempty"`
}

func (o *forgetOptions) check(sets []string) error {
	if err := o.need(); err != nil {
		return err
	}
	if o.within != "" {
		d, err := retention.ParseDuration(o.within)
		if err != nil {
			return usagef("--keep-within: %w", err)
		}
		o.policy.Within = d
	}
	for _, n := range []int{o.policy.Last, o.policy.Daily, o.policy.Weekly, o.policy.Monthly, o.policy.Yearly} {
		if n < 0 {
			return usagef("a rule cannot keep %d", n)
		}
	}
	empty := o.policy == (retention.Policy{})
	switch {
	case len(sets) == 0 && empty:
		return usagef("name sets, or rules for what to keep (--keep-last, --keep-daily, …)")
	case len(sets) > 0 && !empty:
		return usagef("sets that are named and rules exclude each other")
	}
	return nil
}

func runForget(ctx context.Context, c *console, o forgetOptions, sets []string, now time.Time) error {
	if err := o.check(sets); err != nil {
		return err
	}
	r, err := o.open(ctx, c, toWrite)
	if err != nil {
		return err
	}
	all, err := r.Sets(ctx)
	if err != nil {
		return err
	}
	res := &forgetResult{Repository: r.Location(), Sets: []forgetAnswer{}, DryRun: o.dryRun}
	if len(sets) > 0 {
		err = res.named(r, all, sets, o.ca)
	} else {
		err = res.decide(all, &o, now)
	}
	if err != nil {
		return err
	}
	var ids []string
	for _, s := range res.Sets {
		if !s.Keep {
			ids = append(ids, s.Set)
		}
	}
	res.Forgotten = len(ids)
	res.Kept = len(all) - len(ids)
	if !o.dryRun {
		if len(ids) > 0 {
			if err := r.Forget(ctx, ids...); err != nil {
				return err
			}
		}
		if o.prune {
			if res.Prune, err = prune(ctx, c, r, o.pruneFlags, false); err != nil {
				return withHint(fmt.Errorf("%s forgotten, but: %w", plural(len(ids), "set is", "sets are"), err), "certkeep prune does the rest")
			}
		}
	}
	err = c.result(res, func(w io.Writer) error { return res.human(c, w) })
	if res.Prune != nil {
		err = errors.Join(err, res.Prune.partly())
	}
	return err
}

func newForgetAnswer(e backupset.Entry) forgetAnswer {
	a := forgetAnswer{Set: e.ID}
	if m := e.Manifest; m != nil {
		a.Authority, a.Type, a.Start = m.CA.Name, string(m.Type), m.Start.UTC()
	}
	return a
}

// decide applies the rules.
func (r *forgetResult) decide(all []repo.SetInfo, o *forgetOptions, now time.Time) error {
	standing := map[string]bool{}
	hidden := map[string]bool{}
	var entries []backupset.Entry
	for _, s := range all {
		if o.ca != "" && !isOf(s.Manifest, o.ca) {
			continue
		}
		// An id that two hosts published is of neither in good standing.
		_, twice := standing[s.ID]
		standing[s.ID], hidden[s.ID] = s.Standing && !twice, s.Hidden
		entries = append(entries, s.Entry)
	}
	if o.ca != "" && len(entries) == 0 {
		return fmt.Errorf("authority %.80q: %w", o.ca, backupset.ErrNotFound)
	}
	decisions, err := retention.Decide(entries, retention.Options{Policy: o.policy, Now: now,
		Trusted: func(e backupset.Entry) bool { return standing[e.ID] }})
	if err != nil {
		return err
	}
	for _, d := range decisions {
		a := newForgetAnswer(d.Entry)
		a.Keep, a.Counted, a.Why = d.Keep, d.Counted, d.Reasons
		if hidden[d.Entry.ID] {
			a.Why = []string{"of an authority whose keys are not here"}
		}
		r.Sets = append(r.Sets, a)
	}
	return nil
}

// named takes the sets that were named, and refuses to break a chain.
func (r *forgetResult) named(rep *repo.Repository, all []repo.SetInfo, names []string, ca string) error {
	entries := entriesOf(all)
	going := map[string]bool{}
	for _, name := range names {
		e, err := findSet(entries, name, ca)
		if err != nil {
			return fmt.Errorf("%s: %w", rep.Location(), err)
		}
		i := slices.IndexFunc(all, func(s repo.SetInfo) bool { return s.ID == e.ID })
		if all[i].Hidden {
			return withHint(fmt.Errorf("%s: set %s: %w: which sets continue it cannot be seen without the keys of its authority", rep.Location(), e.ID, repo.ErrKey),
				"a restore identity opens it: --identity FILE")
		}
		if !going[e.ID] {
			going[e.ID] = true
			r.Sets = append(r.Sets, newForgetAnswer(e))
		}
	}
	if needed := dependents(entries, going); len(needed) > 0 {
		return withHint(fmt.Errorf("%s: %s would lose the chain that a restore needs: %s", rep.Location(), plural(len(needed), "set", "sets"), strings.Join(needed, ", ")),
			"name them as well, if they are to go")
	}
	return nil
}

// dependents are the sets whose chains need one of those that go.
func dependents(entries []backupset.Entry, going map[string]bool) (out []string) {
	parents := map[string]string{}
	for _, e := range entries {
		if e.Manifest != nil {
			parents[e.ID] = e.Manifest.Parent
		}
	}
	for _, e := range entries {
		if e.Manifest == nil || going[e.ID] || e.Manifest.Type == backupset.Full {
			continue
		}
		needs := false
		chain, err := backupset.Resolve(entries, e.ID, backupset.ResolveOptions{AllowUnconfirmed: true})
		for _, link := range chain {
			needs = needs || going[link.ID]
		}
		if err != nil { // broken already; what is left of it stays with it
			for id, n := parents[e.ID], 0; id != "" && n < len(entries); id, n = parents[id], n+1 {
				needs = needs || going[id]
			}
		}
		if needs {
			out = append(out, e.ID)
		}
	}
	return out
}

func (r *forgetResult) human(c *console, w io.Writer) error {
	would, goes := "", "forgotten"
	if r.DryRun {
		would, goes = "would be ", "would go"
	}
	rows := [][]string{{"SET", "AUTHORITY", "TYPE", "TAKEN", "", "WHY"}}
	for _, s := range r.Sets {
		what := "kept"
		if !s.Keep {
			what = goes
		}
		rows = append(rows, []string{s.Set, s.Authority, s.Type, stamp(s.Start), what, strings.Join(s.Why, ", ")})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "\n%s %sforgotten, %s kept\n", plural(r.Forgotten, "set", "sets"), would, count(r.Kept)); err != nil {
		return err
	}
	if r.Prune != nil {
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
		return r.Prune.human(w)
	}
	if r.Forgotten > 0 && !r.DryRun {
		c.say("certkeep prune gives their room back")
	}
	return nil
}
