package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/folder"
)

type diffOptions struct {
	repositoryOptions
	limit   int
	scratch string
}

func newDiffCommand(c *console) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff [-r REPO] OLD NEW [--limit N]",
		Short: "what happened between two backups",
		Long: `diff compares two states of an authority: what was issued, revoked, released and
left pending between them, and which CRLs were made. OLD and NEW are sets (the state
at the end of each, recovered from its chain in a temporary directory), directories of
sets (their newest), database files, or CertLog directories. Sets of AD CS are read without replaying their
logs, and the report says what that leaves open.`,
		Args: c.exactly("OLD", "NEW"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runDiff(ctx, c, args[0], args[1], o) }),
	}
	f := cmd.Flags()
	o.repositoryOptions.addFlags(f, "OLD and NEW are sets in a repository")
	f.IntVar(&o.limit, "limit", 0, "list at most `N` changes of each kind (default 10000); all are counted")
	f.StringVar(&o.scratch, "scratch", "", "make the temporary directory in `DIR` (default the system's)")
	return describeRepository(cmd, "certkeep diff backups/monday backups/tuesday")
}

// sides reads OLD and NEW.
func (o *diffOptions) sides(ctx context.Context, c *console, old, now string) (a, b backup.DiffSide, err error) {
	if o.address == "" {
		if a, err = diffSide(ctx, old); err == nil {
			b, err = diffSide(ctx, now)
		}
		return a, b, err
	}
	r, err := o.open(ctx, c, toRead)
	if err != nil {
		return a, b, err
	}
	for name, side := range map[string]*backup.DiffSide{old: &a, now: &b} {
		id, err := (&setOptions{set: name}).find(ctx, r)
		if err != nil {
			return a, b, err
		}
		side.Source = backup.Source{Store: r, ID: id}
	}
	return a, b, nil
}

// diffSide reads OLD or NEW.
func diffSide(ctx context.Context, name string) (side backup.DiffSide, err error) {
	if fi, err := os.Stat(name); err == nil && fi.Mode().IsRegular() {
		side.Database = name
		return side, nil
	}
	if log, err := backup.FindCertLog(name, ""); err == nil {
		side.Database = log.Database
		return side, nil
	}
	store, set, err := folder.Resolve(ctx, name)
	if err != nil {
		return side, err
	}
	side.Source = backup.Source{Store: store, ID: set}
	return side, nil
}

func runDiff(ctx context.Context, c *console, old, now string, o diffOptions) error {
	if o.limit < 0 {
		return usagef("--limit is a number of changes, not %d", o.limit)
	}
	d := backup.DiffOptions{Limit: o.limit, Scratch: o.scratch}
	var err error
	if d.Old, d.New, err = o.sides(ctx, c, old, now); err != nil {
		return err
	}
	m := c.progress()
	d.Progress = m.job
	r, err := backup.Diff(ctx, d)
	m.Close()
	if err != nil {
		return err
	}
	if err := c.result(r, func(w io.Writer) error { return printDiff(w, r) }); err != nil {
		return err
	}
	if r.Damaged {
		return withExit(exitDamage, errors.New("not all could be read: see the notes"))
	}
	return nil
}

func printDiff(w io.Writer, r *backup.DiffReport) error {
	var err error
	print := func(format string, args ...any) {
		_, e := fmt.Fprintf(w, format, args...)
		err = errors.Join(err, e)
	}
	state := func(s backup.DiffState) string {
		text := s.Name + ": " + plural(s.Requests, "request", "requests")
		if s.Generation > 0 {
			text += fmt.Sprintf(", generation %d (%s)", s.Generation, certadm.LogDigits(s.Generation))
		}
		switch {
		case s.Closed != nil && s.Unreplayed:
			text += ", closed by " + stamp(*s.Closed)
		case s.Closed != nil:
			text += ", closed " + stamp(*s.Closed)
		}
		return text
	}
	err = fields(w, "old", state(r.Old), "new", state(r.New))
	for _, kind := range []struct {
		name string
		list backup.DiffList
	}{
		{"issued", r.Issued}, {"revoked", r.Revoked}, {"taken off hold", r.Released}, {"pending", r.Pending},
		{"decided", r.Resolved}, {"no longer there", r.Gone}, {"changed otherwise", r.Other},
	} {
		if kind.list.Count == 0 {
			continue
		}
		print("\n%s: %d\n", kind.name, kind.list.Count)
		for _, d := range kind.list.List {
			text := fmt.Sprintf("%d  %s  %s", d.RequestID, dash(d.Serial), dash(d.CommonName))
			if d.RevokedWhen != nil {
				text += "  " + stamp(*d.RevokedWhen)
			}
			if d.Reason != nil {
				text += "  " + d.Reason.String()
			}
			if d.What != "" {
				text += "  " + d.What
			}
			print("  %s\n", oneLine(text))
		}
		if more := kind.list.Count - len(kind.list.List); more > 0 {
			print("  and %d more\n", more)
		}
	}
	for _, list := range []struct {
		text string
		crls []backup.DiffCRL
	}{{"CRL", r.CRLs}, {"no longer there: CRL", r.CRLsGone}} {
		for _, crl := range list.crls {
			of := ""
			if crl.ThisUpdate != nil {
				of = " of " + stamp(*crl.ThisUpdate)
			}
			print("\n%s %d%s\n", list.text, crl.Number, of)
		}
	}
	if len(r.Notes) > 0 {
		print("\nnotes\n")
		for _, n := range r.Notes {
			print("  - %s\n", oneLine(strings.TrimSpace(n)))
		}
	}
	if r.Same() && !r.Damaged {
		print("\nno difference\n")
	}
	return err
}
