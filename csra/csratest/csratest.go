// Package csratest puts an authority on the network of this machine, for tests of
// clients that reach it by MS-CSRA: each caller of the conformance suite has an
// account of its own there, with which a client logs on by NTLM.
package csratest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
	"github.com/certkeep/certkeep/csra"
	"github.com/certkeep/certkeep/internal/ntlm"
)

// Server serves the authority of an Env.
type Server struct {
	// Address is HOST:PORT of the resolver.
	Address string

	env *certsrvtest.Env

	mu       sync.Mutex
	accounts []certadmtest.Caller // account u3 is the fourth
	calls    []certadmtest.WireCall
}

// Serve serves an authority on the loopback address until the test ends.
func Serve(t testing.TB, e *certsrvtest.Env) *Server {
	t.Helper()
	s := &Server{env: e}
	server, err := csra.NewServer(csra.ServerOptions{
		Name: certsrvtest.Name, Open: s.open, Observe: s.observe,
		NTLM: &csra.NTLMServer{Computer: strings.ToUpper(certsrvtest.Host), Lookup: func(user, _ string) ([16]byte, bool) {
			_, ok := s.caller(user)
			return ntlm.NTHash(secret(user)), ok
		}},
		// A client that is cut off is gone at once.
		Limits: csra.Limits{Grace: time.Nanosecond, ObjectsPerPrincipal: 64, PerHost: 256},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolver, exporter := listen(t), listen(t)
	s.Address = resolver.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, resolver, exporter) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving MS-CSRA: %v", err)
		}
	})
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

func secret(user string) string { return "secret of " + user }

// Logon returns the account of a caller, and its password.
func (s *Server) Logon(c certadmtest.Caller) (user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.accounts)
	for i, known := range s.accounts {
		if known == c {
			n = i
		}
	}
	if n == len(s.accounts) {
		s.accounts = append(s.accounts, c)
	}
	user = fmt.Sprintf("u%d", n)
	return user, secret(user)
}

// caller returns who has the account of this name.
func (s *Server) caller(user string) (certadmtest.Caller, bool) {
	n, err := strconv.Atoi(strings.TrimPrefix(user, "u"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || n < 0 || n >= len(s.accounts) {
		return certadmtest.Caller{}, false
	}
	return s.accounts[n], true
}

func (s *Server) open(_ context.Context, who csra.Caller) (certadm.Service, error) {
	c, ok := s.caller(who.User)
	if !ok {
		return nil, certadm.EAccessDenied
	}
	return s.env.Server.Service(certsrvtest.Principal(c)), nil
}

func (s *Server) observe(c csra.WireCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, certadmtest.WireCall{Method: c.Method, GrbitJet: c.GrbitJet, Flags: c.Flags, ClientID: c.ClientID, Size: c.Size})
}

// Calls are the calls that have arrived, oldest first.
func (s *Server) Calls() []certadmtest.WireCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]certadmtest.WireCall(nil), s.calls...)
}
