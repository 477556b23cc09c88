// Mkca makes a database of AD CS for benchmarks, with any number of requests and
// certificates whose signatures verify:
//
//	mkca -requests 1000000 -out /tmp/ca.edb
//	mkca -requests 1000 -backup /tmp/backup
//	mkca -requests 1000 -live /tmp/CertLog
//
// The second form makes a folder as "certutil -backupDB" leaves it, the third the
// directory of an authority that died.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/certkeep/certkeep/ese/esetest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "mkca:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("mkca", flag.ContinueOnError)
	var (
		requests = flags.Int("requests", 1000, "how many requests")
		out      = flags.String("out", "", "database file to make, of an authority that was shut down; its name ends with .edb")
		backup   = flags.String("backup", "", "directory in which to make a backup folder instead")
		live     = flags.String("live", "", "directory to make that of a dead authority instead")
		compress = flags.Bool("compress", false, "compress the long columns")
		pageSize = flags.Int("page-size", 4096, "in bytes")
		seed     = flags.Uint64("seed", 1, "of everything that is random")
		temp     = flags.String("temp", "", "directory for sorting")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	o := esetest.Options{PageSize: *pageSize, Seed: *seed, TempDir: *temp, Compress: *compress}
	g, err := esetest.NewGenerator(*seed, time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		return err
	}
	fill := func(ca *esetest.CA) error { return g.Fill(ctx, ca, *requests) }
	start := time.Now()
	var info esetest.Info
	var folder *esetest.Folder
	switch {
	case *backup != "":
		folder, err = esetest.WriteBackup(*backup, esetest.FolderOptions{Options: o}, fill)
	case *live != "":
		folder, err = esetest.WriteLive(*live, esetest.FolderOptions{Options: o}, false, fill)
	case *out != "":
		info, err = esetest.WriteDatabase(*out, o, fill)
	default:
		err = errors.New("one of -out, -backup and -live is needed")
	}
	if err != nil {
		return err
	}
	if folder != nil {
		info = folder.Info
	}
	_, err = fmt.Fprintf(stdout, "%d bytes, %d pages, %d requests, %d extensions in %v\n", info.Size, info.Pages, info.Rows["Requests"],
		info.Rows["CertificateExtensions"], time.Since(start).Round(time.Millisecond))
	return err
}
