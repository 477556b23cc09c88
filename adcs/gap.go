package adcs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backup"
)

// gapPrefix begins the names of recorded gaps; the time is in between.
const (
	gapPrefix = "gap-"
	gapSuffix = ".json"
)

// recordedGap is a gap as it is kept.
type recordedGap struct {
	Schema    int        `json:"schema"` // 1
	Authority string     `json:"authority"`
	Recorded  time.Time  `json:"recorded"`
	Gap       backup.Gap `json:"gap"`
}

// RecordGap keeps the gap in a file of its own in the state directory: what one
// restore knew is not replaced by what the next one knows. AD CS itself cannot be
// told: its CRL numbers and request ids go on where the restored database ends, and
// what the gap lists is for a person to revoke again before [Host.Release]. See
// [Host.GapFile].
func (h *Host) RecordGap(_ context.Context, g backup.Gap) error {
	if last, err := h.GapFile(); err != nil {
		return err
	} else if last != "" {
		var r recordedGap
		if found, err := h.load(filepath.Base(last), &r); err == nil && found && r.Authority == h.name && reflect.DeepEqual(r.Gap, g) {
			return nil // of an interrupted run
		}
	}
	dir, err := h.statePath("")
	if err != nil {
		return err
	}
	path, err := h.free(filepath.Join(dir, gapPrefix+h.stamp()), gapSuffix)
	if err != nil {
		return err
	}
	if err := h.store(filepath.Base(path), recordedGap{1, h.name, h.now(), g}); err != nil {
		return fmt.Errorf("recording the gap: %w", err)
	}
	return nil
}

// GapFile is where the gap last recorded is; empty if none was.
func (h *Host) GapFile() (string, error) {
	dir, err := h.statePath("")
	if err != nil {
		return "", err
	}
	entries, err := h.fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	last := ""
	for _, e := range entries { // in the order of their names
		if strings.HasPrefix(e.Name(), gapPrefix) && strings.HasSuffix(e.Name(), gapSuffix) && gapOrder(e.Name()) > gapOrder(last) {
			last = e.Name()
		}
	}
	if last == "" {
		return "", nil
	}
	return filepath.Join(dir, last), nil
}

// gapOrder makes names comparable: the number after the time counts as a number.
func gapOrder(name string) string {
	name = strings.TrimSuffix(strings.TrimPrefix(name, gapPrefix), gapSuffix)
	at, n, _ := strings.Cut(name, "-")
	return fmt.Sprintf("%s-%8s", at, n)
}
