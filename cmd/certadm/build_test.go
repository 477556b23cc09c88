package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/internal/winetest"
)

// What these tests look at was built by them: the library as its users build it,
// and the C programs that load it. One build serves all tests.

func TestMain(m *testing.M) {
	code := winetest.Main(m)
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

var built struct {
	mu    sync.Mutex
	dir   string
	files map[string]*file
}

// file is what one command makes.
type file struct {
	once sync.Once
	path string
	err  string
}

// build returns the path of a file that command makes, which it is made by once.
func build(t testing.TB, name string, command func(path string) *exec.Cmd) string {
	t.Helper()
	built.mu.Lock()
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "certkeep-certadm-")
		if err != nil {
			built.mu.Unlock()
			t.Fatal(err)
		}
		built.dir, built.files = dir, make(map[string]*file)
	}
	f := built.files[name]
	if f == nil {
		f = &file{path: filepath.Join(built.dir, name)}
		built.files[name] = f
	}
	built.mu.Unlock()
	f.once.Do(func() {
		cmd := command(f.path)
		if out, err := cmd.CombinedOutput(); err != nil {
			f.err = strings.Join(cmd.Args, " ") + ": " + err.Error() + "\n" + string(out)
		}
	})
	if f.err != "" {
		t.Fatal(f.err)
	}
	return f.path
}

// sharedLibrary is libcertadm.so.
func sharedLibrary(t testing.TB) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		need.Skip(t, "the shared library is tested on Linux and, by Wine, for Windows")
	}
	need.Program(t, "gcc")
	return build(t, "libcertadm.so", func(path string) *exec.Cmd {
		cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", path, ".")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "CC=gcc")
		return cmd
	})
}

// dll is certadm.dll.
func dll(t testing.TB) string {
	t.Helper()
	need.Program(t, winetest.Compiler)
	return build(t, "certadm.dll", winetest.BuildLibrary)
}

// strict is how our own C has to compile.
var strict = []string{"-Wall", "-Wextra", "-Wpedantic", "-Werror"}

// program is a C program for this machine; sanitize adds options, and a word to
// its name.
func program(t testing.TB, source string, sanitize ...string) string {
	t.Helper()
	gcc := need.Program(t, "gcc")
	name := strings.TrimSuffix(filepath.Base(source), ".c")
	if len(sanitize) > 0 {
		name += "-sanitized"
	}
	return build(t, name, func(path string) *exec.Cmd {
		args := append([]string{"-std=c11", "-D_DEFAULT_SOURCE", "-g", "-O1", "-o", path, source}, strict...)
		return exec.Command(gcc, append(append(args, sanitize...), "-ldl", "-lpthread")...)
	})
}

// windowsProgram is a C program for Windows. It is compiled with mingw's certbcli.h.
func windowsProgram(t testing.TB, source string) string {
	t.Helper()
	cc := need.Program(t, winetest.Compiler)
	return build(t, strings.TrimSuffix(filepath.Base(source), ".c")+".exe", func(path string) *exec.Cmd {
		return exec.Command(cc, "-Wall", "-Wextra", "-Werror", "-o", path, source)
	})
}

// The programs.
const (
	backupC  = "examples/backup.c"
	restoreC = "examples/restore.c"
	misuseC  = "testdata/misuse.c"
	reloadC  = "testdata/reload.c"
	hostC    = "testdata/host.c"
)

// wine is the Windows machine of the tests. Building for it and starting it takes
// longer than a test of every day may.
func wine(t testing.TB) *winetest.Prefix {
	t.Helper()
	winetest.Seldom(t)
	p := winetest.New(t)
	p.StayUp(t)
	return p
}
