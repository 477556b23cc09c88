// Command certkeep backs up Certificate Services while it runs, proves that the
// backup can be restored, and restores it.
//
// Each verb has a file of its own: an options struct, its flags, and a run
// function that takes a context, the console and the options. What all verbs
// share is in console.go (output), failure.go (errors and exit codes),
// progress.go, secret.go (passwords) and help.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// errInterrupted is the cause of a context that a signal has ended.
var errInterrupted = errors.New("interrupted")

func main() { os.Exit(mainStatus()) }

// mainStatus is main without the exit, so that tests can call it in a process
// of their own.
func mainStatus() int {
	ctx, stop := interruptible(context.Background())
	defer stop()
	return Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// interruptible returns a context that the first SIGINT or SIGTERM ends, so that
// the verb cleans up and says what it left behind. A second signal finds the
// default handler again and stops the program at once.
func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(fmt.Errorf("%w (%v)", errInterrupted, s))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}
