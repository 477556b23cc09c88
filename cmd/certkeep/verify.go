package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
)

type verifyOptions struct {
	setOptions
	level         string
	caCertificate string
	share         string
	noRecord      bool
	events        bool
}

func (o *verifyOptions) addFlags(f *pflag.FlagSet) {
	o.setOptions.addFlags(f, "verify the newest chain of sets in `DIR`, or the one that ends in the set DIR")
	f.StringVar(&o.level, "level", string(backup.LevelDatabase), "how deep: `LEVEL` is "+strings.Join(texts(backup.Levels), ", "))
	f.StringVar(&o.caCertificate, "ca-certificate", "", "the authority's certificate in `FILE`, in place of the one that the manifest names")
	f.StringVar(&o.share, "share", "", "with -r and level sealed or content: read only the next of so many shares of the packs, for example `1/30`, so that 30 runs read all")
	f.BoolVar(&o.noRecord, "no-record", false, "with -r: do not record the outcome in the repository")
	addEventLogFlag(f, &o.events)
}

func newVerifyCommand(c *console) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify (--folder DIR | -r REPO [SET…]) [--level LEVEL]",
		Short: "prove that a backup is what was backed up",
		Long: `verify looks at a chain of sets, as deep as asked; it never writes to a set.

  inventory  the chain is complete, and every file is there in its size
  sealed     and every file has its SHA-256
  content    and every log is whole and follows the one before it
  database   and the database can be recovered, and every row agrees with the
             certificate in it

Sets of AD CS are checked as far as that goes without replaying their logs, which only
AD CS can: every page, header, log and row. DIR may also be its database directory
(CertLog) from a dead machine.

Of a repository it is all sets, or those named; at level database without SET the newest
of each authority, with its chain. There sealed means that every object that the sets need
has its SHA-256, and takes no key, as inventory; content and database take a restore
identity. The outcome is recorded in the repository for list, if this machine may write.`,
		Args: cobra.ArbitraryArgs,
		RunE: c.do(func(ctx context.Context, args []string) error {
			return c.reported(ctx, o.events, verifyEvents, func(h *happening) error {
				h.Folder = o.place()
				if o.inRepository() && o.folder == "" {
					return runVerifyRepository(ctx, c, o, args, h)
				}
				o.takeSet(args)
				return runVerify(ctx, c, o, h)
			})
		}),
	}
	o.addFlags(cmd.Flags())
	choices(cmd, "level", texts(backup.Levels)...)
	return describeRepository(cmd, "certkeep verify --folder backups\ncertkeep verify -r /mnt/backup/pki --level sealed --share 1/30")
}

// texts turns names of a type of their own into strings.
func texts[S ~string](names []S) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return out
}

func runVerify(ctx context.Context, c *console, o verifyOptions, h *happening) error {
	level, err := backup.ParseLevel(o.level)
	if err != nil {
		return usagef("--level: %w", err)
	}
	certificate, err := optionalCertificate(o.caCertificate)
	if err != nil {
		return err
	}
	verify := backup.Verify
	options := backup.VerifyOptions{Level: level, CACertificate: certificate}
	if log, err := o.certLog(); log != nil {
		verify = log.Verify
	} else if err != nil {
		return err
	} else if options.Source, err = o.source(ctx, c); err != nil {
		return err
	}
	m := c.progress()
	options.Progress = m.job
	r, err := verify(ctx, options)
	m.Close()
	if err != nil {
		return err
	}
	for _, set := range r.Sets {
		h.Set = set.ID // the last of them
	}
	if err := c.result(r, func(w io.Writer) error { return printVerify(c, w, r) }); err != nil {
		return err
	}
	return damageError(r.Findings)
}

// certLog is the database directory of AD CS, as it is on the disk of a dead machine,
// if --folder is one: nil if it is not.
func (o *verifyOptions) certLog() (*backup.CertLog, error) {
	if o.folder == "" || o.address != "" {
		return nil, nil // source says what is missing
	}
	log, err := backup.FindCertLog(o.folder, "")
	if errors.Is(err, backupset.ErrAmbiguous) {
		return nil, err
	}
	if err != nil { // there is none; whether there is anything else is for source to say
		return nil, nil
	}
	return log, nil
}

