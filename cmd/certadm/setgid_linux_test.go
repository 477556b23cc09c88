package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
)

// A program with more rights than who started it does not let him say by the
// environment which files it reads and writes, and where it logs on.
func TestSetgid(t *testing.T) {
	lib, plain := sharedLibrary(t), program(t, hostC)
	const group = 65534 // none of ours
	setgid := filepath.Join(filepath.Dir(plain), "host-setgid")
	b, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(setgid, b, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(setgid, -1, group); err != nil {
		t.Skipf("skipped: only root can make a program of another group: %v", err)
	}
	if err := os.Chmod(setgid, 0o755|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		exe     string
		elevate bool
	}{{plain, false}, {setgid, true}} {
		log := filepath.Join(t.TempDir(), "failures")
		cmd := exec.Command(tt.exe, lib)
		cmd.Env = append(os.Environ(), "CERTKEEP_LOG="+log)
		h := startHost(t, cmd)
		_, elevated, _, err := h.call(false, "secure")
		if err != nil {
			t.Fatal(err)
		}
		if tt.elevate && elevated == 0 {
			h.kill()
			t.Skip("skipped: programs get no more rights here (nosuid, or no new privileges)")
		}
		code, _, _, err := h.call(false, "online", str(netBIOS+"/none")) // is no machine's name
		if err != nil || code != certadm.EInvalidArg {
			t.Errorf("%s: %v, %v", tt.exe, code, err)
		}
		if err := h.leave(); err != nil {
			t.Error(err)
		}
		got, err := os.ReadFile(log)
		if tt.elevate && !os.IsNotExist(err) {
			t.Errorf("the program wrote where its user said: %s, %v", got, err)
		}
		if !tt.elevate && (err != nil || !strings.Contains(string(got), "no machine's name")) {
			t.Errorf("a program of ordinary rights wrote %q, %v", got, err)
		}
	}
}
