package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Run carries out one command line, args without the program's name, and
// returns its exit code. Data goes to stdout, talk and errors to stderr. Ending
// ctx interrupts the verb: it cleans up, and the code is 130.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := newConsole(stdin, stdout, stderr)
	return c.run(ctx, args)
}

func (c *console) run(ctx context.Context, args []string) int {
	// Known before the flags are parsed, so that a wrong flag is answered in
	// JSON as well.
	c.json = slices.Contains(args, "--json")
	root := newRoot(c)
	root.SetArgs(args)
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !c.running {
		err = withExit(exitUsage, err) // cobra's own: unknown verb, flag, number of arguments
	}
	return c.report(ctx, err)
}

// action is what a verb does once its flags are parsed.
type action func(ctx context.Context, args []string) error

// do turns an action into cobra's RunE. An interruption becomes the error that
// says so, whatever it made fail.
func (c *console) do(a action) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c.running = true
		c.at(cmd)
		ctx := cmd.Context()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return a(ctx, args)
	}
}

// at remembers which verb it is, for error messages.
func (c *console) at(cmd *cobra.Command) { c.path = strings.Fields(cmd.CommandPath())[1:] }

func newRoot(c *console) *cobra.Command {
	var root *cobra.Command
	root = &cobra.Command{
		Use:   programName + " VERB [ARGUMENTS]",
		Short: "back up, verify and restore Certificate Services",
		Long: `certkeep backs up a certification authority while it runs, proves that the
backup can be restored, and restores it.

A SERVER is adcs://[USER@]HOST[:PORT][/CA NAME], Certificate Services across the
network (AD CS, or an authority that "certkeep ca serve" serves); local:, the AD CS
of this Windows machine, or dll://HOST, that of another, both through Certadm.dll;
or ca:DIR, an embedded authority.`,
		SilenceErrors:              true,
		DisableFlagsInUseLine:      true,
		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
		Args:                       cobra.ArbitraryArgs,
		RunE: c.do(func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return noSuchVerb(root, args[0])
			}
			return withHint(usagef("which verb?"), "certkeep --help lists them; certkeep demo shows the whole story")
		}),
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentFlags().BoolVar(&c.json, "json", c.json, "print JSON: one object, or one a line; every object has \"schema\": 1")
	root.PersistentFlags().BoolVarP(&c.quiet, "quiet", "q", false, "no progress and no remarks")
	root.SetHelpTemplate(helpTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		c.at(cmd)
		return withExit(exitUsage, err)
	})
	describe(root, "certkeep demo", allExits...)
	annotate(root, "environment", environmentHelp)
	root.AddCommand(
		newDemoCommand(c), newCACommand(c),
		newPingCommand(c), newLocationsCommand(c), newDynamicFilesCommand(c), newShutdownCommand(c),
		newBackupCommand(c), newVerifyCommand(c), newDrillCommand(c), newRestoreCommand(c),
		newInitCommand(c), newListCommand(c), newShowCommand(c),
		newImportCommand(c), newExportCommand(c), newCopyCommand(c),
		newForgetCommand(c), newPruneCommand(c), newRecipientCommand(c), newHostCommand(c),
		newCertsCommand(c), newDiffCommand(c), newESECommand(c), newDoctorCommand(c), newKeyCommand(c),
		newVersionCommand(c), newCompletionCommand(c), newDemoChildCommand(c),
	)
	root.SetHelpCommand(newHelpCommand(c, root))
	return root
}

func init() {
	cobra.EnableCommandSorting = false // the order of newRoot is the order of use
}

func noSuchVerb(root *cobra.Command, name string) error {
	err := usagef("there is no verb %q", name)
	if like := root.SuggestionsFor(name); len(like) > 0 {
		return withHint(err, "did you mean %s?", strings.Join(like, " or "))
	}
	return err
}

// exactly is cobra.ExactArgs with an answer that names what is missing.
func (c *console) exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		c.at(cmd)
		if len(args) < len(names) {
			return usagef("%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return usagef("%q is one argument too many", args[len(names)])
		}
		return nil
	}
}

func newHelpCommand(c *console, root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB]",
		Short: "the page of a verb",
		RunE: c.do(func(_ context.Context, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || cmd == nil || len(rest) > 0 {
				return noSuchVerb(root, strings.Join(args, " "))
			}
			return cmd.Help()
		}),
	}
}
