package sqlitelog

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/internal/need"
)

const killEnv = "SQLITELOG_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		if err := killChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func killConfig(dir string) Config {
	return Config{Database: filepath.Join(dir, "db", "ca.db"), LogDir: filepath.Join(dir, "log"),
		StateDir: filepath.Join(dir, "state"), GenerationSize: 64 << 10}
}

// killChild writes until it is killed, and says what is acknowledged and which phase begins.
func killChild(dir string) error {
	ctx := context.Background()
	var out sync.Mutex
	say := func(format string, a ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format+"\n", a...)
	}
	cfg := killConfig(dir)
	cfg.Observe = func(e Event) { say("phase %s", e.Phase) }
	db, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	errs := make(chan error)
	for w := range 4 {
		go func() {
			var seq int
			err := db.Reader().QueryRow("SELECT coalesce(max(seq), 0) FROM ack WHERE writer = ?", w).Scan(&seq)
			for err == nil {
				seq++
				err = db.Write(ctx, func(tx *sql.Tx) error {
					if err := insert(tx); err != nil {
						return err
					}
					_, err := tx.Exec("INSERT INTO ack VALUES (?, ?)", w, seq)
					return err
				})
				if err == nil {
					say("ack %d %d", w, seq)
				}
			}
			errs <- err
		}()
	}
	go func() {
		for {
			c, err := db.StartCopy(ctx)
			if err == nil {
				_, err = io.Copy(io.Discard, io.NewSectionReader(c, 0, c.Size()))
			}
			if err == nil {
				say("phase copy finish")
				_, err = c.Finish(ctx)
			}
			if err == nil {
				err = c.Close()
			}
			if err == nil {
				_, err = db.Truncate(ctx, db.Status().Newest-1, filepath.Join(dir, "aside"))
			}
			if err != nil {
				errs <- err
			}
		}
	}()
	return <-errs
}

// TestKill kills a writing process at random moments and in each phase, again and again
// on the same database.
func TestKill(t *testing.T) {
	rounds := 14
	if need.Heavy() {
		rounds = 300
	} else {
		t.Log("few rounds; more with CERTKEEP_TEST_HEAVY=1")
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	self, err := os.Executable()
	must(t, err)
	dir := t.TempDir()
	cfg := killConfig(dir)
	must(t, Create(context.Background(), cfg, testSchema+"CREATE TABLE ack (writer INTEGER, seq INTEGER, PRIMARY KEY (writer, seq)) WITHOUT ROWID;"))
	b := base(t, cfg)
	phases := []Phase{PhaseOpened, PhaseRollGate, PhaseRollCopied, PhaseRollPublished, PhaseCheckpointBegin, PhaseCheckpointEnd,
		PhaseRollEnd, PhaseMark, PhaseTruncateMoved, "copy finish", "any"}
	acked := make([]int, 4)
	for i := range rounds {
		phase := phases[i%len(phases)]
		hits := 1 + r.IntN(3)
		if phase == "any" {
			hits = 1 + r.IntN(200)
		}
		if err := killRound(self, dir, phase, hits, acked); err != nil {
			t.Fatalf("round %d, %s: %v", i, phase, err)
		}
		db, err := Open(context.Background(), cfg)
		if err != nil {
			t.Fatalf("after round %d, killed at %s: %v", i, phase, err)
		}
		for w, n := range acked {
			var got, top int
			must(t, db.Reader().QueryRow("SELECT count(*), coalesce(max(seq), 0) FROM ack WHERE writer = ?", w).Scan(&got, &top))
			if got != top || top < n || top > n+1 {
				t.Fatalf("after round %d, killed at %s: writer %d has %d of %d rows, %d acknowledged", i, phase, w, got, top, n)
			}
			acked[w] = top // one more may be there that was not acknowledged in time
		}
		must(t, db.Close())
	}
	// From the first generation to the last, the logs make the database.
	db := openDB(t, cfg)
	n := count(t, db.Reader())
	must(t, db.Close())
	var logs []string
	for g := uint32(1); g < db.Status().Open; g++ {
		p := filepath.Join(cfg.LogDir, LogName(g))
		if _, err := os.Stat(p); err != nil {
			p = filepath.Join(dir, "aside", LogName(g))
		}
		logs = append(logs, p)
	}
	_, err = Replay(context.Background(), b, logs, 0)
	must(t, err)
	must(t, IntegrityCheck(context.Background(), b))
	if got := countFile(t, b); got != n {
		t.Fatalf("%d rows, %d after replay of %d logs", n, got, len(logs))
	}
	t.Logf("%d rows, %d generations", n, len(logs))
}

// killRound runs a child until it has said the phase hits times, then kills it and reads
// what it had still said.
func killRound(self, dir string, phase Phase, hits int, acked []int) error {
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	killed := false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		var w, seq int
		if n, _ := fmt.Sscanf(line, "ack %d %d", &w, &seq); n == 2 {
			acked[w] = max(acked[w], seq)
		}
		if line == "phase "+string(phase) || phase == "any" {
			hits--
		}
		if hits <= 0 && !killed {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				return err
			}
		}
	}
	err = cmd.Wait()
	if !killed {
		return fmt.Errorf("it ended by itself: %v: %s", err, stderr.String())
	}
	return nil
}
