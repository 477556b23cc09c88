package main_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/certkeep/certkeep/internal/winetest"
)

// The same as their users do it: an authority of the command certkeep, served by
// it as a process of its own; a C program that backs it up through the library;
// and certkeep that verifies what came of it.

// certkeep is the command.
func certkeep(t testing.TB) string {
	t.Helper()
	name := "certkeep"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return build(t, name, func(path string) *exec.Cmd { return exec.Command("go", "build", "-o", path, "../certkeep") })
}

// keep runs the command, which has to succeed, and returns its standard output.
func keep(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(certkeep(t), args...)
	var talk strings.Builder
	cmd.Stderr = &talk
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("certkeep %s: %v\n%s%s", strings.Join(args, " "), err, out, talk.String())
	}
	return string(out)
}

// command makes an authority that has issued some certificates, and serves it
// until the test ends. path is what a path of this machine is to the program.
func command(t *testing.T, path func(string) string) *service {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	keep(t, "ca", "init", dir, "--name", "Command CA", "--host", netBIOS)
	for _, name := range []string{"CN=one.example", "CN=two.example", "CN=three.example"} {
		keep(t, "ca", "issue", dir, "--subject", name)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(keep(t, "ca", "user", "add", dir, "backup", "--role", "operator", "--ntlm")), 0o600); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command(certkeep(t), "ca", "serve", dir, "--listen", "127.0.0.1:0", "--http", "off", "--est", "off", "--json")
	var talk strings.Builder
	cmd.Stderr = &talk
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("certkeep ca serve: %v\n%s", err, talk.String())
		}
	})
	line, err := out.ReadBytes('\n')
	var ready struct{ Event, Address string }
	if err != nil || json.Unmarshal(line, &ready) != nil || ready.Event != "ready" || ready.Address == "" {
		t.Fatalf("certkeep ca serve printed %q, %v", line, err)
	}
	return &service{log: filepath.Join(t.TempDir(), "failures"), vars: []string{
		servers(strings.TrimPrefix(ready.Address, "adcs://")), "CERTKEEP_USER=backup", "CERTKEEP_PASSWORD_FILE=" + path(secret),
	}}
}

// asCommand backs an authority up by the C program, once fully and once not, and
// has certkeep verify both sets.
func asCommand(t *testing.T, path func(string) string, backup func(args ...string) *exec.Cmd) {
	s := command(t, path)
	s.vars = append(s.vars, "CERTKEEP_LOG="+path(s.log))
	root := t.TempDir()
	full, inc := filepath.Join(root, "full"), filepath.Join(root, "inc")
	sixteen(t, s.run(t, backup(netBIOS, path(full))), true, true)
	verified(t, full, 1)
	sixteen(t, s.run(t, backup(dnsName+`\Command CA`, path(inc), "incremental", "keep-log")), false, false)
	verified(t, root, 2)

	// It would see damage.
	logs, err := filepath.Glob(filepath.Join(full, "DataBase", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatal(logs, err)
	}
	if err := os.Truncate(logs[0], 100); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(certkeep(t), "verify", "--folder", full).CombinedOutput(); err == nil || strings.Contains(string(out), "no damage found") {
		t.Errorf("a log was cut off, and certkeep verify prints:\n%s", out)
	}
}

func verified(t *testing.T, dir string, sets int) {
	t.Helper()
	if out := keep(t, "verify", "--folder", dir); !strings.Contains(out, "no damage found") {
		t.Errorf("certkeep verify printed:\n%s", out)
	}
	var r struct {
		OK       bool              `json:"ok"`
		Sets     []json.RawMessage `json:"sets"`
		Database struct {
			Certificates int `json:"certificates"`
		} `json:"database"`
	}
	out := keep(t, "verify", "--folder", dir, "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || !r.OK || len(r.Sets) != sets || r.Database.Certificates < 3 {
		t.Errorf("want %d sets with 3 certificates; certkeep verify --json printed (%v):\n%s", sets, err, out)
	}
}

func TestCommand(t *testing.T) {
	lib := sharedLibrary(t)
	asCommand(t, itself, func(args ...string) *exec.Cmd {
		return exec.Command(program(t, backupC), append([]string{lib}, args...)...)
	})
}

func TestWineCommand(t *testing.T) {
	run := wineCommand(t, wine(t))
	asCommand(t, winetest.Path, func(args ...string) *exec.Cmd { return run(backupC, args...) })
}
