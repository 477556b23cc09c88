package secretfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/certkeep/certkeep/internal/secretfile"
)

func TestReadWrite(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new", "secret")
	if err := secretfile.WriteNew(name, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := secretfile.WriteNew(name, []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	if b, err := secretfile.Read(name, 3); err != nil || string(b) != "one" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := secretfile.Read(name, 2); err == nil {
		t.Error("read more than the limit")
	}
	if err := secretfile.Write(name, []byte("three")); err != nil {
		t.Fatal(err)
	}
	if b, err := secretfile.Read(name, 100); err != nil || string(b) != "three" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := secretfile.Read(filepath.Dir(name), 100); err == nil {
		t.Error("read a directory")
	}
}

func TestInsecure(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes")
	}
	name := filepath.Join(t.TempDir(), "secret")
	for mode, good := range map[fs.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o620: false} {
		if err := errors.Join(secretfile.Write(name, []byte("x")), os.Chmod(name, mode)); err != nil {
			t.Fatal(err)
		}
		_, err := secretfile.Read(name, 10)
		var e *secretfile.InsecureError
		if good != (err == nil) || !good && (!errors.As(err, &e) || e.Mode != mode || e.Hint() == "") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}
