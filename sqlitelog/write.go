package sqlitelog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// maxGroup is how many closures share one commit at most.
const maxGroup = 256

// errGoexit: fn ended its goroutine, as testing.T.FailNow does.
var errGoexit = errors.New("the function given to Write called runtime.Goexit")

// PanicError is the value with which Write panics when its function did.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that ran the function
}

func (p *PanicError) Error() string { return fmt.Sprintf("%v\n\n%s", p.Value, p.Stack) }

// op is one call of Write.
type op struct {
	ctx  context.Context
	fn   func(*sql.Tx) error
	done chan error // gets one value
}

// Write runs fn in a transaction and returns nil only when that is committed and
// on disk. Calls that arrive together share one commit; fn has a savepoint of its
// own, and if it returns an error its changes alone are undone and the error returned.
//
// fn runs in another goroutine. It must not call tx.Commit or tx.Rollback, and it
// may be run a second time, if SQLite gave up the shared transaction because of another's
// statement: it should set its results anew each time. A panic in fn comes out of Write as
// a *PanicError. Once fn has begun, the end of ctx does not end the wait for its outcome.
//
// An error of the commit itself (the disk is full) is returned to all that share it; what
// they did is not in the database, except that after an error of the disk SQLite cannot know.
func (db *DB) Write(ctx context.Context, fn func(tx *sql.Tx) error) error {
	o := &op{ctx: ctx, fn: fn, done: make(chan error, 1)}
	if err := db.queue.put(o); err != nil {
		return err
	}
	var err error
	select {
	case err = <-o.done:
	case <-ctx.Done():
		if db.queue.remove(o) {
			return ctx.Err()
		}
		err = <-o.done
	}
	if p, ok := err.(*PanicError); ok {
		panic(p)
	}
	return err
}

// queue is the line of waiting calls.
type queue struct {
	mu     sync.Mutex
	ops    []*op
	wake   chan struct{}
	closed bool
}

func (q *queue) init() { q.wake = make(chan struct{}, 1) }

func (q *queue) put(o *op) error {
	if err := o.ctx.Err(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	q.ops = append(q.ops, o)
	if len(q.ops) == 1 {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// remove takes o out if it is still waiting.
func (q *queue) remove(o *op) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, x := range q.ops {
		if x == o {
			q.ops = append(q.ops[:i], q.ops[i+1:]...)
			return true
		}
	}
	return false
}

// close lets those already waiting be served and refuses others.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.wake)
	}
}

// take waits for calls and returns up to maxGroup of them; none when the queue is closed.
func (q *queue) take() []*op {
	for {
		q.mu.Lock()
		n := min(len(q.ops), maxGroup)
		group := append([]*op(nil), q.ops[:n]...)
		q.ops = append(q.ops[:0], q.ops[n:]...)
		clear(q.ops[len(q.ops):cap(q.ops)])
		more, closed := len(q.ops) > 0, q.closed
		if more && !closed {
			select {
			case q.wake <- struct{}{}:
			default:
			}
		}
		q.mu.Unlock()
		if n > 0 || closed {
			return group
		}
		<-q.wake
	}
}

// commitLoop runs in a goroutine of its own.
func (db *DB) commitLoop() {
	again := true // unless the loop ends by itself, fn has ended the goroutine
	defer func() {
		if again {
			go db.commitLoop()
		} else {
			db.done.Done()
		}
	}()
	for {
		group := db.queue.take()
		if len(group) == 0 {
			again = false
			return
		}
		db.commitGroup(group)
	}
}

// commitGroup carries out the group and answers each of its members.
func (db *DB) commitGroup(group []*op) {
	var open []*op // not answered yet
	answer := func(o *op, err error) {
		for i, x := range open {
			if x == o {
				open = append(open[:i], open[i+1:]...)
				break
			}
		}
		o.done <- err
	}
	open = append(open, group...)
	db.gate.Lock()
	defer db.gate.Unlock()
	defer func() { // only after Goexit is there anything left
		for _, o := range open {
			o.done <- errGoexit
		}
	}()
	if err := db.begin(context.Background()); err != nil {
		for _, o := range group {
			answer(o, err)
		}
		return
	}
	for len(open) > 0 {
		db.tryGroup(append([]*op(nil), open...), answer)
	}
	db.afterCommit()
}

// tryGroup runs members' functions in one transaction and answers those whose outcome
// is certain: all of them, if all goes well. If one of them lost the transaction for all, it
// alone is answered, and the others have to be tried again.
func (db *DB) tryGroup(group []*op, answer func(*op, error)) {
	ctx := context.Background()
	tx, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		for _, o := range group {
			answer(o, fmt.Errorf("begin: %w", err))
		}
		return
	}
	defer tx.Rollback()  // after Commit it does nothing
	if len(group) == 1 { // the transaction is savepoint enough
		err := group[0].ctx.Err()
		if err == nil {
			err = call(group[0].fn, tx)
		}
		if err == nil {
			err = db.commit(tx)
		}
		answer(group[0], err)
		return
	}
	var ran []*op
	for _, o := range group {
		if err := o.ctx.Err(); err != nil {
			answer(o, err)
			continue
		}
		if _, err := tx.ExecContext(ctx, "SAVEPOINT member"); err != nil {
			answer(o, fmt.Errorf("savepoint: %w", err))
			return
		}
		err := call(o.fn, tx)
		if err != nil {
			_, lost := tx.ExecContext(ctx, "ROLLBACK TO member; RELEASE member")
			answer(o, err)
			if lost != nil { // SQLite has rolled back everything (disk full, interrupt)
				return
			}
			continue
		}
		if _, err := tx.ExecContext(ctx, "RELEASE member"); err != nil {
			answer(o, fmt.Errorf("the transaction was ended by the function given to Write, or by an error it did not return: %w", err))
			return
		}
		ran = append(ran, o)
	}
	if len(ran) == 0 {
		return
	}
	err = db.commit(tx)
	for _, o := range ran {
		answer(o, err)
	}
}

// commit commits tx, which nothing else can, and sees that it went where it will be found.
func (db *DB) commit(tx *sql.Tx) error {
	db.allowCommit.Store(true)
	err := tx.Commit()
	db.allowCommit.Store(false)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if err := db.same(); err != nil {
		db.broken = err
		return err
	}
	return nil
}

// call runs fn and makes an error of a panic.
func call(fn func(*sql.Tx) error, tx *sql.Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{p, debug.Stack()}
		}
	}()
	return fn(tx)
}

// afterCommit notes the WAL's length and wakes the roller when it is due. Under gate.
func (db *DB) afterCommit() {
	n, err := db.frames(context.Background())
	if err != nil {
		db.cfg.Logger.Warn("the WAL's length is not known", "err", err)
		return
	}
	size := db.walSize(n)
	db.mu.Lock()
	db.walBytes = size
	db.mu.Unlock()
	if db.due(size) {
		db.wake()
	}
}

// wake makes rollLoop look around.
func (db *DB) wake() {
	select {
	case db.wakeRoller <- struct{}{}:
	default:
	}
}

// due says whether a generation with a WAL of that length should be closed. When
// a busy checkpoint makes logs repeat frames, only once the WAL has doubled, so that what is
// repeated stays in proportion.
func (db *DB) due(size int64) bool {
	return db.begun && size >= max(db.cfg.GenerationSize, 2*db.walSize(db.overlap), db.retryAt)
}
