package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Truncate moves closed generations up to and including through into asideDir (which it
// makes), oldest first, and returns those it really moved, also with an error. It never
// moves the open generation, one that is not yet wholly in the database file, or one
// that a Copy still needs. asideDir must be on the file system of LogDir. Logs of an
// earlier signature are moved as well.
func (db *DB) Truncate(ctx context.Context, through uint32, asideDir string) ([]uint32, error) {
	// No roll meanwhile, and the state file must know how far the database file has
	// come: a crash must not leave one that wants a log that is gone.
	db.rolling.Lock()
	defer db.rolling.Unlock()
	if err := db.settle(); err != nil {
		return nil, err
	}
	db.mu.Lock()
	through = min(through, db.st.Checkpointed)
	if db.copy != nil {
		through = min(through, db.copy.first-1)
	}
	db.mu.Unlock()
	logs, err := listLogs(db.cfg)
	if err != nil {
		return nil, err
	}
	if err := db.cfg.FS.MkdirAll(asideDir, 0o700); err != nil {
		return nil, err
	}
	var moved []uint32
	for _, l := range logs {
		if l.Generation > through {
			break
		}
		if err := ctx.Err(); err != nil {
			return moved, err
		}
		to := filepath.Join(asideDir, LogName(l.Generation))
		switch _, err := db.cfg.FS.Stat(to); {
		case err == nil:
			// Left by a power loss between the two directories, if it is the same log.
			if h, _, err := readLogHeader(db.cfg.FS, to); err != nil || l.err != nil || h != l.Header {
				return moved, errors.Join(fmt.Errorf("truncate: %s: %w, and another log", to, fs.ErrExist), err)
			}
			if err := db.cfg.FS.Remove(l.Path); err != nil {
				return moved, fmt.Errorf("truncate: %w", err)
			}
		case errors.Is(err, fs.ErrNotExist):
			if err := db.cfg.FS.Rename(l.Path, to); err != nil {
				return moved, fmt.Errorf("truncate: %w", err)
			}
		default:
			return moved, fmt.Errorf("truncate: %w", err)
		}
		moved = append(moved, l.Generation)
		db.mu.Lock()
		if db.oldest = l.Generation + 1; db.oldest > db.newest {
			db.oldest, db.newest = 0, 0
		}
		db.mu.Unlock()
		// One at a time, so that a power loss cannot leave a hole.
		if err := errors.Join(db.cfg.FS.SyncDir(asideDir), db.cfg.FS.SyncDir(db.cfg.LogDir)); err != nil {
			return moved, fmt.Errorf("truncate: %w", err)
		}
		db.cfg.Observe(Event{Phase: PhaseTruncateMoved, Generation: l.Generation})
	}
	return moved, nil
}
