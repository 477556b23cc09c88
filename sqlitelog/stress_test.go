package sqlitelog

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/certkeep/certkeep/internal/need"
)

// TestStress keeps proving the whole: concurrent writers, rollbacks, transactions that
// overflow the cache, long readers, rolling, fuzzy copies during checkpoints, truncation; then
// every copy is replayed to every target that it allows, and each page compared with what
// SQLite had at the closing of that generation. CERTKEEP_TEST_SEED repeats a run.
func TestStress(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("CERTKEEP_TEST_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	ops := 600
	if need.Heavy() {
		ops = 10000
	} else {
		t.Log("short; longer with CERTKEEP_TEST_HEAVY=1")
	}
	t.Logf("seed %d, %d operations", seed, ops)
	s := &stress{t: t, seed: seed, tick: sync.NewCond(new(sync.Mutex)), snaps: map[uint32][]pageSum{}, aside: filepath.Join(t.TempDir(), "aside")}
	s.run(int64(ops))
	s.check()
}

type pageSum [8]byte

func sumPage(p []byte) pageSum {
	h := sha256.Sum256(p)
	return pageSum(h[:])
}

type stressCopy struct {
	path string
	info CopyInfo
}

type stress struct {
	t     *testing.T
	seed  uint64
	cfg   Config
	db    *DB
	aside string
	left  atomic.Int64
	tick  *sync.Cond // each operation

	mu     sync.Mutex
	snaps  map[uint32][]pageSum // by generation, as SQLite had the pages at its closing
	copies []stressCopy
	busy   int
	rolls  int
}

func (s *stress) rand(n uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, n)) }

func (s *stress) fail(err error) bool {
	if err != nil {
		s.t.Error(err)
		s.left.Store(0)
		s.tick.Broadcast()
	}
	return err != nil
}

// wait waits until n more operations have begun, or the end.
func (s *stress) wait(n int) {
	s.tick.L.Lock()
	defer s.tick.L.Unlock()
	for target := s.left.Load() - int64(n); s.left.Load() > max(target, 0); {
		s.tick.Wait()
	}
}

// next says whether there is another operation to do.
func (s *stress) next() bool {
	s.tick.L.Lock()
	defer s.tick.L.Unlock()
	defer s.tick.Broadcast()
	return s.left.Add(-1) >= 0
}

func (s *stress) run(ops int64) {
	ctx := context.Background()
	s.cfg = testConfig(s.t)
	s.cfg.GenerationSize = 256 << 10
	var db *DB
	s.cfg.Observe = func(e Event) {
		switch e.Phase {
		case PhaseRollPublished:
			snap := s.snapshot(db)
			s.mu.Lock()
			s.snaps[e.Generation] = snap
			s.rolls++
			s.mu.Unlock()
		case PhaseCheckpointEnd:
			if e.Busy {
				s.mu.Lock()
				s.busy++
				s.mu.Unlock()
			}
		}
	}
	must(s.t, Create(ctx, s.cfg, testSchema+"CREATE TABLE ack (writer INTEGER, seq INTEGER, PRIMARY KEY (writer, seq)) WITHOUT ROWID;"))
	db = openDB(s.t, s.cfg)
	s.db = db
	// A small cache, so that large transactions write frames before they commit, or do not.
	db.gate.Lock()
	_, err := db.writer.ExecContext(ctx, "PRAGMA cache_size = 40")
	db.gate.Unlock()
	must(s.t, err)

	s.left.Store(ops)
	var writers, others sync.WaitGroup
	acks := make([]int, 6)
	for w := range acks {
		writers.Add(1)
		go func() { defer writers.Done(); acks[w] = s.writer(w) }()
	}
	stop := make(chan struct{})
	others.Add(3)
	go func() { defer others.Done(); s.reader(stop) }()
	go func() { defer others.Done(); s.copier(stop) }()
	go func() { defer others.Done(); s.roller(stop) }()
	writers.Wait()
	close(stop)
	others.Wait()
	for w, n := range acks {
		var got int
		must(s.t, db.Reader().QueryRow("SELECT count(*) FROM ack WHERE writer = ? AND seq <= ?", w, n).Scan(&got))
		if got != n {
			s.t.Errorf("writer %d: %d acknowledged, %d there", w, n, got)
		}
	}
	must(s.t, db.Close())
}

