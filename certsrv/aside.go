package certsrv

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// Directories under aside/ bear the time at which they were made, so that the
// sweep needs nothing else to go by.
const asideStamp = "20060102T150405.000Z"

func asideName(base string, now time.Time) string {
	return base + "/" + now.UTC().Format(asideStamp)
}

// asideTime reads the time back; names that are not ours are left alone.
func asideTime(name string) (time.Time, bool) {
	t, err := time.Parse(asideStamp, name)
	return t, err == nil
}

// keepTruncated is how long truncated logs are kept.
func (s *Server) keepTruncated() time.Duration {
	if d := s.opts.KeepTruncated; d != 0 {
		return max(d, 0)
	}
	return time.Duration(s.config().KeepTruncated)
}

// sweep deletes the truncated logs whose time has come. What a restore displaced
// is never deleted by itself.
func (s *Server) sweep(now time.Time) error {
	base := s.at.path(asideLogsDir)
	entries, err := s.fsys.ReadDir(base)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	keep := s.keepTruncated()
	removed := 0
	var errs []error
	for _, e := range entries {
		t, ok := asideTime(e.Name())
		if !ok || !e.IsDir() || now.Sub(t) < keep {
			continue
		}
		if err := s.fsys.RemoveAll(filepath.Join(base, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("sweep: %w", err))
			continue
		}
		removed++
	}
	if removed > 0 {
		s.log.Info("deleted truncated logs", slog.Int("directories", removed))
		errs = append(errs, s.fsys.SyncDir(base))
	}
	return errors.Join(errs...)
}

// Displaced says what [Server.SetAside] moved and where to.
type Displaced struct {
	Dir   string   // the directory; "" if there was nothing to move
	Files []string // names in it
}

// SetAside moves the database, its companions and all logs out of the way, to a
// directory under aside/displaced, so that a restore finds empty places and logs
// made after the backup are not mixed with those of the set. Nothing is deleted.
// The service must be stopped; it will not start again before a restore.
func (s *Server) SetAside() (d Displaced, err error) {
	l, err := s.exclusive("SetAside")
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, l.release()) }()
	dir := asideName(asideOldDir, s.clock.Now())
	database := s.at.path(s.config().Database)
	names := []string{walOf(database), shmOf(database), database}
	logs, err := s.logFiles(logDir)
	if err != nil {
		return d, err
	}
	for _, n := range logs {
		names = append(names, filepath.Join(s.at.path(logDir), n))
	}
	d.Files, err = moveAll(s.fsys, names, s.at.path(dir))
	if len(d.Files) > 0 {
		d.Dir = s.at.path(dir)
		s.log.Warn("moved database and logs aside", slog.String("to", d.Dir), slog.Int("files", len(d.Files)))
	}
	return d, err
}

// logFiles lists the logs in a directory of the authority, by name.
func (s *Server) logFiles(dir string) ([]string, error) {
	entries, err := s.fsys.ReadDir(s.at.path(dir))
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	var names []string
	for _, e := range entries {
		if isRegular(e) && strings.HasSuffix(strings.ToLower(e.Name()), ".log") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// moveAll renames files into dir and syncs both sides; files that do not exist
// are passed over. A name that is taken in dir is not overwritten: an earlier,
// interrupted move may have put the only copy there.
func moveAll(fsys durable.FS, files []string, dir string) (moved []string, err error) {
	dirs := make(map[string]bool)
	for _, f := range files {
		if ok, err := exists(fsys, f); err != nil {
			return moved, err
		} else if !ok {
			continue
		}
		if err := fsys.MkdirAll(dir, dirMode); err != nil {
			return moved, err
		}
		target, err := freeName(fsys, filepath.Join(dir, filepath.Base(f)))
		if err != nil {
			return moved, err
		}
		if err := fsys.Rename(f, target); err != nil {
			return moved, err
		}
		moved = append(moved, filepath.Base(target))
		dirs[filepath.Dir(f)] = true
	}
	if len(moved) == 0 {
		return nil, nil
	}
	// The new name must be on disk before the old one is gone from it.
	errs := []error{fsys.SyncDir(dir)}
	for d := range dirs {
		errs = append(errs, fsys.SyncDir(d))
	}
	return moved, errors.Join(errs...)
}

func freeName(fsys durable.FS, name string) (string, error) {
	for i := 0; ; i++ {
		candidate := name
		if i > 0 {
			candidate = fmt.Sprintf("%s.%d", name, i)
		}
		ok, err := exists(fsys, candidate)
		if err != nil {
			return "", err
		}
		if !ok {
			return candidate, nil
		}
	}
}
