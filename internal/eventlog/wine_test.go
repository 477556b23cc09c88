//go:build linux && amd64

package eventlog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/winetest"
)

// TestWine runs the Windows half as far as Wine goes: registration is real, its
// ReportEvent prints what it is given and keeps nothing, its log is always empty.
func TestWine(t *testing.T) {
	wine := winetest.New(t)
	cmd := wine.Command(t.Context(), winetest.Self(t), "-test.run", "^TestReport$", "-test.v")
	// The channel on which Wine's stub shows a reported event.
	cmd.Env = append(cmd.Env, "CERTKEEP_TEST_EVENT_LOG=1", "WINEDEBUG=-all,fixme+advapi,err+eventlog,warn+eventlog,trace+eventlog,fixme+eventlog")
	b, err := cmd.CombinedOutput()
	out := strings.ReplaceAll(string(b), "\r\n", "\n")
	if err != nil || !strings.Contains(out, "--- PASS: TestReport") {
		t.Fatalf("%v\n%s", err, out)
	}
	types := map[Level]int{Error: 1, Warning: 2, Information: 4} // EVENTLOG_…_TYPE
	for _, k := range Table {
		text, err := Event{ID: k.ID, What: "a test", Folder: `D:\\backup`}.Text() // as Wine prints it
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{fmt.Sprintf(",0x%04x,0x0000,0x%08x,", types[k.Level], k.ID), `L"` + strings.ReplaceAll(text, "\r\n", `\r\n`) + `"`} {
			if !strings.Contains(out, want) {
				t.Errorf("event %d: no %s in\n%s", k.ID, want, out)
			}
		}
	}
}
