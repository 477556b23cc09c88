package kerberos

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A keytab that others may read is refused before it is looked at.
func TestPublicKeytab(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: the mode of a file says nothing on Windows")
	}
	name := filepath.Join(t.TempDir(), "keytab")
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true, 0o602: true} {
		if err := os.WriteFile(name, []byte("no keytab at all"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeytab(name); err == nil || strings.Contains(err.Error(), "chmod 600") != refused {
			t.Errorf("mode %04o: %v", mode, err)
		}
		os.Remove(name)
	}
}
