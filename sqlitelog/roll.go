package sqlitelog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// published is a log that has its name.
type published struct {
	header  Header
	durable bool
}

// Roll closes the open generation and returns its number. An empty one is closed as well,
// with only its first commit in it. Only one roll happens at a time.
func (db *DB) Roll(ctx context.Context) (generation uint32, err error) { return db.roll(ctx, nil) }

// rollLoop closes generations as they fill up.
func (db *DB) rollLoop(ctx context.Context) {
	defer db.done.Done()
	for {
		select {
		case <-ctx.Done():
			return
		case <-db.wakeRoller:
		}
		db.gate.Lock()
		due := db.due(db.Status().OpenBytes)
		db.gate.Unlock()
		if !due {
			continue
		}
		if g, err := db.roll(ctx, nil); err != nil && ctx.Err() == nil {
			db.cfg.Logger.Error("a log generation could not be closed; it stays open", "generation", g, "err", err)
			db.gate.Lock()
			db.retryAt = db.Status().OpenBytes + db.cfg.GenerationSize/8
			db.gate.Unlock()
		}
	}
}

// prefixRounds and prefixRest bound the copying before writers are stopped: it ends when
// no more than prefixRest bytes are left, which then are copied while writers wait.
const (
	prefixRounds = 4
	prefixRest   = 128 << 10
)

// roll closes the open generation. complete, if not nil, may add to the header; it is
// called with writers stopped.
//
// The copying is in two parts. What is committed in the WAL is not changed any more, so
// most of it is copied, checked and synced while writers go on; with them stopped
// only the rest is, then the log gets its name and the checkpoint runs. The gate is one
// from before the last byte is copied until the checkpoint has returned: a commit in between
// would be in the database file and in no log.
func (db *DB) roll(ctx context.Context, complete func(*Header)) (uint32, error) {
	db.rolling.Lock()
	defer db.rolling.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	open := db.Status().Open
	db.cfg.Observe(Event{Phase: PhaseRollBegin, Generation: open})

	lw, err := db.copyPrefix(ctx)
	if err != nil {
		return open, err
	}
	defer lw.abort()
	db.gate.Lock()
	locked := true
	defer func() {
		if locked {
			db.gate.Unlock()
		}
	}()
	if err := ctx.Err(); err != nil {
		return open, err
	}
	ctx = context.WithoutCancel(ctx) // from here on it is quick, and should not stop half-way
	if err := db.begin(ctx); err != nil {
		return open, err
	}
	open = db.Status().Open
	db.cfg.Observe(Event{Phase: PhaseRollGate, Generation: open})
	err = db.publish(ctx, lw, complete)
	if err != nil {
		return open, err
	}
	if err := db.finishPublish(ctx); err != nil {
		return open, err
	}
	locked = false
	db.gate.Unlock()
	db.cfg.Observe(Event{Phase: PhaseRollEnd, Generation: open})
	if err := db.flush(); err != nil {
		// No harm: the old state file and the published log together say the same.
		db.cfg.Logger.Warn("the state file could not be written; it will be tried again", "err", err)
	}
	return open, nil
}

// logWriter copies a WAL into a log that has no name yet.
type logWriter struct {
	aside  *durable.Aside
	fr     *frameReader
	marks  marks
	digest hash.Hash
	last   frame // without data
}

func (lw *logWriter) abort() {
	if lw != nil && lw.aside != nil {
		lw.aside.Abort() // after Commit it does nothing
	}
}

// newLogWriter begins the log of the open generation, whose mark is committed.
func (db *DB) newLogWriter() (*logWriter, error) {
	db.mu.Lock()
	st := db.st
	db.mu.Unlock()
	lw := &logWriter{marks: marks{page: st.MarkPage, want: st.mark()}, digest: sha256.New()}
	var err error
	if lw.aside, err = durable.Create(db.cfg.FS, filepath.Join(db.cfg.LogDir, LogName(st.Open)), 0o600); err != nil {
		return nil, err
	}
	if _, err := lw.aside.Write(make([]byte, HeaderSize)); err != nil {
		lw.abort()
		return nil, err
	}
	lw.fr, err = newFrameReader(db.wal, 0, walHeaderSize, func(b []byte) error {
		lw.digest.Write(b)
		_, err := lw.aside.Write(b)
		return err
	})
	if err == nil && lw.fr.salt != st.WAL.Salt {
		err = &StateError{Path: db.cfg.wal(), Kind: ErrLogLost, Hint: hintLoss,
			What: "another program, or an automatic checkpoint, has begun it anew: what it had held is in no log"}
	}
	if err != nil {
		lw.abort()
		return nil, err
	}
	return lw, nil
}

// copyTo copies frames up to number n, which must be the last of a commit.
func (lw *logWriter) copyTo(ctx context.Context, n uint32) error {
	lw.fr.end = lw.fr.size(n)
	for lw.last.number < n {
		f, err := lw.fr.next()
		if err != nil {
			return fmt.Errorf("the WAL, of %d frames: %w", n, noEOF(err))
		}
		if err := lw.marks.see(f); err != nil {
			return fmt.Errorf("the WAL: %w", err)
		}
		if f.number%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		f.data = nil
		lw.last = f
	}
	if lw.last.number != n || lw.last.commit == 0 {
		return fmt.Errorf("the WAL: frame %d ends no transaction", lw.last.number)
	}
	return nil
}

