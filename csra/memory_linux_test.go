package csra

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/kerberos/kdctest"
	"github.com/certkeep/certkeep/internal/need"
)

// A large database moves in little memory, on both sides: each is a process of
// its own here, and may not have had more than 64 MiB at any time.
func TestMemory(t *testing.T) {
	if racing {
		t.Skip("the race detector needs memory of its own")
	}
	const most = 64 << 20
	size := int64(96 << 20)
	if need.Heavy() {
		size = 1 << 30
	}
	for _, mechanism := range []string{"NTLM", "Kerberos"} {
		t.Run(mechanism, func(t *testing.T) {
			env := []string{"CERTKEEP_CSRA_SIZE=" + strconv.FormatInt(size, 10)}
			if mechanism == "Kerberos" {
				if !need.Heavy() {
					t.Skip("for CERTKEEP_TEST_HEAVY")
				}
				k := startRealm(t, kdctest.Options{Etypes: []string{"aes256-cts-hmac-sha1-96"}})
				env = append(env, "CERTKEEP_CSRA_KEYTAB="+k.service, "CERTKEEP_CSRA_USERS="+k.users, "KRB5_CONFIG="+k.Config)
			}
			server := startChild(t, "server", env...)
			client := startChild(t, "client", append(env, "CERTKEEP_CSRA_PORT="+server.say(t))...)
			for _, c := range []*child{client, server} { // the server goes on until the client is done
				c.in.Close()
				peak, err := strconv.ParseInt(c.say(t), 10, 64)
				if err != nil || peak <= 0 {
					t.Fatalf("%s: %v", c.side, err)
				}
				c.wait(t)
				t.Logf("%s: %d MiB of memory for %d MiB", c.side, peak>>20, size>>20)
				if peak > most {
					t.Errorf("%s: %d MiB of memory, at most %d are allowed", c.side, peak>>20, most>>20)
				}
			}
		})
	}
}

// child is a process of this program that runs TestMemoryChild.
type child struct {
	side string
	in   io.Closer
	out  *bufio.Scanner
	done func() error
}

func startChild(t *testing.T, side string, env ...string) *child {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryChild$")
	cmd.Env = append(append(os.Environ(), "CERTKEEP_CSRA_CHILD="+side), env...)
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := false
	c := &child{side: side, in: in, out: bufio.NewScanner(out)}
	c.done = func() error {
		if waited {
			return nil
		}
		waited = true
		return cmd.Wait()
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		c.done()
	})
	return c
}

// say waits for the next thing that the child says.
func (c *child) say(t *testing.T) string {
	t.Helper()
	for c.out.Scan() {
		if s, ok := strings.CutPrefix(c.out.Text(), "csra: "); ok {
			return s
		}
	}
	t.Fatalf("the child has ended: %v", c.done())
	return ""
}

func (c *child) wait(t *testing.T) {
	t.Helper()
	for c.out.Scan() {
	}
	if err := c.done(); err != nil {
		t.Errorf("child: %v", err)
	}
}

// TestMemoryChild is the server or the client of TestMemory.
func TestMemoryChild(t *testing.T) {
	side := os.Getenv("CERTKEEP_CSRA_CHILD")
	if side == "" {
		t.Skip("is for TestMemory")
	}
	size, err := strconv.ParseInt(os.Getenv("CERTKEEP_CSRA_SIZE"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if side == "server" {
		o := ServerOptions{NTLM: testSecrets.server(), Open: func(context.Context, Caller) (certadm.Service, error) { return newLarge(size), nil }}
		if keytab := os.Getenv("CERTKEEP_CSRA_KEYTAB"); keytab != "" {
			o.Keytab, o.NTLM = keytab, nil
		}
		s := serveTCP(t, o)
		fmt.Printf("csra: %d\n", s.resolver)
		io.Copy(io.Discard, os.Stdin) // until the client is done
	} else {
		s := &served{}
		if s.resolver, err = strconv.Atoi(os.Getenv("CERTKEEP_CSRA_PORT")); err != nil {
			t.Fatal(err)
		}
		c, _ := s.mustDial(t, func(o *Options) {
			if users := os.Getenv("CERTKEEP_CSRA_USERS"); users != "" {
				o.Credentials = KerberosKeytab("u0@"+kdctest.DefaultRealm, users)
			}
		})
		readLarge(t, c, size)
	}
	fmt.Printf("csra: %d\n", peakMemory(t))
}

// readLarge reads and checks the database of a large Service, with the largest
// buffer that Certadm.dll has.
func readLarge(t *testing.T, c *Client, size int64) {
	b := mustPrepare(t, c)
	f, err := b.OpenFile(t.Context(), fakeDB, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(&checker{t: t}, f)
	if err != nil || n != size {
		t.Errorf("%d bytes of %d, %v", n, size, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// checker compares what is written to it with what a large Service serves.
type checker struct {
	t  *testing.T
	at int
}

func (c *checker) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		m := min(len(p), len(pattern)-c.at)
		if !bytes.Equal(p[:m], pattern[c.at:c.at+m]) {
			c.t.Fatal("the data is wrong")
		}
		p, n, c.at = p[m:], n+m, (c.at+m)%len(pattern)
	}
	return n, nil
}

// peakMemory is the most that this process has had in memory so far.
func peakMemory(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM in /proc/self/status")
	return 0
}
