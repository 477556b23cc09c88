package repo

import (
	"container/list"
	"context"
	"sync"

	"github.com/certkeep/certkeep/repo/internal/pack"
)

// segmentCacheSize is how much of opened segments is kept, in bytes. Reading a file in
// order needs one segment of each run that its chunks come from. A variable for tests.
var segmentCacheSize int64 = 32 << 20

// segmentCache keeps opened segments, and opens each once though several ask for it. The memory of those that
// were dropped, and that nobody reads any more, is used again.
type segmentCache struct {
	limit int64

	mu    sync.Mutex
	size  int64
	order *list.List // of *cached, the least recently used last
	byID  map[pack.ID]*list.Element
	free  [][]byte
}

type cached struct {
	loading
	id    pack.ID
	plain []byte
	pack  pack.ID // where it was read

	users   int  // who got it, or waits for it
	dropped bool // from the cache
}

// maxFree is how much memory is kept for segments to come: for those that are opened ahead.
const maxFree = 8

func newSegmentCache(limit int64) *segmentCache {
	return &segmentCache{limit: limit, order: list.New(), byID: map[pack.ID]*list.Element{}}
}

// get is the opened segment, by load if it is not there yet; load may use the memory it gets, and says in which pack it
// found the segment. What is in it must not be written to, nor read after release was called; that is to be called once.
func (c *segmentCache) get(ctx context.Context, id pack.ID, load func(memory []byte) ([]byte, pack.ID, error)) (_ *cached, release func(), err error) {
	for {
		c.mu.Lock()
		el, ok := c.byID[id]
		if !ok {
			break
		}
		c.order.MoveToFront(el)
		e := el.Value.(*cached)
		e.users++
		c.mu.Unlock()
		again, err := e.wait(ctx)
		if err == nil && !again {
			return e, func() { c.release(e) }, nil
		}
		c.release(e)
		if !again {
			return nil, nil, err
		}
	}
	e := &cached{loading: loading{ready: make(chan struct{})}, id: id, users: 1}
	el := c.order.PushFront(e)
	c.byID[id] = el
	var memory []byte
	if n := len(c.free); n > 0 {
		memory, c.free = c.free[n-1], c.free[:n-1]
	}
	c.mu.Unlock()

	e.plain, e.pack, e.err = load(memory)

	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(e.ready)
	if e.err != nil { // to be tried again by who asks next
		c.drop(el)
		return nil, nil, e.err
	}
	c.size += int64(len(e.plain))
	c.shrink(c.limit, el)
	return e, func() { c.release(e) }, nil
}

// shrink drops what was not used for longest, until the rest has no more than limit bytes; but not keep, nor what is
// still being loaded: that has no size yet, and calls shrink itself. c.mu is held.
func (c *segmentCache) shrink(limit int64, keep *list.Element) {
	for el := c.order.Back(); el != nil && c.size > limit; {
		last := el
		el = el.Prev()
		if last == keep {
			continue
		}
		select {
		case <-last.Value.(*cached).ready:
			c.drop(last)
		default:
		}
	}
}

// forget drops all that is not being loaded just now.
func (c *segmentCache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shrink(0, nil)
}

// drop takes one out. c.mu is held.
func (c *segmentCache) drop(el *list.Element) {
	e := el.Value.(*cached)
	if c.byID[e.id] != el {
		return
	}
	delete(c.byID, e.id)
	c.order.Remove(el)
	e.dropped = true
	if e.err == nil {
		c.size -= int64(len(e.plain))
		c.recycle(e)
	}
}

func (c *segmentCache) release(e *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.users--
	c.recycle(e)
}

// recycle keeps the memory of a segment that is dropped and not in use. c.mu is held.
func (c *segmentCache) recycle(e *cached) {
	if e.dropped && e.users == 0 && e.plain != nil && len(c.free) < maxFree {
		c.free = append(c.free, e.plain[:0])
		e.plain = nil
	}
}
