package main_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/need"
)

// The example of the documentation takes a backup.
func TestPython(t *testing.T) {
	lib, python := sharedLibrary(t), need.Program(t, "python3")
	s := serve(t, itself)
	serials := s.issue(t, 3)
	dir := filepath.Join(t.TempDir(), "set")
	command := func(server string) *exec.Cmd {
		return exec.Command(python, filepath.Join("..", "..", "docs", "examples", "backup.py"), lib, server, dir)
	}
	out := s.run(t, command(netBIOS))
	if !strings.Contains(out, "\ncomplete: ") || !strings.Contains(out, "to be copied by other means: \\\\") {
		t.Errorf("printed:\n%s", out)
	}
	s.verify(t, dir, 1, int64(len(serials)))

	dir = filepath.Join(t.TempDir(), "other")
	if out, talk, err := s.try(command("local:")); err == nil || !strings.Contains(talk, "NOT a backup: CertSrvIsServerOnlineW: 0x80070057") || out != "" {
		t.Errorf("a server that is none: %v\n%s%s", err, out, talk)
	}
}
