package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/cmd/certkeep/internal/eseview"
	"github.com/certkeep/certkeep/ese"
)

type eseOptions struct {
	tables    bool
	count     bool
	check     bool
	depth     string
	jobs      int
	rows      string
	limit     uint64
	anonymous bool
}

const (
	defaultRows = 100
	mostJobs    = 256 // more pages at a time is no faster anywhere, and costs memory
)

func (o *eseOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.tables, "tables", false, "the tables with their columns and indexes (esentutl /mm)")
	f.BoolVar(&o.count, "count", false, "with --tables: count the rows, too")
	f.BoolVar(&o.check, "check", false, "hold pages and logs against their checksums and against each other (esentutl /k, /ml)")
	f.StringVar(&o.depth, "depth", "", "with --check: `DEPTH` is pages (if not given), trees or rows; each does what those before it do. With --anonymous-report it is rows if not given")
	f.IntVar(&o.jobs, "jobs", 0, "with --check: `N` pages at a time (default one for each core)")
	f.StringVar(&o.rows, "rows", "", "the rows of `TABLE` as CSV, or with --json as JSON lines")
	f.Uint64Var(&o.limit, "limit", defaultRows, "with --rows: `N` rows at most, 0 for all")
	f.BoolVar(&o.anonymous, "anonymous-report", false, "how the files are built and nothing that is in them, to be sent in")
}

func newESECommand(c *console) *cobra.Command {
	var o eseOptions
	cmd := &cobra.Command{
		Use:   "ese FILE… [--tables | --check | --rows TABLE | --anonymous-report]",
		Short: "look into an ESE database, its logs and its checkpoint",
		Long: `ese reads files of the Extensible Storage Engine, which keeps the database of AD CS,
for people who know esentutl, and without Windows. It prints what each FILE is and
what its header says (esentutl /mh, /ml, /mk). FILE can be a directory: one that
certutil wrote, or the CertLog of an authority.

Nothing is written, no log is replayed, nothing is repaired.`,
		Args: func(cmd *cobra.Command, args []string) error {
			c.at(cmd)
			if len(args) == 0 {
				return usagef("FILE is missing")
			}
			return nil
		},
	}
	cmd.RunE = c.do(func(ctx context.Context, args []string) error {
		if err := o.validate(cmd.Flags()); err != nil {
			return err
		}
		return runESE(ctx, c, o, args)
	})
	o.addFlags(cmd.Flags())
	choices(cmd, "depth", eseview.Depths...)
	return describe(cmd, "certkeep ese --check DataBase\ncertkeep ese 'Example CA.edb' --rows Requests --limit 10",
		exitOK, exitFailed, exitUsage, exitPartly, exitDamage, exitInterrupted)
}

// validate refuses flags that would have no effect.
func (o *eseOptions) validate(f *pflag.FlagSet) error {
	modes := 0
	for _, on := range []bool{o.tables, o.check, o.rows != "", o.anonymous} {
		if on {
			modes++
		}
	}
	checks := o.check || o.anonymous
	switch {
	case modes > 1:
		return usagef("--tables, --check, --rows and --anonymous-report exclude each other")
	case f.Changed("rows") && o.rows == "":
		return usagef("--rows: the name of a table is missing")
	case o.count && !o.tables:
		return usagef("--count belongs to --tables")
	case f.Changed("limit") && o.rows == "":
		return usagef("--limit belongs to --rows")
	case f.Changed("depth") && !checks:
		return usagef("--depth belongs to --check")
	case f.Changed("jobs") && !checks:
		return usagef("--jobs belongs to --check")
	case f.Changed("jobs") && (o.jobs < 1 || o.jobs > mostJobs):
		return usagef("--jobs: %d is not between 1 and %d", o.jobs, mostJobs)
	}
	if o.depth == "" {
		o.depth = eseview.Depths[0]
		if o.anonymous {
			o.depth = eseview.Depths[len(eseview.Depths)-1]
		}
	}
	if !slices.Contains(eseview.Depths, o.depth) {
		return usagef("--depth: %q is none of %v", o.depth, eseview.Depths)
	}
	if o.jobs == 0 {
		o.jobs = min(runtime.NumCPU(), mostJobs)
	}
	return nil
}

