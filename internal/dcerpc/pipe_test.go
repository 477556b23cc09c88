package dcerpc

import (
	"context"
	"net"
	"testing"
)

// pipeListener accepts connections that need no network, so that time in a
// synctest bubble stands still while anything moves on them.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// pipeConn is one side of a connection with an address.
type pipeConn struct {
	net.Conn
	remote net.Addr
}

func (c pipeConn) RemoteAddr() net.Addr { return c.remote }

// dial connects from a host.
func (l *pipeListener) dial(host string) net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- pipeConn{theirs, &net.TCPAddr{IP: net.ParseIP(host), Port: 1000}}
	return ours
}

// startPipeServer starts a server without a network.
func startPipeServer(t *testing.T, limits Limits, change ...func(*ServerConfig)) (*testServer, *pipeListener) {
	s := newTestServer(t, limits, change...)
	l := &pipeListener{make(chan net.Conn), make(chan struct{})}
	go s.Serve(context.Background(), l)
	return s, l
}

// client makes a Client, and raw a peer, from a host.
func (l *pipeListener) client(t *testing.T, host string) *Client {
	c := newClient(l.dial(host), ClientOptions{})
	t.Cleanup(func() { c.Close() })
	return c
}

func (l *pipeListener) raw(t *testing.T, host string) *peer {
	c := l.dial(host)
	t.Cleanup(func() { c.Close() })
	return &peer{t: t, Conn: c, r: reader{src: c}}
}

// only returns the server's side of its only connection.
func (s *testServer) only() *Conn {
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	if len(s.conns.conns) != 1 {
		s.t.Fatalf("%d connections", len(s.conns.conns))
	}
	for c := range s.conns.conns {
		return c
	}
	return nil
}
