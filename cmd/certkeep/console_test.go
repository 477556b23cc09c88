package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

func TestEncodeObject(t *testing.T) {
	for _, tt := range []struct {
		in   any
		want string
	}{
		{struct{}{}, `{"schema":1}`},
		{struct {
			A string `json:"a"`
		}{"<x>"}, `{"schema":1,"a":"<x>"}`},
		{map[string]int{"schema": 2, "b": 1}, `{"b":1,"schema":2}`},
	} {
		got, err := encodeObject(tt.in)
		if err != nil || string(got) != tt.want+"\n" {
			t.Errorf("%v: %s, %v; want %s", tt.in, got, err, tt.want)
		}
	}
	if _, err := encodeObject([]int{1}); err == nil {
		t.Error("a list was printed as an object")
	}
}

func TestExitOf(t *testing.T) {
	bg := context.Background()
	interrupted, cancel := context.WithCancelCause(bg)
	cancel(errInterrupted)
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want int
	}{
		{bg, nil, 0},
		{interrupted, nil, 0},
		{bg, errors.New("x"), 1},
		{bg, usagef("x"), 2},
		{interrupted, errors.New("x"), 130},
		{bg, fmt.Errorf("y: %w", withExit(exitDamage, errors.New("x"))), 4},
		{bg, withHint(withExit(exitLocked, errors.New("x")), "h"), 11},
		{bg, &certadm.Error{Code: certadm.HrBackupInProgress}, 11},
		{bg, fmt.Errorf("z: %w", &certadm.Error{Code: certadm.EAccessDenied}), 13},
		{bg, errors.Join(errors.New("a"), &certadm.Error{Code: certadm.HrLogFileCorrupt}), 4},
		{bg, &certadm.Error{Code: certadm.HrMissingFullBackup}, 1},
		{bg, &certadm.Error{Code: certadm.ErrorDirNotEmpty}, 1},
	} {
		if got := exitOf(tt.ctx, tt.err); got != tt.want {
			t.Errorf("%v: exit code %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestReport(t *testing.T) {
	var stdout, stderr bytes.Buffer
	c := newConsole(nil, &stdout, &stderr)
	c.json, c.path = true, []string{"backup"}
	exit := c.report(context.Background(), fmt.Errorf("ca:pki: %w", &certadm.Error{Op: "CertSrvBackupPrepare", Code: certadm.HrBackupInProgress, Hint: "wait\nfor it"}))
	if exit != exitLocked {
		t.Errorf("exit code %d", exit)
	}
	if got := stderr.String(); !strings.HasPrefix(got, "certkeep: backup: ca:pki: CertSrvBackupPrepare: 0xC80001F9") || !strings.HasSuffix(got, "\nhint: wait; for it\n") {
		t.Errorf("stderr %q", got)
	}
	if got := stdout.String(); !strings.HasPrefix(got, `{"schema":1,"exit":11,"error":{"message":"backup: ca:pki: `) || !strings.Contains(got, `"code":"0xC80001F9"`) {
		t.Errorf("stdout %q", got)
	}
	stdout.Reset()
	c.printed = true
	c.report(context.Background(), errors.New("x"))
	if stdout.Len() > 0 {
		t.Errorf("a second object was printed: %s", stdout.String())
	}
}

// A hostile file name in a message must not drive the terminal.
func TestOneLine(t *testing.T) {
	if got, want := oneLine(" a\x1b[2Jb\nc\td\u009b\r\n"), "a?[2Jb; c d?"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestStyle(t *testing.T) {
	if got := style(false).red("x"); got != "x" {
		t.Errorf("%q without colours", got)
	}
	if got := style(true).green("x"); got != "\x1b[32mx\x1b[0m" {
		t.Errorf("%q with colours", got)
	}
	if newConsole(nil, &bytes.Buffer{}, &bytes.Buffer{}).style {
		t.Error("colours off a terminal")
	}
}

func TestProgressLine(t *testing.T) {
	m := &meter{c: newConsole(nil, nil, nil)}
	if got := m.line(time.Now()); got != "" {
		t.Errorf("%q before anything was done", got)
	}
	m.Set("pki.db", 64<<20, 256<<20)
	m.Set("pki.db", 128<<20, 256<<20)
	if got, want := m.line(m.began.Add(2*time.Second)), "pki.db: 50 %, 128 MiB of 256 MiB, 64 MiB/s, 2.0 s left"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	m.Set("unknown size", 1<<20, -1)
	if got, want := m.line(m.began.Add(time.Second)), "unknown size: 1.0 MiB, 1.0 MiB/s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	m.Close()
}

// Off a terminal a line appears at every tick, and --quiet silences it.
func TestProgressOffTerminal(t *testing.T) {
	r, w := newLineSink()
	c := newConsole(nil, nil, w)
	c.every = time.Millisecond
	m := c.progress()
	m.Set("pki.db", 1, 2)
	if line := <-r; !strings.HasPrefix(line, "pki.db: 50 %, 1 byte of 2 bytes") {
		t.Errorf("%q", line)
	}
	m.Close()
	m.Close()
	c.quiet = true
	if m := c.progress(); m != nil {
		t.Error("--quiet has a meter")
	}
	var none *meter
	none.Set("x", 1, 2)
	none.Close()
}

// newLineSink passes on the first write, and drops the others.
func newLineSink() (<-chan string, lineSink) {
	ch := make(chan string, 1)
	return ch, lineSink(ch)
}

type lineSink chan string

func (s lineSink) Write(p []byte) (int, error) {
	select {
	case s <- string(p):
	default:
	}
	return len(p), nil
}

// On a terminal: bars, with what is said in the meantime above them.
func TestProgressBars(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(nil, nil, &out)
	c.terminal = true
	m := c.progress()
	m.Set("pki.db", 1<<20, 2<<20)
	m.Set("pki.db", 2<<20, 2<<20)
	m.Set("log00001.log", 1, -1)
	c.say("said above")
	m.Set("log00002.log", 5, 10)
	m.Close()
	c.say("said after")
	if got := out.String(); !strings.Contains(got, "said above") || !strings.HasSuffix(got, "said after\n") {
		t.Errorf("%q", got)
	}
}

// There may be more to do than it seemed, when all of that was done already.
func TestProgressGrows(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(nil, nil, &out)
	c.terminal = true
	m := c.progress()
	defer m.Close()
	m.Set("the files of 2 sets", 5, 5)
	m.Set("the files of 2 sets", 6, 12)
	if m.bar.Completed() || m.bar.Current() != 6 {
		t.Errorf("it is at %d, complete: %v", m.bar.Current(), m.bar.Completed())
	}
}

// A job that ends at once does not wait for a tick.
func TestProgressClosedAtOnce(t *testing.T) {
	for range 200 {
		c := newConsole(nil, nil, io.Discard)
		c.every = time.Hour
		c.progress().Close()
	}
}
