package peertest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/need"
)

// python is Debian's own interpreter: the peers are Debian's packages, which
// another python3 in PATH would not find.
const python = "/usr/bin/python3"

// needModule requires a module of Debian's Python.
func needModule(t *testing.T, module, pkg string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		need.Skip(t, "%s is a Python module of Debian's", module)
	}
	if err := exec.Command(python, "-c", "import "+module).Run(); err != nil {
		need.Skip(t, "Python's module %s is not installed: apt-get install %s", module, pkg)
	}
}

// scratch is a directory of the test's own with a path short enough for
// sockets in it, and not below a home directory.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// script runs a script of testdata with a job as JSON on its standard input
// and decodes the report that it prints. Whatever else it says is shown when
// the test fails.
func script(t *testing.T, name string, env []string, job, report any) {
	t.Helper()
	in, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	// Impacket waits for ever on a connection that was closed.
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-B", filepath.Join("testdata", name))
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = bytes.NewReader(in)
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err = cmd.Run()
	if talk.Len() > 0 {
		t.Logf("%s says:\n%s", name, tail(talk.Bytes(), 8192))
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := json.Unmarshal(out.Bytes(), report); err != nil {
		t.Fatalf("%s: %v in %.2000q", name, err, out.Bytes())
	}
}

func tail(b []byte, n int) []byte {
	if len(b) > n {
		return b[len(b)-n:]
	}
	return b
}
