package est

import (
	"net/netip"
	"sync"
	"time"
)

const (
	maxFailures  = 10              // wrong passwords in a row that cost nothing
	failureDecay = 6 * time.Second // after which one is forgotten
	maxAddresses = 4096
)

// limiter slows down the guessing of passwords: an address that has sent
// maxFailures wrong ones must wait until one is forgotten before it may try
// again. It is no more than a brake; the cost of a hash is another.
type limiter struct {
	now func() time.Time
	mu  sync.Mutex
	// clear is when an address has no failures left, all of them decaying one
	// after the other.
	clear map[netip.Prefix]time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, clear: make(map[netip.Prefix]time.Time)}
}

// addressOf is what counts as one client: an IPv4 address, or the /64 that an
// IPv6 client can move in at will.
func addressOf(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{} // all strangers together
	}
	a := ap.Addr().Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// blocked is how long the address must wait, or 0.
func (l *limiter) blocked(from netip.Prefix) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.clear[from]
	if !ok {
		return 0
	}
	return max(0, until.Sub(l.now())-(maxFailures-1)*failureDecay)
}

// failed counts a wrong password.
func (l *limiter) failed(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if _, ok := l.clear[from]; !ok && len(l.clear) >= maxAddresses {
		for a, until := range l.clear {
			if !until.After(now) {
				delete(l.clear, a)
			}
		}
		if len(l.clear) >= maxAddresses {
			clear(l.clear)
		}
	}
	until := l.clear[from]
	if until.Before(now) {
		until = now
	}
	// Requests at work at the same time must not add up to a long ban.
	l.clear[from] = minTime(until.Add(failureDecay), now.Add(maxFailures*failureDecay))
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
