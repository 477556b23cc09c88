package connect_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/connect"
)

func TestReadPasswordFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "password")
	for _, tt := range []struct{ content, want, err string }{
		{"open sesame\n", "open sesame", ""},
		{"open sesame\r\nsecond line\n", "open sesame", ""},
		{" spaces count ", " spaces count ", ""},
		{strings.Repeat("x", 4096) + "\r\n", strings.Repeat("x", 4096), ""},
		{strings.Repeat("x", 4097), "", "longer than 4096 bytes"},
		{strings.Repeat("x", 10000), "", "longer than 4096 bytes"},
		{"", "", "empty"},
		{"\nsecond line", "", "empty"},
		{"a\x00b", "", "NUL"},
	} {
		if err := os.WriteFile(name, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := connect.ReadPasswordFile(name)
		if string(b) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%.20q: %.20q, %v; want %.20q, %s", tt.content, b, err, tt.want, tt.err)
		}
	}
	if _, err := connect.ReadPasswordFile(name + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := connect.ReadPasswordFile(t.TempDir()); err == nil {
		t.Error("a directory")
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.WriteFile(name, []byte("open sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var insecure *account.InsecureFileError
	for _, mode := range []os.FileMode{0o640, 0o604, 0o602, 0o610} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if b, err := connect.ReadPasswordFile(name); !errors.As(err, &insecure) || insecure.Mode != mode || b != nil {
			t.Errorf("mode %o: %q, %v", mode, b, err)
		}
	}
}
