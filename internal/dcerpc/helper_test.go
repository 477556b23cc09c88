package dcerpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

// TestMain sees that no goroutine of this package outlives the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	var stacks string
	for range 500 {
		buf := make([]byte, 1<<20)
		stacks = string(buf[:runtime.Stack(buf, true)])
		if !strings.Contains(stacks, "dcerpc.(*") {
			os.Exit(code)
		}
		time.Sleep(10 * time.Millisecond) // nothing tells when a goroutine is gone
	}
	fmt.Println("goroutines are left over:\n" + stacks)
	os.Exit(1)
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s\n got %x\nwant %x", what, got, want)
	}
}

// Interfaces of the test server.
var (
	echoSyntax   = Syntax{UUID: ndr.MustGUID("11111111-2222-3333-4444-555555555501"), Major: 1, Minor: 2}
	otherSyntax  = Syntax{UUID: ndr.MustGUID("11111111-2222-3333-4444-555555555502")}
	secureSyntax = Syntax{UUID: ndr.MustGUID("11111111-2222-3333-4444-555555555503")}
	noSyntax     = Syntax{UUID: ndr.MustGUID("11111111-2222-3333-4444-5555555555ff")}
	ndr64        = Syntax{UUID: ndr.MustGUID("71710533-beba-4937-8319-b5dbef9ccc36"), Major: 1}
)

// Operations of the test server's interfaces. The first three of secureSyntax
// want privacy, integrity, connect.
const (
	opEcho      uint16 = iota // the stub
	opWho                     // who calls what, as text
	opConnect                 // as opEcho
	opBlock                   // returns when its context ends or a test releases it
	opPanic                   //
	opFault                   // with the stub's status
	opError                   // an error with a secret in it
	opMalformed               // an *ndr.Error
	opBig                     // as many bytes as the stub says
)

// testServer is a Server under test, with what tests want to know of it.
type testServer struct {
	*Server
	t       testing.TB
	address string
	log     *testLog
	blocked chan *Call    // of opBlock, as it begins
	release chan struct{} // lets opBlock end
	ended   chan error    // the context's, as opBlock ends

	mu     sync.Mutex
	logons []LogonEvent
}

// newTestServer makes a server that is not listening yet.
func newTestServer(t testing.TB, l Limits, change ...func(*ServerConfig)) *testServer {
	s := &testServer{t: t, log: &testLog{}, blocked: make(chan *Call, 8), release: make(chan struct{}), ended: make(chan error, 8)}
	cfg := ServerConfig{
		Interfaces: []Interface{
			{Syntax: echoSyntax, Handler: s.handle},
			{Syntax: otherSyntax, Handler: s.handle},
			{Syntax: secureSyntax, Handler: s.handle, MinLevel: func(opnum uint16) Level {
				return map[uint16]Level{opEcho: LevelPrivacy, opWho: LevelIntegrity, opConnect: LevelConnect}[opnum]
			}},
		},
		Accept: func(typ AuthType, c *Conn) (gss.Context, error) {
			switch typ {
			case AuthNTLM:
				return acceptFake(3), nil
			case AuthSPNEGO:
				return acceptFake(4), nil
			case AuthKerberos:
				return acceptFake(2), nil
			}
			return nil, errors.New("no such mechanism")
		},
		Limits: l,
		OnLogon: func(e LogonEvent) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.logons = append(s.logons, e)
		},
		Logger: slog.New(s.log),
	}
	for _, f := range change {
		f(&cfg)
	}
	s.Server = NewServer(cfg)
	t.Cleanup(func() {
		s.Close()
		s.log.check(t)
		s.conns.mu.Lock()
		defer s.conns.mu.Unlock()
		if len(s.conns.conns) != 0 || len(s.conns.hosts) != 0 {
			t.Errorf("%d connections of %d hosts are left in the table", len(s.conns.conns), len(s.conns.hosts))
		}
	})
	return s
}

// startServer starts a server on loopback.
func startServer(t testing.TB, l Limits, change ...func(*ServerConfig)) *testServer {
	t.Helper()
	s := newTestServer(t, l, change...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), listener) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

