package certdll

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"

	"github.com/certkeep/certkeep/certadm"
)

// session is what backup and restore sessions have in common: a handle, and the
// thread on which it is used. That all calls of a session are made on one thread
// is a precaution: nothing says that a handle, behind which is a COM object, may
// be used on another.
//
// State of a session is read and written on its thread only, so it needs no lock.
type session struct {
	c *Client
	h handle // 0 until Prepare succeeded

	jobs chan func()   // what the thread does
	turn chan struct{} // holds one token while a call is in progress

	gone  chan struct{} // closed when the session is given up
	ended chan struct{} // closed when it has ended

	asked   atomic.Bool // End was called
	abort   func()      // ends the session early; on the thread
	release func()      // after the end; may be nil
}

// newSession starts a session's thread; close ends it.
func (c *Client) newSession() *session {
	s := &session{c: c, jobs: make(chan func()), turn: make(chan struct{}, 1), gone: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

// enter takes the session's turn. Whoever has it when the session ends keeps it,
// so whoever gets it has a session that goes on.
func (s *session) enter(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return fail(op, "", err)
	}
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-s.ended:
	case <-s.gone:
	case <-ctx.Done(): // another goroutine's call takes long
		return fail(op, "", ctx.Err())
	}
	select {
	case <-s.gone:
		return s.givenUp(op)
	default:
		return invalidHandle(op)
	}
}

func (s *session) givenUp(op string) error {
	return local(op, "", certadm.HrInvalidHandle, "the session was given up when an earlier call was canceled")
}

// call runs fn on the session's thread. If ctx ends first, call returns, and the
// session is given up; then nothing that fn writes to may be looked at.
func (s *session) call(ctx context.Context, op, path string, fn func() error) error {
	if err := s.enter(ctx, op); err != nil {
		return err
	}
	err, over := s.run(ctx, op, path, fn, s.abort)
	if !over {
		<-s.turn
	}
	return err
}

// run is call with the turn taken, and left taken. When the session is given up,
// over is true, and after is done when fn has returned.
func (s *session) run(ctx context.Context, op, path string, fn func() error, after func()) (err error, over bool) {
	done := make(chan error, 1)
	s.jobs <- func() { done <- fn() } // the thread is idle
	select {
	case err := <-done:
		return fail(op, path, err), false
	case <-ctx.Done():
	}
	s.c.log.Warn("a call of Certadm.dll was canceled, and goes on: its session is given up", slog.String("call", op))
	close(s.gone)
	go func() {
		<-done
		if after != nil {
			s.do(after)
		}
		s.close()
	}()
	return fail(op, path, ctx.Err()), true
}

// do runs fn on the thread; the turn is taken.
func (s *session) do(fn func()) {
	done := make(chan struct{})
	s.jobs <- func() { defer close(done); fn() }
	<-done
}

// close ends the session on this side, once; the turn is taken, for good.
func (s *session) close() {
	close(s.jobs)
	if s.release != nil {
		s.release()
	}
	s.c.forget(s)
	close(s.ended)
}

// end makes the session's last call, which ends it whatever comes of it.
func (s *session) end(ctx context.Context, op string, fn func() error) error {
	if !s.asked.CompareAndSwap(false, true) {
		return invalidHandle(op)
	}
	if ctx.Err() != nil { // the session has to end all the same
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), s.c.patience)
		defer cancel()
	}
	if err := s.enter(ctx, op); err != nil {
		select {
		case <-s.gone: // first: a session that was given up ends, too
			return s.awaitEnd(ctx, op)
		default:
		}
		select {
		case <-s.ended:
		default: // another call goes on: End may be tried again
			s.asked.Store(false)
		}
		return err
	}
	err, over := s.run(ctx, op, "", fn, nil)
	if !over {
		s.close()
	}
	return err
}

// awaitEnd is End of a session that was given up: it waits for the end.
func (s *session) awaitEnd(ctx context.Context, op string) error {
	select {
	case <-s.ended:
		return local(op, "", certadm.ErrorCancelled, "the session was given up when a call was canceled; it has ended, and does not count")
	case <-ctx.Done():
		return local(op, "", certadm.ErrorCancelled, "the session was given up, and the call that was canceled has not returned yet: %w", ctx.Err())
	}
}

// stop ends a session early, as soon as no call is in progress.
func (s *session) stop() {
	select {
	case s.turn <- struct{}{}:
		s.do(s.abort)
		s.close()
	case <-s.gone:
	case <-s.ended:
	}
}
