package adcs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
)

// asideMark stands between a directory's name and the time, in the name of the
// directory beside it that takes its files.
const asideMark = ".certkeep-"

// SetAside moves the files of the database engine out of the authority's
// directories, into directories beside them on the same volume:
// CertLog.certkeep-20260102T150405Z. Files of other kinds stay where they are, and
// nothing is deleted.
//
// What is to go where is written down before the first file moves. After an
// interruption SetAside goes on with that, unless somebody has moved files back or
// the service has run since. Until the service has been started again it is one
// restore: what a run that failed has already put in place is then moved into a
// directory of its own (again-1) below the first one, and the answer is what was set
// aside before. After that it is another restore, with a directory of its own.
// Whether the service was started by other means shows by the checkpoint: no restore
// makes one.
//
// The service must be stopped.
func (h *Host) SetAside(ctx context.Context) (backup.Displaced, error) {
	if err := h.mustBeStopped(); err != nil {
		return backup.Displaced{}, err
	}
	dirs, err := h.asideDirs()
	if err != nil {
		return backup.Displaced{}, err
	}
	j, err := h.loadJournal(dirs)
	if err != nil {
		return backup.Displaced{}, err
	}
	// A run that was interrupted had not yet let anybody put files in place. What
	// is there beside what was moved, a power loss has brought back.
	interrupted := j != nil && j.State == asideMoving
	if interrupted {
		if gone, err := h.abandoned(ctx, j, dirs); err != nil {
			return backup.Displaced{}, err
		} else if gone {
			j, interrupted = nil, false
		}
	}
	if interrupted {
		if err := h.move(ctx, j); err != nil {
			return h.displaced(j), err
		}
	}
	names, err := h.engineFiles(dirs)
	if err != nil {
		return backup.Displaced{}, err
	}
	switch {
	case j == nil || !interrupted && !h.sameRestore(j, dirs, names):
		if j, err = h.newJournal(dirs, names); err != nil {
			return backup.Displaced{}, err
		}
	case len(names) > 0:
		h.again(j, names)
	case !interrupted:
		return h.displaced(j), nil
	}
	if err := h.store(asideFile, j); err != nil {
		return backup.Displaced{}, err
	}
	if err := h.move(ctx, j); err != nil {
		return h.displaced(j), err
	}
	j.State = asideMoved
	return h.displaced(j), h.store(asideFile, j)
}

func (h *Host) mustBeStopped() error {
	st, err := h.query(serviceName)
	if err != nil {
		return err
	}
	if st.state != stopped {
		return &certadm.Error{Op: "SetAside", Path: serviceName, Code: certadm.ErrorSharingViolation, Err: errors.New("the service is running"),
			Hint: "stop Certificate Services: net stop certsvc"}
	}
	return nil
}

