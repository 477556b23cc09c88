package kerberos

import (
	"container/heap"
	"crypto/sha256"
	"sync"
	"time"
)

// DefaultReplayEntries is how many authenticators a [ReplayCache] remembers
// unless told otherwise: about 100 bytes each.
const DefaultReplayEntries = 16384

// ReplayCache remembers authenticators for as long as their time would still be
// accepted, so that none is used twice (RFC 4120 section 3.2.3). Only those get
// in that were made with the session key of a valid ticket.
//
// When it is full the one that ends first is forgotten. That gives nobody a way
// in: in DCE style whoever replays an AP-REQ must then answer with the session
// key, over numbers that the acceptor has just chosen.
type ReplayCache struct {
	mu    sync.Mutex
	limit int
	seen  map[[sha256.Size]byte]struct{}
	order expiries
}

// NewReplayCache returns a cache of at most this many entries; 0 stands for
// [DefaultReplayEntries].
func NewReplayCache(entries int) *ReplayCache {
	if entries <= 0 {
		entries = DefaultReplayEntries
	}
	return &ReplayCache{limit: entries, seen: make(map[[sha256.Size]byte]struct{})}
}

// add remembers an authenticator until a time, and says whether it is new.
func (c *ReplayCache) add(authenticator []byte, now, until time.Time) bool {
	id := sha256.Sum256(authenticator)
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.order) > 0 && c.order[0].until.Before(now) {
		c.forget()
	}
	if _, ok := c.seen[id]; ok {
		return false
	}
	for len(c.order) >= c.limit {
		c.forget()
	}
	c.seen[id] = struct{}{}
	heap.Push(&c.order, expiry{until, id})
	return true
}

func (c *ReplayCache) forget() {
	delete(c.seen, heap.Pop(&c.order).(expiry).id)
}

type expiry struct {
	until time.Time
	id    [sha256.Size]byte
}

// expiries is a heap, the first to end on top.
type expiries []expiry

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i].until.Before(e[j].until) }
func (e expiries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *expiries) Push(x any)        { *e = append(*e, x.(expiry)) }
func (e *expiries) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}