func runESE(ctx context.Context, c *console, o eseOptions, args []string) error {
	files := eseview.NewFiles(ctx)
	defer files.Close()
	groups, err := eseview.Find(files, args)
	if err != nil {
		return err
	}
	switch {
	case o.tables:
		return eachDatabase(groups, func(path string) error { return eseTables(ctx, c, files, path, o.count) })
	case o.rows != "":
		return eseRows(ctx, c, files, groups, o)
	case o.check:
		return eseChecks(ctx, c, files, groups, o)
	case o.anonymous:
		return eseAnonymous(ctx, c, files, groups, o)
	}
	return eseHeaders(ctx, c, files, groups)
}

// eseError is an error of reading a file, with the exit code that it leads to: what
// was a database once and is damaged is damage, what never was one is not.
func eseError(err error) error {
	for _, damage := range []error{ese.ErrChecksum, ese.ErrCorrupt, ese.ErrTrailer, ese.ErrSequence, ese.ErrLogSums} {
		if errors.Is(err, damage) {
			return withExit(exitDamage, err)
		}
	}
	return err
}

// eseFailed is what stands for a file that could not be read in JSON.
type eseFailed struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

// eseHeaders prints what each file is. One that cannot be read does not keep the
// others from being printed.
func eseHeaders(ctx context.Context, c *console, files *eseview.Files, groups []*eseview.Group) error {
	var failed []error
	first := true
	for _, g := range groups {
		for _, path := range g.Files() {
			f, err := eseview.Describe(ctx, files, path)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				failed = append(failed, eseError(err))
				if c.json {
					if err := c.line(eseFailed{path, err.Error()}); err != nil {
						return err
					}
				}
				continue
			}
			if c.json {
				err = c.line(f)
			} else {
				if !first {
					fmt.Fprintln(c.stdout) //nolint:errcheck // what follows tells
				}
				err = printESEFile(c, c.stdout, f)
			}
			if first = false; err != nil {
				return err
			}
		}
	}
	return worst(failed)
}

// worst puts errors together. Damage decides the exit code, whatever came first.
func worst(failed []error) error {
	err := errors.Join(failed...)
	if len(failed) > 1 {
		err = fmt.Errorf("%w, and %s more", failed[0], plural(len(failed)-1, "file", "files"))
	}
	for _, e := range failed {
		if exitOf(context.Background(), e) == exitDamage {
			return withExit(exitDamage, err)
		}
	}
	return err
}

// eachDatabase goes through the databases, of which there must be one.
func eachDatabase(groups []*eseview.Group, do func(path string) error) error {
	var failed []error
	n := 0
	for _, g := range groups {
		for _, path := range g.Databases {
			n++
			if err := do(path); err != nil {
				failed = append(failed, eseError(err))
			}
		}
	}
	if n == 0 {
		return errors.New("none of the files is a database")
	}
	return worst(failed)
}

func eseTables(ctx context.Context, c *console, files *eseview.Files, path string, count bool) error {
	catalog, err := eseview.ReadCatalog(ctx, files, path, count)
	if err != nil {
		return err
	}
	if c.json {
		return c.line(catalog)
	}
	return printESECatalog(c.stdout, catalog)
}

