// Command repository measures what docs/benchmarks.md says of package repo, against restic, borg and
// a bare pipeline that hashes, compresses and encrypts and stores nothing. Run it by bench/repository.sh.
//
// Each step is a process of its own on either side. The sides are measured in turns, and the
// medians of the rounds compared. A program that is not installed is left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"strings"
)

type settings struct {
	dir    string
	mib    int64
	rounds int
	tools  string
	reuse  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "repository:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return child(ctx, args[0], args[1:])
	}
	var s settings
	flags := flag.NewFlagSet("repository", flag.ContinueOnError)
	flags.StringVar(&s.dir, "dir", "", "work below this `directory` (default: the system's temporary one); it takes about four times the database")
	flags.Int64Var(&s.mib, "mib", 1024, "size of the `database`, in MiB")
	flags.IntVar(&s.rounds, "rounds", 3, "how often each side is measured")
	flags.StringVar(&s.tools, "with", "pipeline,restic,borg", "what to measure certkeep against")
	flags.StringVar(&s.reuse, "database", "", "a `file` to back up in place of one that is made")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.dir, "certkeep-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return compare(ctx, dir, s)
}

// child is a step, in the process that is measured.
func child(ctx context.Context, step string, args []string) error {
	steps := map[string]struct {
		args int
		do   func(context.Context, []string) error
	}{
		"init":           {1, initRepository},
		"backup":         {2, backup},
		"restore":        {2, restore},
		"restore-folder": {2, restoreFolder},
		"verify":         {1, verify},
		"verify-packs":   {1, verifyPacks},
		"pipeline":       {1, pipeline},
		"days":           {2, days},
		"database":       {3, makeDatabase},
	}
	s, ok := steps[step]
	if !ok || len(args) != s.args {
		return fmt.Errorf("%q with %d arguments is no step", step, len(args))
	}
	debug.SetGCPercent(50) // as the command does
	if step == "backup" {
		debug.SetGCPercent(25)
	}
	if name := os.Getenv("BENCH_CPUPROFILE"); name != "" { // for a step that is run by hand
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return s.do(ctx, args)
}
