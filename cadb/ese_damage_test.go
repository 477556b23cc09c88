package cadb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

const esePage = 4096

// leaves are the pages that a table's rows stand on, with the ids of those rows.
func leaves(tb testing.TB, b []byte, table string) (pages []uint32, rows map[uint32][]int64) {
	tb.Helper()
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		tb.Fatal(err)
	}
	x, err := db.Table(table)
	if err != nil {
		tb.Fatal(err)
	}
	rows = make(map[uint32][]int64)
	for row, err := range x.Rows() {
		id, err2 := row.Int64("RequestID")
		if err := errors.Join(err, err2); err != nil {
			tb.Fatal(err)
		}
		page, _ := row.Position()
		rows[page] = append(rows[page], id)
		if n := len(pages); n == 0 || pages[n-1] != page {
			pages = append(pages, page)
		}
	}
	return pages, rows
}

// longLeaf is a page of a table's long values.
func longLeaf(tb testing.TB, b []byte, table string) uint32 {
	tb.Helper()
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		tb.Fatal(err)
	}
	x, err := db.Table(table)
	if err != nil {
		tb.Fatal(err)
	}
	var pages []uint32
	for n, err := range db.Nodes(x.LongValues()) {
		if err != nil {
			tb.Fatal(err)
		}
		pages = append(pages, n.Page)
	}
	return pages[len(pages)/2]
}

// changed opens a database that was changed as a disk, or an unlucky moment, does.
func changed(t *testing.T, path string, change func(b []byte)) *cadb.DB {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	path = filepath.Join(t.TempDir(), "Example CA.edb")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

// read is everything that a database yields, and what it ends with.
func read(t *testing.T, db *cadb.DB) (rows []cadb.Request, end error) {
	t.Helper()
	for r, err := range db.Requests(t.Context(), cadb.Filter{}) {
		if err != nil {
			end = errors.Join(end, err)
			continue
		}
		rows = append(rows, r)
	}
	return rows, end
}

func severities(list []cadb.Finding, code string) map[cadb.Severity]int {
	m := make(map[cadb.Severity]int)
	for _, f := range list {
		if f.Code == code {
			m[f.Severity]++
		}
	}
	return m
}

// A damaged page does not hide what is on the others. It is damage in every copy; what
// it leaves without a partner is damage only where no logs could explain it.
func TestESEDamagedPage(t *testing.T) {
	const n = 120
	cleanPath, w := eseFile(t, n, esetest.Options{}, nil)
	fuzzyPath, _ := eseBackup(t, n, nil)
	for name, path := range map[string]string{"clean": cleanPath, "not recovered": fuzzyPath} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pages, on := leaves(t, whole, schema.Certificates)
		bad := pages[len(pages)/2]
		long := longLeaf(t, whole, schema.Certificates)
		for what, page := range map[string]uint32{"rows": bad, "long values": long} {
			t.Run(name+" "+what, func(t *testing.T) {
				db := changed(t, path, func(b []byte) { copy(esetest.PageOf(b, esePage, page)[2000:], "garbage") })
				rows, end := read(t, db)
				var ie *cadb.IncompleteError
				if !errors.As(end, &ie) || !errors.Is(end, ese.ErrChecksum) || ie.Table != schema.Certificates || !strings.Contains(end.Error(), fmt.Sprintf("page %d", page)) {
					t.Errorf("ends with %v", end)
				}
				if len(rows) != n {
					t.Errorf("%d rows", len(rows))
				}
				lost := 0
				for _, r := range rows {
					switch {
					case what == "rows" && slices.Contains(on[page], r.ID):
						lost++
						if r.HasCertificateRow || r.RawCertificate != nil {
							t.Errorf("request %d has a certificate from nowhere", r.ID)
						}
					case len(r.Unread) > 0:
						lost++
						if what == "rows" || r.RawCertificate != nil || r.Serial == "" || r.Unread[0].Column != "Certificates.RawCertificate" || r.Unread[0].Explained {
							t.Errorf("%+v", r)
						}
					case w.requests[r.ID-1].Certificate != nil && !bytes.Equal(r.RawCertificate, w.requests[r.ID-1].Certificate.Raw):
						t.Errorf("request %d has another certificate", r.ID)
					}
				}
				if lost == 0 {
					t.Error("nothing was lost: the wrong page")
				}
				rep, err := cadb.Check(t.Context(), db, w.Authority())
				if err != nil || rep.Requests != n || severities(rep.Findings, cadb.CodeUnreadable)[cadb.Damage] == 0 {
					t.Errorf("%v, %+v", err, rep)
				}
				if what == "rows" {
					missing := severities(rep.Findings, cadb.CodeMissing)
					want := cadb.Damage
					if name != "clean" {
						want = cadb.Note
					}
					if missing[want] == 0 || len(missing) != 1 {
						t.Errorf("missing: %v", missing)
					}
				}
				if found, err := db.IntegrityCheck(t.Context()); err != nil || len(found) == 0 {
					t.Errorf("integrity: %v, %v", found, err)
				}
			})
		}
	}
}

