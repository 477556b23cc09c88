package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/repo"
)

type pruneOptions struct {
	repositoryOptions
	pruneFlags
	dryRun bool
}

// pruneFlags say how far a prune goes.
type pruneFlags struct {
	grace      wait
	maxUnused  percent
	keepPartly bool
}

func (o *pruneFlags) addPruneFlags(f *pflag.FlagSet) {
	o.grace, o.maxUnused = wait(repo.DefaultGrace), 25
	f.Var(&o.grace, "grace", "delete what a prune found dead at least so long ago: 1h, 2d; 0 deletes at once what this one finds, and is for a repository that nobody writes to")
	f.Var(&o.maxUnused, "max-unused", "move what is needed out of packs of which more than this is dead")
	f.BoolVar(&o.keepPartly, "keep-partly", false, "with a restore identity: leave segments alone that are partly dead")
}

// wait is a flag: a length of time that may be 0.
type wait time.Duration

// String implements pflag.Value.
func (d *wait) String() string {
	return period(time.Duration(*d))
}

// period writes a length of time as the flags take it.
func period(d time.Duration) string {
	v := validity(d)
	switch {
	case d == 0:
		return "0"
	case d%time.Hour == 0 && d%oneDay != 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	}
	return v.String()
}

// Type implements pflag.Value.
func (d *wait) Type() string { return "TIME" }

// Set implements pflag.Value.
func (d *wait) Set(s string) error {
	if s == "0" {
		*d = 0
		return nil
	}
	var v validity
	if err := v.Set(s); err != nil {
		return err
	}
	*d = wait(v)
	return nil
}

// percent is a flag: 25 or 25%, more than 0 and less than 100.
type percent int

// String implements pflag.Value.
func (p *percent) String() string { return strconv.Itoa(int(*p)) + "%" }

// Type implements pflag.Value.
func (p *percent) Type() string { return "SHARE" }

// Set implements pflag.Value.
func (p *percent) Set(s string) error {
	n, err := strconv.Atoi(strings.TrimSuffix(s, "%"))
	if err != nil || n <= 0 || n >= 100 {
		return fmt.Errorf("%q is no share: write 25%%", s)
	}
	*p = percent(n)
	return nil
}

func newPruneCommand(c *console) *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune -r REPO [--grace TIME] [--max-unused SHARE]",
		Short: "give back the room of what was forgotten",
		Long: `prune deletes what no set needs: in two steps, so that backups may go on beside it. What it
finds dead it notes; what a prune noted long enough ago it looks at anew, and deletes. So
run it regularly, and expect the room of a set back at the second time.

Nothing is deleted while anything is wrong with the journals: it says what, and fails.

It takes a host's key that may do it (not one of --append-only), or a restore identity. Only
with an identity (--identity) it gives back what is dead within segments that are otherwise
needed, of those of which at least half is dead.`,
		Args: c.exactly(),
		RunE: c.do(func(ctx context.Context, _ []string) error {
			r, err := o.open(ctx, c, toWrite)
			if err != nil {
				return err
			}
			res, err := prune(ctx, c, r, o.pruneFlags, o.dryRun)
			if err != nil {
				return err
			}
			return errors.Join(c.result(res, res.human), res.partly())
		}),
	}
	f := cmd.Flags()
	o.repositoryOptions.addFlags(f, "the repository")
	o.addPruneFlags(f)
	f.BoolVar(&o.dryRun, "dry-run", false, "say what is dead, and neither note nor delete it")
	return describeRepository(cmd, "certkeep prune -r /mnt/backup/pki", exitPartly)
}

type pruneResult struct {
	Repository string    `json:"repository"`
	Deleted    int       `json:"deleted"` // objects
	Freed      int64     `json:"freed"`
	Noted      int64     `json:"noted"`                   // dead, to be deleted by a later prune
	NotBefore  time.Time `json:"deletable_from,omitzero"` // all that is noted now
	Moved      int64     `json:"moved"`
	Rewritten  int64     `json:"rewritten"`
	Used       int64     `json:"used"`
	Partly     int64     `json:"partly_dead"` // of Used, about
	Identity   bool      `json:"identity"`    // there was a restore identity
	Waiting    int       `json:"waiting"`     // runs for whose sake something was left alone
	Damaged    []string  `json:"damaged"`     // packs that were left alone
	DryRun     bool      `json:"dry_run,omitempty"`
}

func prune(ctx context.Context, c *console, r *repo.Repository, o pruneFlags, dry bool) (*pruneResult, error) {
	m := c.progress()
	defer m.Close()
	p, err := r.Prune(ctx, repo.PruneOptions{DryRun: dry, Grace: time.Duration(o.grace), MaxUnused: float64(o.maxUnused) / 100, KeepPartly: o.keepPartly,
		Progress: func(phase string) { m.Set(phase, 0, 0) }})
	if err != nil {
		return nil, err
	}
	res := &pruneResult{Repository: r.Location(), Deleted: p.Deleted, Freed: p.Freed, Noted: p.Noted, Moved: p.Moved, Rewritten: p.Rewritten,
		Used: p.Used, Partly: p.Partly, Identity: r.Readable(), Waiting: p.Waiting, Damaged: []string{}, DryRun: dry}
	if p.Noted > 0 && !dry {
		res.NotBefore = time.Now().Add(time.Duration(o.grace)).UTC().Round(time.Second)
	}
	for _, d := range p.Damaged {
		res.Damaged = append(res.Damaged, d.Error())
	}
	return res, nil
}

func (r *pruneResult) partly() error {
	if len(r.Damaged) == 0 {
		return nil
	}
	return withExit(exitPartly, withHint(fmt.Errorf("%s left alone: %s", plural(len(r.Damaged), "damaged pack was", "damaged packs were"), strings.Join(r.Damaged, "; ")),
		"certkeep verify --level sealed says which sets need them"))
}

func (r *pruneResult) human(w io.Writer) error {
	noted, moved, partly, waiting, rewritten := "", "", "", "", ""
	if r.Noted > 0 {
		noted = size(r.Noted) + ", to be deleted by a prune after " + stamp(r.NotBefore)
	}
	if r.Moved > 0 {
		moved = size(r.Moved) + ", out of packs that were mostly dead"
	}
	if r.Rewritten > 0 {
		rewritten = size(r.Rewritten) + " given up"
	}
	if r.Partly > 0 {
		partly = "about " + size(r.Partly)
		if !r.Identity {
			partly += "; a prune with a restore identity (--identity) gives up what is mostly dead"
		}
	}
	if r.Waiting > 0 {
		waiting = "something was left alone for the sake of a run on its way"
	}
	if r.DryRun {
		return fields(w, "repository", r.Repository, "would note or delete", size(r.Noted), "would move", moved, "in use", size(r.Used),
			"of that partly dead", partly, "waiting", waiting, "damaged", strings.Join(r.Damaged, "; "))
	}
	return fields(w, "repository", r.Repository, "freed", fmt.Sprintf("%s (%s)", size(r.Freed), plural(r.Deleted, "object", "objects")), "noted", noted,
		"moved", moved, "rewritten", rewritten, "in use", size(r.Used), "of that partly dead", partly, "waiting", waiting, "damaged", strings.Join(r.Damaged, "; "))
}
