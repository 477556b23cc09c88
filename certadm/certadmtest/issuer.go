package certadmtest

import (
	"context"
	"slices"
	"sync"
)

// issuer issues certificates in the background while a backup is taken. It runs
// ahead of the test by no more than a few, so that the database stays small
// however slow the backup, and issuing goes on however fast.
type issuer struct {
	p      *probe
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	change  *sync.Cond
	acked   []string
	allowed int
	ended   bool
	err     error
}

// ahead is how many certificates an issuer issues unasked.
const ahead = 50

func (p *probe) issueAlways() *issuer {
	ctx, cancel := context.WithCancel(p.ctx)
	is := &issuer{p: p, cancel: cancel, done: make(chan struct{}), allowed: ahead}
	is.change = sync.NewCond(&is.mu)
	context.AfterFunc(ctx, func() {
		is.mu.Lock()
		defer is.mu.Unlock()
		is.change.Broadcast()
	})
	go func() {
		defer close(is.done)
		is.mu.Lock()
		defer is.mu.Unlock()
		defer func() { is.ended = true; is.change.Broadcast() }()
		for is.err == nil {
			for len(is.acked) >= is.allowed && ctx.Err() == nil {
				is.change.Wait()
			}
			if ctx.Err() != nil {
				return
			}
			is.mu.Unlock()
			// The call itself is not cancelled: what it acknowledges has to count.
			serials, err := p.env.Issue(p.ctx, 1)
			is.mu.Lock()
			is.acked, is.err = append(is.acked, serials...), err
			is.change.Broadcast()
		}
	}()
	return is
}

// await waits for n more acknowledgements, and returns all serial numbers so
// far.
func (is *issuer) await(n int) []string {
	is.mu.Lock()
	defer is.mu.Unlock()
	want := len(is.acked) + n
	is.allowed = want + ahead
	is.change.Broadcast()
	for len(is.acked) < want && !is.ended {
		is.change.Wait()
	}
	if is.err != nil {
		is.p.Fatalf("issuing during the backup: %v", is.err)
	}
	return slices.Clone(is.acked)
}

// stop ends the issuing and returns all serial numbers.
func (is *issuer) stop() []string {
	is.cancel()
	<-is.done
	return is.await(0)
}
