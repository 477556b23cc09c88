package repo_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/backupset/backupsettest"
	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/repo"
	"github.com/certkeep/certkeep/repo/blob/fault"
	"github.com/certkeep/certkeep/repo/blob/file"
)

// The child's orders.
const (
	envDir   = "CERTKEEP_REPO_KILL_DIR"
	envKey   = "CERTKEEP_REPO_KILL_KEY"   // file of the host's key
	envCall  = "CERTKEEP_REPO_KILL_CALL"  // of the store, at which to die
	envDelay = "CERTKEEP_REPO_KILL_DELAY" // how long after its beginning
)

// A process that is killed in the midst of backups, forgetting and prunes leaves every set that it
// reported complete as it was; and the next process goes on.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	store, err := file.Create(filepath.Join(dir, "repository"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, store)
	key := filepath.Join(dir, "host.json")
	if err := saveHost(key)(w.host); err != nil {
		t.Fatal(err)
	}
	kills := 12
	if need.Heavy() {
		kills = 150
	}
	complete := map[string]string{} // id → hash of the manifest
	for n := range kills {
		call, delay := 1+(n*37)%(160+10*n), time.Duration(n*n%23)*50*time.Microsecond
		lines := runChild(t, store.Location(), key, call, delay)
		for _, l := range lines {
			what, rest, _ := strings.Cut(l, " ")
			id, sum, _ := strings.Cut(rest, " ")
			switch what {
			case "set":
				complete[id] = sum
			case "forgetting":
				delete(complete, id)
			default:
				t.Fatalf("the child says %q", l)
			}
		}
		r, err := repo.Open(t.Context(), repo.Options{Blob: store, Identities: []age.Identity{w.identity}})
		if err != nil {
			t.Fatalf("after kill %d (call %d, %v): %v", n, call, delay, err)
		}
		if p := r.Problems(); len(p) > 0 {
			t.Fatalf("after kill %d (call %d, %v): %v", n, call, delay, p)
		}
		for id, sum := range complete {
			if err := wholeSet(r, id, sum); err != nil {
				t.Fatalf("after kill %d (call %d, %v): %v", n, call, delay, err)
			}
		}
	}
	if len(complete) < kills/6 {
		t.Errorf("%d sets were completed only", len(complete))
	}
	sound(t, w.open(noHost))
	t.Logf("%d kills, %d sets are complete", kills, len(complete))
}

// wholeSet checks a set against the hash of its manifest, and its files against the manifest.
func wholeSet(r *repo.Repository, id, sum string) error {
	ctx := context.Background()
	set, err := r.Open(ctx, id)
	if err != nil {
		return err
	}
	if set.Manifest().SHA256 != sum {
		return fmt.Errorf("set %s: another manifest", id)
	}
	for _, f := range set.Manifest().Files {
		if err := backupset.Check(ctx, set, f); err != nil {
			return err
		}
	}
	_, err = set.Receipt()
	return err
}

func runChild(t *testing.T, dir, key string, call int, delay time.Duration) (lines []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledChild$")
	cmd.Env = append(os.Environ(), envDir+"="+dir, envKey+"="+key, envCall+"="+strconv.Itoa(call), envDelay+"="+delay.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for s := bufio.NewScanner(out); s.Scan(); {
		lines = append(lines, s.Text())
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() && exit.ExitCode() == 3 {
		t.Fatalf("the child was not killed: %v", err)
	}
	return lines
}

// saveHost keeps a host's key in a file.
func saveHost(name string) func(*repo.HostKey) error {
	return func(h *repo.HostKey) error {
		b, err := h.Encode()
		if err != nil {
			return err
		}
		if err := os.WriteFile(name+".new", b, 0o600); err != nil {
			return err
		}
		return os.Rename(name+".new", name)
	}
}

// TestKilledChild is the process that is killed. It says what is complete, a line each, written at once.
func TestKilledChild(t *testing.T) {
	if os.Getenv(envDir) == "" {
		t.Skip("not a child of TestKilled")
	}
	if err := child(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(3)
	}
}

func child(ctx context.Context) error {
	defer repo.Shrink()()
	call, err := strconv.Atoi(os.Getenv(envCall))
	if err != nil {
		return err
	}
	delay, err := time.ParseDuration(os.Getenv(envDelay))
	if err != nil {
		return err
	}
	me, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	store, err := file.Open(os.Getenv(envDir))
	if err != nil {
		return err
	}
	b := fault.New(store, func(c fault.Call) fault.Act {
		if c.N == call {
			go func() {
				// Spinning hits a moment within a millisecond better than a timer does.
				for began := time.Now(); time.Since(began) < delay; {
				}
				_ = me.Kill()
			}()
			if delay == 0 {
				select {} // not a step further
			}
		}
		return fault.None
	}, fault.Options{})
	key, err := os.ReadFile(os.Getenv(envKey))
	if err != nil {
		return err
	}
	h, err := repo.DecodeHostKey(key)
	if err != nil {
		return err
	}
	r, err := repo.Open(ctx, repo.Options{Blob: b, Host: h, SaveHost: saveHost(os.Getenv(envKey))})
	if err != nil {
		return err
	}
	first := backupsettest.Full(1, 1, 6*chunk)
	for gen := uint32(2); ; gen++ {
		s := laterSample(first, gen, int(gen)*7001%(6*chunk))
		if err := put(ctx, r, s); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(os.Stdout, "set %s %s\n", s.Manifest.ID, s.Manifest.SHA256); err != nil {
			return err
		}
		if gen%3 != 0 {
			continue
		}
		// From now on it may be gone.
		if _, err := fmt.Fprintf(os.Stdout, "forgetting %s\n", s.Manifest.ID); err != nil {
			return err
		}
		if err := r.Forget(ctx, s.Manifest.ID); err != nil {
			return err
		}
		if _, err := r.Prune(ctx, repo.PruneOptions{MaxUnused: 0.01}); err != nil {
			return err
		}
	}
}
