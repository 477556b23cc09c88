package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
)

type certsOptions struct {
	chainOptions
	database     string
	serial       string
	dispositions []string
	expireBefore string
	expireAfter  string
	csv, pem     bool
	crls         bool
	raw          bool
}

func (o *certsOptions) addFlags(f *pflag.FlagSet) {
	o.chainOptions.addFlags(f, "read the newest chain of sets in `DIR`, or the one that ends in the set DIR")
	f.StringVar(&o.database, "database", "", "read a recovered database `FILE`; a -wal beside it counts")
	f.StringVar(&o.serial, "serial", "", "only the certificate with serial number `S`")
	f.StringSliceVar(&o.dispositions, "disposition", nil, "only requests of disposition `D`: pending, issued, revoked, failed, denied, … or a number; may be repeated")
	f.StringVar(&o.expireBefore, "expires-before", "", "only certificates that expire before `DATE` (2006-01-02 or RFC 3339)")
	f.StringVar(&o.expireAfter, "expires-after", "", "only certificates that expire after `DATE`")
	f.BoolVar(&o.csv, "csv", false, "print CSV")
	f.BoolVar(&o.pem, "pem", false, "print the certificates, or with --crls the CRLs, in PEM")
	f.BoolVar(&o.crls, "crls", false, "the certificate revocation lists in place of the requests")
	f.BoolVar(&o.raw, "raw", false, "with --json: the certificates, or CRLs, as well, in PEM")
}

func newCertsCommand(c *console) *cobra.Command {
	var o certsOptions
	cmd := &cobra.Command{
		Use:   "certs (--folder DIR | -r REPO [SET] | --database FILE) [--serial S] [--disposition D] [--csv | --pem]",
		Short: "read requests, certificates and CRLs out of a backup",
		Long: `certs reads a backup as it stands: it recovers a copy in a temporary directory,
reads it and throws it away. It needs neither the authority nor its key.

With --json it prints a JSON object a line.`,
		Args: c.optionalSet(),
		RunE: c.do(func(ctx context.Context, args []string) error {
			o.takeSet(args)
			return runCerts(ctx, c, o)
		}),
	}
	o.addFlags(cmd.Flags())
	var dispositions []string
	for _, d := range schema.Dispositions {
		dispositions = append(dispositions, d.String())
	}
	choices(cmd, "disposition", dispositions...)
	return describeRepository(cmd, "certkeep certs --folder backups --disposition revoked --csv")
}

func (o *certsOptions) filter() (cadb.Filter, error) {
	f := cadb.Filter{NoRequest: true}
	var err error
	if o.serial != "" {
		if f.Serial, err = schema.ParseSerial(o.serial); err != nil {
			return f, usagef("--serial: %w", err)
		}
	}
	for _, s := range o.dispositions {
		d, err := schema.ParseDisposition(s)
		if err != nil {
			return f, usagef("--disposition: %w", err)
		}
		f.Dispositions = append(f.Dispositions, d)
	}
	if f.ExpiresBefore, err = parseDate(o.expireBefore); err != nil {
		return f, usagef("--expires-before: %w", err)
	}
	if f.ExpiresAfter, err = parseDate(o.expireAfter); err != nil {
		return f, usagef("--expires-after: %w", err)
	}
	return f, nil
}

// parseDate reads a day or a moment; without a zone it is UTC.
func parseDate(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date: write 2006-01-02 or 2006-01-02T15:04:05Z", s)
}

