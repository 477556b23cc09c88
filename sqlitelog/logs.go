package sqlitelog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/internal/durable"
)

// LogFile is a closed generation on disk.
type LogFile struct {
	Generation uint32
	Path       string
	Size       int64
	Header     Header
}

// logEntry is a file with a log's name. err says why its header could not be read.
type logEntry struct {
	LogFile
	err error
}

// listLogs reads the headers of all files in LogDir that have a log's name, ascending.
func listLogs(cfg Config) ([]logEntry, error) {
	entries, err := cfg.FS.ReadDir(cfg.LogDir)
	if err != nil {
		return nil, err
	}
	var logs []logEntry
	for _, e := range entries {
		g, ok := ParseLogName(e.Name())
		if !ok {
			continue
		}
		l := logEntry{LogFile: LogFile{Generation: g, Path: filepath.Join(cfg.LogDir, e.Name())}}
		l.Header, l.Size, l.err = readLogHeader(cfg.FS, l.Path)
		logs = append(logs, l)
	}
	slices.SortFunc(logs, func(a, b logEntry) int { return int(a.Generation) - int(b.Generation) })
	return logs, nil
}

// readLogHeader reads and checks a log file's header, and that its name and its
// size are what the header says.
func readLogHeader(fsys durable.FS, path string) (h Header, size int64, err error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return h, 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return h, 0, err
	}
	if h, err = ReadHeader(f); err != nil {
		return h, fi.Size(), atPath(err, path)
	}
	if fi.Size() != h.FileSize() {
		return h, fi.Size(), &LogError{Path: path, Kind: ErrLogTruncated,
			What: fmt.Sprintf("%d bytes, should be %d", fi.Size(), h.FileSize())}
	}
	if g, ok := ParseLogName(filepath.Base(path)); ok && g != h.Generation {
		return h, fi.Size(), &LogError{Path: path, Kind: ErrLogOrder,
			What: fmt.Sprintf("it is generation %d under the name of %d", h.Generation, g)}
	}
	return h, fi.Size(), nil
}

// atPath puts the file's name into a LogError that has none, and before other errors.
func atPath(err error, path string) error {
	var le *LogError
	if errors.As(err, &le) {
		if le.Path != "" {
			return err
		}
		e := *le
		e.Path = path
		return &e
	}
	var pe *fs.PathError
	if err == nil || errors.As(err, &pe) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// removePartials deletes what a crash left half-written.
func removePartials(cfg Config) error {
	for _, d := range []struct{ dir, prefix string }{{cfg.LogDir, ".log"}, {cfg.StateDir, "." + stateFile}} {
		entries, err := cfg.FS.ReadDir(d.dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), d.prefix) && strings.HasSuffix(e.Name(), durable.AsideSuffix) {
				if err := cfg.FS.Remove(filepath.Join(d.dir, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Logs lists the closed generations on disk that have the database's signature,
// ascending. A file whose header cannot be read, or that bears another's name, is an
// error (*LogError), but the others are still returned.
func (db *DB) Logs() ([]LogFile, error) {
	entries, err := listLogs(db.cfg)
	if err != nil {
		return nil, err
	}
	sig := db.Status().Signature
	var logs []LogFile
	var errs []error
	for _, e := range entries {
		switch {
		case errors.Is(e.err, fs.ErrNotExist): // truncated meanwhile
		case e.err != nil:
			errs = append(errs, e.err)
		case e.Header.Signature == sig:
			logs = append(logs, e.LogFile)
		}
	}
	return logs, errors.Join(errs...)
}

// OpenLog opens a closed generation for reading and returns its size. ErrNotFound if it
// is not (or no longer) there.
func (db *DB) OpenLog(generation uint32) (*os.File, int64, error) {
	path := filepath.Join(db.cfg.LogDir, LogName(generation))
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%s: %w", path, ErrNotFound)
	}
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}