// asideDirs are the authority's directories, each once, that of the database first.
func (h *Host) asideDirs() ([]string, error) {
	d, err := h.directories()
	if err != nil {
		return nil, err
	}
	var list []string
	var infos []fs.FileInfo
	for _, p := range d.all() {
		dir := filepath.Clean(h.sys.native(string(p)))
		fi, err := h.fsys.Stat(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		// One directory may go by two names.
		same := func(other string) bool { return strings.EqualFold(other, dir) }
		if slices.ContainsFunc(list, same) || err == nil && slices.ContainsFunc(infos, func(o fs.FileInfo) bool { return os.SameFile(o, fi) }) {
			continue
		}
		list = append(list, dir)
		if err == nil {
			infos = append(infos, fi)
		}
	}
	return list, nil
}

// engineFiles lists what is to be moved, the database first: without it the
// service does not start on what is left.
func (h *Host) engineFiles(dirs []string) ([]string, error) {
	var list []string
	for _, dir := range dirs {
		entries, err := h.fsys.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !e.IsDir() && isEngineFile(e.Name(), h.name) {
				list = append(list, filepath.Join(dir, e.Name()))
			}
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { return rank(a) - rank(b) })
	return list, nil
}

func rank(name string) int {
	if hasSuffixFold(name, ".edb") || hasSuffixFold(name, ".db") {
		return 0
	}
	return 1
}

// isEngineFile recognizes the files of ESE with the base name that AD CS gives it
// ("edb"): logs, reserve logs, checkpoint, temporary database, the database with
// its flush map and patch file; and those of the embedded authority. What a restore
// that was cut off has copied of one of them in part is one too.
func isEngineFile(name, authority string) bool {
	name, authority = strings.ToLower(name), strings.ToLower(authority)
	if whole, ok := beingWritten(name); ok {
		name = whole
	}
	if tail, ok := strings.CutPrefix(name, authority); ok {
		switch tail {
		case ".edb", ".jfm", ".pat", ".stm", ".db", ".db-wal", ".db-shm", ".db-journal":
			return true
		}
	}
	switch name {
	case "tmp.edb", "tmp.jfm", "res1.log", "res2.log":
		return true
	}
	if _, ok := certadm.ParseLogGeneration(name); ok && (strings.HasPrefix(name, "edb") || strings.HasPrefix(name, "log")) {
		return true
	}
	if strings.HasPrefix(name, "edb") {
		switch filepath.Ext(name) {
		case ".log", ".chk", ".jrs", ".jtx", ".jcp":
			return true
		}
	}
	return false
}

// isCheckpoint recognizes what the engine leaves when it has run, and no restore
// writes.
func isCheckpoint(name, authority string) bool {
	base := filepath.Base(name)
	return strings.EqualFold(base, "edb.chk") || strings.EqualFold(base, authority+".db-wal")
}

// sameRestore reports whether the files in place are there from a restore that the
// journal belongs to.
func (h *Host) sameRestore(j *asideJournal, dirs, names []string) bool {
	if j.State == asideClosed || len(j.Dirs) != len(dirs) {
		return false
	}
	for i, d := range j.Dirs {
		if !strings.EqualFold(d.From, dirs[i]) {
			return false
		}
	}
	for _, m := range j.Moves {
		if !m.Missing && !h.there(m.To) {
			return false // somebody moved it back
		}
	}
	return !slices.ContainsFunc(names, func(n string) bool { return isCheckpoint(n, h.name) })
}

func (h *Host) there(path string) bool {
	_, err := h.fsys.Stat(path)
	return err == nil
}

// move makes the moves that are not yet made. If it fails, the journal says which
// are: one that is found undone later was taken back by somebody.
func (h *Host) move(ctx context.Context, j *asideJournal) error {
	dirs, err := h.moveFiles(ctx, j)
	// The new names must be on disk before the old ones are gone from it.
	if serr := h.syncDirs(dirs); serr != nil {
		return errors.Join(err, serr)
	}
	if err == nil {
		return nil
	}
	for i, m := range j.Moves {
		j.Moves[i].Made = h.there(m.To)
	}
	return errors.Join(err, h.store(asideFile, j))
}

// moveFiles returns the directories in which names have changed, those of new names
// first.
func (h *Host) moveFiles(ctx context.Context, j *asideJournal) ([]string, error) {
	var to, from []string
	for i, m := range j.Moves {
		if err := ctx.Err(); err != nil {
			return append(to, from...), err
		}
		// Also after a move that is made: an interruption may have come before the
		// directories were synced.
		to, from = append(to, filepath.Dir(m.To)), append(from, filepath.Dir(m.From))
		if h.there(m.To) || m.Missing {
			continue
		}
		if err := h.fsys.MkdirAll(filepath.Dir(m.To), 0o700); err != nil {
			return append(to, from...), err
		}
		err := h.fsys.Rename(m.From, m.To)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !h.there(m.From):
			j.Moves[i].Missing = true
		case err != nil:
			return append(to, from...), h.moveError(m.From, err)
		}
	}
	return append(to, from...), nil
}

func (h *Host) syncDirs(dirs []string) error {
	done := make(map[string]bool)
	for _, dir := range dirs {
		if done[dir] {
			continue
		}
		done[dir] = true
		if err := h.fsys.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (h *Host) moveError(path string, err error) error {
	e := &certadm.Error{Op: "SetAside", Path: path, Code: certadm.CodeOf(err), Err: err,
		Hint: "nothing is lost: run the restore again once the cause is mended, and it goes on"}
	if h.sys.inUse(err) {
		e.Code = certadm.ErrorSharingViolation
		e.Hint = "a program has the file open: certsrv.exe that has not ended (tasklist /m esent.dll), a backup program, a virus scanner; end it, and run the restore again"
	}
	return e
}

// displaced is what the restore set aside before it put anything in place: names in the directory
// of the database's files, and whole paths of those elsewhere.
func (h *Host) displaced(j *asideJournal) backup.Displaced {
	var d backup.Displaced
	main := j.Dirs[0].To
	for _, m := range j.Moves {
		if m.Again > 0 && !m.Own || m.Missing || !h.there(m.To) {
			continue
		}
		d.Dir = main
		if filepath.Dir(m.To) == main {
			d.Files = append(d.Files, filepath.Base(m.To))
		} else {
			d.Files = append(d.Files, m.To)
		}
	}
	return d
}

// closeAside ends a restore: the service runs on what was restored.
func (h *Host) closeAside() error {
	dirs, err := h.asideDirs()
	if err != nil {
		return err
	}
	j, err := h.loadJournal(dirs)
	if err != nil || j == nil || j.State == asideClosed {
		return err
	}
	if j.State == asideMoving {
		err = fmt.Errorf("%s: the service was started while its files were being set aside; what is in %s stays there", asideFile, j.Dirs[0].To)
	}
	j.State = asideClosed
	return errors.Join(err, h.store(asideFile, j))
}
