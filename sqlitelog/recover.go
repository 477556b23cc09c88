package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/certkeep/certkeep/internal/durable"
)

const hintLoss = "copy all files away first; then either restore the database from a backup, or open it accepting the loss and take a full backup at once"

// recovered is what reconcile found.
type recovered struct {
	st     state
	logs   []logEntry
	frames uint32 // committed frames in the WAL of the open generation
}

// reconcile compares state file, logs, WAL and database, finishes what the last process
// had begun, and returns what is then true. SQLite has not seen any file yet: it would
// take any WAL that is there, and go on without one that is not.
//
// Generations are acknowledged only after the state file names them and their WAL. So
// if the newest published log is the generation that the state file has open, or if the
// state file has no WAL, then nothing in the WAL was acknowledged that is not in the logs,
// and the logs alone are the truth. Else the WAL must be the one that the state file knows.
func reconcile(ctx context.Context, cfg Config) (recovered, error) {
	var r recovered
	var err error
	if err := removePartials(cfg); err != nil {
		return r, err
	}
	if r.logs, err = listLogs(cfg); err != nil {
		return r, err
	}
	if r.st, err = readState(cfg); err != nil {
		what := err.Error()
		if errors.Is(err, fs.ErrNotExist) {
			what = "the state file is missing"
		} else if errors.As(err, new(*fs.PathError)) {
			return r, err
		}
		return r, &StateError{Path: cfg.statePath(), What: what, Hint: hintLoss, Kind: ErrLogLost}
	}
	if err := finishAdopt(cfg, &r.st); err != nil {
		return r, err
	}
	st := &r.st
	for _, l := range r.logs {
		if l.Generation < st.Open {
			continue
		}
		if err := cfg.checkTop(st, l); err != nil {
			return r, err
		}
	}
	if err := cfg.checkDatabase(st); err != nil {
		return r, err
	}
	published := len(r.logs) > 0 && r.logs[len(r.logs)-1].Generation == st.Open
	inWAL := st.WAL != nil && !published
	if inWAL {
		if r.frames, err = cfg.checkWAL(ctx, st); err != nil {
			return r, err
		}
	}
	through := st.Open - 1
	if published {
		through = st.Open
	}
	if st.Checkpointed == through {
		if !inWAL {
			err = cfg.removeWAL()
		}
		return r, err
	}
	// The database file was not synced since an earlier generation: replay what is
	// published. The WAL, if it counts, lies over it.
	cfg.Observe(Event{Phase: PhaseRecoverBegin, Generation: through})
	if err := cfg.catchUp(ctx, st, r.logs, through); err != nil {
		return r, err
	}
	cfg.Observe(Event{Phase: PhaseRecoverReplayed, Generation: through})
	if !inWAL {
		if err := cfg.removeWAL(); err != nil {
			return r, err
		}
		st.WAL = nil
	}
	if published {
		st.Previous = r.logs[len(r.logs)-1].Header.Sum()
	}
	st.Open, st.Checkpointed = through+1, through
	if err := writeState(cfg, *st); err != nil {
		return r, err
	}
	cfg.Observe(Event{Phase: PhaseRecoverEnd, Generation: through})
	return r, nil
}

// checkTop looks at a log that is not older than the open generation: only the open one
// itself may be there.
func (cfg Config) checkTop(st *state, l logEntry) error {
	bad := func(what string) error {
		return &StateError{Path: l.Path, What: what, Hint: "move it away if it does not belong here; otherwise: " + hintLoss, Kind: ErrLogLost}
	}
	switch {
	case l.err != nil:
		return bad(reason(l.err))
	case l.Header.Signature != st.Signature:
		return bad("it is a log of another database, under a number that this one will need")
	case l.Generation > st.Open:
		return bad(fmt.Sprintf("it is newer than the state file, which has generation %d open", st.Open))
	case l.Header.Previous != st.Previous:
		return bad("it does not continue the log before it")
	}
	return nil
}

// checkDatabase checks that the database file is the one that the state file knows, by the
// mark in it: not another's, and not an old copy of it.
func (cfg Config) checkDatabase(st *state) error {
	bad := func(what string) error {
		return &StateError{Path: cfg.Database, What: what, Hint: "put the right file back, or restore the database from a backup"}
	}
	f, err := os.Open(cfg.Database)
	if errors.Is(err, fs.ErrNotExist) {
		return bad("the database is missing")
	}
	if err != nil {
		return err
	}
	m, err := readMark(f, st.MarkPage, st.PageSize)
	if err := errors.Join(err, f.Close()); err != nil {
		return bad("not the database that the state file knows: " + err.Error())
	}
	switch {
	case m.signature != st.Signature:
		return bad("it is another database, or this one before it was restored: its signature is " + m.signature.String())
	case m.generation < st.Checkpointed:
		return bad(fmt.Sprintf("it is an old copy, as of generation %d: the state file knows it as of %d", m.generation, st.Checkpointed))
	case m.generation > st.Open:
		return bad(fmt.Sprintf("it is newer than the state file: as of generation %d, and %d is open", m.generation, st.Open))
	}
	return nil
}

