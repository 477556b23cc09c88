//go:build linux && amd64

package cakey

import (
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/winetest"
)

// TestWine runs the Windows half as far as Wine goes: its PFXExportCertStoreEx is
// a stub.
func TestWine(t *testing.T) {
	wine := winetest.New(t)
	exe := winetest.Self(t)
	cmd := wine.Command(t.Context(), exe, "-test.run", "^(TestMachineStore|TestPrivateFile|TestNeverOver|TestPlace)$", "-test.v")
	cmd.Env = append(cmd.Env, "CERTKEEP_TEST_MACHINE_STORE=1")
	b, err := cmd.CombinedOutput()
	out := strings.ReplaceAll(string(b), "\r\n", "\n")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Log(out)
	for _, want := range []string{
		"--- PASS: TestMachineStore/exportable", "--- PASS: TestMachineStore/not_exportable", "--- PASS: TestMachineStore/without_a_key",
		"--- PASS: TestPrivateFile", "--- PASS: TestNeverOver", "--- PASS: TestPlace",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q", want)
		}
	}
}
