package sqlitelog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// begin makes sure that the open generation may be written to: that what an earlier roll
// left undone is done, that the generation's mark is committed, and that the state file knows
// it. Only then may anything be acknowledged. Under gate.
func (db *DB) begin(ctx context.Context) error {
	if db.broken != nil {
		return db.broken
	}
	if db.unsynced != nil {
		if err := db.finishPublish(ctx); err != nil {
			return err
		}
	}
	if db.begun {
		return nil
	}
	db.mu.Lock()
	st, mark := db.st, db.markFrame
	db.mu.Unlock()
	if st.Open > MaxGeneration {
		return fmt.Errorf("generation %d is the last one that has a name", MaxGeneration)
	}
	if mark == 0 {
		if db.overlap > 0 {
			// All frames in the WAL are in closed logs: the time to try the busy checkpoint
			// again. Once there is a commit it would be too late.
			db.checkpoint(ctx, st.Open-1)
			db.wake()
		}
		if err := db.commitMark(ctx, st); err != nil {
			return fmt.Errorf("beginning generation %d: %w", st.Open, err)
		}
	}
	if db.cfg.rules.lateState {
		db.begun = true
		return nil
	}
	if err := db.flush(); err != nil {
		return fmt.Errorf("beginning generation %d: %w", st.Open, err)
	}
	db.begun = true
	db.cfg.Observe(Event{Phase: PhaseOpened, Generation: st.Open})
	return nil
}

// commitMark commits the generation's mark, alone, and finds it in the WAL. That it is a
// commit of its own means that a state file that cannot be written leaves nobody's
// transaction in doubt.
func (db *DB) commitMark(ctx context.Context, st state) error {
	tx, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	res, err := tx.ExecContext(ctx, "UPDATE "+markTable+" SET mark = ? WHERE id = 1", st.mark().encode())
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(fmt.Errorf("the table %s has %d rows", markTable, n), err)
	}
	if err := db.commit(tx); err != nil {
		return err
	}
	n, err := db.frames(ctx)
	if err != nil {
		return err
	}
	ws, err := db.readMarkFrame(st, n)
	if err != nil {
		return err
	}
	ws.Opened = time.Now().UTC()
	db.overlap = n - 1
	db.mu.Lock()
	db.st.WAL, db.markFrame, db.dirty = ws, n, true
	db.walBytes = db.walSize(n)
	db.mu.Unlock()
	db.cfg.Observe(Event{Phase: PhaseMark, Generation: st.Open})
	return nil
}

// readMarkFrame reads the salts, and the last frame, which must be the mark's.
func (db *DB) readMarkFrame(st state, n uint32) (*walState, error) {
	var hb [walHeaderSize]byte
	if _, err := db.wal.ReadAt(hb[:], 0); err != nil {
		return nil, noEOF(err)
	}
	h, err := parseWALHeader(hb[:])
	if err != nil {
		return nil, err
	}
	if n == 0 || h.pageSize != st.PageSize {
		return nil, fmt.Errorf("the WAL has %d frames, pages of %d bytes", n, h.pageSize)
	}
	b := make([]byte, h.frameSize())
	if _, err := db.wal.ReadAt(b, h.size(n-1)); err != nil {
		return nil, noEOF(err)
	}
	m, err := parseMark(b[frameHeaderSize:])
	if err != nil || m != st.mark() || binary.BigEndian.Uint32(b) != st.MarkPage {
		return nil, errors.Join(fmt.Errorf("frame %d of the WAL is not the mark", n), err)
	}
	return &walState{Salt: h.salt, Frame: n,
		Sum: [2]uint32{binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])}}, nil
}
