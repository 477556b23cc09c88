package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// acceptLoss goes on without the log that is lost: it brings the database file to the last
// closed log if it can, checks it, sets the WAL aside, and gives it a new signature, so
// that no earlier backup is continued over the hole. If the database file alone is not
// whole, which happens when a checkpoint had been under way, it changes nothing.
func acceptLoss(ctx context.Context, cfg Config, r recovered, why error) (recovered, error) {
	refuse := func(err error) (recovered, error) {
		return r, &StateError{Path: cfg.Database, Hint: "restore the database from a backup",
			What: fmt.Sprintf("%v; and without that log the database cannot be used either: %v", why, err)}
	}
	st := r.st
	pageSize, markPage := st.PageSize, st.MarkPage
	if st.Signature.IsZero() { // there is no state file
		var err error
		if pageSize, err = readPageSize(cfg.Database); err != nil {
			return refuse(err)
		}
		markPage = 2 // where Create puts it
	}
	old, err := fileMark(cfg.Database, markPage, pageSize)
	if err != nil {
		return refuse(err)
	}
	if !st.Signature.IsZero() && old.signature != st.Signature {
		return refuse(errors.New("it is another database"))
	}
	top := max(st.Open, old.generation)
	for _, l := range r.logs {
		top = max(top, l.Generation)
	}
	// What is published is not lost, if it fits.
	var paths []string
	next := uint32(0)
	for _, l := range r.logs {
		if l.err != nil || l.Header.Signature != old.signature || l.Generation <= old.generation && l.Generation <= st.Checkpointed {
			continue
		}
		if next != 0 && l.Generation != next {
			break
		}
		paths, next = append(paths, l.Path), l.Generation+1
	}
	if len(paths) > 0 {
		if _, err := replay(ctx, cfg.Database, paths, 0); err != nil {
			cfg.Logger.Warn("the closed logs could not be replayed", "err", err)
		}
	}
	if err := integrityCheck(ctx, cfg.Database); err != nil {
		return refuse(err)
	}
	if old, err = fileMark(cfg.Database, markPage, pageSize); err != nil {
		return refuse(err)
	}
	now := time.Now().UTC()
	aside := ""
	if fi, err := os.Lstat(cfg.wal()); err == nil && fi.Size() > 0 {
		aside = filepath.Base(cfg.wal()) + ".lost-" + now.Format("20060102T150405.000000000Z")
		if err := os.Rename(cfg.wal(), filepath.Join(filepath.Dir(cfg.Database), aside)); err != nil {
			return r, err
		}
	}
	if err := os.Remove(cfg.shm()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	if err := durable.OS.SyncDir(filepath.Dir(cfg.Database)); err != nil {
		return r, err
	}
	r.st = state{
		Signature: newSignature(), Open: top + 1, Checkpointed: top, Previous: old.previous,
		PageSize: pageSize, MarkPage: markPage,
		Adopt:        &adoptState{old.signature, old.generation, old.previous},
		LossAccepted: &now, LossAside: aside,
	}
	if err := writeState(cfg, r.st); err != nil {
		return r, err
	}
	if err := finishAdopt(cfg, &r.st); err != nil {
		return r, err
	}
	r.frames = 0
	cfg.Logger.Error("the log of the open generation was lost, and that was accepted: take a full backup", "why", why, "aside", aside)
	cfg.Observe(Event{Phase: PhaseLossAccepted, Generation: r.st.Open})
	return r, nil
}

// fileMark is readMark of a file by name.
func fileMark(path string, markPage, pageSize uint32) (mark, error) {
	f, err := os.Open(path)
	if err != nil {
		return mark{}, err
	}
	m, err := readMark(f, markPage, pageSize)
	return m, errors.Join(err, f.Close())
}
