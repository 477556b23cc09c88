package main

import (
	"context"

	"github.com/spf13/cobra"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

func newCompletionCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion SHELL", Short: "a completion script for bash, zsh, fish or powershell",
		Args: c.exactly("SHELL"), ValidArgs: shells,
	}
	cmd.RunE = c.do(func(_ context.Context, args []string) error { return runCompletion(c, cmd.Root(), args[0]) })
	return describe(cmd, "certkeep completion bash > /etc/bash_completion.d/certkeep", exitOK, exitUsage)
}

func runCompletion(c *console, root *cobra.Command, shell string) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(c.stdout, true)
	case "zsh":
		return root.GenZshCompletion(c.stdout)
	case "fish":
		return root.GenFishCompletion(c.stdout, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(c.stdout)
	}
	return usagef("SHELL is bash, zsh, fish or powershell, not %q", shell)
}
