package sqlitelog

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/gofrs/flock"
)

// dirLock is held as long as a database is open. It keeps other processes out that ask
// for it; SQLite's own locks would let them in.
type dirLock struct{ f *flock.Flock }

func acquire(cfg Config) (*dirLock, error) {
	if cfg.rules.noLock {
		return &dirLock{}, nil
	}
	f := flock.New(filepath.Join(cfg.StateDir, lockFile))
	ok, err := f.TryLock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Path(), err), f.Close())
	}
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s: %w", cfg.Database, ErrLocked), f.Close())
	}
	return &dirLock{f}, nil
}

// release leaves the lock file where it is: removing it would let two processes lock two
// files of the same name.
func (l *dirLock) release() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
