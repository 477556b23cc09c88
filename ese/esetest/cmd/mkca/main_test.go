package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	for what, x := range map[string]struct {
		args  []string
		file  string
		state ese.State
	}{
		"out":    {[]string{"-out", filepath.Join(dir, "ca.edb")}, filepath.Join(dir, "ca.edb"), ese.CleanShutdown},
		"backup": {[]string{"-backup", filepath.Join(dir, "b"), "-compress"}, filepath.Join(dir, "b", "DataBase", "Example CA.edb"), ese.DirtyShutdown},
		"live":   {[]string{"-live", filepath.Join(dir, "l"), "-page-size", "8192"}, filepath.Join(dir, "l", "Example CA.edb"), ese.DirtyShutdown},
	} {
		var out strings.Builder
		if err := run(t.Context(), append(x.args, "-requests", "30", "-temp", dir), &out); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		f, err := os.Open(x.file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		db, err := ese.Open(f, info.Size())
		if err != nil || db.State() != x.state || db.Header().StreamingBackup() != (what == "backup") || !strings.Contains(out.String(), " 30 requests") {
			t.Errorf("%s: %v, %q", what, err, out.String())
		}
	}
}

// TestRunGivesUp: what was begun does not stay behind, and nothing is overwritten.
func TestRunGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.edb")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, []string{"-out", path}, io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"-out", path}, io.Discard); !errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); string(b) != "mine" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := run(t.Context(), nil, io.Discard); err == nil {
		t.Error("nothing to make, and no error")
	}
}
