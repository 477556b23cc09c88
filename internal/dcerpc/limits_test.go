package dcerpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/internal/gss"
)

// guess tries a wrong password from a host, and returns the error.
func guess(t *testing.T, l *pipeListener, host string, typ AuthType) error {
	sec := fakeSecurity(typ, LevelPrivacy)
	sec.Context.(*fakeContext).password = "guess"
	c := l.client(t, host)
	defer c.Close()
	_, err := c.Bind(t.Context(), echoSyntax, sec)
	return err
}

func isBusy(err error) bool {
	var nak *NakError
	return errors.As(err, &nak) && nak.Reason == NakLocalLimit
}

// Failing logons of a host are bounded, in the short and in the long run. It is
// told that the server is busy, even with the right password. Others are not,
// and logons that succeed do not count.
func TestFailingLogonsOfAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := startPipeServer(t, Limits{Logons: TokenBucket{Rate: 0.5, Burst: 3}})
		logon := func(host string) error {
			c := l.client(t, host)
			defer c.Close()
			_, err := c.Bind(t.Context(), echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
			return err
		}
		for range 20 {
			if err := logon(host); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 5 {
			if err := guess(t, l, host, AuthKerberos); isBusy(err) != (n >= 3) || !isBusy(err) && !errors.Is(err, gss.ErrLogon) {
				t.Errorf("guess %d: %v", n, err)
			}
		}
		if err := logon(host); !isBusy(err) {
			t.Errorf("right password after wrong ones: %v", err)
		}
		if err := logon("192.0.2.2"); err != nil {
			t.Errorf("another host: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := logon(host); err != nil {
			t.Errorf("later: %v", err)
		}
		for n := range 2 {
			if err := guess(t, l, host, AuthKerberos); isBusy(err) != (n == 1) {
				t.Errorf("later, guess %d: %v", n, err)
			}
		}
		time.Sleep(time.Hour)
		for n := range 4 { // not more than at first
			if err := guess(t, l, host, AuthKerberos); isBusy(err) != (n == 3) {
				t.Errorf("much later, guess %d: %v", n, err)
			}
		}
		busy := 0
		for _, e := range s.events() {
			if e.Err != nil && !errors.Is(e.Err, gss.ErrLogon) {
				busy++
			}
		}
		if busy != 5 {
			t.Errorf("%d logons are reported that were not tried", busy)
		}
	})
}

// A handshake that is broken off, and one refused by its last message, count as
// well; so does each security context of one connection.
func TestWhatCountsAsAFailingLogon(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, l *pipeListener){
		"broken off":   func(t *testing.T, l *pipeListener) { p := l.raw(t, host); p.begin(AuthNTLM); p.Close() },
		"last message": func(t *testing.T, l *pipeListener) { guess(t, l, host, AuthSPNEGO) },
		"no such type": func(t *testing.T, l *pipeListener) { guess(t, l, host, 68) },
		"second context": func(t *testing.T, l *pipeListener) {
			p := l.raw(t, host)
			p.logon(LevelPrivacy)
			token, _, _ := newFake(3).Step(t.Context(), nil)
			p.send(withToken(bindTo(ptypeAlter, 9, pres(0, echoSyntax)), &security{id: 99, typ: AuthNTLM, level: LevelPrivacy}, token))
			p.recv()
		},
		"with auth3": func(t *testing.T, l *pipeListener) {
			p := l.raw(t, host)
			p.send(auth3PDU(1, p.begin(AuthNTLM), []byte("\x03anna\x00guess")))
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, l := startPipeServer(t, Limits{Logons: TokenBucket{Rate: 1e-9, Burst: 4}})
				for range 4 {
					fail(t, l)
				}
				if err := guess(t, l, host, AuthKerberos); !isBusy(err) {
					t.Error(err)
				}
			})
		})
	}
}

// All hosts together are bounded, too.
func TestFailingLogonsOfAllHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := startPipeServer(t, Limits{AllLogons: TokenBucket{Rate: 1, Burst: 10}})
		for n := range 14 {
			if err := guess(t, l, fmt.Sprintf("192.0.2.%d", n), AuthKerberos); isBusy(err) != (n >= 10) {
				t.Errorf("guess %d: %v", n, err)
			}
		}
	})
}

