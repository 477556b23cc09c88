// Package winetest runs Windows programs under Wine, for tests of what only
// exists on Windows.
//
// A package that uses it gives its test binary this main function:
//
//	func TestMain(m *testing.M) { os.Exit(winetest.Main(m)) }
//
// The first call of [New] makes a prefix, Wine's idea of a Windows machine, in a
// temporary directory; it takes some ten seconds. All tests of a binary share
// it, and Main removes it. Where Wine or the cross compiler is missing the test is
// skipped by name, or fails where everything must run; see package need.
package winetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/internal/need"
)

// Compiler is the C compiler for Windows on amd64, from Debian's
// gcc-mingw-w64-x86-64.
const Compiler = "x86_64-w64-mingw32-gcc"

// wine64 is where Debian's wine64 puts it.
const wine64 = "/usr/lib/wine/wine64"

// Prefix is a Windows machine as Wine makes one.
type Prefix struct {
	dir  string
	wine string
	held string // directory, see holdServers
}

var shared struct {
	once   sync.Once
	prefix *Prefix
	err    error
}

// Main runs a package's tests and removes the prefix that they made.
func Main(m *testing.M) int {
	code := m.Run()
	if p := shared.prefix; p != nil {
		if err := p.remove(); err != nil {
			fmt.Fprintln(os.Stderr, "winetest:", err)
		}
	}
	return code
}

// New returns the prefix of this test binary. A test that changes its registry or
// its system directory should do so under names of its own.
func New(t testing.TB) *Prefix {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		need.Skip(t, "Wine is used on linux/amd64 only")
	}
	need.Program(t, Compiler)
	wine := wine64
	if _, err := os.Stat(wine); err != nil {
		wine = need.Program(t, "wine64")
	}
	shared.once.Do(func() { shared.prefix, shared.err = create(wine) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.prefix
}

func create(wine string) (*Prefix, error) {
	dir, err := os.MkdirTemp("", "certkeep-wine-")
	if err != nil {
		return nil, err
	}
	p := &Prefix{dir: dir, wine: wine}
	if p.held, err = holdServers(); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	boot := p.Command(context.Background(), "wineboot", "-i")
	if out, err := boot.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("wineboot: %w\n%s", err, out), p.remove())
	}
	if err := p.addProcessPrng(); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

// holdServers keeps the directory in which Wine's servers have theirs: one that ends takes it away if it is empty, and
// another prefix's that begins just then fails.
func holdServers() (string, error) {
	servers := fmt.Sprintf("/tmp/.wine-%d", os.Getuid())
	for try := 0; ; try++ {
		if err := os.Mkdir(servers, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		held, err := os.MkdirTemp(servers, "certkeep-")
		if err == nil || try == 100 || !errors.Is(err, fs.ErrNotExist) {
			return held, err
		}
	}
}

// processPrng is what Go's runtime wants of bcryptprimitives.dll, which Wine has
// since version 9 only.
const processPrng = `#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) { return SystemFunction036(p, (ULONG)n); }
`

func (p *Prefix) addProcessPrng() error {
	dll := filepath.Join(p.System32(), "bcryptprimitives.dll")
	if _, err := os.Stat(dll); err == nil {
		return nil
	}
	src := filepath.Join(p.dir, "processprng.c")
	if err := os.WriteFile(src, []byte(processPrng), 0o600); err != nil {
		return err
	}
	if out, err := exec.Command(Compiler, "-shared", "-o", dll, src, "-ladvapi32").CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", Compiler, err, out)
	}
	return nil
}

// remove stops what still runs in the prefix and deletes it.
func (p *Prefix) remove() error {
	server := "/usr/lib/wine/wineserver64"
	if _, err := os.Stat(server); err != nil {
		server = "wineserver"
	}
	for _, flag := range []string{"-k", "-w"} {
		cmd := exec.Command(server, flag)
		cmd.Env = p.env()
		cmd.Run() // fails if nothing runs any more
	}
	err := os.RemoveAll(p.dir)
	if p.held != "" {
		err = errors.Join(err, os.Remove(p.held))
		_ = os.Remove(filepath.Dir(p.held)) // unless others are there
	}
	return err
}

// System32 is the system directory, as a path of this machine.
func (p *Prefix) System32() string { return filepath.Join(p.dir, "drive_c", "windows", "system32") }

// Drive is C:\, as a path of this machine.
func (p *Prefix) Drive() string { return filepath.Join(p.dir, "drive_c") }

// Path is the Windows name of a path of this machine.
func Path(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

func (p *Prefix) env() []string {
	return append(os.Environ(), "WINEPREFIX="+p.dir, "WINEDEBUG=-all", "DISPLAY=",
		"WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe=")
}

// Command is a command line of a Windows program: a path of this machine, or the
// name of one that Wine has. Environment variables, and the directory, are those of
// this process; append to Env to change it.
func (p *Prefix) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.wine, append([]string{program}, args...)...)
	cmd.Env = p.env()
	return cmd
}

// Run runs a Windows program and returns what it wrote to both outputs, without
// carriage returns; a failure of it fails the test.
func (p *Prefix) Run(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := p.Command(t.Context(), program, args...).CombinedOutput()
	text := strings.ReplaceAll(string(out), "\r\n", "\n")
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, text)
	}
	return text
}

// StayUp keeps the machine running until the test ends: Wine shuts it down, with
// its services, when the last program has ended.
func (p *Prefix) StayUp(t testing.TB) {
	t.Helper()
	cmd := p.Command(context.Background(), "cmd")
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // cmd ends when there is nothing more to read
		cmd.Wait()
	})
}

// Seldom skips a test that builds cmd/certadm for Windows, or runs there for long:
// minutes that only CI, or who asks for heavy tests, has.
func Seldom(t testing.TB) {
	t.Helper()
	if !need.Heavy() && !need.All() {
		t.Skip("skipped: building for Windows and running there takes long: CERTKEEP_TEST_PEERS=1 or CERTKEEP_TEST_HEAVY=1")
	}
}

// BuildLibrary is the command that builds cmd/certadm, the library in C, for Windows.
func BuildLibrary(out string) *exec.Cmd {
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, "github.com/certkeep/certkeep/cmd/certadm")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOOS=windows", "GOARCH=amd64", "CC="+Compiler)
	return cmd
}

// Library builds cmd/certadm for Windows.
func Library(t testing.TB, out string) {
	t.Helper()
	need.Program(t, Compiler)
	if b, err := BuildLibrary(out).CombinedOutput(); err != nil {
		t.Fatalf("building cmd/certadm for Windows: %v\n%s", err, b)
	}
}

// Build builds a Go command of this module for Windows, and returns its path.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), filepath.Base(pkg)+".exe")
	return goTool(t, exe, "build", "-o", exe, pkg)
}

// Self builds the test binary of the package under test for Windows. Tests that are
// to run there are named by the -test.run that [Prefix.Run] is given.
func Self(t testing.TB) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "self.test.exe")
	return goTool(t, exe, "test", "-c", "-o", exe, ".")
}

func goTool(t testing.TB, exe string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return exe
}

// CC compiles C for Windows.
func CC(t testing.TB, out string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Compiler, append([]string{"-Wall", "-Wextra", "-Werror", "-o", out}, args...)...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, b)
	}
}
