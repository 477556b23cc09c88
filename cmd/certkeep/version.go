package main

import (
	"context"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=…); "" takes what the build
// recorded.
var version string

type versionResult struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	System   string `json:"system"`
}

func newVersionCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "which certkeep this is", Args: c.exactly(),
		RunE: c.do(func(context.Context, []string) error { return runVersion(c) }),
	}
	return describe(cmd, "certkeep version --json", exitOK, exitUsage)
}

// versionOf tells which build this is.
func versionOf() versionResult {
	r := versionResult{Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if r.Version == "" && info.Main.Version != "" {
			r.Version = info.Main.Version
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				r.Revision = s.Value
			case "vcs.modified":
				r.Modified = s.Value == "true"
			}
		}
	}
	if r.Version == "" {
		r.Version = "(devel)"
	}
	return r
}

func runVersion(c *console) error {
	r := versionOf()
	return c.result(r, func(w io.Writer) error {
		revision := r.Revision
		if r.Modified {
			revision += " (modified)"
		}
		return fields(w, programName, r.Version, "revision", revision, "go", r.Go, "system", r.System)
	})
}
