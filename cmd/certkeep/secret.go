package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/certkeep/certkeep/connect"
)

// secretOptions is where a password comes from. There is no flag that takes the
// password itself: the command line is visible to every user of the machine.
type secretOptions struct {
	file string
}

func (o *secretOptions) addFlags(f *pflag.FlagSet, what string) {
	f.StringVar(&o.file, "password-file", "", "read "+what+" from the first line of `FILE` (\"-\": standard input; default $CERTKEEP_PASSWORD_FILE, else a prompt)")
}

// source returns the file to read, "" for a prompt.
func (o *secretOptions) source() string {
	if o.file != "" {
		return o.file
	}
	return os.Getenv("CERTKEEP_PASSWORD_FILE")
}

// read returns the password: from the file, or asked for, twice when it is a
// new one.
func (o *secretOptions) read(ctx context.Context, c *console, prompt string, isNew bool) ([]byte, error) {
	switch name := o.source(); name {
	case "":
		return c.ask(ctx, prompt, isNew)
	case "-":
		b, err := connect.FirstLine(c.stdin)
		if err != nil {
			return nil, withExit(exitSecret, fmt.Errorf("password from standard input: %w", err))
		}
		return b, nil
	default:
		b, err := connect.ReadPasswordFile(name)
		if err != nil {
			return nil, withExit(exitSecret, fmt.Errorf("password file: %w", err))
		}
		return b, nil
	}
}

// ask prompts on the terminal without echo.
func (c *console) ask(ctx context.Context, prompt string, twice bool) ([]byte, error) {
	in, ok := c.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, withHint(withExit(exitSecret, errors.New("a password is needed, and there is no terminal to ask on")),
			"give it in a file of your own (mode 0600) with --password-file FILE")
	}
	first, err := c.askOnce(ctx, in, prompt+": ")
	if err != nil {
		return nil, err
	}
	if len(first) == 0 {
		return nil, withExit(exitSecret, errors.New("the password is empty"))
	}
	if !twice {
		return first, nil
	}
	second, err := c.askOnce(ctx, in, prompt+" (again): ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, withExit(exitSecret, errors.New("the two passwords differ"))
	}
	return first, nil
}

// askOnce reads one line without echo, and gives the terminal its echo back
// when the user presses Ctrl-C instead.
func (c *console) askOnce(ctx context.Context, in *os.File, prompt string) ([]byte, error) {
	fd := int(in.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("password prompt: %w", err)
	}
	type answer struct {
		b   []byte
		err error
	}
	got := make(chan answer, 1)
	fmt.Fprint(c.stderr, prompt)
	go func() {
		b, err := term.ReadPassword(fd)
		got <- answer{b, err}
	}()
	select {
	case a := <-got:
		fmt.Fprintln(c.stderr)
		if a.err != nil {
			return nil, fmt.Errorf("password prompt: %w", a.err)
		}
		return a.b, nil
	case <-ctx.Done():
		fmt.Fprintln(c.stderr)
		// The reader may not have got as far as turning the echo off, which would
		// come after our restoring.
		for range 50 {
			if now, err := term.GetState(fd); err != nil || *now != *state {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		if err := term.Restore(fd, state); err != nil {
			c.warn("the terminal's echo could not be restored: %v", err)
		}
		return nil, context.Cause(ctx)
	}
}
