package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { user.Close() })
	fd := int(user.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return user, program
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return s.Lflag&unix.ECHO != 0
}

// talkback is a stderr that acts when the prompt has been printed.
type talkback struct {
	bytes.Buffer
	prompted func()
}

func (b *talkback) Write(p []byte) (int, error) {
	n, err := b.Buffer.Write(p)
	if strings.HasSuffix(string(p), ": ") {
		b.prompted()
	}
	return n, err
}

func TestPasswordPrompt(t *testing.T) {
	user, program := openTerminal(t)
	stderr := &talkback{prompted: func() { user.WriteString("battery staple\n") }}
	c := newConsole(program, nil, stderr)
	got, err := c.ask(context.Background(), "Password", false)
	if err != nil || string(got) != "battery staple" {
		t.Fatalf("%q, %v", got, err)
	}
	if !echoes(t, program) {
		t.Error("the terminal was left without echo")
	}
}

// Ctrl-C at the prompt ends it, and the terminal echoes again.
func TestPasswordPromptInterrupted(t *testing.T) {
	_, program := openTerminal(t)
	if !echoes(t, program) {
		t.Fatal("the terminal has no echo to begin with")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stderr := &talkback{prompted: func() { cancel(errInterrupted) }}
	c := newConsole(program, nil, stderr)
	_, err := c.ask(ctx, "Password", false)
	if !errors.Is(err, errInterrupted) || exitOf(ctx, err) != exitInterrupted {
		t.Fatalf("%v, exit code %d", err, exitOf(ctx, err))
	}
	if !echoes(t, program) {
		t.Error("the terminal was left without echo")
	}
}
