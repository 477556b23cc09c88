package sqlitelog

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// The story that all this is for: a machine is lost, all but the last backup and the
// open WAL, and restored to the last commit.
func TestSalvageStory(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	db := newDB(t, cfg)
	add(t, db, 5)
	set := t.TempDir() // full copy and incrementals
	c, err := db.StartCopy(ctx)
	must(t, err)
	saveCopy(t, c, filepath.Join(set, "ca.db"))
	info, err := c.Finish(ctx)
	must(t, err)
	must(t, c.Close())
	add(t, db, 5)
	last, err := db.Roll(ctx)
	must(t, err)
	logs := logPaths(t, Config{LogDir: set}, info.First, last)
	for i, p := range logPaths(t, cfg, info.First, last) {
		copyFile(t, p, logs[i])
	}
	add(t, db, 5) // acknowledged, and only in the WAL
	wal := filepath.Join(t.TempDir(), "salvaged-wal")
	b, err := os.ReadFile(cfg.wal())
	must(t, err)
	n, err := db.frames(ctx)
	must(t, err)
	torn := append(b[:db.walSize(n)], b[walHeaderSize:walHeaderSize+2000]...) // a commit that was cut off
	must(t, os.WriteFile(wal, torn, 0o600))

	previous, _, err := readLogHeader(withDefaults(t, cfg).FS, logs[len(logs)-1])
	must(t, err)
	out := filepath.Join(set, LogName(last+1))
	s, err := Salvage(ctx, wal, previous, out)
	must(t, err)
	if s.Frames != n || s.TornFrames != 1 || s.DamagedAt != 0 || s.Through != last+1 || !s.Header.Salvaged || s.Header.Generation != last+1 {
		t.Fatalf("%+v", s)
	}
	again, err := Salvage(ctx, wal, previous, out)
	must(t, err)
	if again != s {
		t.Fatalf("%+v", again)
	}
	res, err := Replay(ctx, filepath.Join(set, "ca.db"), append(logs, out), 0)
	must(t, err)
	if !res.Salvaged || res.Last != last+1 {
		t.Fatalf("%+v", res)
	}

	restored := testConfig(t)
	must(t, os.MkdirAll(filepath.Dir(restored.Database), 0o700))
	copyFile(t, filepath.Join(set, "ca.db"), restored.Database)
	must(t, IntegrityCheck(ctx, restored.Database))
	must(t, Adopt(ctx, restored, res.Last, res.Sum))
	must(t, Adopt(ctx, restored, res.Last, res.Sum)) // again, as after an interruption
	db2 := openDB(t, restored)
	if got := count(t, db2.Reader()); got != 15 {
		t.Fatal(got)
	}
	st := db2.Status()
	if st.Signature == db.Status().Signature || st.Open != last+2 || st.CheckpointedThrough != last+1 {
		t.Fatalf("%+v", st)
	}
	add(t, db2, 1)
	must(t, db2.Close())
	l, err := db2.Logs()
	must(t, err)
	if len(l) != 1 || l[0].Header.Previous != res.Sum {
		t.Fatalf("%+v", l)
	}
	// The old line and the new one do not mix.
	if err := CheckChain([]Header{s.Header, l[0].Header}); !errors.Is(err, ErrLogForeign) {
		t.Fatal(err)
	}
}

// A bare WAL is tied by the mark in its first commit.
func TestSalvageRefuses(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	db := newDB(t, cfg)
	var wals []string // of generations 1 to 4
	for range 4 {
		add(t, db, 3)
		w := filepath.Join(t.TempDir(), "wal")
		copyFile(t, cfg.wal(), w)
		wals = append(wals, w)
		_, err := db.Roll(ctx)
		must(t, err)
	}
	logs, err := db.Logs()
	must(t, err)
	h := func(g int) Header { return logs[g-1].Header }
	foreign := crashedDB(t)
	other := h(2)
	other.Closed = other.Closed.Add(1)

	damaged := filepath.Join(t.TempDir(), "damaged")
	copyFile(t, wals[2], damaged)
	flip(t, damaged, walHeaderSize+2*(4096+frameHeaderSize)+50)
	headless := filepath.Join(t.TempDir(), "headless")
	copyFile(t, wals[2], headless)
	flip(t, headless, 18)
	empty := filepath.Join(t.TempDir(), "empty")
	must(t, os.WriteFile(empty, nil, 0o600))
	unmarked := filepath.Join(t.TempDir(), "unmarked")
	must(t, os.WriteFile(unmarked, newWAL(false, 4096, [2]uint32{1, 2}).frame(3, 3, make([]byte, 4096)).b, 0o600))
	tornFirst := filepath.Join(t.TempDir(), "torn")
	copyFile(t, wals[2], tornFirst)
	must(t, os.Truncate(tornFirst, 1000))

	for _, c := range []struct {
		name     string
		wal      string
		previous Header
		kind     error
	}{
		{"a later generation", wals[3], h(2), ErrLogMissing},
		{"an earlier generation", wals[1], h(3), ErrLogOrder},
		{"the same generation", wals[2], h(3), ErrNotFound},
		{"another predecessor", wals[2], other, ErrLogOrder},
		{"another database", foreign.Database + "-wal", h(2), ErrLogForeign},
		{"a damaged header", headless, h(2), ErrLogDamaged},
		{"nothing in it", empty, h(2), ErrNotFound},
		{"no whole commit", tornFirst, h(2), ErrNotFound},
		{"no mark", unmarked, h(2), ErrLogForeign},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.log")
			_, err := Salvage(ctx, c.wal, c.previous, out)
			var le *LogError
			if !errors.Is(err, c.kind) || !errors.As(err, &le) || le.Path != c.wal {
				t.Fatalf("%v, want %v", err, c.kind)
			}
			if _, err := os.Stat(out); !os.IsNotExist(err) {
				t.Error("something was made")
			}
		})
	}
	// Damage before acknowledged commits is not passed over.
	s, err := Salvage(ctx, damaged, h(2), filepath.Join(t.TempDir(), "out.log"))
	must(t, err)
	if s.DamagedAt != 3 {
		t.Fatalf("%+v", s)
	}
	// What is left of an earlier life of the WAL's file is not a torn tail.
	s, err = Salvage(ctx, wals[2], h(2), filepath.Join(t.TempDir(), "out.log"))
	must(t, err)
	if s.TornFrames != 0 || s.DamagedAt != 0 {
		t.Fatalf("%+v", s)
	}
}

