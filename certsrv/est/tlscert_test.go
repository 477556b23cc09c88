package est

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certsrv/authority"
)

// issuer counts, and fails on demand.
type issuer struct {
	issue func(ctx context.Context, csr []byte) ([]byte, error)
	mu    sync.Mutex
	n     int
	err   error
}

func (i *issuer) Issue(ctx context.Context, csr []byte) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n++
	if i.err != nil {
		return nil, i.err
	}
	return i.issue(ctx, csr)
}

type tlsBench struct {
	ca   *ca
	now  time.Time
	iss  *issuer
	opts TLSOptions
}

func newTLSBench(t *testing.T) *tlsBench {
	b := &tlsBench{now: time.Now().Truncate(time.Second)}
	clock := func() time.Time { return b.now }
	b.ca = newCA(t, clock)
	b.iss = &issuer{issue: IssueWith(b.ca.Authority, clock)}
	b.opts = TLSOptions{
		CA: b.ca.Certificate(), Hosts: []string{"localhost", "127.0.0.1", "::1"}, Issue: b.iss.Issue,
		File: filepath.Join(t.TempDir(), "tls.pem"), Now: clock,
	}
	return b
}

func (b *tlsBench) open(t *testing.T) *TLSCertificate {
	t.Helper()
	c, err := NewTLSCertificate(t.Context(), b.opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// handshake returns the certificate that a client sees.
func handshake(t *testing.T, c *TLSCertificate, b *tlsBench, host string) *x509.Certificate {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(b.ca.Certificate())
	left, right := net.Pipe()
	defer left.Close()
	defer right.Close()
	server := tls.Server(left, c.Config())
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	client := tls.Client(right, &tls.Config{RootCAs: roots, ServerName: host, Time: func() time.Time { return b.now }})
	if err := client.Handshake(); err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0]
}

func TestTLSCertificate(t *testing.T) {
	b := newTLSBench(t)
	c := b.open(t)
	for _, host := range b.opts.Hosts {
		if got := handshake(t, c, b, host); !got.Equal(c.Certificate()) {
			t.Errorf("%s: another certificate", host)
		}
	}
	if fi, err := os.Stat(b.opts.File); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if again := b.open(t); !again.Certificate().Equal(c.Certificate()) || b.iss.n != 1 {
		t.Errorf("a restart needed a new one (%d issued)", b.iss.n)
	}
	b.opts.File = ""
	if again := b.open(t); again.Certificate().Equal(c.Certificate()) || b.iss.n != 2 {
		t.Errorf("without a file: %d issued", b.iss.n)
	}
}

func TestTLSCertificateRenewal(t *testing.T) {
	b := newTLSBench(t)
	c := b.open(t)
	first := c.Certificate()
	b.now = b.now.Add(59 * 24 * time.Hour)
	if got := handshake(t, c, b, "localhost"); !got.Equal(first) {
		t.Error("renewed after 59 of 90 days")
	}
	b.now = b.now.Add(2 * 24 * time.Hour)
	b.iss.err = errors.New("no CA today")
	for range 3 {
		if got := handshake(t, c, b, "localhost"); !got.Equal(first) {
			t.Error("the old one should be used while renewal fails")
		}
	}
	if b.iss.n != 2 {
		t.Errorf("%d attempts within a minute", b.iss.n-1)
	}
	b.iss.err = nil
	b.now = b.now.Add(renewalPause)
	second := handshake(t, c, b, "localhost")
	if second.Equal(first) || b.iss.n != 3 {
		t.Errorf("not renewed (%d issued)", b.iss.n)
	}
	if got := handshake(t, c, b, "localhost"); !got.Equal(second) || b.iss.n != 3 {
		t.Errorf("renewed twice (%d issued)", b.iss.n)
	}
	if again := b.open(t); !again.Certificate().Equal(second) {
		t.Error("the file has the old one")
	}
}

func TestTLSCertificateFileIsJudged(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, b *tlsBench){
		"other hosts": func(t *testing.T, b *tlsBench) { b.opts.Hosts = append(b.opts.Hosts, "ca.example") },
		"expiring":    func(t *testing.T, b *tlsBench) { b.now = b.now.Add(61 * 24 * time.Hour) },
		"other CA": func(t *testing.T, b *tlsBench) {
			b.ca = newCA(t, func() time.Time { return b.now })
			b.opts.CA, b.iss.issue = b.ca.Certificate(), IssueWith(b.ca.Authority, b.ca.now)
		},
		"damaged": func(t *testing.T, b *tlsBench) { writeFile(t, b.opts.File, []byte("rubbish")) },
		"empty":   func(t *testing.T, b *tlsBench) { writeFile(t, b.opts.File, nil) },
		"readable by others": func(t *testing.T, b *tlsBench) {
			if runtime.GOOS == "windows" {
				t.Skip("Windows has no such modes")
			}
			if err := os.Chmod(b.opts.File, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"two of different origin": func(t *testing.T, b *tlsBench) {
			old, err := os.ReadFile(b.opts.File)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(b.opts.File); err != nil {
				t.Fatal(err)
			}
			b.open(t)
			b.iss.n--
			other, err := os.ReadFile(b.opts.File)
			if err != nil {
				t.Fatal(err)
			}
			const cut = "-----BEGIN CERTIFICATE"
			writeFile(t, b.opts.File, []byte(strings.Split(string(old), cut)[0]+cut+strings.Split(string(other), cut)[1]))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTLSBench(t)
			first := b.open(t).Certificate()
			spoil(t, b)
			c := b.open(t)
			if c.Certificate().Equal(first) || b.iss.n != 2 {
				t.Fatalf("the file was used (%d issued)", b.iss.n)
			}
			handshake(t, c, b, b.opts.Hosts[len(b.opts.Hosts)-1])
			if b.open(t); b.iss.n != 2 {
				t.Error("the new one was not kept")
			}
		})
	}
}

func TestTLSCertificateErrors(t *testing.T) {
	b := newTLSBench(t)
	b.iss.err = errors.New("no CA today")
	if _, err := NewTLSCertificate(t.Context(), b.opts); !errors.Is(err, b.iss.err) {
		t.Errorf("%v", err)
	}
	if _, err := NewTLSCertificate(t.Context(), TLSOptions{}); err == nil {
		t.Error("no options: accepted")
	}
	// A CA that answers with something else than was asked for.
	b = newTLSBench(t)
	good := b.iss.issue
	for name, issue := range map[string]func(ctx context.Context, csr []byte) ([]byte, error){
		"another key": func(ctx context.Context, _ []byte) ([]byte, error) {
			key, err := authority.GenerateKey("")
			if err != nil {
				return nil, err
			}
			csr, err := authority.NewRequest(key, nil, b.opts.Hosts)
			if err != nil {
				return nil, err
			}
			return good(ctx, csr)
		},
		"rubbish": func(context.Context, []byte) ([]byte, error) { return []byte("x"), nil },
		"another CA": func(ctx context.Context, csr []byte) ([]byte, error) {
			return IssueWith(newCA(t, b.opts.Now).Authority, b.opts.Now)(ctx, csr)
		},
	} {
		b.iss.issue = issue
		if _, err := NewTLSCertificate(t.Context(), b.opts); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := os.Stat(b.opts.File); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	b.iss.issue = good
	if _, err := NewTLSCertificate(canceled, b.opts); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	b.opts.Hosts = []string{"not a host"}
	if _, err := NewTLSCertificate(t.Context(), b.opts); !errors.Is(err, authority.ErrRequest) {
		t.Errorf("bad host: %v", err)
	}
}

func TestHostsFor(t *testing.T) {
	for listen, want := range map[string][]string{
		"127.0.0.1:8135":    {"localhost", "127.0.0.1"},
		"[::1]:1":           {"localhost", "::1"},
		"localhost:0":       {"localhost", "127.0.0.1", "::1"},
		"ca.example:443":    {"ca.example"},
		"192.0.2.1:1":       {"192.0.2.1"},
		"[fe80::1%eth0]:80": {"fe80::1"},
	} {
		if got, err := HostsFor(listen); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", listen, got, err)
		}
	}
	for _, listen := range []string{":8135", "0.0.0.0:1", "[::]:1"} {
		got, err := HostsFor(listen)
		if err != nil || len(got) < 3 || !slices.Equal(got[:3], []string{"localhost", "127.0.0.1", "::1"}) {
			t.Errorf("%s: %v, %v", listen, got, err)
		}
	}
	for _, listen := range []string{"", "localhost", "a b:1", "*.x:1:2"} {
		if got, err := HostsFor(listen); err == nil {
			t.Errorf("%q: %v", listen, got)
		}
	}
	if _, err := HostsFor(fmt.Sprintf("%s:1", strings.Repeat("a", 300))); err == nil {
		t.Error("a long host")
	}
}