// catchUp replays the logs after the last whole checkpoint, through through.
func (cfg Config) catchUp(ctx context.Context, st *state, logs []logEntry, through uint32) error {
	bad := func(path, what string) error {
		return &StateError{Path: path, What: what, Hint: hintLoss, Kind: ErrLogLost}
	}
	var paths []string
	next := st.Checkpointed + 1
	for _, l := range logs {
		if l.Generation < next {
			continue
		}
		if l.Generation != next {
			break
		}
		if l.err != nil {
			return bad(l.Path, reason(l.err))
		}
		if l.Header.Signature != st.Signature {
			return bad(l.Path, "it is a log of another database")
		}
		if l.Generation == st.Open-1 && l.Header.Sum() != st.Previous {
			return bad(l.Path, "it is not the log that the state file knows")
		}
		paths = append(paths, l.Path)
		next++
	}
	if next != through+1 {
		return bad(filepath.Join(cfg.LogDir, LogName(next)), "the log is missing, and the database file is only as of generation "+fmt.Sprint(st.Checkpointed))
	}
	_, err := replay(ctx, cfg.Database, paths, 0)
	var le *LogError
	if errors.As(err, &le) {
		return bad(le.Path, reason(le))
	}
	return err
}

// reason is what an error says of a file that is named elsewhere.
func reason(err error) string {
	var le *LogError
	if errors.As(err, &le) {
		return (&LogError{Kind: le.Kind, What: le.What}).Error()
	}
	return err.Error()
}

// removeWAL deletes a WAL that has nothing the logs do not have, and the shared memory
// that goes with it.
func (cfg Config) removeWAL() error {
	removed := false
	for _, name := range []string{cfg.wal(), cfg.shm()} {
		switch err := os.Remove(name); {
		case err == nil:
			removed = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if !removed {
		return nil
	}
	return durable.OS.SyncDir(filepath.Dir(cfg.Database))
}

// checkWAL checks that the WAL is the one that the state file knows, and says how many of
// its frames are committed.
func (cfg Config) checkWAL(ctx context.Context, st *state) (uint32, error) {
	bad := func(what string) error {
		return &StateError{Path: cfg.wal(), What: what, Hint: hintLoss, Kind: ErrLogLost}
	}
	f, err := os.Open(cfg.wal())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, bad(fmt.Sprintf("the WAL is gone, and with it generation %d", st.Open))
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if fi.Size() == 0 {
		return 0, bad(fmt.Sprintf("the WAL is empty, generation %d is gone", st.Open))
	}
	fr, err := newFrameReader(f, 0, fi.Size(), nil)
	if err != nil {
		return 0, bad(err.Error())
	}
	if fr.salt != st.WAL.Salt || fr.pageSize != st.PageSize {
		return 0, bad(fmt.Sprintf("it is not the WAL of generation %d: its salts are %08x, not %08x", st.Open, fr.salt, st.WAL.Salt))
	}
	var last uint32
	for {
		fm, err := fr.next()
		var fe *frameError
		if err == io.EOF {
			break
		}
		if errors.As(err, &fe) {
			if last < st.WAL.Frame {
				return 0, bad(fmt.Sprintf("damaged at %v, before the first commit of generation %d", fe, st.Open))
			}
			after, err := fr.goesOn(fe.number)
			if err != nil {
				return 0, err
			}
			if after != 0 {
				return 0, bad(fmt.Sprintf("damaged at %v: frame %d after it is part of a later commit, so what is in between was acknowledged and would be lost", fe, after))
			}
			break
		}
		if err != nil {
			return 0, err
		}
		if fm.number%64 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if fm.number == st.WAL.Frame && (fm.commit == 0 || [2]uint32(fr.sum) != st.WAL.Sum) {
			return 0, bad(fmt.Sprintf("frame %d is not the first commit of generation %d", fm.number, st.Open))
		}
		if fm.commit != 0 {
			last = fm.number
		}
	}
	if last < st.WAL.Frame {
		return 0, bad(fmt.Sprintf("it ends after frame %d, before the first commit of generation %d in frame %d", last, st.Open, st.WAL.Frame))
	}
	return last, nil
}

// goesOn tells damage from a torn tail. After a crash the frames of the last transaction
// may be there in any order, but frames of one after it were only written when it had been
// synced. So: if behind the bad frame a transaction ends, and another follows, what
// is bad had been good. It returns the first frame of that other one, or 0.
//
// Each frame stores the checksum after it, so that frames behind a bad one can still
// be checked against their neighbour.
func (f *frameReader) goesOn(bad uint32) (uint32, error) {
	size := f.frameSize()
	b := make([]byte, size)
	var sum walSum
	chained, ended := false, false
	for n := bad; f.walHeader.size(n) <= f.end; n++ {
		if _, err := f.r.ReadAt(b, f.walHeader.size(n-1)); err != nil && err != io.EOF {
			return 0, err
		}
		fm, stored, err := f.check(sum, b)
		if n > bad && err == nil {
			if chained && ended {
				return n, nil
			}
			chained, ended = true, fm.commit != 0
		} else {
			chained, ended = false, false
		}
		sum = stored
	}
	return 0, nil
}
