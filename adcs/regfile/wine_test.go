package regfile

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/internal/winetest"
)

func TestMain(m *testing.M) { os.Exit(winetest.Main(m)) }

// TestRegedit: regedit and reg import what Encode writes, the registry then has
// the same bytes (TestImported, which runs inside), and Decode reads what
// regedit exports.
func TestRegedit(t *testing.T) {
	p := winetest.New(t)
	self := winetest.Self(t)
	write := func(name string, keys []Key) string {
		b, err := Encode(keys)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return winetest.Path(path)
	}
	tools := map[string][]string{"regedit": {"regedit", "/S"}}
	if need.Heavy() {
		tools["reg"] = []string{"reg", "import"}
	}
	for name, tool := range tools {
		t.Run(name, func(t *testing.T) {
			p.Run(t, tool[0], append(tool[1:], write("samples.reg", samples()))...)
			t.Setenv("REGFILE_IMPORTED", "samples")
			if out := p.Run(t, self, "-test.run=^TestImported$", "-test.v"); !strings.Contains(out, "--- PASS: TestImported") {
				t.Fatalf("it did not run:\n%s", out)
			}

			exported := filepath.Join(t.TempDir(), "exported.reg")
			p.Run(t, "regedit", "/E", winetest.Path(exported), testKey)
			b, err := os.ReadFile(exported)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(sorted(inWine(samples())), sorted(inWine(got))); diff != "" {
				t.Errorf("exported (-want +got):\n%s", diff)
			}

			p.Run(t, tool[0], append(tool[1:], write("deletions.reg", deletions()))...)
			t.Setenv("REGFILE_IMPORTED", "deletions")
			p.Run(t, self, "-test.run=^TestImported$")
		})
	}
}

// inWine is what Wine's export makes of the samples, as far as that is to be
// compared: a string as far as its terminator, but not line breaks, which it
// writes as \r and \n and Windows as they are, nor a number of two bytes, after
// which it writes what happens to be there.
func inWine(keys []Key) []Key {
	for i, k := range keys {
		keys[i].Values = slices.DeleteFunc(k.Values, func(v Value) bool { return v.Name == "lines" || v.Name == "wrong number" })
		for j, v := range keys[i].Values {
			if v.Type == String {
				text, _ := v.Text()
				keys[i].Values[j] = NewString(v.Name, String, text)
			}
		}
	}
	return keys
}

func sorted(keys []Key) []Key {
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(a.Path, b.Path) })
	for _, k := range keys {
		slices.SortFunc(k.Values, func(a, b Value) int { return cmp.Compare(a.Name, b.Name) })
	}
	return keys
}