// copyPrefix copies and syncs what is committed, while writers go on. It returns nil without
// an error when there is nothing yet.
func (db *DB) copyPrefix(ctx context.Context) (*logWriter, error) {
	var lw *logWriter
	for round := 0; round < prefixRounds; round++ {
		db.gate.Lock()
		ready := db.begun && db.unsynced == nil && db.broken == nil
		var n uint32
		var err error
		if ready {
			n, err = db.frames(ctx)
		}
		db.gate.Unlock()
		if err != nil || !ready {
			lw.abort()
			return nil, err
		}
		if lw != nil && db.walSize(n)-db.walSize(lw.last.number) <= prefixRest {
			break
		}
		if lw == nil {
			if lw, err = db.newLogWriter(); err != nil {
				return nil, err
			}
		}
		if err := lw.copyTo(ctx, n); err != nil {
			lw.abort()
			return nil, err
		}
		if err := lw.aside.Sync(); err != nil {
			lw.abort()
			return nil, err
		}
	}
	return lw, nil
}

// publish copies the rest of the WAL, completes the log and gives it its name. When the name
// may have been given, db.unsynced is set, even with an error. Under gate.
func (db *DB) publish(ctx context.Context, lw *logWriter, complete func(*Header)) error {
	if err := db.same(); err != nil {
		db.broken = err
		return err
	}
	n, err := db.frames(ctx)
	if err != nil {
		return err
	}
	if lw == nil {
		if lw, err = db.newLogWriter(); err != nil {
			return err
		}
		defer lw.abort()
	}
	if err := lw.copyTo(ctx, n); err != nil {
		return err
	}
	db.mu.Lock()
	st := db.st
	db.mu.Unlock()
	h := Header{
		Signature: st.Signature, Generation: st.Open, Previous: st.Previous,
		PageSize: st.PageSize, Frames: n, DatabasePages: lw.last.commit,
		MarkPage: st.MarkPage, MarkFrame: st.WAL.Frame,
		Opened: st.WAL.Opened, Closed: time.Now().UTC(),
	}
	lw.digest.Sum(h.Digest[:0])
	if complete != nil {
		complete(&h)
	}
	if lw.marks.at != h.MarkFrame || lw.marks.last != lw.marks.want {
		return fmt.Errorf("the WAL: the mark of generation %d is not in frame %d", st.Open, h.MarkFrame)
	}
	if _, err := lw.aside.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	if db.cfg.rules.noGate {
		db.gate.Unlock()
		defer db.gate.Lock()
	}
	db.cfg.Observe(Event{Phase: PhaseRollCopied, Generation: st.Open, Bytes: h.FileSize()})
	path := filepath.Join(db.cfg.LogDir, LogName(st.Open))
	switch _, err := db.cfg.FS.Stat(path); {
	case err == nil:
		return &StateError{Path: path, What: "a log of the generation that is just being closed is already there", Hint: "move it away; it does not belong to this database"}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	err = lw.aside.Commit()
	if err != nil {
		// If the name is there, the log is published, although perhaps not for good.
		// Nothing may be acknowledged in this generation any more: after a crash the
		// log would count, and what is in the WAL beyond it would not.
		if _, serr := db.cfg.FS.Stat(path); errors.Is(serr, fs.ErrNotExist) {
			return err
		}
	}
	if !db.cfg.rules.forgetPublished || err == nil {
		db.unsynced = &published{h, err == nil}
	}
	return err
}

// finishPublish goes on from a log that has its name: makes that durable, opens the next
// generation and checkpoints. Under gate; it may be called again after an error.
func (db *DB) finishPublish(ctx context.Context) error {
	p := db.unsynced
	if !p.durable {
		if err := db.cfg.FS.SyncDir(db.cfg.LogDir); err != nil {
			return fmt.Errorf("publishing generation %d: %w", p.header.Generation, err)
		}
		p.durable = true
	}
	g := p.header.Generation
	db.cfg.Observe(Event{Phase: PhaseRollPublished, Generation: g})
	db.mu.Lock()
	db.st.Open, db.st.Previous, db.st.WAL, db.dirty = g+1, p.header.Sum(), nil, true
	db.newest, db.markFrame, db.databasePages = g, 0, p.header.DatabasePages
	if db.oldest == 0 {
		db.oldest = g
	}
	db.mu.Unlock()
	db.unsynced, db.begun, db.overlap, db.retryAt = nil, false, p.header.Frames, 0
	db.checkpoint(ctx, g)
	return nil
}

// checkpoint moves the pages of all generations up to g, which are published, into the
// database file and empties the WAL. If it cannot, because of a reader or a full disk,
// that is no error: the log is published and stays so, and the next one will repeat
// its frames. Under gate.
func (db *DB) checkpoint(ctx context.Context, g uint32) {
	db.mu.Lock()
	db.lastCheckpoint = g
	db.mu.Unlock()
	db.cfg.Observe(Event{Phase: PhaseCheckpointBegin, Generation: g})
	busy, log, done, err := checkpoint(ctx, db.check, "TRUNCATE")
	if err != nil {
		db.cfg.Logger.Warn("a checkpoint failed; the next log will repeat this one", "generation", g, "err", err)
	}
	db.mu.Lock()
	if err == nil && (!busy || log == done) {
		db.st.Checkpointed, db.dirty = g, true
	}
	if err == nil && !busy {
		db.overlap, db.walBytes = 0, 0
	}
	db.mu.Unlock()
	db.cfg.Observe(Event{Phase: PhaseCheckpointEnd, Generation: g, Busy: busy || err != nil})
}
