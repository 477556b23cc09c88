package est

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// command runs a real program, and skips the test where there is none.
func command(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func must(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, err := command(t, dir, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func serve(t *testing.T, s *http.Server) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		if s.TLSConfig != nil {
			done <- s.ServeTLS(l, "", "")
		} else {
			done <- s.Serve(l)
		}
	}()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return l.Addr()
}

// TestCurlAndOpenSSL enrols with nothing of ours on the client's side: requests
// by openssl req, sent by curl, unpacked by openssl pkcs7, judged by openssl
// verify with the CRL that curl fetched from the distribution point.
func TestCurlAndOpenSSL(t *testing.T) {
	dir := t.TempDir()
	must(t, dir, "curl", "--version")
	must(t, dir, "openssl", "version")
	c := newCA(t, time.Now)
	cert, err := NewTLSCertificate(t.Context(), TLSOptions{
		CA: c.Certificate(), Hosts: []string{"localhost", "127.0.0.1"}, Issue: IssueWith(c.Authority, time.Now),
	})
	if err != nil {
		t.Fatal(err)
	}
	https := serve(t, NewServer(NewHandler(c, accounts(t), Options{}), cert.Config(), nil))
	plain := serve(t, NewServer(NewPublishedHandler("Test", c), nil, nil))
	ca := filepath.Join(dir, "trust.pem")
	writeFile(t, ca, pemOf("CERTIFICATE", c.Certificate().Raw))
	url := fmt.Sprintf("https://%s", https)

	// The CA's certificate by EST is the one that we trust already.
	must(t, dir, "curl", "-sS", "--fail", "--cacert", "trust.pem", "-o", "cacerts.b64", url+PathCACerts)
	must(t, dir, "openssl", "base64", "-d", "-in", "cacerts.b64", "-out", "cacerts.p7")
	must(t, dir, "openssl", "pkcs7", "-inform", "DER", "-in", "cacerts.p7", "-print_certs", "-out", "ca.pem")
	if a, b := must(t, dir, "openssl", "x509", "-in", "ca.pem", "-noout", "-fingerprint"), must(t, dir, "openssl", "x509", "-in", "trust.pem", "-noout", "-fingerprint"); a != b {
		t.Fatalf("%s is not %s", a, b)
	}

	for kind, newkey := range map[string][]string{
		"ec":      {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"rsa":     {"-newkey", "rsa:2048"},
		"ed25519": {"-newkey", "ed25519"},
	} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			must(t, dir, "openssl", append([]string{"req", "-new", "-nodes", "-keyout", "host.key", "-out", "req.der", "-outform", "DER",
				"-subj", "/CN=host.example", "-addext", "subjectAltName=DNS:host.example"}, newkey...)...)
			must(t, dir, "openssl", "base64", "-in", "req.der", "-out", "req.b64")
			post := []string{"-sS", "--cacert", ca, "-u", "alice:password of alice", "-H", "Content-Type: application/pkcs10", "--data-binary", "@req.b64",
				"-o", "answer", "-w", "%{http_code} %{content_type}", url + PathSimpleEnroll}
			if out := must(t, dir, "curl", post...); out != "200 application/pkcs7-mime; smime-type=certs-only" {
				answer, _ := os.ReadFile(filepath.Join(dir, "answer"))
				t.Fatalf("%s: %s", out, answer)
			}
			must(t, dir, "openssl", "base64", "-d", "-in", "answer", "-out", "answer.p7")
			must(t, dir, "openssl", "pkcs7", "-inform", "DER", "-in", "answer.p7", "-print_certs", "-out", "host.pem")
			must(t, dir, "openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "host.example", "-CAfile", ca, "host.pem")
			if a, b := must(t, dir, "openssl", "pkey", "-in", "host.key", "-pubout"), must(t, dir, "openssl", "x509", "-in", "host.pem", "-noout", "-pubkey"); a != b {
				t.Error("the certificate is for another key")
			}

			for number, revoked := range []bool{false, true} {
				if revoked {
					c.publish(t, int64(number+1), c.last.SerialNumber)
				} else {
					c.publish(t, int64(number+1))
				}
				must(t, dir, "curl", "-sS", "--fail", "-o", "ca.crl", fmt.Sprintf("http://%s/Test.crl", plain))
				if s := must(t, dir, "openssl", "crl", "-inform", "DER", "-in", "ca.crl", "-CAfile", ca, "-noout"); !strings.Contains(s, "verify OK") {
					t.Errorf("CRL: %s", s)
				}
				out, err := command(t, dir, "openssl", "verify", "-crl_check", "-CAfile", ca, "-CRLfile", "ca.crl", "host.pem")
				if (err != nil) != revoked || revoked && !strings.Contains(out, "revoked") {
					t.Errorf("revoked %v: %v %s", revoked, err, out)
				}
			}

			// As curl does when told to, and as people forget.
			for want, change := range map[string][2]string{
				"401": {"alice:password of alice", "alice:password of bob"},
				"403": {"alice:password of alice", "bob:password of bob"},
				"415": {"Content-Type: application/pkcs10", "X-Nothing: 1"},
			} {
				args := append([]string(nil), post...)
				for i := range args {
					if args[i] == change[0] {
						args[i] = change[1]
					}
				}
				if out := must(t, dir, "curl", args...); !strings.HasPrefix(out, want+" ") {
					t.Errorf("%s instead of %s", out, want)
				}
			}
		})
	}
	if out, err := command(t, dir, "curl", "-sS", url+PathCACerts); err == nil {
		t.Errorf("curl trusts it without --cacert: %s", out)
	}
	must(t, dir, "curl", "-sS", "--fail", "--cacert", "trust.pem", "-o", "/dev/null", fmt.Sprintf("https://localhost:%d%s", https.(*net.TCPAddr).Port, PathCACerts))
}
