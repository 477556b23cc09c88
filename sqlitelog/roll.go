package sqlitelog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
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
		if !due { // woken because a busy checkpoint has now succeeded
			if err := db.settle(); err != nil {
				db.cfg.Logger.Error("the database file could not be settled", "err", err)
			}
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

// roll closes the open generation. annotate, if not nil, may add to the header; it is
// called with writers stopped.
//
// The copying is in two parts. What is committed in the WAL is not changed any more, so
// most of it is copied, checked and synced while writers go on; with them stopped
// only the rest is, then the log gets its name and the checkpoint runs. The gate is one
// from before the last byte is copied until the checkpoint has returned: a commit in between
// would be in the database file and in no log.
func (db *DB) roll(ctx context.Context, annotate func(*Header)) (uint32, error) {
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
	err = db.publish(ctx, lw, annotate)
	if err != nil {
		return open, err
	}
	if err := db.finishPublish(ctx); err != nil {
		return open, err
	}
	locked = false
	db.gate.Unlock()
	db.cfg.Observe(Event{Phase: PhaseRollEnd, Generation: open})
	if err := db.settle(); err != nil {
		// No harm: the old state file and the published logs together say the same.
		db.cfg.Logger.Error("a generation is closed, but its log will be needed at the next start", "generation", open, "err", err)
	}
	return open, nil
}

// openLogWriter begins the log of the open generation, whose mark is committed.
func (db *DB) openLogWriter() (*logWriter, error) {
	db.mu.Lock()
	st := db.st
	db.mu.Unlock()
	lw, err := newLogWriter(db.cfg.FS, filepath.Join(db.cfg.LogDir, LogName(st.Open)), db.wal, st.mark(), st.MarkPage)
	if err != nil {
		return nil, err
	}
	if lw.fr.salt != st.WAL.Salt {
		lw.abort()
		return nil, &StateError{Path: db.cfg.wal(), Kind: ErrLogLost, Hint: hintLoss,
			What: "another program, or an automatic checkpoint, has begun it anew: what it had held is in no log"}
	}
	return lw, nil
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
			if lw, err = db.openLogWriter(); err != nil {
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
func (db *DB) publish(ctx context.Context, lw *logWriter, annotate func(*Header)) error {
	if err := db.same(); err != nil {
		db.broken = err
		return err
	}
	n, err := db.frames(ctx)
	if err != nil {
		return err
	}
	if lw == nil {
		if lw, err = db.openLogWriter(); err != nil {
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
	h := Header{Signature: st.Signature, Generation: st.Open, Previous: st.Previous,
		Opened: st.WAL.Opened, Closed: time.Now().UTC()}
	if annotate != nil {
		annotate(&h)
	}
	if err := lw.complete(&h); err != nil {
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
// database file and lets the WAL begin anew. If it cannot, because of a reader or a full
// disk, that is no error: the log is published and stays so, and the next one will repeat
// its frames. Under gate.
//
// RESTART leaves the WAL's file as long as it is, to be overwritten, which is faster than
// TRUNCATE for the checkpoint and for every commit after it; that is for a WAL that a long
// reader has made larger than is needed.
func (db *DB) checkpoint(ctx context.Context, g uint32) {
	db.mu.Lock()
	db.lastCheckpoint = g
	db.mu.Unlock()
	db.cfg.Observe(Event{Phase: PhaseCheckpointBegin, Generation: g})
	mode := "RESTART"
	if fi, err := db.wal.Stat(); err == nil && fi.Size() > 4*db.cfg.GenerationSize {
		mode = "TRUNCATE"
	}
	busy, log, done, err := checkpoint(ctx, db.check, mode)
	if err != nil {
		db.cfg.Logger.Warn("a checkpoint failed; the next log will repeat this one", "generation", g, "err", err)
	}
	db.mu.Lock()
	if err == nil && (!busy || log == done) {
		db.written = g
		if db.cfg.rules.trustCheckpoint {
			db.st.Checkpointed = g
		}
	}
	if err == nil && !busy {
		db.overlap, db.walBytes = 0, 0
	}
	db.mu.Unlock()
	if busy && db.cfg.rules.retryBusy {
		db.cfg.FS.Remove(filepath.Join(db.cfg.LogDir, LogName(g)))
	}
	db.cfg.Observe(Event{Phase: PhaseCheckpointEnd, Generation: g, Busy: busy || err != nil})
}