// snapshot sums every page as SQLite sees it, with writers stopped.
func (s *stress) snapshot(db *DB) []pageSum {
	rows, err := db.Reader().Query("SELECT data FROM sqlite_dbpage ORDER BY pgno")
	if s.fail(err) {
		return nil
	}
	defer rows.Close()
	var snap []pageSum
	var p sql.RawBytes
	for rows.Next() {
		if s.fail(rows.Scan(&p)) {
			return nil
		}
		snap = append(snap, sumPage(p))
	}
	s.fail(rows.Err())
	return snap
}

// writer writes, changes, deletes, and fails on purpose. It returns how many of its
// sequence numbers were acknowledged.
func (s *stress) writer(w int) (seq int) {
	r := s.rand(uint64(w))
	wanted := errors.New("wanted")
	for s.next() {
		kind, n, id, size := r.IntN(20), 1+r.IntN(8), r.IntN(1000), r.IntN(5000)
		fail := r.IntN(6) == 0
		err := s.db.Write(context.Background(), func(tx *sql.Tx) error {
			var err error
			switch {
			case kind < 10:
				for range n {
					if _, err = tx.Exec("INSERT INTO cert (serial, raw) VALUES (hex(randomblob(16)), randomblob(?))", size); err != nil {
						return err
					}
				}
			case kind < 14:
				_, err = tx.Exec("UPDATE cert SET raw = randomblob(?) WHERE id BETWEEN ? AND ?", size, id, id+n)
			case kind < 18:
				_, err = tx.Exec("DELETE FROM cert WHERE id BETWEEN ? AND ?", id, id+3*n)
			case kind < 19: // more pages than the cache has
				_, err = tx.Exec("UPDATE cert SET serial = hex(randomblob(16)) WHERE id % 3 = ?", id%3)
			default: // many new pages, and a freelist afterwards
				_, err = tx.Exec("INSERT INTO cert (serial, raw) SELECT hex(randomblob(16)), randomblob(5000) FROM cert LIMIT 50")
				if err == nil {
					_, err = tx.Exec("DELETE FROM cert WHERE id > (SELECT max(id) FROM cert) - 50")
				}
			}
			if err != nil {
				return err
			}
			if fail {
				return wanted
			}
			_, err = tx.Exec("INSERT INTO ack VALUES (?, ?)", w, seq+1)
			return err
		})
		switch {
		case fail && errors.Is(err, wanted):
		case s.fail(err):
			return seq
		default:
			seq++
		}
	}
	return seq
}

// reader keeps snapshots open while others write, and checks that they do not change.
func (s *stress) reader(stop chan struct{}) {
	ctx := context.Background()
	r := s.rand(1001)
	for {
		select {
		case <-stop:
			return
		default:
		}
		tx, err := s.db.Reader().BeginTx(ctx, nil)
		if s.fail(err) {
			return
		}
		const q = "SELECT count(*), coalesce(sum(length(raw)), 0) FROM cert"
		var a, b, c, d int
		s.fail(tx.QueryRow(q).Scan(&a, &b))
		s.wait(r.IntN(40))
		s.fail(tx.QueryRow(q).Scan(&c, &d))
		if a != c || b != d {
			s.fail(fmt.Errorf("a reader saw (%d, %d), then (%d, %d)", a, b, c, d))
		}
		s.fail(tx.Rollback())
		// and a while without a reader, so that checkpoints also succeed
		s.wait(r.IntN(60))
	}
}

// copier takes copies, reading in pieces in any order, and truncates now and then.
func (s *stress) copier(stop chan struct{}) {
	ctx := context.Background()
	r := s.rand(1002)
	dir := s.t.TempDir()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		c, err := s.db.StartCopy(ctx)
		if s.fail(err) {
			return
		}
		path := filepath.Join(dir, fmt.Sprintf("copy%d.db", i))
		if s.fail(s.readCopy(c, path, r)) {
			return
		}
		info, err := c.Finish(ctx)
		if s.fail(err) || s.fail(c.Close()) {
			return
		}
		s.mu.Lock()
		s.copies = append(s.copies, stressCopy{path, info})
		s.mu.Unlock()
		if r.IntN(2) == 0 {
			_, err := s.db.Truncate(ctx, info.Last-uint32(r.IntN(int(min(info.Last, 3)))), s.aside)
			if s.fail(err) {
				return
			}
		}
	}
}

