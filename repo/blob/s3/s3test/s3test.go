// Package s3test runs a real S3 server for tests: versitygw over a directory.
package s3test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"go/build"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/internal/pause"
)

// Module is what to install.
const Module = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// Domain is the name of the server where buckets have hosts of their own.
const Domain = "s3.test"

// Options say how the server runs.
type Options struct {
	TLS bool
	// Virtual has buckets named in the host's name: BUCKET.s3.test.
	Virtual bool
	// Versions keeps versions, which object lock needs.
	Versions bool
}

// Server is a running server.
type Server struct {
	Endpoint  string // "http://127.0.0.1:port"
	AccessKey string
	SecretKey string
	// Transport reaches it: it knows its certificate, and where Domain is.
	Transport *http.Transport

	t      testing.TB
	client *minio.Client
}

// Start starts a server, which ends with the test, and puts its credentials into the
// environment. Where versitygw is not installed the test is skipped.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	program := find(t)
	s := &Server{t: t, AccessKey: "AK" + rand.Text()[:14], SecretKey: rand.Text()}
	dir := t.TempDir()
	data, versions := filepath.Join(dir, "data"), filepath.Join(dir, "versions")
	for _, d := range []string{data, versions} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddress(t)
	args := []string{"--port", address, "--quiet", "--keep-alive"}
	scheme, host := "http", address
	s.Transport = &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	if o.TLS {
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		s.Transport.TLSClientConfig = &tls.Config{RootCAs: certificate(t, cert, key), MinVersion: tls.VersionTLS12}
		args = append(args, "--cert", cert, "--key", key)
		scheme = "https"
	}
	if o.Virtual {
		_, port, _ := net.SplitHostPort(address)
		host = net.JoinHostPort(Domain, port)
		args = append(args, "--virtual-domain", host)
		s.Transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	}
	s.Endpoint = scheme + "://" + host
	args = append(args, "posix")
	if o.Versions {
		args = append(args, "--versioning-dir", versions)
	}
	s.run(exec.Command(program, append(args, data)...), address)
	t.Setenv("AWS_ACCESS_KEY_ID", s.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.SecretKey)
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	client, err := minio.New(host, &minio.Options{Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Secure: o.TLS,
		Region: "us-east-1", BucketLookup: minio.BucketLookupPath, Transport: s.Transport})
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	return s
}

func find(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path
	}
	for _, dir := range filepath.SplitList(build.Default.GOPATH) {
		if path, err := exec.LookPath(filepath.Join(dir, "bin", "versitygw")); err == nil {
			return path
		}
	}
	need.Skip(t, "versitygw is not installed: go install %s", Module)
	return ""
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// run starts the server and waits until it listens.
func (s *Server) run(cmd *exec.Cmd, address string) {
	s.t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.AccessKey, "ROOT_SECRET_ACCESS_KEY="+s.SecretKey)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		s.Transport.CloseIdleConnections()
	})
	for limit := time.Now().Add(30 * time.Second); ; {
		if c, err := net.Dial("tcp", address); err == nil {
			_ = c.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			s.t.Fatalf("versitygw ended: %v: %s", err, &out)
		case <-time.After(20 * time.Millisecond): // a foreign program's port has no event
		}
		if time.Now().After(limit) {
			s.t.Fatal("versitygw does not listen")
		}
	}
}

// Bucket makes a bucket and returns its name.
func (s *Server) Bucket(lock bool) string {
	s.t.Helper()
	name := "b-" + strings.ToLower(rand.Text()[:16])
	if err := s.client.MakeBucket(s.t.Context(), name, minio.MakeBucketOptions{ObjectLocking: lock}); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// Versions turns versions of a bucket on.
func (s *Server) Versions(bucket string) {
	s.t.Helper()
	if err := s.client.EnableVersioning(s.t.Context(), bucket); err != nil {
		s.t.Fatal(err)
	}
}

// Client is a client of the server beside the one under test.
func (s *Server) Client() *minio.Client { return s.client }

// certificate writes a certificate of its own making.
func certificate(t testing.TB, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: Domain}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{Domain, "*." + Domain}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: k}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(fmt.Errorf("own certificate: %w", err))
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

// far adds a time to each answer.
type far struct {
	http.RoundTripper
	by time.Duration
}

// Far is the server's Transport as that of one far away: each request waits for so long, beside the others.
func (s *Server) Far(by time.Duration) http.RoundTripper { return far{s.Transport, by} }

func (f far) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := pause.For(r.Context(), f.by); err != nil {
		return nil, err
	}
	return f.RoundTripper.RoundTrip(r)
}
