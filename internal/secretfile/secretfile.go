// Package secretfile reads and writes files that nobody but their owner may read.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/hint"
)

// ErrOpen: others may read the file.
var ErrOpen = errors.New("others may read it")

// Read reads a file of at most limit bytes. On Unix a file that others can read or write
// is refused: a secret that everyone on the machine can see is none. Pipes, as in
// <(pass show key), have no meaningful mode, and Windows has none at all.
func Read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, fmt.Errorf("%s is a directory", name)
	}
	if runtime.GOOS != "windows" && fi.Mode().IsRegular() && fi.Mode().Perm()&0o077 != 0 {
		return nil, hint.With(fmt.Errorf("%s: its mode is %04o: %w", name, fi.Mode().Perm(), ErrOpen), "chmod 600 "+name)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return b, nil
}

// Write writes a file, durably and whole, in place of any earlier one; its directory is
// made if need be.
func Write(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(durable.OS, name, data, 0o600)
}

// WriteNew writes a file that must not be there yet.
func WriteNew(name string, data []byte) error {
	if _, err := os.Lstat(name); err == nil {
		return fmt.Errorf("%s: %w", name, fs.ErrExist)
	}
	return Write(name, data)
}