// When checkpoints were busy, the WAL also has what was in logs that are lost.
func TestSalvageRepeatedFrames(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	must(t, Create(ctx, cfg, testSchema))
	b := base(t, cfg)
	db := openDB(t, cfg)
	add(t, db, 3)
	_, err := db.Roll(ctx) // 1, the last that a backup has
	must(t, err)
	add(t, db, 3)
	_, release := holdReader(t, db)
	defer release()
	for range 2 { // 2 and 3, lost
		add(t, db, 3)
		_, err = db.Roll(ctx)
		must(t, err)
	}
	add(t, db, 3) // in 4
	logs, err := db.Logs()
	must(t, err)
	out := filepath.Join(t.TempDir(), LogName(2))
	s, err := Salvage(ctx, cfg.wal(), logs[0].Header, out)
	must(t, err)
	if s.Through != 4 || s.Header.Generation != 2 {
		t.Fatalf("%+v", s)
	}
	_, err = Replay(ctx, b, []string{logs[0].Path, out}, 0)
	must(t, err)
	must(t, IntegrityCheck(ctx, b))
	if n := countFile(t, b); n != 15 {
		t.Fatal(n)
	}
	// After log 2 the same WAL begins with what is known already.
	s, err = Salvage(ctx, cfg.wal(), logs[1].Header, out)
	must(t, err)
	if s.Header.Generation != 3 || s.Header.MarkFrame == 1 {
		t.Fatalf("%+v", s)
	}
}

// Adopt is a promise that is kept after a crash: see finishAdopt.
func TestAdopt(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	b, logs := history(t, cfg)
	_, err := Replay(ctx, b, logs, 2)
	must(t, err)
	to := testConfig(t)
	must(t, os.MkdirAll(filepath.Dir(to.Database), 0o700))
	copyFile(t, b, to.Database)
	must(t, Adopt(ctx, to, 2, [32]byte{}))

	// The state file has been written, the mark has not.
	st := mustState(t, to)
	m, err := fileMark(b, 2, 4096)
	must(t, err)
	st.Adopt = &adoptState{m.signature, m.generation, m.previous}
	must(t, writeState(withDefaults(t, to), *st))
	copyFile(t, b, to.Database)
	db := openDB(t, to)
	if n := count(t, db.Reader()); n != 10 {
		t.Fatal(n)
	}
	add(t, db, 1)
	must(t, db.Close())

	// Another file does not get the mark.
	must(t, writeState(withDefaults(t, to), *st))
	foreign := crashedDB(t)
	copyFile(t, foreign.Database, to.Database)
	openError(t, to, to.Database, false)

	// A log that the new line would overwrite.
	must(t, os.Remove(to.Database))
	copyFile(t, b, to.Database)
	if err := Adopt(ctx, to, 2, [32]byte{}); err == nil {
		t.Fatal("log 3 is there")
	}
	must(t, Adopt(ctx, to, 3, [32]byte{}))
	db = openDB(t, to)
	if l, err := db.Logs(); err != nil || len(l) != 0 { // the one there is not of this line
		t.Fatal(l, err)
	}
	if st := db.Status(); st.Open != 4 || st.Newest != 0 {
		t.Fatalf("%+v", st)
	}
	must(t, db.Write(ctx, func(tx *sql.Tx) error { return insert(tx) }))
	must(t, db.Close())

	if err := Adopt(ctx, to, MaxGeneration, [32]byte{}); err == nil {
		t.Fatal("no generation is left")
	}
	must(t, os.WriteFile(to.Database, []byte("not a database"), 0o600))
	if err := Adopt(ctx, to, 9, [32]byte{}); err == nil {
		t.Fatal("not a database")
	}
}