// What a copy of a running engine can look like is noted, read once, and no damage; the
// same in a database that was shut down is.
func TestESEFuzzyCopy(t *testing.T) {
	const n = 400
	cleanPath, w := eseFile(t, n, esetest.Options{}, nil)
	fuzzyPath, _ := eseBackup(t, n, nil)
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, b []byte) (lost map[int64]bool)
	}{
		{"a page before its last row", func(t *testing.T, b []byte) map[int64]bool {
			pages, on := leaves(t, b, schema.Requests)
			if err := esetest.StalePage(b, esePage, pages[1], false); err != nil {
				t.Fatal(err)
			}
			ids := on[pages[1]]
			return map[int64]bool{ids[len(ids)-1]: true}
		}},
		{"a page before it was written", func(t *testing.T, b []byte) map[int64]bool {
			pages, on := leaves(t, b, schema.Requests)
			esetest.LoseWrite(b, esePage, pages[1])
			lost := make(map[int64]bool)
			for _, id := range on[pages[1]] {
				lost[id] = true
			}
			return lost
		}},
		{"rows on two pages", func(t *testing.T, b []byte) map[int64]bool {
			pages, on := leaves(t, b, schema.Requests)
			one, two := esetest.PageOf(b, esePage, pages[1]), esetest.PageOf(b, esePage, pages[2])
			next := bytes.Clone(two[20:24])
			copy(two, one)
			binary.LittleEndian.PutUint32(two[16:], pages[1])
			copy(two[20:], next)
			esetest.SealPage(two, pages[2], false)
			lost := make(map[int64]bool)
			for _, id := range on[pages[2]] {
				lost[id] = true
			}
			return lost
		}},
	} {
		for name, path := range map[string]string{"not recovered": fuzzyPath, "clean": cleanPath} {
			t.Run(tt.name+" "+name, func(t *testing.T) {
				var lost map[int64]bool
				db := changed(t, path, func(b []byte) { lost = tt.change(t, b) })
				rows, end := read(t, db)
				seen := make(map[int64]bool)
				last := int64(0)
				for _, r := range rows {
					if seen[r.ID] || lost[r.ID] || r.ID < last {
						t.Errorf("request %d", r.ID)
					}
					seen[r.ID], last = true, r.ID
				}
				if len(rows) != n-len(lost) || len(lost) == 0 {
					t.Errorf("%d rows of %d without %d", len(rows), n, len(lost))
				}
				rep, err := cadb.Check(t.Context(), db, w.Authority())
				if err != nil {
					t.Fatal(err)
				}
				if fuzzy := name != "clean"; rep.Damaged() == fuzzy || fuzzy != (end == nil) && tt.name != "a page before its last row" {
					t.Errorf("damaged %v, ends with %v: %v", rep.Damaged(), end, rep.Findings)
				}
				if s := severities(rep.Findings, cadb.CodeMissing); len(s) != 1 { // the certificates' requests
					t.Errorf("%v", s)
				}
			})
		}
	}
}

// The header has a shadow, also where the file cannot be told by its first bytes.
func TestESEShadow(t *testing.T) {
	path, _ := eseFile(t, 3, esetest.Options{}, nil)
	db := changed(t, path, func(b []byte) { clear(b[:512]) })
	rows, end := read(t, db)
	if len(rows) != 3 || end != nil || !strings.Contains(strings.Join(db.Info().Notes, "\n"), "shadow was used") {
		t.Errorf("%d, %v, %q", len(rows), end, db.Info().Notes)
	}
}

// Values that are larger than any of AD CS are not read.
func TestESETooLarge(t *testing.T) {
	path, w := eseFile(t, 5, esetest.Options{}, func(r *esetest.Request) {
		if r.ID == 3 {
			r.OldCertificate = make([]byte, 3<<20) // nobody asks for it
			r.Raw = bytes.Repeat([]byte{1}, 1<<20+1)
		}
	})
	db := open(t, path)
	rows, end := read(t, db)
	if len(rows) != 5 || end == nil || rows[2].RawRequest != nil || len(rows[2].Unread) != 1 || rows[2].RawCertificate == nil || !bytes.Equal(rows[3].RawRequest, w.requests[3].Raw) {
		t.Errorf("%v, %v", end, rows[2].Unread)
	}
}

// An authority whose certificate was renewed has several. The older ones are taken on
// the database's own word, and that is said.
func TestESERenewed(t *testing.T) {
	old, err := esetest.NewGenerator(8, time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	path, w := eseFile(t, 40, esetest.Options{}, func(r *esetest.Request) {
		switch r.ID {
		case 2: // the certificate that it had before
			before, err := old.Request(1)
			if err != nil {
				t.Fatal(err)
			}
			before.ID = 2
			*r = before
		case 3, 4: // what that one signed
			before, err := old.Request(r.ID)
			if err != nil {
				t.Fatal(err)
			}
			*r = before
		}
	})
	rep, err := cadb.Check(t.Context(), open(t, path), w.Authority())
	if err != nil || rep.Damaged() || rep.EarlierCA != 2 || !slices.ContainsFunc(rep.Findings, func(f cadb.Finding) bool { return strings.Contains(f.Message, "earlier certificates") }) {
		t.Errorf("%v, %d, %v", err, rep.EarlierCA, rep.Findings)
	}
	// Given, it needs no word.
	if rep, err = cadb.Check(t.Context(), open(t, path), w.Authority(), old.Authority()); err != nil || len(rep.Findings) > 0 || rep.EarlierCA != 0 {
		t.Errorf("%v, %v", err, rep.Findings)
	}
}

func TestESEIsNoCA(t *testing.T) {
	out := new(esetest.Memory)
	w, err := esetest.Create(out, esetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.edb")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cadb.Open(t.Context(), path); !errors.Is(err, ese.ErrNoTable) || !strings.Contains(err.Error(), "no certification authority's database") {
		t.Errorf("%v", err)
	}
	path, _ = eseFile(t, 300, esetest.Options{}, nil)
	db := open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range db.Requests(ctx, cadb.Filter{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		break
	}
}
