package certsrv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/certkeep/certkeep/internal/durable"
)

// stateLimit bounds the small files of the system directory.
const stateLimit = 16 << 20

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// writeJSON writes v durably and whole.
func writeJSON(fsys durable.FS, name string, v any, perm fs.FileMode) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return durable.WriteFile(fsys, name, append(b, '\n'), perm)
}

// readJSON reports whether the file exists.
func readJSON(fsys durable.FS, name string, v any) (bool, error) {
	b, err := durable.ReadFile(fsys, name, stateLimit)
	if isNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return true, fmt.Errorf("%s: %w", name, err)
	}
	return true, nil
}

// exists reports whether there is anything of that name.
func exists(fsys durable.FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if isNotExist(err) {
		return false, nil
	}
	return err == nil, err
}

// removeDurably removes a file, and is content if it is gone already.
func removeDurably(fsys durable.FS, dir, name string) error {
	if err := fsys.Remove(name); err != nil && !isNotExist(err) {
		return err
	}
	return fsys.SyncDir(dir)
}

// isRegular reports whether the entry is an ordinary file.
func isRegular(e os.DirEntry) bool { return e.Type().IsRegular() }
