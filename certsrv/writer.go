package certsrv

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// maxBatch is how many requests one transaction takes.
const maxBatch = 256

// store commits a row and gives it its request id. It returns nil only when the
// row is on disk. When ctx ends first the outcome is unknown, and the row may
// still be written.
func (r *run) store(ctx context.Context, w *row) error {
	w.done = make(chan error, 1)
	select {
	case r.rows <- w:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gatherFor bounds how long a group waits for more requests.
const gatherFor = 8 * time.Millisecond

// writeRows is the one goroutine that inserts requests: whatever has come in
// while the last group was being committed makes up the next.
//
// A commit costs the same few pages and one sync however small the group is, so
// while many requests are being signed it waits, for a moment, until at least
// half of them are here. That costs no throughput, as the processors are busy
// with the others; a few requests alone never wait.
func (r *run) writeRows() {
	batch := make([]*row, 0, maxBatch)
	timer := time.NewTimer(gatherFor)
	timer.Stop()
	for w := range r.rows {
		batch = append(batch[:0], w)
		timer.Reset(gatherFor)
	more:
		for len(batch) < maxBatch {
			select {
			case w, ok := <-r.rows:
				if !ok {
					break more
				}
				batch = append(batch, w)
				continue
			default:
			}
			if int64(2*len(batch)) >= r.issuing.Load() {
				break
			}
			select {
			case w, ok := <-r.rows:
				if !ok {
					break more
				}
				batch = append(batch, w)
			case <-timer.C:
				break more
			}
		}
		timer.Stop()
		r.commit(batch)
	}
}

// commit writes a batch and answers each row. If the batch fails for what one
// row has in it, the others are not to suffer: they are tried one by one.
func (r *run) commit(batch []*row) {
	first, err := r.ids.take(int64(len(batch)))
	if err != nil {
		for _, w := range batch {
			w.done <- fmt.Errorf("request id: %w", err)
		}
		return
	}
	for i, w := range batch {
		w.id = first + int64(i)
	}
	r.s.observe(PhaseIssuing)
	err = r.insert(batch)
	if err != nil && len(batch) > 1 && !isDiskFull(err) {
		for _, w := range batch {
			w.done <- r.insert([]*row{w})
		}
		return
	}
	r.s.observe(PhaseIssued)
	for _, w := range batch {
		w.done <- err
	}
}

func (r *run) insert(batch []*row) error {
	err := r.db.Write(r.ctx, func(tx *sql.Tx) error { return insertRows(r.ctx, tx, batch) })
	if err != nil {
		return storeError("store request", err)
	}
	return nil
}
