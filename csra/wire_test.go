package csra

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/kerberos/kdctest"
	"github.com/certkeep/certkeep/internal/ntlm"
)

// served is a Server on two ports of the loopback address.
type served struct {
	*Server
	resolver, exporter int
	stop               func() // ends Serve, and returns when it has ended

	mu     sync.Mutex
	logons []Logon
	opened map[string]chan struct{} // by the client's address: closed with its Service
	news   chan struct{}            // closed, and made anew, when something was added
}

// serveTCP serves until the test ends. What Open returns is watched: see gone.
func serveTCP(t testing.TB, o ServerOptions) *served {
	t.Helper()
	s := &served{opened: make(map[string]chan struct{}), news: make(chan struct{})}
	if o.Name == "" {
		o.Name = "Fake CA"
	}
	open := o.Open
	o.Open = func(ctx context.Context, c Caller) (certadm.Service, error) {
		svc, err := open(ctx, c)
		if err != nil {
			return nil, err
		}
		return s.watch(c, svc), nil
	}
	o.OnLogon = func(l Logon) { s.add(func() { s.logons = append(s.logons, l) }) }
	var err error
	if s.Server, err = NewServer(o); err != nil {
		t.Fatal(err)
	}
	resolver, exporter := listen(t), listen(t)
	s.resolver, s.exporter = port(resolver.Addr()), port(exporter.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, resolver, exporter) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func port(a net.Addr) int { return a.(*net.TCPAddr).Port }

func (s *served) add(what func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what()
	close(s.news)
	s.news = make(chan struct{})
}

// await waits until ok, which is asked again when something has come.
func (s *served) await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		done, news := ok(), s.news
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// lastLogon waits until n authentications have ended and returns the n-th.
func (s *served) lastLogon(t testing.TB, n int) (l Logon) {
	t.Helper()
	s.await(t, fmt.Sprintf("%d logons", n), func() bool { return len(s.logons) >= n })
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logons[n-1]
}

// inspectable is what the Services of these tests can do.
type inspectable interface {
	certadm.Service
	certadm.Lister
	certadm.Inspector
}

type lister interface {
	certadm.Service
	certadm.Lister
}

// watch has the Service of a caller tell when it is closed.
func (s *served) watch(c Caller, svc certadm.Service) certadm.Service {
	closed := make(chan struct{})
	s.add(func() { s.opened[c.Remote.String()] = closed })
	done := sync.OnceFunc(func() { close(closed) })
	switch svc := svc.(type) {
	case inspectable:
		return watchedInspector{svc, done}
	case lister:
		return watchedLister{svc, done}
	}
	return watched{svc, done}
}

type watchedInspector struct {
	inspectable
	done func()
}

func (w watchedInspector) Close() error { defer w.done(); return w.inspectable.Close() }

type watchedLister struct {
	lister
	done func()
}

func (w watchedLister) Close() error { defer w.done(); return w.lister.Close() }

type watched struct {
	certadm.Service
	done func()
}

func (w watched) Close() error { defer w.done(); return w.Service.Close() }

// gone returns a channel that is closed when the server has closed the Service of
// the client with these connections.
func (s *served) gone(l *lifeline) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range l.all() {
		if ch := s.opened[c.LocalAddr().String()]; ch != nil {
			return ch
		}
	}
	return nil
}

// lifeline makes a client's connections, and can cut them.
type lifeline struct {
	from    net.IP                  // the client's address; nil is 127.0.0.1
	through func(port int) int      // to connect to another port than was meant; may be nil
	slow    func(net.Conn) net.Conn // to do something to a connection; may be nil

	mu    sync.Mutex
	conns []net.Conn
	ports []int
}

func (l *lifeline) dial(ctx context.Context, network, address string) (net.Conn, error) {
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := net.LookupPort(network, p)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	if l.from != nil {
		d.LocalAddr = &net.TCPAddr{IP: l.from}
	}
	to := n
	if l.through != nil {
		to = l.through(n)
	}
	c, err := d.DialContext(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", to))
	if err != nil {
		return nil, err
	}
	if l.slow != nil {
		c = l.slow(c)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns, l.ports = append(l.conns, c), append(l.ports, n)
	return c, nil
}

func (l *lifeline) all() []net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.conns)
}

// cut ends all connections at once.
func (l *lifeline) cut() {
	for _, c := range l.all() {
		c.Close()
	}
}

// secrets are the accounts of an NTLM server.
type secrets map[string]string

func (a secrets) server() *NTLMServer {
	return &NTLMServer{Computer: "CA1", Lookup: func(user, _ string) ([16]byte, bool) {
		_, ok := a[user]
		return a.hash(user), ok
	}}
}

func (a secrets) hash(user string) [16]byte { return ntlm.NTHash(a[user]) }

func (a secrets) as(user string) Credentials { return NTLM(user, "", []byte(a[user])) }

var testSecrets = secrets{"alice": "correct horse", "bob": "battery staple"}

// dial connects as alice, unless change says otherwise. The client is closed with
// the test.
func (s *served) dial(t testing.TB, change func(*Options)) (*Client, *lifeline, error) {
	t.Helper()
	l := &lifeline{}
	c, err := s.dialBy(t, l, change)
	return c, l, err
}

// dialBy is dial with the given connections.
func (s *served) dialBy(t testing.TB, l *lifeline, change func(*Options)) (*Client, error) {
	t.Helper()
	o := Options{Host: "localhost", Port: s.resolver, Credentials: testSecrets.as("alice"), Dialer: l.dial}
	if change != nil {
		change(&o)
	}
	c, err := Dial(t.Context(), o)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func (s *served) mustDialBy(t testing.TB, l *lifeline, change func(*Options)) *Client {
	t.Helper()
	c, err := s.dialBy(t, l, change)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *served) mustDial(t testing.TB, change func(*Options)) (*Client, *lifeline) {
	t.Helper()
	c, l, err := s.dial(t, change)
	if err != nil {
		t.Fatal(err)
	}
	return c, l
}

// serveFake serves a fake Service, a new one for each client or always the same.
func serveFake(t testing.TB, change func(*ServerOptions)) (*served, *fake) {
	t.Helper()
	f := newFake()
	o := ServerOptions{
		Open: func(context.Context, Caller) (certadm.Service, error) { return f, nil },
		NTLM: testSecrets.server(),
	}
	if change != nil {
		change(&o)
	}
	return serveTCP(t, o), f
}

// realm is a KDC with a service and users who have keys, u0 and up.
type realm struct {
	*kdctest.KDC
	service string // a keytab
	users   string
}

const realmUsers = 40

func startRealm(t testing.TB, o ...kdctest.Options) *realm {
	t.Helper()
	k := &realm{KDC: kdctest.Start(t, o...)}
	commands := []string{"addprinc -randkey host/localhost"}
	var names []string
	for i := range realmUsers {
		names = append(names, fmt.Sprintf("u%d", i))
		commands = append(commands, "addprinc -randkey "+names[i])
	}
	k.Admin(commands...)
	k.service, k.users = k.Keytab("host/localhost"), k.Keytab(names...)
	return k
}

// as logs a user on.
func (k *realm) as(i int) func(*Options) {
	return func(o *Options) {
		o.Krb5Conf = k.Config
		o.Credentials = KerberosKeytab(fmt.Sprintf("u%d@%s", i, k.Realm), k.users)
	}
}
