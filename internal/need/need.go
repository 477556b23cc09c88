// Package need says what a test cannot do without. Where it is missing the test is
// skipped, and the reason is in its log; with CERTKEEP_TEST_PEERS=1 in the
// environment, as in CI, the test fails instead.
package need

import (
	"os"
	"path/filepath"
	"testing"
)

// All reports whether nothing may be skipped for want of a program: in CI.
func All() bool { return os.Getenv("CERTKEEP_TEST_PEERS") == "1" }

// Heavy reports whether tests may take as long as they like
// (CERTKEEP_TEST_HEAVY=1).
func Heavy() bool { return os.Getenv("CERTKEEP_TEST_HEAVY") != "" }

// Skip skips the test, or fails it where everything was promised to be there.
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if All() {
		t.Fatalf("CERTKEEP_TEST_PEERS=1, but "+format, args...)
	}
	t.Skipf("skipped: "+format, args...)
}

// packages are Debian's packages, where their name is not the program's.
var packages = map[string]string{
	"x86_64-w64-mingw32-gcc": "gcc-mingw-w64-x86-64",
}

// Program returns the path of a program, also of one that only root has in PATH.
func Program(t testing.TB, name string, pkg ...string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, name)
		if s, err := os.Stat(path); err == nil && s.Mode()&0o111 != 0 && !s.IsDir() {
			return path
		}
	}
	in := name
	if p, ok := packages[name]; ok {
		in = p
	}
	if len(pkg) > 0 {
		in = pkg[0]
	}
	Skip(t, "%s is not installed: apt-get install %s", name, in)
	return ""
}
