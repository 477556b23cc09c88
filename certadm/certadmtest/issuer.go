package certadmtest

import (
	"context"
	"slices"
	"sync"
)

// issuer issues certificates in the background while a backup is taken.
type issuer struct {
	p      *probe
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	news  *sync.Cond
	acked []string
	ended bool
	err   error
}

// maxIssued bounds what an issuer issues, so that a slow backup does not make a
// large database of it.
const maxIssued = 2000

func (p *probe) issueAlways() *issuer {
	ctx, cancel := context.WithCancel(p.ctx)
	is := &issuer{p: p, cancel: cancel, done: make(chan struct{})}
	is.news = sync.NewCond(&is.mu)
	go func() {
		defer close(is.done)
		for n := 0; n < maxIssued && ctx.Err() == nil; n++ {
			// The call itself is not cancelled: what it acknowledges has to count.
			serials, err := p.env.Issue(p.ctx, 1)
			is.mu.Lock()
			is.acked, is.err = append(is.acked, serials...), err
			is.ended = err != nil
			is.news.Broadcast()
			is.mu.Unlock()
			if err != nil {
				return
			}
		}
		is.mu.Lock()
		is.ended = true
		is.news.Broadcast()
		is.mu.Unlock()
	}()
	return is
}

// await waits for n more acknowledgements, and returns all serial numbers so
// far.
func (is *issuer) await(n int) []string {
	is.mu.Lock()
	defer is.mu.Unlock()
	for want := len(is.acked) + n; len(is.acked) < want && !is.ended; {
		is.news.Wait()
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
