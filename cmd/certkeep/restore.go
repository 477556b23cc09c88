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

	"github.com/certkeep/certkeep/adcs"
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
	clearLogs bool
	maps      []string
	trace     bool
	takeBack  bool
	eventLog  bool
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
	f.BoolVar(&o.service, "service", false, "restore into this Windows machine's AD CS: stop it, restore, start it again")
	f.BoolVar(&o.clearLogs, "clear-logs", false, "with --service: do not replay logs of this machine that go on after the sets")
	f.StringArrayVar(&o.maps, "map", nil, "with --service: OLD, a UNC name of another machine in the set, stands for NEW, a path of this one; `OLD=NEW`, may be repeated")
	f.BoolVar(&o.plan, "plan", false, "verify the sets, say what would be done, and change nothing")
	f.BoolVar(&o.dryRun, "dry-run", false, "the same as --plan")
	f.StringSliceVar(&o.crls, "crl", nil, "with --ca and --service: the newest published CRL, a `FILE` or an http URL; may be repeated (default: those that can be found)")
	f.BoolVar(&o.acceptGap, "accept-gap", false, "with --ca and --service: let the authority publish CRLs although revocations are missing in its database")
	f.BoolVar(&o.force, "force", false, "with --to: replace the set in DIR")
	f.StringVar(&o.scratch, "scratch", "", "make the temporary directory in `DIR` (default the system's)")
	f.BoolVar(&o.trace, "trace", false, "print each call of the procedure with its result as it happens")
	f.BoolVar(&o.takeBack, "take-back", false, "with --service, and the service stopped: take back what a restore registered and the service has not carried out")
	addEventLogFlag(f, &o.eventLog)
}

func newRestoreCommand(c *console) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore (--folder DIR | -r REPO [SET]) (--ca CADIR | --service | --to DIR) [--until GENERATION|TIME] [--plan]",
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
certkeep ca init CADIR --key ca.key --certificate ca.crt

