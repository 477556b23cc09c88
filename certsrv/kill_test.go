package certsrv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/need"
)

// childEnv makes the test binary a server of the directory that it names.
const childEnv = "CERTKEEP_TEST_SERVE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := serveChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveChild issues, revokes and backs up until it is killed, and says on stdout
// what was acknowledged.
func serveChild(dir string) error {
	s, err := New(dir, Options{GenerationSize: 256 << 10})
	if err != nil {
		return err
	}
	if err := s.Start(context.Background()); err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf(format+"\n", args...) // one write each
	}
	failed := make(chan error, 10)
	csr := []byte(os.Getenv("CERTKEEP_TEST_CSR"))
	for range 4 {
		go func() {
			for n := 0; ; n++ {
				res, err := s.Submit(context.Background(), root, csr, nil)
				if err != nil {
					failed <- err
					return
				}
				say("issued %s", res.Serial)
				if n%10 == 9 {
					if err := s.Revoke(context.Background(), root, res.Serial, schema.Superseded); err != nil {
						failed <- err
						return
					}
					say("revoked %s", res.Serial)
				}
			}
		}()
	}
	go func() {
		for n := 0; ; n++ {
			if _, err := fullBackup(context.Background(), s, discardWriter{}); err != nil {
				failed <- err
				return
			}
			if _, err := s.PublishCRL(context.Background(), root); err != nil {
				failed <- err
				return
			}
			say("backup %d", n)
		}
	}()
	return <-failed
}

type discardWriter struct{}

func (discardWriter) Write(p []byte) (int, error) { return len(p), nil }

// What was acknowledged survives kill -9, whatever the service is doing.
func TestKill(t *testing.T) {
	rounds := 3
	if need.Heavy() {
		rounds = 60
	} else {
		t.Log("CERTKEEP_TEST_HEAVY=1 kills more often")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newServer(t, InitOptions{}, Options{})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	csr := newCSRText(t, "host")
	issued, revoked := make(map[string]bool), make(map[string]bool)
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), childEnv+"="+s.Dir(), "CERTKEEP_TEST_CSR="+csr)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		after := 1 + random.IntN(300)
		lines := bufio.NewScanner(out)
		for n := 1; lines.Scan(); n++ {
			what, arg, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "issued":
				if issued[arg] {
					t.Fatalf("serial %s was given twice", arg)
				}
				issued[arg] = true
			case "revoked":
				revoked[arg] = true
			}
			if n == after {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || stderr.Len() > 0 {
			t.Fatalf("round %d: %v: %s", round, err, stderr.String())
		}
	}
	mustStart(t, s)
	got := append(serials(t, s, schema.Issued), serials(t, s, schema.Revoked)...)
	slices.Sort(got)
	for serial := range issued {
		if _, ok := slices.BinarySearch(got, serial); !ok {
			t.Errorf("%s was acknowledged and is not there", serial)
		}
	}
	gone := serials(t, s, schema.Revoked)
	slices.Sort(gone)
	for serial := range revoked {
		if _, ok := slices.BinarySearch(gone, serial); !ok {
			t.Errorf("%s was revoked and is not", serial)
		}
	}
	t.Logf("%d certificates acknowledged, %d there, %d revoked", len(issued), len(got), len(revoked))
	set := take(t, s, certadm.BackupFull, true)
	mustStop(t, s)
	setAside(t, s)
	register(t, s, set)
	mustStart(t, s)
	again := append(serials(t, s, schema.Issued), serials(t, s, schema.Revoked)...)
	slices.Sort(again)
	if !slices.Equal(got, again) {
		t.Errorf("%d certificates, %d after a restore", len(got), len(again))
	}
}
