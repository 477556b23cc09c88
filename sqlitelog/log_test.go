package sqlitelog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sampleLog makes a whole log, without SQLite.
func sampleLog() []byte {
	m := mark{Signature{Created: 1}, 3, [32]byte{4}}
	w := newWAL(false, 512, [2]uint32{1, 2})
	w.frame(2, 4, markPage(512, m))
	w.frame(3, 0, make([]byte, 512)).frame(4, 4, bytes.Repeat([]byte{7}, 512))
	h := Header{Signature: m.signature, Generation: 3, Previous: m.previous, Digest: sha256.Sum256(w.b),
		PageSize: 512, Frames: 3, DatabasePages: 4, MarkPage: 2, MarkFrame: 1}
	return append(h.encode(), w.b...)
}

func checkBytes(b []byte) error {
	_, err := CheckLog(context.Background(), bytes.NewReader(b), int64(len(b)))
	return err
}

// Any one flipped byte of a log is found, and any other length.
func TestCheckLogFlips(t *testing.T) {
	good := sampleLog()
	must(t, checkBytes(good))
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 0x20
		err := checkBytes(b)
		var le *LogError
		if !errors.As(err, &le) || !errors.Is(err, ErrLogDamaged) && !errors.Is(err, ErrNotLog) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
	}
	for n := 0; n < len(good); n += 61 {
		if err := checkBytes(good[:n]); !errors.Is(err, ErrLogTruncated) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	if err := checkBytes(append(bytes.Clone(good), 0)); !errors.Is(err, ErrLogTruncated) {
		t.Fatal(err)
	}
}

// A header that someone made to fit the digest still has to fit the mark in the frames.
func TestCheckLogMark(t *testing.T) {
	good := sampleLog()
	for name, change := range map[string]func(*Header){
		"generation": func(h *Header) { h.Generation = 4 },
		"signature":  func(h *Header) { h.Signature.Created++ },
		"previous":   func(h *Header) { h.Previous[0]++ },
		"mark frame": func(h *Header) { h.MarkFrame = 2 },
		"mark page":  func(h *Header) { h.MarkPage = 3 },
		"pages":      func(h *Header) { h.DatabasePages = 5 },
	} {
		h, err := decodeHeader(good[:HeaderSize])
		must(t, err)
		change(&h)
		if err := checkBytes(append(h.encode(), good[HeaderSize:]...)); !errors.Is(err, ErrLogDamaged) && !errors.Is(err, ErrLogOrder) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzLog(f *testing.F) {
	f.Add(sampleLog())
	f.Add(sampleLog()[:HeaderSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		err := checkBytes(b)
		if err == nil || len(b) < HeaderSize {
			return
		}
		// Make the sums right, so that what is behind them is reached.
		b = bytes.Clone(b)
		sum := sha256.Sum256(b[HeaderSize:])
		copy(b[116:], sum[:])
		checkBytes(resum(b))
	})
}

// history makes a database with three closed generations and returns its files, and a
// copy of the database file as it was before the first.
func history(t *testing.T, cfg Config) (base string, logs []string) {
	ctx := context.Background()
	must(t, Create(ctx, cfg, testSchema))
	base = filepath.Join(t.TempDir(), "base.db")
	copyFile(t, cfg.Database, base)
	db := openDB(t, cfg)
	for range 3 {
		add(t, db, 5)
		_, err := db.Roll(ctx)
		must(t, err)
	}
	must(t, db.Close())
	return base, logPaths(t, cfg, 1, 3)
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to, b, 0o600))
}

// Each way in which a set of logs can be wrong is refused, each with its own error that
// names the file, and the database is not touched. SQLite itself would take most of them:
// see TestSQLiteTakesAnything.
func TestReplayRefuses(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	base, logs := history(t, cfg)
	_, foreign := history(t, testConfig(t))

	for _, c := range []struct {
		name    string
		change  func(dir string, logs []string) []string
		through uint32
		kind    error
		file    string // that the error must name
	}{
		{"swapped names", func(dir string, l []string) []string {
			must(t, os.Rename(l[1], l[1]+"x"))
			must(t, os.Rename(l[2], l[1]))
			must(t, os.Rename(l[1]+"x", l[2]))
			return l
		}, 0, ErrLogMissing, "log00002.log"},
		{"wrong order", func(dir string, l []string) []string { return []string{l[1], l[0], l[2]} }, 0, ErrLogOrder, "log00001.log"},
		{"twice", func(dir string, l []string) []string { return []string{l[0], l[1], l[1], l[2]} }, 0, ErrLogOrder, "log00002.log"},
		{"missing inside", func(dir string, l []string) []string { return []string{l[0], l[2]} }, 0, ErrLogMissing, "log00003.log"},
		{"missing at the start", func(dir string, l []string) []string { return l[1:] }, 0, ErrLogMissing, "base.db"},
		{"none", func(dir string, l []string) []string { return nil }, 0, ErrLogMissing, ""},
		{"flipped in a page", func(dir string, l []string) []string { flip(t, l[1], HeaderSize+walHeaderSize+500); return l }, 0, ErrLogDamaged, "log00002.log"},
		{"flipped in a header", func(dir string, l []string) []string { flip(t, l[1], 40); return l }, 0, ErrLogDamaged, "log00002.log"},
		{"truncated", func(dir string, l []string) []string { shorten(t, l[2], 4096+24); return l }, 0, ErrLogTruncated, "log00003.log"},
		{"truncated to nothing", func(dir string, l []string) []string { must(t, os.Truncate(l[2], 0)); return l }, 0, ErrLogTruncated, "log00003.log"},
		{"something else", func(dir string, l []string) []string {
			must(t, os.WriteFile(l[2], bytes.Repeat([]byte("x"), 5000), 0o600))
			return l
		}, 0, ErrNotLog, "log00003.log"},
		{"foreign at the end", func(dir string, l []string) []string { copyFile(t, foreign[2], l[2]); return l }, 0, ErrLogForeign, "log00003.log"},
		{"all foreign", func(dir string, l []string) []string { return foreign }, 0, ErrLogForeign, "base.db"},
		{"a later target", func(dir string, l []string) []string { return l }, 4, ErrTarget, ""},
		{"a raw WAL's bytes", func(dir string, l []string) []string {
			b, err := os.ReadFile(l[2])
			must(t, err)
			must(t, os.WriteFile(l[2], b[HeaderSize:], 0o600))
			return l
		}, 0, ErrNotLog, "log00003.log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			dst := filepath.Join(dir, "base.db")
			copyFile(t, base, dst)
			var mine []string
			for _, l := range logs {
				p := filepath.Join(dir, filepath.Base(l))
				copyFile(t, l, p)
				mine = append(mine, p)
			}
			before, err := os.ReadFile(dst)
			must(t, err)
			_, err = Replay(ctx, dst, c.change(dir, mine), c.through)
			var le *LogError
			if !errors.As(err, &le) || !errors.Is(err, c.kind) {
				t.Fatalf("%v, want %v", err, c.kind)
			}
			if filepath.Base(le.Path) != c.file && c.file != "" || !strings.Contains(err.Error(), c.file) {
				t.Errorf("%v does not name %s", err, c.file)
			}
			after, err := os.ReadFile(dst)
			must(t, err)
			if !bytes.Equal(before, after) {
				t.Error("the database was changed")
			}
			t.Log(err)
		})
	}
	// and unchanged they are good
	_, err := Replay(ctx, base, logs, 0)
	must(t, err)
	if n := countFile(t, base); n != 15 {
		t.Fatal(n)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	must(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	must(t, err)
}

func shorten(t *testing.T, path string, by int64) {
	t.Helper()
	fi, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, fi.Size()-by))
}

