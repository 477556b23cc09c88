package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/certkeep/certkeep/internal/durable"
)

var clock = time.Date(2026, 1, 2, 4, 4, 5, 678_999_999, time.FixedZone("CET", 3600))

func open(t testing.TB, path string, f Filter) *Log {
	t.Helper()
	l, err := Open(path, f, Options{Now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func mustAppend(t testing.TB, l *Log, r Record) {
	t.Helper()
	if err := l.Append(r); err != nil {
		t.Fatal(err)
	}
}

// readAll returns what Read yields: records, and line errors as text.
func readAll(t testing.TB, path string) (recs []Record, bad []string) {
	t.Helper()
	for r, err := range Read(t.Context(), path) {
		var le *LineError
		switch {
		case errors.As(err, &le):
			bad = append(bad, fmt.Sprint(le.Line))
		case err != nil:
			t.Fatal(err)
		default:
			recs = append(recs, r)
		}
	}
	return recs, bad
}

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, FilterAll)
	mustAppend(t, l, Record{Event: BackupStarted, Who: "alice", What: "Example CA", Type: TypeFull, Result: "ok"})
	mustAppend(t, l, Record{Event: ServiceStopped, Who: "\x1b[2J\n\u2028"})
	mustAppend(t, l, Record{Event: LogonRefused, Who: "mallory", From: "192.0.2.7:49152", Type: "ntlm", Result: "wrong user name or password", Missed: 3})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schema":1,"time":"2026-01-02T03:04:05.678Z","event":4876,"name":"backup started","who":"alice","what":"Example CA","type":"full","result":"ok"}` + "\n" +
		`{"schema":1,"time":"2026-01-02T03:04:05.678Z","event":4881,"name":"service stopped","who":"\u001b[2J\n\u2028"}` + "\n" +
		`{"schema":1,"time":"2026-01-02T03:04:05.678Z","event":4625,"name":"logon refused","who":"mallory","from":"192.0.2.7:49152","type":"ntlm","result":"wrong user name or password","missed":3}` + "\n"
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	recs, bad := readAll(t, path)
	if len(recs) != 3 || len(bad) != 0 || recs[0].Event != BackupStarted || recs[2].Missed != 3 || recs[0].Who != "alice" || !recs[0].Time.Equal(clock.Truncate(time.Millisecond)) {
		t.Errorf("%+v, %v", recs, bad)
	}
	// A second opening appends.
	mustAppend(t, open(t, path, FilterAll), Record{Event: ServiceStarted})
	if recs, _ := readAll(t, path); len(recs) != 4 {
		t.Errorf("%d records after reopening", len(recs))
	}
}

func TestFilter(t *testing.T) {
	all := []Event{LogonRefused, ShutdownRequested, BackupStarted, BackupCompleted, RestoreStarted, RestoreCompleted, ServiceStarted, ServiceStopped}
	if len(all) != len(events) {
		t.Errorf("%d events", len(events))
	}
	for f, want := range map[Filter]string{
		0:                   "4625", // the one that no filter keeps out
		FilterStartStop:     "4625 4875 4880 4881",
		FilterBackupRestore: "4625 4876 4877 4878 4879",
		FilterAll:           "4625 4875 4876 4877 4878 4879 4880 4881",
		0x7C:                "4625",
	} {
		path := filepath.Join(t.TempDir(), "audit.log")
		l := open(t, path, f)
		for _, e := range all {
			mustAppend(t, l, Record{Event: e})
		}
		recs, _ := readAll(t, path)
		var got []string
		for _, r := range recs {
			got = append(got, fmt.Sprint(int(r.Event)))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("filter %#x: %v, want %s", f, got, want)
		}
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, 0)
	l.SetFilter(FilterStartStop)
	mustAppend(t, l, Record{Event: ServiceStarted})
	if recs, _ := readAll(t, path); len(recs) != 1 || l.Filter() != FilterStartStop {
		t.Errorf("%d records after SetFilter", len(recs))
	}
	if err := l.Append(Record{Event: 4868}); err == nil {
		t.Error("unknown event accepted")
	}
	if s := Event(1).String(); s != "event 1" {
		t.Error(s)
	}
}

func TestBoundedFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, FilterAll)
	for _, s := range []string{strings.Repeat("x", 1<<20), strings.Repeat("ü", 1000), strings.Repeat("\x01", 1<<16), "a\xffb", strings.Repeat("\xff", 5000)} {
		mustAppend(t, l, Record{Event: BackupStarted, Who: s, From: s, What: s, Type: s, Result: s})
	}
	recs, bad := readAll(t, path)
	if len(recs) != 5 || len(bad) != 0 {
		t.Fatalf("%d records, bad %v", len(recs), bad)
	}
	for i, r := range recs {
		for _, s := range []string{r.Who, r.From, r.What, r.Type, r.Result} {
			if len(s) > maxField || !utf8.ValidString(s) || len(s) < 3 {
				t.Errorf("record %d: field of %d bytes", i, len(s))
			}
		}
	}
	if recs[3].Who != "a\uFFFDb" || !strings.HasSuffix(recs[0].Who, "x…") {
		t.Errorf("%q", recs[3].Who)
	}
}

