package adcs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/internal/durable"
)

// abandoned reports whether an interrupted run is not to be gone on with, because
// what is in place now is not what it found. An operator who gave a restore up has
// moved the files back, and the authority may have worked on them for weeks: its
// logs are then newer than all that the journal knows of.
func (h *Host) abandoned(ctx context.Context, j *asideJournal, dirs []string) (bool, error) {
	aside := false
	for _, m := range j.Moves {
		there := h.there(m.To)
		if m.Made && !there {
			return true, nil // somebody moved it back
		}
		aside = aside || there
	}
	if !aside {
		return true, nil // nothing was moved, or all of it back
	}
	names, err := h.engineFiles(dirs)
	if err != nil {
		return false, err
	}
	slices.Reverse(names) // the database is the largest
	for _, name := range names {
		last := -1
		for i, m := range j.Moves {
			if strings.EqualFold(m.From, name) {
				last = i
			}
		}
		switch {
		case last < 0 && isCheckpoint(name, h.name):
			return true, nil // the service has run
		case last < 0 || !h.there(j.Moves[last].To):
			continue // it is still to be moved
		}
		// A power loss may have left a file its old name beside the new one. Another
		// file has come since.
		same, err := h.sameContent(ctx, name, j.Moves[last].To)
		if err != nil {
			return false, h.moveError(name, err)
		}
		if !same {
			return true, nil
		}
	}
	return false, nil
}

// sameContent compares two files.
func (h *Host) sameContent(ctx context.Context, a, b string) (same bool, err error) {
	var files [2]durable.File
	var sizes [2]int64
	for i, name := range []string{a, b} {
		f, err := h.fsys.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			return false, err
		}
		defer f.Close()
		fi, err := f.Stat()
		if err != nil {
			return false, err
		}
		files[i], sizes[i] = f, fi.Size()
	}
	if sizes[0] != sizes[1] {
		return false, nil
	}
	var bufs [2][]byte
	for i := range bufs {
		bufs[i] = make([]byte, 1<<16)
	}
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := io.ReadFull(files[0], bufs[0])
		m, err2 := io.ReadFull(files[1], bufs[1])
		for _, err := range []error{err, err2} {
			if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return false, err
			}
		}
		if !bytes.Equal(bufs[0][:n], bufs[1][:m]) {
			return false, nil
		}
		if err != nil {
			return true, nil
		}
	}
}

// beingWritten takes the name of a file that package durable is writing, or was
// when it was cut off (.NAME.XXXXXXXX.partial), for the file that it was to become.
func beingWritten(name string) (string, bool) {
	const random = 8 // letters
	name, ok := strings.CutSuffix(name, durable.AsideSuffix)
	i := strings.LastIndexByte(name, '.')
	if !ok || i < 2 || name[0] != '.' || len(name)-i-1 != random {
		return "", false
	}
	return name[1:i], true
}
