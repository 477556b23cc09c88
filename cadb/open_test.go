package cadb_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/cadbtest"
	"github.com/certkeep/certkeep/cadb/schema"
)

func TestOpenRefuses(t *testing.T) {
	ese := make([]byte, 8192)
	copy(ese[4:], "\xef\xcd\xab\x89")
	for _, c := range []struct {
		name    string
		content []byte
		is      error
		says    string
	}{
		{"empty.db", nil, cadb.ErrNotDatabase, "empty"},
		{"text.db", bytes.Repeat([]byte("hello"), 1000), cadb.ErrNotDatabase, ""},
		{"short.db", []byte("SQLite format 3\x00"), cadb.ErrNotDatabase, "shorter"},
		{"pagesize.db", append([]byte("SQLite format 3\x00\x03\x03"), make([]byte, 4096)...), nil, "page size"},
		{"rubbish.db", append([]byte("SQLite format 3\x00\x10\x00\x02\x02\x00\x40\x20\x20"), bytes.Repeat([]byte{7}, 9000)...), nil, ""},
		{"CA.edb", ese, cadb.ErrNotDatabase, "version"},
	} {
		path := filepath.Join(t.TempDir(), c.name)
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := cadb.Open(t.Context(), path)
		if err == nil {
			db.Close()
			t.Errorf("%s: opened", c.name)
			continue
		}
		if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := cadb.Open(t.Context(), t.TempDir()); err == nil {
		t.Error("a directory was opened")
	}
	if _, err := cadb.Open(t.Context(), filepath.Join(t.TempDir(), "none.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// A database may be made by an enemy, whose schema runs code in whoever reads it.
func TestOpenRefusesHostileSchema(t *testing.T) {
	for _, c := range []struct{ statement, says string }{
		{"DROP TABLE CRLs; CREATE VIEW CRLs AS SELECT 1 AS RowId, 1 AS Number", `a view, "CRLs"`},
		{"CREATE VIEW harmless AS SELECT 1", "a view"},
		{"CREATE TRIGGER x AFTER INSERT ON CRLs BEGIN SELECT 1; END", "a trigger"},
		{"CREATE VIRTUAL TABLE x USING fts5(y)", "a virtual table"},
		{"DROP TABLE CRLs; CREATE TABLE CRLs (RowId INTEGER PRIMARY KEY, Number INTEGER, RawCRL BLOB AS (zeroblob(1000000)))", "computed"},
		{"DROP TABLE CRLs", "no table CRLs"},
		{"DROP TABLE CRLs; CREATE TABLE CRLs (a)", "no column RowId"},
	} {
		a := cadbtest.New(t, "Test CA")
		path := filepath.Join(t.TempDir(), "x.db")
		cadbtest.File(t, path, a, 1, c.statement)
		db, err := cadb.Open(t.Context(), path)
		if err == nil {
			db.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.statement, err)
		}
	}
}

func TestCellsAreBounded(t *testing.T) {
	db, a := makeDB(t, 2, "UPDATE Requests SET RawRequest = zeroblob(2000000) WHERE RequestID = 2")
	_, err := cadb.Check(t.Context(), db, a.Cert)
	if err == nil || !strings.Contains(err.Error(), "too big") {
		t.Errorf("a cell of two megabytes was read: %v", err)
	}
}

// Columns that another version of the schema lacks are NULL.
func TestOpenOtherVersion(t *testing.T) {
	db, _ := makeDB(t, 2, "ALTER TABLE Requests DROP COLUMN CallerName", "ALTER TABLE Requests ADD COLUMN NewThing TEXT",
		"ALTER TABLE Requests RENAME COLUMN RequesterName TO requestername")
	for r, err := range db.Requests(t.Context(), cadb.Filter{FromID: 2, ToID: 2}) {
		if err != nil || r.CallerName != "" || r.RequesterName != "client1" {
			t.Errorf("%+v %v", r, err)
		}
	}
}

// snapshot is the names, sizes, times and bytes of all files in a directory.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		m[e.Name()] = fi.ModTime().Format(time.RFC3339Nano) + string(b)
	}
	return m
}

// Reading leaves the directory as it is: no -shm, no -wal, no checkpoint.
func TestOpenWritesNothing(t *testing.T) {
	for _, wal := range []bool{false, true} {
		a := cadbtest.New(t, "Test CA")
		dir := t.TempDir()
		path := filepath.Join(dir, "a?b#c%20 d.db") // no trouble with URIs
		cadbtest.File(t, filepath.Join(dir, "plain.db"), a, 3)
		if err := os.Rename(filepath.Join(dir, "plain.db"), path); err != nil {
			t.Fatal(err)
		}
		want := 7
		if wal {
			leaveWAL(t, path, "UPDATE Requests SET Disposition = 30 WHERE Disposition = 31", "DELETE FROM Requests WHERE Disposition = 9",
				"DELETE FROM Certificates WHERE RequestID = 5", "DELETE FROM RequestAttributes WHERE AttributeRequestId = 5")
			want = 6
		}
		before := snapshot(t, dir)
		tmp := t.TempDir()
		t.Setenv("TMPDIR", tmp)
		t.Setenv("TMP", tmp)
		db, err := cadb.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := cadb.Check(t.Context(), db, a.Cert)
		if err != nil || r.Damaged() || int(r.Requests) != want {
			t.Errorf("wal %v: %+v, %v", wal, r, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		after := snapshot(t, dir)
		for name := range after {
			if after[name] != before[name] {
				t.Errorf("wal %v: %s changed or appeared", wal, name)
			}
		}
		if len(before) != len(after) {
			t.Errorf("wal %v: files vanished", wal)
		}
		if left := snapshotNames(t, tmp); len(left) > 0 {
			t.Errorf("wal %v: temporary files remain: %v", wal, left)
		}
	}
}

func snapshotNames(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// leaveWAL changes a database and leaves the changes in its WAL.
func leaveWAL(t *testing.T, path string, statements ...string) {
	t.Helper()
	work := filepath.Join(t.TempDir(), "work.db")
	copyTo(t, path, work)
	db, err := sql.Open("sqlite", "file:"+work+"?_pragma=wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	copyTo(t, work+"-wal", path+"-wal")
}

func copyTo(t *testing.T, src, dst string) {
	t.Helper()
	b, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dst, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefusesJournal(t *testing.T) {
	a := cadbtest.New(t, "Test CA")
	path := filepath.Join(t.TempDir(), "x.db")
	cadbtest.File(t, path, a, 1)
	if err := os.WriteFile(path+"-journal", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cadb.Open(t.Context(), path); err == nil || !strings.Contains(err.Error(), "journal") {
		t.Errorf("%v", err)
	}
}

func TestOpenCanceled(t *testing.T) {
	a := cadbtest.New(t, "Test CA")
	path := filepath.Join(t.TempDir(), "x.db")
	cadbtest.File(t, path, a, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cadb.Open(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestEngineFor(t *testing.T) {
	for name, want := range map[string]string{
		"CA.db": "sqlite", "log00001.log": "sqlite", "/a/b/log0001a.log": "sqlite", `C:\x\CA.DB`: "sqlite",
		"CA.edb": "ese", "edb00001.log": "ese", "EDB0001A.LOG": "ese", "edb.log": "ese", "edb0000001a.log": "ese",
		"x.txt": "", "edbx.log": "", "": "",
	} {
		e, err := cadb.EngineFor(name, nil)
		if (err == nil) != (want != "") || err == nil && e.Name() != want || err != nil && !errors.Is(err, cadb.ErrNotDatabase) {
			t.Errorf("%q: %v, %v; want %v", name, e, err, want)
		}
	}
	head := make([]byte, 4096)
	copy(head[4:], "\xef\xcd\xab\x89")
	if e, err := cadb.EngineFor("renamed.db", head); err != nil || e.Name() != "ese" {
		t.Errorf("ESE under another name: %v, %v", e, err)
	}
	if e, err := cadb.EngineFor("edb00001.log", make([]byte, 4096)); err != nil || e.Name() != "ese" {
		t.Errorf("a log of ESE: %v, %v", e, err)
	}
	if _, err := cadb.EngineNamed("oracle"); !errors.Is(err, cadb.ErrNotDatabase) {
		t.Errorf("%v", err)
	}
	for name, log := range map[string]string{"sqlite": "log0001a.log", "ese": "edb0001A.log"} {
		if e, err := cadb.EngineNamed(name); err != nil || e.Name() != name || e.LogName(26) != log || e.Replays() != (name == "sqlite") {
			t.Errorf("%v %v", e, err)
		}
	}
}

// FuzzDatabase changes bytes of a small database. Nothing may panic, hang, or
// pass as sound with other certificates in it.
func FuzzDatabase(f *testing.F) {
	a := cadbtest.New(f, "Test CA")
	path := filepath.Join(f.TempDir(), "x.db")
	cadbtest.File(f, path, a, 2)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{})
	f.Add(uint32(20), []byte{0})
	f.Add(uint32(28), []byte{0xff, 0xff, 0xff, 0xff})
	f.Add(uint32(100), []byte{5, 0xff})
	f.Add(uint32(4096), []byte{2})
	f.Add(uint32(8192+50), []byte("\x81\x82\x83\x84\x85\x86\x87\x88\x89"))
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		b := bytes.Clone(whole)
		copy(b[int(at)%len(b):], change)
		path := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		db, err := cadb.Open(ctx, path)
		if err != nil {
			return
		}
		defer db.Close()
		r, err := cadb.Check(ctx, db, a.Cert)
		found, ierr := db.IntegrityCheck(ctx)
		if err != nil || ierr != nil || r.Damaged() || len(found) > 0 {
			return
		}
		serials := map[string]schema.Disposition{}
		for r, err := range db.Requests(ctx, cadb.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			serials[r.Serial] = r.Disposition
		}
		for _, c := range a.Issued {
			want := schema.Issued
			if c.Revoked {
				want = schema.Revoked
			}
			if serials[c.Serial] != want {
				t.Fatalf("%s is %v, and nothing was found", c.Serial, serials[c.Serial])
			}
		}
	})
}