// Over any time a bucket gives no more than its burst and its rate allow,
// whoever asks, and however many hosts there are.
func TestLogonLimiter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1e9, 0)
		first, last := now, now
		host := TokenBucket{Rate: 0.5, Burst: rapid.IntRange(1, 5).Draw(t, "burst")}
		all := TokenBucket{Rate: 2, Burst: rapid.IntRange(1, 20).Draw(t, "burst of all")}
		l := newLogonLimiter(host, all, func() time.Time { return now })
		net := map[int]int{}
		total := 0
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			n := rapid.IntRange(0, 3).Draw(t, "host")
			addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0, 1:
				if l.take(addr) {
					net[n]++
					total++
				}
			case 2:
				if net[n] > 0 {
					l.giveBack(addr)
					net[n]--
					total--
				}
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(-1000, 5000).Draw(t, "ms")) * time.Millisecond)
			}
			// A clock that goes back and forth gains nothing.
			if now.Before(first) {
				first = now
			} else if now.After(last) {
				last = now
			}
			passed := last.Sub(first).Seconds() + 1e-6
			if float64(net[n]) > float64(host.Burst)+host.Rate*passed || float64(total) > float64(all.Burst)+all.Rate*passed {
				t.Fatalf("host %d has %d, all have %d after %v", n, net[n], total, last.Sub(first))
			}
		}
	})
	// Hosts beyond those that are told apart share one bucket, until old ones
	// are full again.
	now := time.Unix(1e9, 0)
	l := newLogonLimiter(TokenBucket{1, 2}, TokenBucket{1e6, 1e6}, func() time.Time { return now })
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}) }
	for n := range maxHosts {
		if !l.take(addr(n)) {
			t.Fatal(n)
		}
	}
	for n := range 4 {
		if got, want := l.take(addr(maxHosts+n)), n < 2; got != want {
			t.Errorf("host %d: %v", maxHosts+n, got)
		}
	}
	if len(l.hosts) != maxHosts {
		t.Errorf("%d hosts are told apart", len(l.hosts))
	}
	now = now.Add(time.Second)
	if !l.take(addr(maxHosts+9)) || len(l.hosts) != 1 {
		t.Errorf("a second later %d hosts are told apart", len(l.hosts))
	}
}

func TestHostOf(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	for _, v := range []struct {
		a, b net.Addr
		same bool
	}{
		{tcp("192.0.2.1:1"), tcp("192.0.2.1:2"), true},
		{tcp("192.0.2.1:1"), tcp("192.0.2.2:1"), false},
		{tcp("192.0.2.1:1"), tcp("[::ffff:192.0.2.1]:1"), true},
		{tcp("[2001:db8::1]:1"), tcp("[2001:db8::ffff:0:0:1]:2"), true},
		{tcp("[2001:db8::1]:1"), tcp("[2001:db8:0:1::1]:1"), false},
		{tcp("[fe80::1%a]:1"), tcp("[fe80::2%b]:1"), true},
		{&net.UnixAddr{Name: "a"}, &net.UnixAddr{Name: "b"}, true},
	} {
		if got := hostOf(v.a) == hostOf(v.b); got != v.same {
			t.Errorf("%v and %v are one host: %v", v.a, v.b, got)
		}
	}
}

// Thousands who merely connect keep nobody out, be they from the same host.
func TestHalfOpenConnections(t *testing.T) {
	s := startServer(t, Limits{Connections: 64, PerHost: 32})
	echo := s.honest(t)
	var wait sync.WaitGroup
	for n := range 4 {
		wait.Go(func() {
			for i := range 250 {
				c, err := net.Dial("tcp", s.address)
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { c.Close() })
				c.Write(bindTo(ptypeBind, 1, pres(0, echoSyntax))[:i%17+n])
			}
		})
	}
	for range 20 {
		echo()
	}
	wait.Wait()
	echo()
	s.honest(t) // a new one
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	if n := len(s.conns.conns); n > 32 {
		t.Errorf("%d connections", n)
	}
}