// Swapped logs whose chain still looks right are found by the digest of the header before:
// two databases that were one, restored twice from the same backup, have different signatures;
// within one line, Previous decides.
func TestCheckChainPrevious(t *testing.T) {
	a := sampleHeader()
	b := a
	b.Generation, b.Previous, b.CopyFirst, b.EarliestTarget = 8, a.Sum(), 0, 0
	must(t, CheckChain([]Header{a, b}))
	other := a
	other.Closed = other.Closed.Add(1) // the same generation, closed at another moment
	if err := CheckChain([]Header{other, b}); !errors.Is(err, ErrLogOrder) {
		t.Fatal(err)
	}
}

// Replaying again, or over a later state, changes nothing: it can be interrupted.
func TestReplayIdempotent(t *testing.T) {
	ctx := context.Background()
	cfg := testConfig(t)
	base, logs := history(t, cfg)
	_, err := Replay(ctx, base, logs, 0)
	must(t, err)
	want, err := os.ReadFile(base)
	must(t, err)
	for range 2 {
		_, err := Replay(ctx, base, logs, 0)
		must(t, err)
		got, err := os.ReadFile(base)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Fatal("differs")
		}
	}
	live, err := os.ReadFile(cfg.Database)
	must(t, err)
	if !bytes.Equal(live, want) {
		t.Fatal("not the database as it was closed")
	}
	// an interrupted one
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Replay(cancelled, base, logs, 0); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// going back is refused
	if _, err := Replay(ctx, base, logs, 2); !errors.Is(err, ErrTarget) {
		t.Fatal(err)
	}
	// and so is a database with a WAL
	must(t, os.WriteFile(base+"-wal", []byte("x"), 0o600))
	if _, err := Replay(ctx, base, logs, 0); !errors.Is(err, ErrWALPresent) {
		t.Fatal(err)
	}
	if err := IntegrityCheck(ctx, base); !errors.Is(err, ErrWALPresent) {
		t.Fatal(err)
	}
	if err := Adopt(ctx, Config{Database: base, LogDir: t.TempDir(), StateDir: t.TempDir()}, 3, [32]byte{}); !errors.Is(err, ErrWALPresent) {
		t.Fatal(err)
	}
}

// Why the digests: SQLite stops without a word at a bad frame, and integrity_check finds
// nothing wrong. See also TestForeignWAL.
func TestSQLiteTakesAnything(t *testing.T) {
	ctx := context.Background()
	base, logs := history(t, testConfig(t))
	body := func(log string) []byte {
		b, err := os.ReadFile(log)
		must(t, err)
		return b[HeaderSize:]
	}
	_, err := Replay(ctx, base, logs[:1], 0)
	must(t, err)
	damaged := body(logs[1])
	damaged[walHeaderSize+3*(4096+frameHeaderSize)+1000] ^= 1
	for _, c := range []struct {
		name string
		wal  []byte
		less bool // than the 10 rows of a good one
	}{{"good", body(logs[1]), false}, {"flipped", damaged, true}} {
		t.Run(c.name, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "db")
			copyFile(t, base, dst)
			must(t, os.WriteFile(dst+"-wal", c.wal, 0o600))
			cfg := Config{Database: dst}
			pool, conn, err := openWriter(ctx, cfg, "rw")
			must(t, err)
			defer pool.Close()
			defer conn.Close()
			var ok string
			var n int
			must(t, conn.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&ok))
			must(t, conn.QueryRowContext(ctx, "SELECT count(*) FROM cert").Scan(&n))
			t.Logf("SQLite says %s, %d rows", ok, n)
			if ok != "ok" || (n < 10) != c.less {
				t.Errorf("integrity %s, %d rows", ok, n)
			}
		})
	}
}
