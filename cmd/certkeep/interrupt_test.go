package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// runIn runs a command line in the test's process; when interruptAt is printed,
// to either stream, the user presses Ctrl-C.
func runIn(t *testing.T, interruptAt string, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var out, errs watchedBuffer
	out.at, errs.at = interruptAt, interruptAt
	out.seen = func() { cancel(errInterrupted) }
	errs.seen = out.seen
	exit = Run(ctx, args, strings.NewReader(""), &out, &errs)
	return exit, out.String(), errs.String()
}

type watchedBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	at   string
	seen func()
}

func (w *watchedBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.b.Write(p)
	if w.at != "" && strings.Contains(w.b.String(), w.at) {
		w.seen()
	}
	return n, err
}

func (w *watchedBuffer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func mustRun(t *testing.T, args ...string) {
	t.Helper()
	if exit, _, stderr := runIn(t, "", args...); exit != 0 {
		t.Fatalf("certkeep %s: exit code %d: %s", strings.Join(args, " "), exit, stderr)
	}
}

// Ctrl-C in the middle of a backup: the session is ended, nothing is left of the
// set, nothing is truncated, and the next backup works.
func TestInterruptedBackup(t *testing.T) {
	dir := t.TempDir()
	pki, sets := filepath.Join(dir, "pki"), filepath.Join(dir, "sets")
	mustRun(t, "ca", "init", pki, "--name", "Example CA")
	for _, at := range []string{"CertSrvBackupPrepare", "CertSrvBackupOpenFile", "CertSrvBackupGetBackupLogs", "CertSrvBackupGetDynamicFileList"} {
		exit, _, stderr := runIn(t, at, "backup", "ca:"+pki, "--folder", filepath.Join(sets, "mon"), "--trace")
		if exit != exitInterrupted {
			t.Errorf("%s: exit code %d: %s", at, exit, stderr)
		}
		if !strings.Contains(stderr, "\nCertSrvBackupEnd ") || strings.Contains(stderr, "CertSrvBackupTruncateLogs") {
			t.Errorf("%s: the calls are\n%s", at, stderr)
		}
		if !strings.Contains(stderr, "certkeep: backup: interrupted") {
			t.Errorf("%s: %s", at, stderr)
		}
		left, err := filepath.Glob(filepath.Join(sets, "*"))
		if hidden, herr := filepath.Glob(filepath.Join(sets, ".*")); len(left)+len(hidden) > 0 || err != nil || herr != nil {
			t.Errorf("%s: left behind: %v %v", at, left, hidden)
		}
	}
	mustRun(t, "backup", "ca:"+pki, "--folder", filepath.Join(sets, "mon"))
	mustRun(t, "verify", "--folder", sets)
}

// Ctrl-C once the set is safe: it is kept, and its receipt says how the session
// ended.
func TestInterruptedWhileTruncating(t *testing.T) {
	dir := t.TempDir()
	pki, set := filepath.Join(dir, "pki"), filepath.Join(dir, "sets", "mon")
	mustRun(t, "ca", "init", pki, "--name", "Example CA")
	exit, stdout, stderr := runIn(t, "CertSrvBackupTruncateLogs", "backup", "ca:"+pki, "--folder", set, "--trace")
	if !strings.Contains(stderr, "\nCertSrvBackupEnd ") {
		t.Errorf("the calls are\n%s", stderr)
	}
	if !strings.Contains(stdout, "set ") {
		t.Errorf("exit code %d, and nothing says that there is a set:\n%s", exit, stdout)
	}
	mustRun(t, "verify", "--folder", set)
}

// Ctrl-C in the demo leaves neither a process nor a directory.
func TestInterruptedDemo(t *testing.T) {
	for _, at := range []string{"authority", "enrol", "backup", "verify"} {
		dir := filepath.Join(t.TempDir(), "story")
		exit, stdout, stderr := runIn(t, at, "demo", "--dir", dir, "--certs", "60")
		if exit != exitInterrupted {
			t.Errorf("%s: exit code %d\n%s%s", at, exit, stdout, stderr)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the directory is still there: %v", at, err)
		}
	}
}

// A real signal to a real process.
func TestSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no SIGINT to send to one process")
	}
	dir := filepath.Join(t.TempDir(), "story")
	cmd := exec.Command(programName, "demo", "--dir", dir, "--certs", "1000000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it is under way
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d (%v), want %d", code, err, exitInterrupted)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

// Ctrl-C before anything began.
func TestInterruptedAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errInterrupted)
	if exit := Run(ctx, []string{"version"}, nil, io.Discard, io.Discard); exit != exitInterrupted {
		t.Errorf("exit code %d", exit)
	}
}