--service restores this Windows machine's AD CS, from an elevated prompt. Publishing
and issuing are withheld, the service is stopped, its database and logs are renamed
aside, the sets are copied and registered, and the service is started again, which
recovers them. If revocations are missing, or may be, publishing stays withheld, the
exit code is 3, and what to do is printed, as is the way back after a failure.
--plan prints all of it and does nothing.`,
		Args: c.optionalSet(),
		RunE: c.do(func(ctx context.Context, args []string) error {
			o.takeSet(args)
			return c.reported(ctx, o.eventLog && !o.plan && !o.dryRun && o.to == "" && !o.takeBack, restoreEvents, func(h *happening) error { return runRestore(ctx, c, o, h) })
		}),
	}
	o.addFlags(cmd.Flags())
	return describeRepository(cmd, "certkeep restore --folder backups --ca pki --plan", exitPartly, exitLocked)
}

func runRestore(ctx context.Context, c *console, o restoreOptions, h *happening) error {
	o.plan = o.plan || o.dryRun
	targets := 0
	for _, given := range []bool{o.to != "", o.ca != "", o.service} {
		if given {
			targets++
		}
	}
	switch {
	case targets != 1:
		return usagef("one of --ca CADIR, --service and --to DIR is needed")
	case o.to != "" && (len(o.crls) > 0 || o.acceptGap):
		return usagef("--crl and --accept-gap belong to --ca and --service")
	case o.to == "" && o.force:
		return usagef("--force belongs to --to")
	case !o.service && (o.clearLogs || o.takeBack || len(o.maps) > 0):
		return usagef("--clear-logs, --map and --take-back belong to --service")
	case o.takeBack:
		return runTakeBack(ctx, c, o)
	}
	h.Folder = o.place()
	chain, err := o.chain(ctx, c)
	if err != nil {
		return err
	}
	if o.to != "" {
		return runMerge(ctx, c, o, chain)
	}
	conn, err := o.openTarget(ctx)
	if err != nil {
		return notOpened(err)
	}
	return errors.Join(runRestoreInto(ctx, c, o, chain, conn, h), conn.Close())
}

type takeBackResult struct {
	TakenBack bool `json:"taken_back"`
	Plan      bool `json:"plan,omitempty"`
}

// runTakeBack is a step of the way back from a restore that failed.
func runTakeBack(ctx context.Context, c *console, o restoreOptions) error {
	conn, err := o.openTarget(ctx)
	if err != nil {
		return notOpened(err)
	}
	if !o.plan {
		err = backup.TakeBack(ctx, backup.Traced(conn.Service(), c.tracer(o.trace)))
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return err
	}
	return c.result(takeBackResult{TakenBack: !o.plan, Plan: o.plan}, func(w io.Writer) error {
		word := "what was registered is taken back; the files are as they were"
		if o.plan {
			word = "would take back what is registered"
		}
		return lastLine(w, word)
	})
}

// openTarget opens the authority that is to be restored.
func (o *restoreOptions) openTarget(ctx context.Context) (*connect.Connection, error) {
	a := connect.Address{Scheme: connect.CA, Dir: o.ca}
	if o.service {
		a = connect.Address{Scheme: connect.Local}
	}
	maps, err := parseMaps(o.maps)
	if err != nil {
		return nil, err
	}
	return a.Open(ctx, connect.Options{Stopped: true, Map: maps})
}

// parseMaps reads OLD=NEW. A path may hold an equals sign, a UNC name hardly does.
func parseMaps(list []string) ([]adcs.Mapping, error) {
	var maps []adcs.Mapping
	for _, s := range list {
		from, to, ok := strings.Cut(s, "=")
		if !ok || from == "" || to == "" {
			return nil, usagef("--map is OLD=NEW, not %q", s)
		}
		maps = append(maps, adcs.Mapping{Old: from, New: to})
	}
	return maps, nil
}

func runRestoreInto(ctx context.Context, c *console, o restoreOptions, chain chain, conn *connect.Connection, h *happening) error {
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
		Target: target, CRLs: crls, AcceptGap: o.acceptGap, ClearLogs: o.clearLogs, PlanOnly: o.plan, Scratch: o.scratch, Observe: c.tracer(o.trace), Progress: m.job})
	m.Close()
	if r != nil {
		h.Authority, h.Set = r.CA, strings.Join(r.Sets, ", ")
	}
	if err != nil {
		if r != nil && len(r.WayBack) > 0 { // the target was changed: say how far
			err = errors.Join(c.result(r, func(w io.Writer) error { return printRestore(c, w, r) }), err)
		}
		return err
	}
	if err := c.result(r, func(w io.Writer) error { return printRestore(c, w, r) }); err != nil {
		return err
	}
	switch {
	case o.plan:
		return nil
	case r.Withheld != nil:
		return withHint(withExit(exitPartly, errors.New("revocations are missing in the database, or may be: publishing CRLs and issuing stay off until somebody has looked")),
			"what to do is listed under \"next\"")
	case r.Gap != nil && r.Gap.Open():
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
	if len(r.NewerLogs) > 0 {
		print("\nput back to be replayed after the sets: %s\n", oneLine(strings.Join(r.NewerLogs, ", ")))
	}
	if r.Withheld != nil {
		print("\nwithheld\n")
		for _, s := range r.Withheld.What {
			print("  - %s\n", oneLine(s))
		}
	}
	if len(r.Next) > 0 {
		print("\nnext\n")
		for _, s := range r.Next {
			print("  - %s\n", oneLine(s))
		}
	}
	if len(r.WayBack) > 0 {
		if r.Plan {
			print("\nthe way back, if a step fails\n")
		} else {
			print("\nthe way back\n")
		}
		for i, s := range r.WayBack {
			print("  %d. %s\n", i+1, oneLine(s))
		}
	}
	word := c.style.green("restored")
	switch {
	case r.Plan:
		word = c.style.green("planned, nothing was changed")
	case !r.OK:
		word = c.style.red("not restored")
	}
	print("\n%s (%s written, %s)\n", word, size(r.Bytes), took(r.Duration))
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
	var passed []string
	for _, src := range g.Sources {
		if src.Note != "" {
			passed = append(passed, oneLine(src.Name+": "+src.Note))
		}
	}
	if len(passed) > 0 {
		print("\ncompared, and of no use\n")
		for _, s := range passed {
			print("  %s\n", s)
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
