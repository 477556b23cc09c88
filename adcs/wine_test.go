package adcs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/winetest"
)

func TestMain(m *testing.M) { os.Exit(winetest.Main(m)) }

// TestWine runs TestWindows in a machine that Wine makes, and then lets Wine's own
// programs say what came of it.
func TestWine(t *testing.T) {
	p := winetest.New(t)
	self := winetest.Self(t)
	// A service is started without this environment and from another directory.
	program := filepath.Join(p.Drive(), "certsvc.exe")
	b, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(program, b, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(p.Drive(), "open test")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil { // whatever the umask
		t.Fatal(err)
	}
	t.Setenv("ADCS_WINDOWS", `C:\certsvc.exe`)
	out := p.Run(t, self, "-test.run=^TestWindows$", "-test.v")
	if !strings.Contains(out, "--- PASS: TestWindows") || strings.Contains(out, "--- SKIP") {
		t.Fatalf("it did not run:\n%s", out)
	}
	t.Log(out)

	// What is withheld is undone by the command that the report names.
	const key = `HKLM\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration\Wine CA`
	if got := p.Run(t, "reg", "query", key, "/v", interfaceFlags); !strings.Contains(got, "0x64f") {
		t.Errorf("withheld: %s", got)
	}
	p.Run(t, "reg", "import", `C:\ProgramData\certkeep\publish-again.reg`)
	if got := p.Run(t, "reg", "query", key, "/v", interfaceFlags); !strings.Contains(got, "0x641") {
		t.Errorf("undone: %s", got)
	}
	if got := p.Run(t, "reg", "query", key, "/v", crlURLs); !strings.Contains(got, `65:C:\windows\system32`) {
		t.Errorf("undone: %s", got)
	}
}
