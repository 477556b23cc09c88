package dcerpc

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxHosts bounds the hosts whose failed logons are counted one by one. Beyond,
// hosts share one bucket.
const maxHosts = 4096

// bucket holds tokens.
type bucket struct {
	tokens float64
	at     time.Time // when tokens was right
}

// logonLimiter counts authentications that have not succeeded.
type logonLimiter struct {
	host, all TokenBucket
	now       func() time.Time

	mu     sync.Mutex
	total  bucket
	hosts  map[netip.Addr]*bucket
	shared bucket
}

func newLogonLimiter(host, all TokenBucket, now func() time.Time) *logonLimiter {
	l := &logonLimiter{host: host, all: all, now: now, hosts: make(map[netip.Addr]*bucket)}
	l.total = bucket{float64(all.Burst), now()}
	l.shared = bucket{float64(host.Burst), now()}
	return l
}

// take takes a token of a host. It reports false if there is none. The host's
// own comes first, so that one host cannot use up those of all.
func (l *logonLimiter) take(host netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := l.bucketOf(host, now)
	b.refill(l.host, now)
	l.total.refill(l.all, now)
	if b.tokens < 1 || l.total.tokens < 1 {
		return false
	}
	b.tokens--
	l.total.tokens--
	return true
}

// giveBack returns the token of an authentication that succeeded.
func (l *logonLimiter) giveBack(host netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := l.bucketOf(host, now)
	b.tokens = min(b.tokens+1, float64(l.host.Burst))
	l.total.tokens = min(l.total.tokens+1, float64(l.all.Burst))
}

// bucketOf finds or makes a host's bucket. Buckets that are full again are
// forgotten when there are too many.
func (l *logonLimiter) bucketOf(host netip.Addr, now time.Time) *bucket {
	if b, ok := l.hosts[host]; ok {
		return b
	}
	if len(l.hosts) >= maxHosts {
		for h, b := range l.hosts {
			if b.refill(l.host, now); b.tokens >= float64(l.host.Burst) {
				delete(l.hosts, h)
			}
		}
		if len(l.hosts) >= maxHosts {
			return &l.shared
		}
	}
	b := &bucket{float64(l.host.Burst), now}
	l.hosts[host] = b
	return b
}

func (b *bucket) refill(t TokenBucket, now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*t.Rate, float64(t.Burst))
		b.at = now
	}
}

// hostOf is the host that an address counts for: of IPv6 the /64, which is
// what one party usually has. Addresses that are not IP are all one host.
func hostOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}
