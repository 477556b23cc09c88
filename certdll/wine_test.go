package certdll

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/winetest"
)

// Environment variables that tell the tests on Windows what to load.
const (
	envLibrary = "CERTDLL_TEST_LIBRARY" // cmd/certadm, under another name
	envOther   = "CERTDLL_TEST_OTHER"   // a library without restore functions
)

// TestWine runs this package's tests on Windows, as far as Wine goes, with the
// library of cmd/certadm: two Go programs in one process.
func TestWine(t *testing.T) {
	winetest.Seldom(t)
	p := winetest.New(t)
	library := filepath.Join(t.TempDir(), "library.dll")
	winetest.Library(t, library)
	other := filepath.Join(t.TempDir(), "norestore.dll")
	winetest.CC(t, other, "-shared", "-Wno-attributes", // the header has dllimport
		filepath.Join("testdata", "norestore.c"))
	system := filepath.Join(p.System32(), libraryName)
	b, err := os.ReadFile(library)
	if err == nil {
		err = os.WriteFile(system, b, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(system)
	t.Setenv(envLibrary, winetest.Path(library))
	t.Setenv(envOther, winetest.Path(other))
	self := winetest.Self(t)
	// Each in a process of its own: what was loaded once is found again by its name.
	for _, test := range []string{"TestConformanceDLL", "TestLoadAgain", "TestSystemLibrary", "TestMissingFunctions", "TestToken"} {
		t.Run(test, func(t *testing.T) {
			out := p.Run(t, self, "-test.run=^"+test+"$", "-test.v", "-test.timeout=10m")
			if !strings.Contains(out, "--- PASS: "+test+" ") {
				t.Errorf("it did not run, or was skipped:\n%s", out)
			}
			for line := range strings.Lines(out) {
				if strings.Contains(line, "is skipped in part") || strings.Contains(line, "known deviation") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}
