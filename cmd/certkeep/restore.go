package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/folder"
)

type restoreOptions struct {
	chainOptions
	to        string
	ca        string
	service   bool
	plan      bool
	dryRun    bool
	crls      []string
	acceptGap bool
	force     bool
	scratch   string
}

func (o *restoreOptions) addFlags(f *pflag.FlagSet) {
	o.chainOptions.addFlags(f, "restore the newest chain of sets in `DIR`, or the one that ends in the set DIR")
	f.StringVar(&o.to, "to", "", "write the chain as one full set to the folder `DIR`, as certutil -restoreDB takes it")
	f.StringVar(&o.ca, "ca", "", "restore into the authority in `CADIR`, which must have the same certificate")
	f.BoolVar(&o.service, "service", false, "")
	f.Lookup("service").Hidden = true
	f.BoolVar(&o.plan, "plan", false, "verify the sets, say what would be done, and change nothing")
	f.BoolVar(&o.dryRun, "dry-run", false, "the same as --plan")
	f.StringSliceVar(&o.crls, "crl", nil, "with --ca: the newest published CRL, a `FILE` or an http URL; may be repeated (default: those that can be found)")
	f.BoolVar(&o.acceptGap, "accept-gap", false, "with --ca: let the authority publish CRLs although revocations are missing in its database")
	f.BoolVar(&o.force, "force", false, "with --to: replace the set in DIR")
	f.StringVar(&o.scratch, "scratch", "", "make the temporary directory in `DIR` (default the system's)")
}

func newRestoreCommand(c *console) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore --folder DIR (--ca CADIR | --to DIR) [--until GENERATION|TIME] [--plan]",
		Short: "restore a backup into an authority, or to one folder",
		Long: `restore recovers the sets in a temporary directory and checks them. Only then does
it touch the target. What was there is set aside, never deleted. The authority
recovers when it is next started, and a new full backup is due then.

A restore must not bring revoked certificates back to life. restore compares the
database with published CRLs: those in the sets, in CADIR/published, at the URLs
in the authority's configuration, and those named by --crl. If revocations are
missing in the database it lists them, the exit code is 3, and the authority
publishes no CRL until each of them is revoked again (certkeep ca revoke) or the
gap is accepted (--accept-gap here, or certkeep ca crl --accept-gap).

On a new machine, first make an authority with the old key and certificate:
certkeep ca init CADIR --key ca.key --certificate ca.crt`,
		Args: c.exactly(),
		RunE: c.do(func(ctx context.Context, _ []string) error { return runRestore(ctx, c, o) }),
	}
	o.addFlags(cmd.Flags())
	return describe(cmd, "certkeep restore --folder backups --ca pki --plan",
		exitOK, exitFailed, exitUsage, exitPartly, exitDamage, exitLocked, exitInterrupted)
}

func runRestore(ctx context.Context, c *console, o restoreOptions) error {
	o.plan = o.plan || o.dryRun
	switch {
	case o.service:
		return withHint(notInThisVersion("restoring this machine's AD CS (--service)"), "--to DIR writes a folder for certutil -restoreDB")
	case (o.to == "") == (o.ca == ""):
		return usagef("one of --ca CADIR and --to DIR is needed")
	case o.to != "" && (len(o.crls) > 0 || o.acceptGap):
		return usagef("--crl and --accept-gap belong to --ca")
	case o.ca != "" && o.force:
		return usagef("--force belongs to --to")
	}
	chain, err := o.chain(ctx)
	if err != nil {
		return err
	}
	if o.to != "" {
		return runMerge(ctx, c, o, chain)
	}
	return runRestoreCA(ctx, c, o, chain)
}