func (s *stress) readCopy(c *Copy, path string, r *rand.Rand) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	const piece = 64 << 10
	n := int((c.Size() + piece - 1) / piece)
	for _, i := range r.Perm(n) {
		b := make([]byte, min(piece, c.Size()-int64(i)*piece))
		if _, err := c.ReadAt(b, int64(i)*piece); err != nil && err != io.EOF {
			return err
		}
		if _, err := f.WriteAt(b, int64(i)*piece); err != nil {
			return err
		}
		// Let something happen between the pieces.
		s.wait(r.IntN(2))
	}
	return f.Close()
}

func (s *stress) roller(stop chan struct{}) {
	r := s.rand(1003)
	for {
		select {
		case <-stop:
			return
		default:
		}
		s.wait(r.IntN(60))
		_, err := s.db.Roll(context.Background())
		s.fail(err)
	}
}

func (s *stress) log(g uint32) string {
	p := filepath.Join(s.cfg.LogDir, LogName(g))
	if _, err := os.Stat(p); err != nil {
		p = filepath.Join(s.aside, LogName(g))
	}
	return p
}

// firstMark is the earliest target in the first header that a copy which began at a
// generation, or later, has left.
func (s *stress) firstMark(logs []string, first uint32) uint32 {
	for _, path := range logs {
		f, err := os.Open(path)
		must(s.t, err)
		h, err := ReadHeader(f)
		must(s.t, errors.Join(err, f.Close()))
		if h.CopyFirst >= first {
			return h.EarliestTarget
		}
	}
	s.t.Errorf("no log of %d from generation %d on was left by a copy", len(logs), first)
	return 0
}

// check replays every copy to every target.
func (s *stress) check() {
	t := s.t
	ctx := context.Background()
	newest := s.db.Status().Newest
	if newest == 0 {
		newest = s.db.Status().Open - 1
	}
	targets, refused := 0, 0
	most := 60
	if need.Heavy() {
		most = 1 << 30
	}
	for _, c := range s.copies {
		var logs []string
		for g := c.info.First; g <= newest; g++ {
			logs = append(logs, s.log(g))
		}
		// What tells is the header of the copy's last log, or that of an earlier copy
		// which began at the same log; then less is refused, never too much.
		bound := s.firstMark(logs[:c.info.Last-c.info.First+1], c.info.First)
		if bound > c.info.EarliestTarget {
			t.Errorf("%+v: refuses up to %d", c.info, bound)
		}
		for g := c.info.First; g < bound; g++ {
			if _, err := Replay(ctx, c.path, logs[:c.info.Last-c.info.First+1], g); !errors.Is(err, ErrTarget) {
				t.Errorf("%+v: target %d: %v", c.info, g, err)
			}
			refused++
		}
		to := filepath.Join(t.TempDir(), "to.db")
		copyFile(t, c.path, to)
		for g := c.info.EarliestTarget; g <= newest; g++ {
			// The first and the last target from the copy; the others on from the one before.
			n := g - c.info.First
			from := n
			if g == c.info.EarliestTarget || g == newest {
				copyFile(t, c.path, to)
				from = 0
			}
			if _, err := Replay(ctx, to, logs[from:n+1], g); err != nil {
				t.Errorf("%+v: target %d: %v", c.info, g, err)
				break
			}
			if err := s.compare(to, s.snaps[g]); err != nil {
				t.Errorf("%+v: target %d: %v", c.info, g, err)
				break
			}
			targets++
			if targets >= most && g < newest {
				g = newest - 1 // that one always
			}
		}
		must(t, IntegrityCheck(ctx, to))
		must(t, os.Remove(to))
	}
	if err := s.compare(s.cfg.Database, s.snaps[newest]); err != nil {
		t.Errorf("the database at the end: %v", err)
	}
	t.Logf("%d generations, %d busy checkpoints, %d copies, %d targets compared, %d refused", newest, s.busy, len(s.copies), targets, refused)
	if newest < 5 || len(s.copies) == 0 || targets == 0 {
		t.Error("too little happened")
	}
}

func (s *stress) compare(path string, want []pageSum) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(want) == 0 || len(b) != len(want)*4096 {
		return fmt.Errorf("%d bytes, want %d pages", len(b), len(want))
	}
	for i, w := range want {
		if sumPage(b[i*4096:(i+1)*4096]) != w {
			return fmt.Errorf("page %d differs", i+1)
		}
	}
	return nil
}
