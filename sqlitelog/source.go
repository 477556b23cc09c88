package sqlitelog

import (
	"os"
	"runtime"
	"sync"

	"modernc.org/sqlite"
)

// Where locks are POSIX record locks, closing any descriptor of the database file drops
// all that this process, and so SQLite, has on it. There the file is opened once and the
// descriptor kept as long as the process lives.
var kept struct {
	sync.Mutex
	files []*os.File
}

// closingDropsLocks: not with OFD locks, and not on Windows, where an open descriptor
// would also keep the file from being moved.
func closingDropsLocks() bool {
	return runtime.GOOS != "windows" && !sqlite.OFDLockingEnabled()
}

// openSource opens the database file, for copying it and for syncing it, which some
// systems only allow with a descriptor that could write.
func openSource(path string) (*os.File, error) {
	if !closingDropsLocks() {
		return os.OpenFile(path, os.O_RDWR, 0)
	}
	kept.Lock()
	defer kept.Unlock()
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	for _, k := range kept.files {
		if ki, err := k.Stat(); err == nil && os.SameFile(fi, ki) && k.Name() == path {
			return k, nil
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		kept.files = append(kept.files, f)
	}
	return f, err
}

func closeSource(f *os.File) error {
	if closingDropsLocks() {
		return nil
	}
	return f.Close()
}
