package certsrv

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// root may do everything, from the authority's own machine.
var root = account.Principal{
	Name: "root", Roles: account.AllRoles, Local: true, LocalAdmin: true, BackupPrivilege: true, RestorePrivilege: true,
}

// with is a principal with just these roles.
func with(roles account.Roles) account.Principal {
	return account.Principal{Name: "alice", Roles: roles, BackupPrivilege: roles&account.Operator != 0}
}

// manual is a clock that only a test moves.
type manual struct {
	mu      sync.Mutex
	now     time.Time
	waiting []waiter
	asked   chan struct{} // has a token after each After
}

type waiter struct {
	at time.Time
	c  chan time.Time
}

func newManual() *manual {
	return &manual{now: time.Now().UTC().Truncate(time.Second), asked: make(chan struct{}, 1000)}
}

func (m *manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *manual) After(d time.Duration) <-chan time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := make(chan time.Time, 1)
	m.waiting = append(m.waiting, waiter{m.now.Add(d), c})
	select {
	case m.asked <- struct{}{}:
	default:
	}
	return c
}

// advance moves the time and wakes who waited for it.
func (m *manual) advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
	var left []waiter
	for _, w := range m.waiting {
		if w.at.After(m.now) {
			left = append(left, w)
		} else {
			w.c <- m.now
		}
	}
	m.waiting = left
}

// tempDir is a directory in memory where there is one: most tests are about
// what is written, not about how long a disk takes for it.
func tempDir(t testing.TB) string {
	t.Helper()
	const shm = "/dev/shm"
	if runtime.GOOS != "linux" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "certkeep-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newServer makes a stopped authority.
func newServer(t testing.TB, io InitOptions, o Options) *Server {
	t.Helper()
	dir := filepath.Join(tempDir(t), "ca")
	if io.Name == "" {
		io.Name = "Test CA"
	}
	if io.Host == "" {
		io.Host = "ca1"
	}
	if err := Init(t.Context(), dir, io); err != nil {
		t.Fatal(err)
	}
	return openServer(t, dir, o)
}

func openServer(t testing.TB, dir string, o Options) *Server {
	t.Helper()
	s, err := New(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s
}

// startServer makes one that runs.
func startServer(t testing.TB, io InitOptions, o Options) *Server {
	t.Helper()
	s := newServer(t, io, o)
	mustStart(t, s)
	return s
}

func mustStart(t testing.TB, s *Server) {
	t.Helper()
	if err := s.Start(t.Context()); err != nil {
		t.Fatalf("start: %v", err)
	}
}

func mustStop(t testing.TB, s *Server) {
	t.Helper()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatalf("stop: %v", err)
	}
}

var requestKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

// newCSR makes a request for a name.
func newCSR(t testing.TB, name string) []byte {
	t.Helper()
	subject, err := authority.ParseDN("CN=" + name)
	if err != nil {
		t.Fatal(err)
	}
	der, err := authority.NewRequest(requestKey(), subject, []string{name + ".example.org"})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// issue issues n certificates and returns their serial numbers.
func issue(t testing.TB, s *Server, n int) []string {
	t.Helper()
	serials := make([]string, n)
	for i := range serials {
		res, err := s.Submit(t.Context(), root, newCSR(t, fmt.Sprintf("host%d", i)), nil)
		if err != nil {
			t.Fatalf("submit: %v", err)
		}
		serials[i] = res.Serial
	}
	return serials
}

func wantCode(t testing.TB, err error, want certadm.HRESULT, what string) {
	t.Helper()
	if got := certadm.CodeOf(err); err == nil || got != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// newCSRText is newCSR as text that can be handed to another process.
func newCSRText(t testing.TB, name string) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: newCSR(t, name)}))
}