// TestTornLine cuts the file at every byte of its last line: reading tolerates
// it, and the next append leaves nothing but whole lines.
func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	l := open(t, path, FilterAll)
	mustAppend(t, l, Record{Event: ServiceStarted, Who: "first"})
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, Record{Event: BackupStarted, Who: "second"})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := int(fi.Size()); cut <= len(whole); cut++ {
		p := filepath.Join(dir, fmt.Sprint("cut", cut))
		if err := os.WriteFile(p, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want := 1
		if cut >= len(whole)-1 { // only the newline is missing
			want = 2
		}
		if recs, bad := readAll(t, p); len(recs) != want || len(bad) != 0 {
			t.Fatalf("cut at %d: %d records, bad %v", cut, len(recs), bad)
		}
		mustAppend(t, open(t, p, FilterAll), Record{Event: ServiceStopped, Who: "third"})
		recs, bad := readAll(t, p)
		if len(recs) != want+1 || len(bad) != 0 || recs[want].Who != "third" {
			t.Fatalf("cut at %d and appended: %+v, bad %v", cut, recs, bad)
		}
		b, err := os.ReadFile(p)
		if err != nil || !bytes.HasPrefix(b, whole[:fi.Size()]) || bytes.Count(b, []byte("\n")) != want+1 {
			t.Fatalf("cut at %d and appended: %q, %v", cut, b, err)
		}
	}
	// What a power loss leaves: the size is there, the bytes are not.
	zeros := filepath.Join(dir, "zeros")
	if err := os.WriteFile(zeros, append(bytes.Clone(whole), make([]byte, 500)...), 0o600); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, open(t, zeros, FilterAll), Record{Event: ServiceStopped})
	if recs, bad := readAll(t, zeros); len(recs) != 3 || len(bad) != 0 {
		t.Errorf("zeros: %d records, bad %v", len(recs), bad)
	}
}

func TestForeignFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	foreign := bytes.Repeat([]byte("x"), 2*maxLine)
	if err := os.WriteFile(path, foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path, FilterAll).Append(Record{Event: ServiceStarted}); err == nil || !strings.Contains(err.Error(), "no audit log") {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, foreign) {
		t.Error("a file that is not ours was changed")
	}
	if _, err := Open(t.TempDir(), FilterAll, Options{}); err == nil {
		t.Error("a directory opened")
	}
}

func TestReadReportsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	good := `{"schema":1,"time":"2026-01-02T03:04:05Z","event":4880,"name":"service started","who":"x"}`
	text := strings.Join([]string{good, "rubbish", good, `{"schema":2}`, strings.Repeat("y", 3*maxLine), "", good, strings.Repeat("z", 3*maxLine)}, "\n")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	recs, bad := readAll(t, path)
	if len(recs) != 3 || strings.Join(bad, " ") != "2 4 5" {
		t.Errorf("%d records, bad %v", len(recs), bad)
	}
	for range Read(t.Context(), path) {
		break // must not go on yielding
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range Read(ctx, path) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	for _, err := range Read(t.Context(), path+"x") {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

func TestClosed(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "audit.log"), FilterAll)
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if err := l.Append(Record{Event: ServiceStarted}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestConcurrentAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, path, FilterAll)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				if err := l.Append(Record{Event: BackupStarted, Who: strings.Repeat("w", 300)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if recs, bad := readAll(t, path); len(recs) != 40 || len(bad) != 0 {
		t.Errorf("%d records, bad %v", len(recs), bad)
	}
}

// full is a disk that takes only so many more bytes, and one that cannot sync.
type full struct {
	durable.FS
	room     int
	failSync bool
	synced   int
}

type fullFile struct {
	durable.File
	fs *full
}

var errFull = errors.New("no space left")

func (f *full) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &fullFile{file, f}, nil
}

func (f *fullFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b[:min(len(b), f.fs.room)])
	f.fs.room -= n
	if err == nil && n < len(b) {
		err = errFull
	}
	return n, err
}

func (f *fullFile) Sync() error {
	if f.fs.failSync {
		return errFull
	}
	f.fs.synced++
	return f.File.Sync()
}

func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	disk := &full{FS: durable.OS, room: 1000}
	l, err := Open(path, FilterAll, Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mustAppend(t, l, Record{Event: ServiceStarted, Who: "first"})
	if disk.synced != 1 {
		t.Errorf("%d syncs for one record", disk.synced)
	}
	disk.room = 20
	if err := l.Append(Record{Event: BackupStarted, Who: "lost"}); !errors.Is(err, errFull) || !strings.Contains(err.Error(), "4876") {
		t.Fatalf("full: %v", err)
	}
	disk.room = 1000
	mustAppend(t, l, Record{Event: ServiceStopped, Who: "second"})
	recs, bad := readAll(t, path)
	if len(recs) != 2 || len(bad) != 0 || recs[1].Who != "second" {
		t.Errorf("%+v, bad %v", recs, bad)
	}
	disk.failSync = true
	if err := l.Append(Record{Event: BackupStarted}); !errors.Is(err, errFull) {
		t.Errorf("unsynced: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"schema":1,"time":"2026-01-02T03:04:05Z","event":4880,"name":"service started","who":"x"}` + "\n{"))
	f.Add([]byte("\n\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		read(t.Context(), bytes.NewReader(b), "x", func(r Record, err error) bool {
			n++
			return true
		})
		if n > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%d results", n)
		}
	})
}
