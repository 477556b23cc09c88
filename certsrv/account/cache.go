package account

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

const maxCache = 1024

// cache remembers passwords that were right: under a key that only this process
// knows and that is never written anywhere, tied to the account's stored hash.
type cache struct {
	ttl     time.Duration // negative: off
	key     [32]byte
	mu      sync.Mutex
	entries map[[32]byte]time.Time // until when
}

func newCache(ttl time.Duration) (*cache, error) {
	c := &cache{ttl: ttl, entries: make(map[[32]byte]time.Time)}
	if _, err := rand.Read(c.key[:]); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return c, nil
}

func (c *cache) digest(name, stored string, password []byte) (d [32]byte) {
	m := hmac.New(sha256.New, c.key[:])
	for _, part := range [][]byte{[]byte(name), []byte(stored), password} {
		m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		m.Write(part)
	}
	m.Sum(d[:0])
	return d
}

func (c *cache) has(name, stored string, password []byte, now time.Time) bool {
	if c.ttl < 0 {
		return false
	}
	d := c.digest(name, stored, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.entries[d]
	return ok && now.Before(until)
}

func (c *cache) put(name, stored string, password []byte, now time.Time) {
	if c.ttl < 0 {
		return
	}
	d := c.digest(name, stored, password)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxCache {
		for k, until := range c.entries {
			if !now.Before(until) {
				delete(c.entries, k)
			}
		}
		if len(c.entries) >= maxCache {
			clear(c.entries)
		}
	}
	c.entries[d] = now.Add(c.ttl)
}
