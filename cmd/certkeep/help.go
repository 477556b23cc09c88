package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// helpTemplate is the page of every verb: what it does, how it is called, an
// example, its flags and its exit codes.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}USAGE
  {{.UseLine}}{{if .HasAvailableSubCommands}}

VERBS{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasExample}}

EXAMPLE
{{.Example}}{{end}}{{if .HasAvailableLocalFlags}}

FLAGS
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

FLAGS OF EVERY VERB
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{with index .Annotations "exits"}}

EXIT STATUS
{{.}}{{end}}{{with index .Annotations "environment"}}

ENVIRONMENT
{{.}}{{end}}
`

// describe gives a verb its example and exit codes.
func describe(cmd *cobra.Command, example string, exits ...int) *cobra.Command {
	cmd.DisableFlagsInUseLine = true
	cmd.Example = "  " + strings.ReplaceAll(strings.TrimSpace(example), "\n", "\n  ")
	var b strings.Builder
	for _, e := range exits {
		fmt.Fprintf(&b, "  %-5d%s\n", e, exitMeaning[e])
	}
	annotate(cmd, "exits", strings.TrimRight(b.String(), "\n"))
	return cmd
}

// describeRepository is describe for a verb that opens a repository, whatever more it may end with.
func describeRepository(cmd *cobra.Command, example string, more ...int) *cobra.Command {
	exits := append(more, exitOK, exitFailed, exitUsage, exitDamage, exitNoRepo, exitSecret, exitUnreachable, exitInterrupted)
	slices.Sort(exits)
	return describe(cmd, example, exits...)
}

func annotate(cmd *cobra.Command, key, value string) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[key] = value
}

// choices completes the values of a flag in the shell.
func choices(cmd *cobra.Command, flag string, values ...string) {
	// The error tells of a flag that does not exist, which a test would see.
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

// allExits is the whole table, for the help of certkeep itself.
var allExits = []int{exitOK, exitFailed, exitUsage, exitPartly, exitDamage, exitNoRepo, exitLocked, exitSecret, exitUnreachable, exitTooOld, exitInterrupted}

const environmentHelp = `  CERTKEEP_PASSWORD_FILE  where --password-file is not given
  CERTKEEP_REPOSITORY     where neither -r nor --folder is given
  CERTKEEP_IDENTITY_FILE  where --identity is not given
  CERTKEEP_HOST_KEY       where --host-key is not given
  CERTKEEP_ROOT_KEY       where --root-key is not given
  NO_COLOR                any value: no colours and no bold type`