// eseRows prints the rows of a table of one database: with several, CSV would have
// several lines of names.
func eseRows(ctx context.Context, c *console, files *eseview.Files, groups []*eseview.Group, o eseOptions) error {
	var databases []string
	for _, g := range groups {
		databases = append(databases, g.Databases...)
	}
	if len(databases) != 1 {
		return usagef("--rows reads one database, there are %d", len(databases))
	}
	db, err := eseview.OpenDatabase(files, databases[0])
	if err != nil {
		return eseError(err)
	}
	t, err := db.Table(o.rows)
	if err != nil {
		return withHint(fmt.Errorf("--rows: %w", err), "--tables lists them")
	}
	if db.State() != ese.CleanShutdown {
		c.say("the database is in state %q and no log is replayed: rows can be missing, old, or there twice", db.State())
	}
	r, err := printESERows(ctx, c, t, o.limit)
	if err != nil {
		return err
	}
	more := ""
	if r.More {
		more = ", and there are more (--limit)"
	}
	c.say("%s%s", plural(r.Rows, "row", "rows"), more)
	if r.Faults > 0 {
		return withExit(exitPartly, fmt.Errorf("%s could not be read, the first: %s", plural(r.Faults, "row or value", "rows or values"), r.First))
	}
	return nil
}

func printESERows(ctx context.Context, c *console, t *ese.Table, limit uint64) (eseview.RowsResult, error) {
	if c.json {
		return eseview.ReadRows(ctx, t, limit, func(r eseview.Row) error { return c.line(r) })
	}
	w, err := eseview.NewCSV(c.stdout, t)
	if err != nil {
		return eseview.RowsResult{}, err
	}
	r, err := eseview.ReadRows(ctx, t, limit, w.Write)
	return r, errors.Join(err, w.Flush())
}

// eseGroups are the checks that were asked for.
func eseGroups(files *eseview.Files, groups []*eseview.Group) ([]*eseview.Group, error) {
	var list []*eseview.Group
	for _, g := range groups {
		list = append(list, eseview.Checks(files, g)...)
	}
	if len(list) == 0 {
		return nil, errors.New("none of the files is a database or a log")
	}
	return list, nil
}

func eseChecks(ctx context.Context, c *console, files *eseview.Files, groups []*eseview.Group, o eseOptions) error {
	list, err := eseGroups(files, groups)
	if err != nil {
		return err
	}
	var damaged []error
	for i, g := range list {
		m := c.progress()
		r, err := g.Check(ctx, files, eseview.CheckOptions{Depth: o.depth, Workers: o.jobs,
			Progress: func(path string, done, total int64) { m.Set("check "+path, done, total) }})
		m.Close()
		if err != nil {
			return err
		}
		if c.json {
			err = c.print(r)
		} else {
			if i > 0 {
				fmt.Fprintln(c.stdout) //nolint:errcheck // what follows tells
			}
			err = printESECheck(c, c.stdout, r)
		}
		if err != nil {
			return err
		}
		if n, first := r.Damage(); n > 0 {
			damaged = append(damaged, withExit(exitDamage, fmt.Errorf("%s of damage, the first: %s", plural(n, "finding", "findings"), findingText(first))))
		}
	}
	return worst(damaged)
}

// eseAnonymous prints the report: one line with --json, else so that its sender can
// read what he sends.
func eseAnonymous(ctx context.Context, c *console, files *eseview.Files, groups []*eseview.Group, o eseOptions) error {
	list, err := eseGroups(files, groups)
	if err != nil {
		return err
	}
	for _, g := range list {
		m := c.progress()
		r, err := g.Anonymize(ctx, files, eseview.CheckOptions{Depth: o.depth, Workers: o.jobs,
			Progress: func(_ string, done, total int64) { m.Set("check", done, total) }})
		m.Close()
		if err != nil {
			return err
		}
		if c.json {
			err = c.print(r)
		} else {
			err = printIndented(c.stdout, r)
		}
		if err != nil {
			return err
		}
	}
	c.say("read it before you send it; docs/ese.md says what is in it and where to send it")
	return nil
}

func printIndented(w io.Writer, v any) error {
	b, err := encodeObject(v)
	if err != nil {
		return err
	}
	return indent(w, b)
}
