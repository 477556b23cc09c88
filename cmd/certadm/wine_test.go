package main_test

import (
	"context"
	"os/exec"
	"testing"

	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/internal/winetest"
)

// The DLL under Wine, in C programs that were compiled with mingw's certbcli.h.
// The authority is a process of this machine all the same.

func wineCommand(t *testing.T, w *winetest.Prefix) func(source string, args ...string) *exec.Cmd {
	lib := winetest.Path(dll(t))
	return func(source string, args ...string) *exec.Cmd {
		return w.Command(context.Background(), windowsProgram(t, source), append([]string{lib}, args...)...)
	}
}

func TestWinePrograms(t *testing.T) {
	w := wine(t)
	procedure(t, serve(t, winetest.Path), winetest.Path, dll(t), wineCommand(t, w))
}

func TestWineMisuse(t *testing.T) {
	w := wine(t)
	command := wineCommand(t, w)
	misuse(t, winetest.Path, func(args ...string) *exec.Cmd { return command(misuseC, args...) })
}

func TestWineEnvironment(t *testing.T) {
	w := wine(t)
	environment(t, serve(t, winetest.Path), wineCommand(t, w)(hostC))
}

// FreeLibrary succeeds, and what is loaded again is as it was.
func TestWineReload(t *testing.T) {
	w, s := wine(t), serve(t, winetest.Path)
	const want = "round 1: online\nround 2: online\nround 3: online\n"
	if out := s.run(t, wineCommand(t, w)(reloadC, netBIOS)); out != want {
		t.Errorf("the C program printed:\n%s", out)
	}
	exe := build(t, "goreload.exe", func(path string) *exec.Cmd {
		cmd := exec.Command("go", "build", "-o", path, "./testdata/goreload")
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64")
		return cmd
	})
	if out := s.run(t, w.Command(t.Context(), exe, winetest.Path(dll(t)), netBIOS)); out != want {
		t.Errorf("the Go program printed:\n%s", out)
	}
}

// The suite through the DLL.
func TestWineConformance(t *testing.T) {
	skip := deviations()
	skip[56] = "a file that a Windows program locks under Wine is not locked to the service, which is a process of Linux here"
	w := wine(t)
	lib, exe := winetest.Path(dll(t)), windowsProgram(t, hostC)
	certadmtest.Run(t, func(t *testing.T) certadmtest.Env {
		return newEnv(t, func(ctx context.Context) *exec.Cmd { return w.Command(ctx, exe, lib) }, winetest.Path)
	}, skip)
}