func runRestoreCA(ctx context.Context, c *console, o restoreOptions, chain chain) (err error) {
	a := connect.Address{Scheme: connect.CA, Dir: o.ca}
	conn, err := a.Open(ctx, connect.Options{Stopped: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	target, err := conn.Target()
	if err != nil {
		return err
	}
	crls, err := o.publishedCRLs(ctx, c, conn)
	if err != nil {
		return err
	}
	m := c.progress()
	r, err := backup.Restore(ctx, backup.RestoreOptions{Source: chain.Source, Until: chain.until, OpenLog: o.openLog, MoreLogs: chain.logs,
		Target: target, CRLs: crls, AcceptGap: o.acceptGap, PlanOnly: o.plan, Scratch: o.scratch, Progress: m.job})
	m.Close()
	if err != nil {
		return err
	}
	if err := c.result(r, func(w io.Writer) error { return printRestore(c, w, r) }); err != nil {
		return err
	}
	if r.Gap != nil && r.Gap.Open() && !o.plan {
		return withHint(withExit(exitPartly, fmt.Errorf("the database lacks %s: until that is mended the authority publishes no CRL",
			plural(len(r.Gap.Revoked), "revocation", "revocations"))),
			"certkeep ca revoke %s SERIAL for each of them, or certkeep ca crl %s --accept-gap", o.ca, o.ca)
	}
	return nil
}

func printRestore(c *console, w io.Writer, r *backup.RestoreReport) error {
	var err error
	print := func(format string, args ...any) {
		_, e := fmt.Fprintf(w, format, args...)
		err = errors.Join(err, e)
	}
	err = fields(w, "authority", r.CA, "sets", strings.Join(r.Sets, ", "))
	err = errors.Join(err, printDatabase(w, r.Database))
	print("\nsteps\n")
	for _, s := range r.Steps {
		print("  %2d  %-8s %s\n", s.Number, s.State, oneLine(s.Title))
		for _, d := range s.Detail {
			if !r.Plan && s.State == backup.StepDone {
				continue // what was planned has happened
			}
			print("               %s\n", c.style.dim(oneLine(d)))
		}
	}
	err = errors.Join(err, printGap(w, r.Gap), printStatements(w, "not proven", r.NotProven), printFindings(c, w, r.Findings))
	if r.Displaced.Dir != "" {
		print("\nset aside: %s in %s\n", plural(len(r.Displaced.Files), "file", "files"), oneLine(r.Displaced.Dir))
	}
	if len(r.Next) > 0 {
		print("\nnext\n")
		for _, s := range r.Next {
			print("  - %s\n", oneLine(s))
		}
	}
	word := "restored"
	if r.Plan {
		word = "planned, nothing was changed"
	}
	print("\n%s (%s written, %s)\n", c.style.green(word), size(r.Bytes), took(r.Duration))
	return err
}

func printGap(w io.Writer, g *backup.Gap) (err error) {
	if g == nil {
		return nil
	}
	print := func(format string, args ...any) {
		_, e := fmt.Fprintf(w, format, args...)
		err = errors.Join(err, e)
	}
	if len(g.Revoked) > 0 {
		print("\nrevoked elsewhere, not in this database\n")
		for _, r := range g.Revoked {
			print("  %s  %s  %s  %s\n", oneLine(r.Serial), stamp(r.Time), r.Reason, oneLine(r.Source))
		}
	}
	if len(g.Issued) > 0 {
		print("\nissued after this database\n")
		for _, i := range g.Issued {
			print("  %s  %s  %s\n", oneLine(i.Serial), oneLine(i.CommonName), oneLine(i.Source))
		}
	}
	return err
}

// runMerge is --to: one full set in a folder.
func runMerge(ctx context.Context, c *console, o restoreOptions, chain chain) error {
	store, name, err := folder.Split(o.to, folder.Options{})
	if err != nil {
		return err
	}
	m := c.progress()
	r, err := backup.Merge(ctx, backup.MergeOptions{Source: chain.Source, Until: chain.until, OpenLog: o.openLog, MoreLogs: chain.logs,
		To: store, Name: name, Force: o.force, PlanOnly: o.plan, Tool: backup.ToolName(versionOf().Version), Scratch: o.scratch, Progress: m.job})
	m.Close()
	if err != nil {
		return backupFailure(err, o.to)
	}
	dir := filepath.Join(store.Dir(), name)
	return c.result(r, func(w io.Writer) error {
		word := "written"
		if r.Plan {
			word = "planned, nothing was written"
		}
		return errors.Join(
			fields(w, "sets", strings.Join(r.Sets, ", "), "to", dir, "logs", logsText(r.Manifest)),
			printDatabase(w, r.Database), printStatements(w, "not proven", r.NotProven), printFindings(c, w, withoutNotes(r.Findings)),
			lastLine(w, fmt.Sprintf("%s (%s, %s)", c.style.green(word), size(r.Bytes), took(r.Duration))),
		)
	})
}

func withoutNotes(list []cadb.Finding) []cadb.Finding {
	var out []cadb.Finding
	for _, f := range list {
		if f.Severity != cadb.Note {
			out = append(out, f)
		}
	}
	return out
}

func lastLine(w io.Writer, s string) error {
	_, err := fmt.Fprintf(w, "\n%s\n", s)
	return err
}