func optionalCertificate(name string) (*x509.Certificate, error) {
	if name == "" {
		return nil, nil
	}
	return readCertificateFile(name)
}

// damageError is the error of a report that holds damage.
func damageError(findings []cadb.Finding) error {
	n, first := 0, ""
	for _, f := range findings {
		if f.Severity == cadb.Damage {
			if n++; n == 1 {
				first = f.String()
			}
		}
	}
	if n == 0 {
		return nil
	}
	return withExit(exitDamage, fmt.Errorf("%s of damage, the first: %s", plural(n, "finding", "findings"), first))
}

func printVerify(c *console, w io.Writer, r *backup.VerifyReport) error {
	rows := [][]string{{"SET", "TYPE", "STATE", "GENERATIONS", "FILES", "SIZE", "TAKEN"}}
	for _, s := range r.Sets {
		name, state := s.Name, s.State
		if name == "" {
			name = s.ID
		}
		if s.NoManifest {
			state = "no manifest"
		}
		rows = append(rows, []string{name, string(s.Type), state, generations(s.First, s.Last), count(s.Files), size(s.Bytes), dash(stamp(s.End))})
	}
	if len(r.Sets) > 0 {
		if err := table(w, rows); err != nil {
			return err
		}
	}
	return errors.Join(
		printDatabase(w, r.Database),
		printStatements(w, "proven", r.Proven), printStatements(w, "not proven", r.NotProven),
		printFindings(c, w, r.Findings),
		verdict(c, w, r.OK, fmt.Sprintf("level %s, %s read in %s", r.Level, size(r.Bytes), took(r.Duration))),
	)
}

func printDatabase(w io.Writer, d *backup.DatabaseReport) error {
	if d == nil {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	crl := ""
	if d.NewestCRL != 0 {
		crl = fmt.Sprintf("%d of %s", d.NewestCRL, stamp(d.CRLThisUpdate))
	}
	name, reach := "recovered to", ""
	if d.Generation > 0 {
		reach = fmt.Sprintf("generation %d (%s)", d.Generation, certadm.LogDigits(d.Generation))
	}
	closed := ", closed "
	if d.Unreplayed {
		closed = ", closed by " // when the set was complete
	}
	if !d.Closed.IsZero() {
		reach += closed + stamp(d.Closed)
	}
	if d.Unreplayed {
		name = "logs to"
		reach += ", not replayed"
	}
	return fields(w, name, reach, "verdict", d.Verdict,
		"requests", dispositionsText(d.Dispositions), "certificates", fmt.Sprintf("%s parsed, %s signatures checked", count(d.Certificates), count(d.Signatures)),
		"newest CRL", crl, "authority", d.Issuer)
}

func dispositionsText(counts map[schema.Disposition]int) string {
	var parts []string
	for _, d := range schema.Dispositions {
		if n := counts[d]; n > 0 {
			parts = append(parts, count(n)+" "+d.String())
		}
	}
	return strings.Join(parts, ", ")
}

func printStatements(w io.Writer, title string, list []backup.Statement) error {
	if len(list) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "\n%s\n", title)
	for _, s := range list {
		_, e := fmt.Fprintf(w, "  - %s\n", oneLine(s.Text))
		err = errors.Join(err, e)
	}
	return err
}

func printFindings(c *console, w io.Writer, list []cadb.Finding) error {
	if len(list) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(w, "\nfindings")
	for _, f := range list {
		severity := fmt.Sprintf("%-7s", f.Severity)
		if f.Severity == cadb.Damage {
			severity = c.style.red(severity)
		}
		_, e := fmt.Fprintf(w, "  %s  %s\n", severity, oneLine(f.String()))
		err = errors.Join(err, e)
	}
	return err
}

func verdict(c *console, w io.Writer, ok bool, how string) error {
	word := c.style.green("no damage found")
	if !ok {
		word = c.style.red("DAMAGED")
	}
	_, err := fmt.Fprintf(w, "\n%s (%s)\n", word, how)
	return err
}