func (s *testServer) handle(ctx context.Context, c *Call) ([]byte, error) {
	if c.Level != LevelNone {
		c.Conn.Keep()
	}
	switch c.Opnum {
	case opEcho, opConnect:
		return append(c.Reply, c.Stub...), nil
	case opWho:
		return fmt.Appendf(c.Reply, "%v|%v|%v|%v|%v|%v", c.Syntax, c.AuthType, c.Level, c.Peer, c.HasObject, c.Object), nil
	case opBlock:
		s.blocked <- c
		var err error
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.release:
		}
		s.ended <- err
		return append(c.Reply, c.Stub...), err
	case opPanic:
		panic("a defect of a handler")
	case opFault:
		return nil, fmt.Errorf("no: %w", &Fault{Status: binary.LittleEndian.Uint32(c.Stub)})
	case opError:
		return nil, errors.New("the password is swordfish")
	case opMalformed:
		return nil, fmt.Errorf("stub: %w", &ndr.Error{Reason: "for the test"})
	case opBig:
		return pattern(c.Reply, int(binary.LittleEndian.Uint32(c.Stub))), nil
	}
	return nil, &Fault{Status: StatusOpRange}
}

// events returns the logons that were reported.
func (s *testServer) events() []LogonEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]LogonEvent(nil), s.logons...)
}

// connect makes a client of the server.
func (s *testServer) connect(t testing.TB, o ClientOptions) *Client {
	t.Helper()
	c, err := Dial(t.Context(), s.address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// honest makes a client that authenticated, and returns its echo: it fails the
// test unless the server serves it well.
func (s *testServer) honest(t testing.TB) (echo func()) {
	t.Helper()
	b := bind(t, s.connect(t, ClientOptions{}), echoSyntax, fakeSecurity(AuthKerberos, LevelPrivacy))
	n := 0
	echo = func() {
		t.Helper()
		n = (n + 3000) % 14_000
		mustEcho(t, b, pattern(nil, n))
	}
	echo()
	return echo
}

func fakeSecurity(typ AuthType, level Level) *Security {
	legs := map[AuthType]int{AuthNTLM: 3, AuthSPNEGO: 4, AuthKerberos: 2}[typ]
	return &Security{Type: typ, Level: level, Context: newFake(legs), RequireHeaderSigning: level > LevelConnect}
}

func bind(t testing.TB, c *Client, s Syntax, sec *Security) *Binding {
	t.Helper()
	b, err := c.Bind(t.Context(), s, sec)
	if err != nil {
		t.Fatalf("bind: %v", err)
	}
	return b
}

func mustEcho(t testing.TB, b *Binding, stub []byte) {
	t.Helper()
	got, err := b.Call(t.Context(), Request{Opnum: opEcho, Stub: stub})
	if err != nil {
		t.Fatalf("echo of %d bytes: %v", len(stub), err)
	}
	if !bytes.Equal(got, stub) {
		t.Fatalf("echo of %d bytes: %d other ones came back", len(stub), len(got))
	}
}

// pattern appends n bytes that tell where they belong.
func pattern(b []byte, n int) []byte {
	for i := range n {
		b = append(b, byte(i^i>>8^i>>16))
	}
	return b
}

// testLog keeps what the server logs.
type testLog struct {
	mu     sync.Mutex
	lines  []string
	panics int
	expect int // panics
}

func (l *testLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *testLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *testLog) WithGroup(string) slog.Handler            { return l }

func (l *testLog) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	if r.Message == "panic" {
		l.panics++
	}
	return nil
}

func (l *testLog) check(t testing.TB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.panics != l.expect {
		t.Errorf("%d panics, want %d:\n%s", l.panics, l.expect, strings.Join(l.lines, "\n"))
	}
}

func (l *testLog) contains(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(strings.Join(l.lines, "\n"), s)
}

// isClosed reports whether an error says that the other side is gone.
func isClosed(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.As(err, &op) && !op.Timeout()
}