func runCerts(ctx context.Context, c *console, o certsOptions) error {
	filter, err := o.filter()
	switch {
	case err != nil:
		return err
	case o.csv && o.pem, o.csv && c.json, o.pem && c.json:
		return usagef("--csv, --pem and --json exclude each other")
	case o.csv && o.crls:
		return usagef("--crls knows --pem and --json, not --csv")
	case o.raw && !c.json:
		return usagef("--raw belongs to --json; --pem prints certificates")
	case o.crls && (o.serial != "" || len(o.dispositions) > 0 || o.expireBefore != "" || o.expireAfter != ""):
		return usagef("--crls takes no filter")
	case o.database != "" && (o.folder != "" || o.address != "" || o.set != ""):
		return usagef("--folder, -r and --database exclude each other")
	case o.folder == "" && !o.inRepository() && o.database == "":
		return usagef("--folder DIR, -r REPO or --database FILE is missing")
	}
	if o.database != "" {
		db, err := cadb.Open(ctx, o.database)
		if err != nil {
			return err
		}
		return errors.Join(readDatabase(ctx, c, o, filter, db), db.Close())
	}
	chain, err := o.chain(ctx, c)
	if err != nil {
		return err
	}
	m := c.progress()
	r, err := backup.Recover(ctx, backup.RecoverOptions{Source: chain.Source, Until: chain.until, OpenLog: o.openLog, MoreLogs: chain.logs, Progress: m.job})
	m.Close()
	if err != nil {
		var damage *backup.DamageError
		if errors.As(err, &damage) {
			return withHint(err, "certs --database FILE, of the set's DataBase directory, reads what there is")
		}
		return err
	}
	if r.DB == nil {
		return errors.Join(r.Unreadable, r.Close())
	}
	return errors.Join(readDatabase(ctx, c, o, filter, r.DB), r.Close())
}

func readDatabase(ctx context.Context, c *console, o certsOptions, filter cadb.Filter, db *cadb.DB) (err error) {
	if info := db.Info(); info.Unrecovered {
		for _, note := range info.Notes {
			c.say("note: %s", oneLine(note))
		}
	}
	n, what := 0, "requests"
	if o.crls {
		n, err = printCRLs(ctx, c, o, db)
		what = "CRLs"
	} else {
		n, err = printRequests(ctx, c, o, db, filter)
	}
	var incomplete *cadb.IncompleteError
	if errors.As(err, &incomplete) {
		return withExit(exitDamage, err)
	}
	if err != nil {
		return err
	}
	if o.pem && !o.crls {
		what = "certificates"
	}
	if n == 0 && o.serial != "" {
		return fmt.Errorf("serial number %s is not in the database", filter.Serial)
	}
	c.say("%s", plural(n, strings.TrimSuffix(what, "s"), what))
	return nil
}

func printRequests(ctx context.Context, c *console, o certsOptions, db *cadb.DB, filter cadb.Filter) (int, error) {
	requests := db.Requests(ctx, filter)
	switch {
	case c.json:
		return cadb.WriteJSON(c.stdout, requests, o.raw)
	case o.csv:
		return cadb.WriteCSV(c.stdout, requests)
	case o.pem:
		return cadb.WritePEM(c.stdout, requests)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	n := 0
	for r, err := range requests {
		if err != nil {
			return n, err
		}
		if n == 0 {
			fmt.Fprintln(w, "REQUEST\tDISPOSITION\tSERIAL\tEXPIRES\tREVOKED\tNAME")
		}
		revoked := ""
		if r.Disposition == schema.Revoked && r.Reason != nil {
			revoked = r.Reason.String()
		}
		name := r.CommonName()
		if name == "" {
			name = r.DistinguishedName()
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Disposition, dash(oneLine(r.Serial)), dash(day(r.NotAfter)), dash(revoked), oneLine(name))
		if n++; n%1000 == 0 { // columns are aligned by the thousand, so that memory stays bounded
			if err := w.Flush(); err != nil {
				return n, err
			}
		}
	}
	return n, w.Flush()
}

func printCRLs(ctx context.Context, c *console, o certsOptions, db *cadb.DB) (int, error) {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	n := 0
	for crl, err := range db.CRLs(ctx) {
		if err != nil {
			return n, err
		}
		switch {
		case c.json:
			if err := c.line(crl.Record(o.raw)); err != nil {
				return n, err
			}
		case o.pem:
			if _, err := io.WriteString(c.stdout, crl.Record(true).CRL); err != nil {
				return n, err
			}
		default:
			if n == 0 {
				fmt.Fprintln(w, "NUMBER\tENTRIES\tTHIS UPDATE\tNEXT UPDATE")
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", strconv.FormatInt(crl.Number, 10), count(crl.Count), stamp(crl.ThisUpdate), stamp(crl.NextUpdate))
		}
		n++
	}
	return n, w.Flush()
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
