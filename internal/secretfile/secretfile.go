// Package secretfile reads and writes files that nobody but their owner may read.
package secretfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/certkeep/certkeep/internal/durable"
)

// InsecureError says that others than its owner may read a secret file.
type InsecureError struct {
	Path string
	Mode fs.FileMode // permission bits
}

func (e *InsecureError) Error() string {
	return fmt.Sprintf("%s: others may read this file (mode %04o)", e.Path, e.Mode)
}

// Hint says how to mend it.
func (e *InsecureError) Hint() string {
	return fmt.Sprintf("change what is in it if somebody may have copied it, then: chmod 600 %s", e.Path)
}

// Check refuses a file that others can read or write, with an *[InsecureError]: a secret
// that everyone on the machine can see is none. Pipes, as in <(pass show key), have no
// meaningful mode, and Windows has none at all.
func Check(name string, fi fs.FileInfo) error {
	if runtime.GOOS != "windows" && fi.Mode().IsRegular() && fi.Mode().Perm()&0o077 != 0 {
		return &InsecureError{Path: name, Mode: fi.Mode().Perm()}
	}
	return nil
}

// Open opens a file that passes Check. The mode is that of the file that was opened, so
// that it cannot change in between.
func Open(name string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	switch {
	case err != nil:
	case fi.IsDir():
		err = fmt.Errorf("%s is a directory", name)
	default:
		err = Check(name, fi)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return f, nil
}

// Read reads a file of at most limit bytes, as Open does.
func Read(name string, limit int64) ([]byte, error) {
	f, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return durable.ReadAll(f, name, limit)
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
