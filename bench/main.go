// Command bench measures what docs/benchmarks.md states, as ratios within one
// run: both sides of each ratio are measured in turns, several times, and the
// medians are compared. Run it by bench/ratios.sh.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"
)

type settings struct {
	dir     string
	mib     int64
	window  time.Duration
	rounds  int
	program string
}

func main() {
	var s settings
	flag.StringVar(&s.dir, "dir", "", "work below this `directory` (default: the system's temporary one)")
	flag.Int64Var(&s.mib, "mib", 256, "size of the `database` that is backed up, in MiB")
	flag.DurationVar(&s.window, "window", 3*time.Second, "how long each measurement of issuing takes")
	flag.IntVar(&s.rounds, "rounds", 5, "how often each side is measured")
	flag.StringVar(&s.program, "certkeep", "", "the certkeep `program` whose memory is measured; empty: that is left out")
	peakOf := flag.Bool("peak", false, "run the program given as arguments, and print its peak memory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *peakOf {
		if err := peak(ctx, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) (err error) {
	dir, err := os.MkdirTemp(s.dir, "certkeep-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Printf("%s/%s, %d cores, %s, %s\n\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), cpuModel())
	if err := benchIssue(ctx, dir, s); err != nil {
		return err
	}
	return benchBackup(ctx, dir, s)
}

// row prints one line of the result.
func row(what, measured, target string) {
	fmt.Printf("%-58s %-34s %s\n", what, measured, target)
}

func median[T int64 | float64 | time.Duration](v []T) T {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown processor"
}
