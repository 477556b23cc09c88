package regfile

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/windows/registry"
)

// TestImported runs inside, after the samples, or the deletions, were imported.
func TestImported(t *testing.T) {
	what := os.Getenv("REGFILE_IMPORTED")
	if what == "" {
		t.Skip("skipped: part of TestRegedit")
	}
	below := strings.TrimPrefix(testKey, `HKEY_LOCAL_MACHINE\`)
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, below, registry.READ)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if what == "deletions" {
		for _, name := range []string{"", "number"} {
			if _, _, err := k.GetValue(name, nil); !errors.Is(err, registry.ErrNotExist) {
				t.Errorf("%q was not deleted: %v", name, err)
			}
		}
		if _, err := registry.OpenKey(k, "no values", registry.READ); !errors.Is(err, registry.ErrNotExist) {
			t.Errorf("the key was not deleted: %v", err)
		}
		if _, _, err := k.GetValue("text", nil); err != nil {
			t.Errorf("what was not to be deleted: %v", err)
		}
		return
	}
	for _, want := range samples() {
		k, err := registry.OpenKey(registry.LOCAL_MACHINE, strings.TrimPrefix(want.Path, `HKEY_LOCAL_MACHINE\`), registry.READ)
		if err != nil {
			t.Error(want.Path, err)
			continue
		}
		defer k.Close()
		if info, err := k.Stat(); err != nil || int(info.ValueCount) != len(want.Values) {
			t.Errorf("%s: %d values, want %d; %v", want.Path, info.ValueCount, len(want.Values), err)
		}
		for _, v := range want.Values {
			// With room to spare, RegQueryValueEx adds a terminator as well.
			size, _, err := k.GetValue(v.Name, nil)
			if err != nil {
				t.Error(v.Name, err)
				continue
			}
			buf := make([]byte, size)
			n, kind, err := k.GetValue(v.Name, buf)
			if v.Name == "no terminator" {
				v.Data = append(v.Data, 0, 0) // regedit adds one
			}
			if err != nil || Type(kind) != v.Type || !bytes.Equal(buf[:n], v.Data) {
				t.Errorf("%q: %v %x, want %v %x; %v", v.Name, Type(kind), buf[:n], v.Type, v.Data, err)
			}
		}
	}
}
