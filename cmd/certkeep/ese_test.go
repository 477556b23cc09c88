package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/certkeep/certkeep/ese/esetest"
)

func init() {
	scriptCommands["esefolder"] = cmdESEFolder
	scriptCommands["eseflip"] = cmdESEFlip
	scriptCommands["mirrored"] = cmdMirrored
}

// esefolder KIND DIR: writes a database of AD CS with twenty requests and its logs:
// what certutil leaves (backup), or the directory of an authority that was shut down
// (clean) or died (dirty).
func cmdESEFolder(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: esefolder backup|clean|dirty DIR")
	}
	dir := ts.MkAbs(args[1])
	fill := func(ca *esetest.CA) error {
		g, err := esetest.NewGenerator(7, time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC))
		if err != nil {
			return err
		}
		return g.Fill(context.Background(), ca, 20)
	}
	o := esetest.FolderOptions{Options: esetest.Options{TempDir: ts.Getenv("WORK")}}
	var err error
	switch args[0] {
	case "backup":
		_, err = esetest.WriteBackup(dir, o, fill)
	case "clean", "dirty":
		_, err = esetest.WriteLive(dir, o, args[0] == "clean", fill)
	default:
		ts.Fatalf("%s: no such kind of folder", args[0])
	}
	ts.Check(err)
}

// eseflip FILE OFFSET: flips two bits of a byte, which no checksum can correct.
func cmdESEFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: eseflip FILE OFFSET")
	}
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	name := ts.MkAbs(args[0])
	b, err := os.ReadFile(name)
	ts.Check(err)
	if at >= len(b) {
		ts.Fatalf("%s has %d bytes", args[0], len(b))
	}
	b[at] ^= 0x81
	ts.Check(os.WriteFile(name, b, 0o600))
}

// mirrored DIR COPY: the files in both have the same names and contents, and
// with "!" not: nothing may have been written.
func cmdMirrored(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] mirrored DIR COPY")
	}
	list := func(dir string) string {
		var b strings.Builder
		ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(ts.MkAbs(dir), path)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			b.WriteString(rel + "\x00" + string(data) + "\x00")
			return err
		}))
		return b.String()
	}
	if same := list(args[0]) == list(args[1]); same == neg {
		ts.Fatalf("%s and %s: the same is %v", args[0], args[1], same)
	}
}

// interrupter is an output that interrupts the verb as soon as it prints.
type interrupter struct {
	bytes.Buffer
	cancel context.CancelCauseFunc
}

func (w *interrupter) Write(b []byte) (int, error) {
	w.cancel(errInterrupted)
	return w.Buffer.Write(b)
}

// TestESEInterrupted: an interruption ends the reading of rows, headers and checks.
func TestESEInterrupted(t *testing.T) {
	g, err := esetest.NewGenerator(7, time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	f, err := esetest.WriteBackup(t.TempDir(), esetest.FolderOptions{Options: esetest.Options{TempDir: t.TempDir()}},
		func(ca *esetest.CA) error { return g.Fill(t.Context(), ca, 200) })
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{f.Dir, "--rows", "Requests", "--limit", "0", "--json"}, {f.Dir}, {f.Dir, f.Dir, "--check"}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		out := &interrupter{cancel: cancel}
		var talk bytes.Buffer
		exit := Run(ctx, append([]string{"ese"}, args...), nil, out, &talk)
		if exit != exitInterrupted || !strings.Contains(talk.String(), "interrupted") {
			t.Errorf("%v: exit code %d: %s", args[1:], exit, &talk)
		}
		if n := strings.Count(out.String(), "\n"); len(args) > 3 && n > 2 {
			t.Errorf("%v: %d lines after the interruption", args[1:], n)
		}
	}
}
