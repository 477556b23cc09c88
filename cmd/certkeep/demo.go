package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/demo"
)

type demoOptions struct {
	dir            string
	certs          int
	keep           bool
	loseEverything bool
}

func (o *demoOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.dir, "dir", "", "play in directory `D`, missing or empty (default a temporary one)")
	f.IntVar(&o.certs, "certs", 2000, "lose the authority after `N` certificates")
	f.BoolVar(&o.keep, "keep", false, "leave everything behind for inspection, and say where")
	f.BoolVar(&o.loseEverything, "lose-everything", false, "lose the open log, too: what came after the last set is missing then, and listed")
}

func newDemoCommand(c *console) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo [--dir D] [--certs N] [--keep] [--lose-everything]",
		Short: "the whole story on a throwaway authority",
		Long: `demo starts a certification authority in a process of its own, has clients enrol
without a pause, backs it up over the wire protocol (MS-CSRA) while they do, kills
it, takes its directory away, restores it from the backup and the salvaged open
log, and compares the restored database with what the clients have on record:
every acknowledged certificate must be there. At last the restored authority is
backed up into a repository that the machine can write and not read.`,
		Args: c.exactly(),
		RunE: c.do(func(ctx context.Context, _ []string) error { return runDemo(ctx, c, o) }),
	}
	o.addFlags(cmd.Flags())
	return describe(cmd, "certkeep demo --keep", exitOK, exitFailed, exitUsage, exitInterrupted)
}

// childVerb is how the demo runs itself as the authority.
const childVerb = "demo-authority"

func newDemoChildCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use: childVerb + " DIR", Hidden: true, Args: c.exactly("DIR"),
		RunE: c.do(func(ctx context.Context, args []string) error {
			// Ctrl-C at the terminal reaches this process as well; the parent
			// decides when it ends.
			ctx = context.WithoutCancel(ctx)
			return demo.Child(ctx, args[0], c.stdin, c.stdout)
		}),
	}
}

func runDemo(ctx context.Context, c *console, o demoOptions) error {
	if o.certs < demo.MinCerts {
		return usagef("--certs %d: at least %d are needed", o.certs, demo.MinCerts)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	rep, err := demo.Run(ctx, demo.Options{
		Dir: o.dir, Certs: o.certs, LoseEverything: o.loseEverything, Keep: o.keep, Tool: backup.ToolName(versionOf().Version),
		Command: func(ctx context.Context, dir string) (*exec.Cmd, error) {
			return exec.CommandContext(ctx, self, childVerb, dir), nil
		},
		Step: func(s demo.Step) {
			if !c.json && !c.quiet {
				fmt.Fprintf(c.stdout, "%s %s %s\n", c.style.bold(fmt.Sprintf("%-10s", s.Name)), pad(oneLine(s.Text), 79), c.style.dim(fmt.Sprintf("%5.2f s", s.Seconds)))
			}
		},
	})
	if err == nil {
		if err := c.result(rep, func(w io.Writer) error { return printDemo(c, w, rep) }); err != nil {
			return err
		}
		if !rep.OK {
			err = errors.New(strings.Join(rep.Problems, "; "))
		}
	}
	if err != nil && rep.Kept {
		err = withHint(err, "everything is left in %s", rep.Directory)
	}
	return err
}

func pad(s string, width int) string {
	if n := width - len([]rune(s)); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

func printDemo(c *console, w io.Writer, r *demo.Report) error {
	var err error
	print := func(format string, args ...any) {
		_, e := fmt.Fprintf(w, format, args...)
		err = errors.Join(err, e)
	}
	field := func(name, format string, args ...any) {
		print("%s %s\n", c.style.bold(fmt.Sprintf("%-12s", name)), fmt.Sprintf(format, args...))
	}
	print("\n")
	if len(r.MissingList) > 0 {
		print("missing, because nothing after the last set was saved:\n")
		printMissing(print, r.MissingList)
		print("\n")
	}
	field("acknowledged", "%s certificates, %.0f a second", count(r.Acknowledged), r.IssueRate)
	restored := count(r.Restored)
	if r.Unanswered > 0 {
		restored += fmt.Sprintf(", and %d whose answer the kill cut off", r.Unanswered)
	}
	field("restored", "%s", restored)
	switch {
	case r.Missing == 0:
		field("missing", "%s", c.style.green("0"))
	case r.LoseEverything:
		field("missing", "%s and 1 revocation, which was repeated", c.style.red(plural(r.Missing, "certificate", "certificates")))
	default:
		field("missing", "%s", c.style.red(count(r.Missing)))
	}
	log := ""
	if r.OpenLogBytes > 0 {
		log = " and " + size(r.OpenLogBytes) + " of open log"
	}
	field("bytes", "%s in %s%s; %s restored", size(r.BackupBytes), plural(len(r.Sets), "set", "sets"), log, size(r.RestoreBytes))
	field("proven", "%s", strings.Join(r.Levels, ", "))
	field("time", "%.1f s, %.1f s of them without an authority", r.TotalSeconds, r.DownSeconds)
	if r.Kept {
		field("kept", "%s", r.Directory)
	}
	return err
}

// printMissing prints serial numbers, three a line, and the revocation by itself.
func printMissing(print func(string, ...any), list []demo.Entry) {
	n := 0
	for _, e := range list {
		if e.Revoked {
			if n%3 != 0 {
				print("\n")
			}
			print("  %s (revocation)\n", e.Serial)
			n = 0
			continue
		}
		print("  %s", e.Serial)
		if n++; n%3 == 0 {
			print("\n")
		}
	}
	if n%3 != 0 {
		print("\n")
	}
}
