package adcs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// maxState bounds a state file; the largest are gaps.
const maxState = 256 << 20

// stamp is a time in file names.
const stamp = "20060102T150405Z"

func (h *Host) stamp() string { return h.o.Now().UTC().Format(stamp) }

// statePath is the path of a state file, in a directory that exists and is
// private.
func (h *Host) statePath(name string) (string, error) {
	dir := h.sys.native(h.o.StateDir)
	if err := h.sys.private(dir); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return filepath.Join(dir, name), nil
}

// load reads a state file; false if there is none.
func (h *Host) load(name string, v any) (bool, error) {
	path, err := h.statePath(name)
	if err != nil {
		return false, err
	}
	b, err := durable.ReadFile(h.fsys, path, maxState)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, stateError(path, "%v", err)
	}
	return true, nil
}

// store writes a state file durably.
func (h *Host) store(name string, v any) error {
	path, err := h.statePath(name)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(h.fsys, path, append(b, '\n'), 0o600)
}

// retire gives a state file that has done its duty another name, so that a person
// can still read it, and returns that.
func (h *Host) retire(name string) (string, error) {
	path, err := h.statePath(name)
	if err != nil {
		return "", err
	}
	ext := filepath.Ext(path)
	to, err := h.free(path[:len(path)-len(ext)]+"-"+h.stamp(), ext)
	if err != nil {
		return "", err
	}
	err = h.fsys.Rename(path, to)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return to, h.fsys.SyncDir(filepath.Dir(path))
}

// free is base+ext, or base-2+ext and so on: the first name that is not taken.
func (h *Host) free(base, ext string) (string, error) {
	name := base + ext
	for i := 2; ; i++ {
		_, err := h.fsys.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s-%d%s", base, i, ext)
	}
}

// now is the time for records.
func (h *Host) now() time.Time { return h.o.Now().UTC().Round(0) }
