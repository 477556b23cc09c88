package dcerpc

import (
	"net/netip"
	"sync"
)

// connTable knows the open connections and keeps their number within limits.
type connTable struct {
	limit, perHost int

	mu    sync.Mutex
	conns map[*Conn]struct{}
	hosts map[netip.Addr]int
}

func (t *connTable) init(limit, perHost int) {
	t.limit, t.perHost = limit, perHost
	t.conns = make(map[*Conn]struct{})
	t.hosts = make(map[netip.Addr]int)
}

// add takes a connection in. If there are too many, another one is closed for it;
// if all are kept, add reports false.
func (t *connTable) add(c *Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hosts[c.host] >= t.perHost && !t.evict(&c.host) {
		return false
	}
	if len(t.conns) >= t.limit && !t.evict(nil) {
		return false
	}
	t.conns[c] = struct{}{}
	t.hosts[c.host]++
	return true
}

// evict closes a connection that is not kept, of one host or of any: the oldest
// that has not authenticated or, if all have, the oldest. Its place is free at
// once; its goroutine ends soon.
func (t *connTable) evict(host *netip.Addr) bool {
	var oldest *Conn
	better := func(c *Conn) bool {
		if oldest == nil {
			return true
		}
		if a, b := c.authenticated.Load(), oldest.authenticated.Load(); a != b {
			return b
		}
		return c.id < oldest.id
	}
	for c := range t.conns {
		if !c.kept.Load() && (host == nil || c.host == *host) && better(c) {
			oldest = c
		}
	}
	if oldest == nil {
		return false
	}
	t.drop(oldest)
	oldest.close()
	return true
}

// remove forgets a connection that ended.
func (t *connTable) remove(c *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(c)
}

func (t *connTable) drop(c *Conn) {
	if _, ok := t.conns[c]; !ok {
		return
	}
	delete(t.conns, c)
	if t.hosts[c.host]--; t.hosts[c.host] == 0 {
		delete(t.hosts, c.host)
	}
}