// Who has logged on and does nothing makes room, after those who have not logged
// on; who is served does not.
func TestStrangersMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := startPipeServer(t, Limits{Connections: 4})
		served := l.raw(t, "192.0.2.1")
		served.logon(LevelPrivacy)
		served.echo()
		stranger := l.raw(t, "192.0.2.2")
		stranger.logon(LevelPrivacy)
		second := l.raw(t, "192.0.2.3")
		second.logon(LevelPrivacy)
		half := l.raw(t, "192.0.2.4")
		half.bind(pres(0, echoSyntax))
		synctest.Wait()               // the last message of a logon may have no answer
		next := l.raw(t, "192.0.2.5") // in half's place
		next.logon(LevelPrivacy)
		half.closed()
		synctest.Wait()
		last := l.raw(t, "192.0.2.6") // in the stranger's
		last.logon(LevelPrivacy)
		stranger.closed()
		for _, p := range []*peer{served, second, next, last} {
			p.echo()
		}
	})
}

// The oldest connection that has not authenticated makes place; those that are
// served do not, and then new ones are refused.
func TestConnectionLimits(t *testing.T) {
	for _, v := range []struct {
		name   string
		limits Limits
		hosts  []string // of those that come one after the other
		in     int      // the first so many get in
	}{
		{"all", Limits{Connections: 3}, []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}, 3},
		{"one host", Limits{PerHost: 2}, []string{"192.0.2.1", "192.0.2.1", "192.0.2.1"}, 2},
		{"one network", Limits{PerHost: 2}, []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"}, 2},
	} {
		for _, authenticate := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, authenticated %v", v.name, authenticate), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, l := startPipeServer(t, v.limits)
					other := l.raw(t, "198.51.100.1")
					other.logon(LevelPrivacy) // takes one of the connections
					other.echo()
					in := v.in
					if v.limits.Connections != 0 {
						in--
					}
					var peers []*peer
					alive := func(p *peer) bool {
						_, err := p.Write(p.request(opEcho, nil)[0])
						if err != nil {
							return false
						}
						_, _, err = p.r.next()
						return err == nil
					}
					for n, host := range v.hosts {
						p := l.raw(t, host)
						refused := authenticate && n >= in
						if refused {
							p.closed()
							continue
						}
						if authenticate {
							p.logon(LevelPrivacy)
							p.echo()
						} else {
							p.bind(pres(0, echoSyntax))
						}
						peers = append(peers, p)
						time.Sleep(time.Millisecond)
					}
					for n, p := range peers {
						if got, want := alive(p), n >= len(peers)-in; got != want {
							t.Errorf("connection %d of %d is alive: %v", n, len(peers), got)
						}
					}
					other.echo()
					// A place that becomes free is had by the next one.
					if authenticate {
						peers[0].Close()
						synctest.Wait()
						p := l.raw(t, v.hosts[0])
						p.logon(LevelPrivacy)
						p.echo()
					}
				})
			})
		}
	}
}

// What passes by itself does not end a server, other failures do.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestServer(t, Limits{})
		conns := &pipeListener{make(chan net.Conn), make(chan struct{})}
		fail := &failingListener{pipeListener: conns, errs: []error{temporary{}, temporary{}, temporary{}}}
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Serve(context.Background(), fail) }()
		mustEcho(t, bind(t, conns.client(t, host), echoSyntax, nil), []byte("alive"))
		if d := time.Since(start); d != 35*time.Millisecond {
			t.Errorf("paused for %v", d)
		}
		// It ends while it pauses, too.
		ctx, cancel := context.WithCancel(t.Context())
		forever := &failingListener{pipeListener: &pipeListener{closed: make(chan struct{})}, errs: make([]error, 1000)}
		for n := range forever.errs {
			forever.errs[n] = temporary{}
		}
		paused := make(chan error, 1)
		go func() { paused <- s.Serve(ctx, forever) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-paused; err != nil {
			t.Error(err)
		}
		conns.Close()
		if err := <-done; err != nil {
			t.Errorf("closed listener: %v", err)
		}
		broken := errors.New("broken")
		err := s.Serve(t.Context(), &failingListener{pipeListener: &pipeListener{closed: make(chan struct{})}, errs: []error{broken}})
		if !errors.Is(err, broken) {
			t.Errorf("broken listener: %v", err)
		}
	})
}

type failingListener struct {
	*pipeListener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.pipeListener.Accept()
}

type temporary struct{}

func (temporary) Error() string   { return "too many open files" }
func (temporary) Temporary() bool { return true }
