package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/repo"
)

func newShowCommand(c *console) *cobra.Command {
	var o setOptions
	cmd := &cobra.Command{
		Use:   "show -r REPO SET",
		Short: "all there is to know of a set",
		Long: `show prints what a repository knows of a set: what is in it and what is not, what became of
the session, its chain, what it takes, and what verification has shown. SET is an id, the
beginning of one, or latest. It takes the key of a host that has the authority's, as the one
that took the set, or a restore identity. --json has the manifest as well.`,
		Args: c.exactly("SET"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runShow(ctx, c, o, args[0]) }),
	}
	f := cmd.Flags()
	o.repositoryOptions.addFlags(f, "the repository")
	f.StringVar(&o.ca, "authority", "", "the authority whose sets are meant, where a repository has several: `NAME`")
	return describeRepository(cmd, "certkeep show -r /mnt/backup/pki latest")
}

type showResult struct {
	Repository string `json:"repository"`
	setResult
	Links    []string            `json:"links"` // the chain, from the full set to this one
	Author   string              `json:"author"`
	Manifest *backupset.Manifest `json:"manifest"`
	Receipt  *backupset.Receipt  `json:"receipt,omitempty"`
}

func runShow(ctx context.Context, c *console, o setOptions, name string) error {
	r, err := o.open(ctx, c, toList)
	if err != nil {
		return err
	}
	s, all, err := findInfo(ctx, r, name, o.ca)
	if err != nil {
		return err
	}
	res := &showResult{Repository: r.Location(), setResult: newSetResult(s, all), Author: s.Author, Manifest: s.Manifest, Receipt: s.Receipt, Links: []string{}}
	if chain, err := backupset.Resolve(all, s.ID, backupset.ResolveOptions{AllowUnconfirmed: true}); err == nil {
		for _, e := range chain {
			res.Links = append(res.Links, e.ID)
		}
	}
	return c.result(res, res.human)
}

// findInfo finds a set among those of a repository, and refuses one that cannot be read.
func findInfo(ctx context.Context, r *repo.Repository, name, ca string) (s repo.SetInfo, all []backupset.Entry, err error) {
	infos, err := r.Sets(ctx)
	if err != nil {
		return s, nil, err
	}
	all = entriesOf(infos)
	e, err := findSet(all, name, ca)
	if err != nil {
		return s, all, fmt.Errorf("%s: %w", r.Location(), err)
	}
	for _, s := range infos {
		if s.ID != e.ID {
			continue
		}
		switch {
		case s.Hidden:
			err = withHint(fmt.Errorf("%s: set %s: %w: it is of an authority whose keys are not here", r.Location(), s.ID, repo.ErrKey), "a restore identity opens it: --identity FILE")
		case s.Manifest == nil:
			err = fmt.Errorf("%s: set %s: %w", r.Location(), s.ID, s.Err)
		}
		return s, all, err
	}
	return s, all, fmt.Errorf("%s: set %s: %w", r.Location(), e.ID, backupset.ErrNotFound)
}

func (r *showResult) human(w io.Writer) error {
	m := r.Manifest
	var parts []string
	for _, p := range m.Completeness.Parts() {
		parts = append(parts, p.Name, string(p.Presence))
	}
	ended, truncated, remarks := "no receipt", "", ""
	if rc := r.Receipt; rc != nil {
		ended = fmt.Sprintf("%s, %s", r.State, stamp(rc.Finished))
		truncated, remarks = truncatedText(rc), strings.Join(rc.Truncation.Remarks, "; ")
	}
	chain := strings.Join(r.Links, " > ")
	if r.Chain != "" {
		chain = "BROKEN: " + r.Chain
	}
	err := fields(w, "set", r.Set, "authority", m.CA.Name+" on "+m.CA.Host, "type", r.Type, "chain", chain, "engine", m.Engine, "taken", stamp(m.Start)+" to "+stamp(m.End),
		"by", m.Tool, "host", r.Host+" ("+r.Author+")", "published", stamp(r.Published), "session", ended, "truncated", truncated, "remarks", remarks, "problem", r.Problem,
		"logs", logsText(m), "size", size(r.Bytes), "not stored before", size(r.New), "stored", size(r.Stored))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "\nPROOFS"); err != nil {
		return err
	}
	if err := r.proofTable(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, "\nCOMPLETENESS"); err != nil {
		return err
	}
	if err := fields(w, parts...); err != nil {
		return err
	}
	rows := [][]string{{"FILE", "ROLE", "SIZE"}}
	for _, f := range m.Files {
		rows = append(rows, []string{f.Name, string(f.Role), size(f.Size)})
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return table(w, rows)
}

func (r *showResult) proofTable(w io.Writer) error {
	if len(r.Proofs) == 0 {
		_, err := fmt.Fprintln(w, "none; certkeep verify makes them")
		return err
	}
	var rows [][]string
	for _, p := range r.Proofs {
		what := "found good " + stamp(p.At)
		switch {
		case !p.Failed.IsZero():
			what = "DAMAGE was found " + stamp(p.Failed)
		case p.At.IsZero():
			what = fmt.Sprintf("%d of %d shares read", p.Parts, p.Of)
		}
		rows = append(rows, []string{p.Level, what})
	}
	return table(w, rows)
}
