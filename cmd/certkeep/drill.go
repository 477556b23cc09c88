package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backup"
)

type drillOptions struct {
	chainOptions
	caCertificate string
	events        bool
	scratch       string
	keep          bool
}

func (o *drillOptions) addFlags(f *pflag.FlagSet) {
	o.chainOptions.addFlags(f, "drill with the newest chain of sets in `DIR`, or the one that ends in the set DIR")
	f.StringVar(&o.caCertificate, "ca-certificate", "", "the authority's certificate in `FILE`, in place of the one that the manifest names")
	f.StringVar(&o.scratch, "scratch", "", "make the temporary directory in `DIR` (default the system's)")
	f.BoolVar(&o.keep, "keep", false, "leave the recovered database behind, and say where")
	addEventLogFlag(f, &o.events)
}

func newDrillCommand(c *console) *cobra.Command {
	var o drillOptions
	cmd := &cobra.Command{
		Use:   "drill (--folder DIR | -r REPO [SET]) [--until GENERATION|TIME]",
		Short: "restore into a temporary directory, and say what that proves",
		Long: `drill does a restore without touching any authority: it recovers the database in
a temporary directory, opens it, counts its rows, parses every certificate,
checks its signature, serial number and dates against its row, and finds the
newest CRL. It says what was proven and what was not. Nothing is recorded in a
repository: that is what verify --level database does, which checks more.`,
		Args: c.optionalSet(),
		RunE: c.do(func(ctx context.Context, args []string) error {
			o.takeSet(args)
			return c.reported(ctx, o.events, drillEvents, func(h *happening) error { return runDrill(ctx, c, o, h) })
		}),
	}
	o.addFlags(cmd.Flags())
	return describeRepository(cmd, "certkeep drill --folder backups\ncertkeep drill -r /mnt/backup/pki latest --identity /media/usb/restore.key")
}

func runDrill(ctx context.Context, c *console, o drillOptions, h *happening) error {
	h.Folder = o.place()
	chain, err := o.chain(ctx, c)
	if err != nil {
		return err
	}
	certificate, err := optionalCertificate(o.caCertificate)
	if err != nil {
		return err
	}
	m := c.progress()
	r, err := backup.Drill(ctx, backup.DrillOptions{Source: chain.Source, Until: chain.until, OpenLog: o.openLog, MoreLogs: chain.logs,
		CACertificate: certificate, Scratch: o.scratch, Keep: o.keep, Progress: m.job})
	m.Close()
	if err != nil {
		return err
	}
	h.Authority, h.Set = r.CA.Name, strings.Join(r.Sets, ", ")
	if err := c.result(r, func(w io.Writer) error { return printDrill(c, w, r) }); err != nil {
		return err
	}
	return damageError(r.Findings)
}

func printDrill(c *console, w io.Writer, r *backup.DrillReport) error {
	return errors.Join(
		fields(w, "authority", r.CA.Name, "sets", strings.Join(r.Sets, ", ")),
		printDatabase(w, r.Database),
		printStatements(w, "proven", r.Proven), printStatements(w, "not proven", r.NotProven),
		printFindings(c, w, r.Findings),
		verdict(c, w, r.OK, fmt.Sprintf("%s read, %s", size(r.Bytes), took(r.Duration))),
		fields(w, "kept", r.Kept),
	)
}
