package eseview_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/cmd/certkeep/internal/eseview"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

// TestFind: what belongs together, and what other programs call their files.
func TestFind(t *testing.T) {
	backup, clean := backupFolder(t, nil), live(t, true)
	for name, b := range map[string][]byte{"app.log": []byte("started"), "run20240101.log": []byte("started"), "readme.txt": nil, "tmp.edb": make([]byte, 8192)} {
		write(t, filepath.Join(clean.Dir, name), b)
	}
	files := newFiles(t)

	g := group(t, files, filepath.Dir(backup.Dir)) // the directory above DataBase
	if g.Layout != eseview.Certutil || g.Dir != backup.Dir || len(g.Databases) != 1 || len(g.Logs) != 3 || g.Map == "" || len(g.Unknown) > 0 {
		t.Errorf("%+v", g)
	}
	g = group(t, files, clean.Dir)
	if g.Layout != eseview.CertLog || len(g.Databases) != 1 || len(g.Logs) != 3 || len(g.Checkpoints) != 1 || len(g.Reserves) != 2 || len(g.Temporary) != 2 {
		t.Errorf("%+v", g)
	}
	// Names do not matter for what is asked for by name, unless it is damaged.
	odd := filepath.Join(t.TempDir(), "odd")
	write(t, odd, read(t, backup.Logs[0]))
	broken := filepath.Join(t.TempDir(), "edb00009.log")
	write(t, broken, make([]byte, 8192))
	g = group(t, files, odd, broken, filepath.Join(clean.Dir, "readme.txt"), clean.Checkpoint)
	if g.Layout != eseview.Named || !slices.Equal(g.Logs, []string{odd, broken}) || len(g.Unknown) != 1 || len(g.Checkpoints) != 1 {
		t.Errorf("%+v", g)
	}
	groups, err := eseview.Find(files, []string{backup.Dir, odd, clean.Dir})
	if err != nil || len(groups) != 3 || groups[0].Layout != eseview.Named {
		t.Errorf("%d groups, %v", len(groups), err)
	}
	if _, err := eseview.Find(files, []string{t.TempDir()}); err == nil {
		t.Error("an empty directory is something")
	}
}

// TestChecks: a database that was named alone is checked with the logs beside it.
func TestChecks(t *testing.T) {
	f := live(t, false)
	files := newFiles(t)
	checks := eseview.Checks(files, group(t, files, f.Database))
	if len(checks) != 1 || len(checks[0].Logs) != 3 || len(checks[0].Checkpoints) != 1 {
		t.Fatalf("%+v", checks)
	}
	for depth, name := range eseview.Depths {
		var last int64
		r, err := checks[0].Check(t.Context(), files, eseview.CheckOptions{Depth: name, Workers: 2, Progress: func(_ string, done, total int64) {
			if done < last || total > 0 && done > total {
				t.Errorf("%d of %d after %d", done, total, last)
			}
			last = done
		}})
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK || r.LogsElsewhere || r.Pages.Good == 0 || r.Pages.Bad > 0 || last == 0 || (len(r.Rows) > 0) != (depth == 2) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	alone := filepath.Join(t.TempDir(), "x.edb")
	write(t, alone, read(t, f.Database))
	checks = eseview.Checks(files, group(t, files, alone))
	r, err := checks[0].Check(t.Context(), files, eseview.CheckOptions{Depth: "pages"})
	if err != nil || !r.OK || !r.LogsElsewhere {
		t.Errorf("alone: %+v, %v", r, err)
	}
	if _, err := checks[0].Check(t.Context(), files, eseview.CheckOptions{Depth: "leaves"}); err == nil {
		t.Error("a depth that there is not")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := checks[0].Check(ctx, files, eseview.CheckOptions{Depth: "rows"}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestDescribe: of headers that are right, and those that are not.
func TestDescribe(t *testing.T) {
	f := live(t, true)
	files := newFiles(t)
	v, err := eseview.Describe(t.Context(), files, f.Database)
	if err != nil || v.Kind != "database" || v.Database.State != "clean shutdown" || v.Database.Trailer != nil || v.Database.NeededForRestore != nil || v.Database.Signature == nil {
		t.Fatalf("%+v, %v", v, err)
	}
	v, err = eseview.Describe(t.Context(), files, f.Logs[1])
	if err != nil || v.Log.Generation != 4 || v.Log.Previous == "" || len(v.Log.Attached) != 1 || !strings.HasSuffix(v.Log.Attached[0].Path, `\Secret CA.edb`) || v.Log.End != "shadow" {
		t.Errorf("%+v, %v", v.Log, err)
	}
	v, err = eseview.Describe(t.Context(), files, f.Checkpoint)
	if err != nil || !strings.HasPrefix(v.Checkpoint.Position, "5:") || v.Checkpoint.UsedShadow {
		t.Errorf("%+v, %v", v, err)
	}
	b := read(t, f.Checkpoint)
	b[100] ^= 1
	write(t, f.Checkpoint, b)
	if v, err = eseview.Describe(t.Context(), files, f.Checkpoint); err != nil || !v.Checkpoint.UsedShadow {
		t.Errorf("a checkpoint with one good copy: %+v, %v", v, err)
	}
	for path, kind := range map[string]string{"edbtmp.log": "log-being-prepared", "edbres00001.jrs": "reserve"} {
		if v, err := eseview.Describe(t.Context(), files, filepath.Join(f.Dir, path)); err != nil || v.Kind != kind {
			t.Errorf("%s: %+v, %v", path, v, err)
		}
	}
	b = read(t, f.Database)
	b[50] ^= 1
	write(t, f.Database, b)
	if v, err = eseview.Describe(t.Context(), files, f.Database); err != nil || v.Database.Used != "shadow" || v.Database.Primary != "damaged" {
		t.Errorf("a database with one good header: %+v, %v", v, err)
	}
	b[4096+50] ^= 1
	write(t, f.Database, b)
	if _, err = eseview.Describe(t.Context(), files, f.Database); !errors.Is(err, ese.ErrChecksum) || !strings.HasPrefix(err.Error(), f.Database) {
		t.Errorf("without a good header: %v", err)
	}
}

// TestFiles: more files than may be open at a time, read by several at once.
func TestFiles(t *testing.T) {
	dir, files := t.TempDir(), newFiles(t)
	const n = 200
	var opened []*eseview.Opened
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint(i))
		write(t, path, []byte{byte(i)})
		o, err := files.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, o)
	}
	if open := files.OpenNow(); open > 48 {
		t.Errorf("%d files are open", open)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range n {
				var b [1]byte
				if _, err := opened[i].ReadAt(b[:], 0); err != nil || b[0] != byte(i) {
					t.Errorf("file %d: %d, %v", i, b, err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := files.Open(dir); err == nil {
		t.Error("a directory was opened")
	}
}

// everyType is a table with a value of each type.
func everyType(t *testing.T) *ese.Database {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.edb")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := esetest.Create(out, esetest.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	spec := esetest.TableSpec{Name: "T", Columns: []esetest.Column{{Name: "ID", Type: ese.Long}}, Indexes: []esetest.Index{{Name: "P", Columns: []string{"ID"}, Primary: true}}}
	for i := ese.Bit; i <= ese.UnsignedLongLong; i++ {
		if i != ese.SLV {
			spec.Columns = append(spec.Columns, esetest.Column{Name: i.String(), Type: i, Size: sizeOf(i)})
		}
	}
	spec.Columns = append(spec.Columns, esetest.Column{Name: "Several", Type: ese.LongText, Flags: ese.ColumnMultiValued}, esetest.Column{Name: "Big", Type: ese.LongBinary})
	tb, err := w.CreateTable(spec)
	if err != nil {
		t.Fatal(err)
	}
	r := tb.Row()
	r.Uint32(0, math.MaxUint32)
	r.Bool(tb.Column("Bit"), true)
	r.Bytes(tb.Column("UnsignedByte"), []byte{200})
	r.Bytes(tb.Column("Short"), []byte{0xfe, 0xff})
	r.Uint32(tb.Column("Long"), 0x80070005)
	r.Uint64(tb.Column("Currency"), math.MaxUint64-12344)
	r.Uint32(tb.Column("IEEESingle"), math.Float32bits(0.1))
	r.Uint64(tb.Column("IEEEDouble"), math.Float64bits(math.NaN()))
	r.Uint64(tb.Column("DateTime"), 0x01DC1109C16E2030)
	r.Bytes(tb.Column("Binary"), []byte{1, 0xff})
	r.Text(tb.Column("Text"), "=1+1\x1b[31m")
	r.Bytes(tb.Column("LongBinary"), bytes.Repeat([]byte{0xab}, 5000))
	r.Text(tb.Column("LongText"), "Zürich\nBern")
	r.Uint32(tb.Column("UnsignedLong"), math.MaxUint32)
	r.Uint64(tb.Column("LongLong"), math.MaxUint64)
	r.Bytes(tb.Column(ese.GUIDType.String()), []byte{0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 8, 9, 10, 11, 12, 13, 14, 15})
	r.Bytes(tb.Column("UnsignedShort"), []byte{0xfe, 0xff})
	r.Uint64(tb.Column("UnsignedLongLong"), math.MaxUint64)
	r.Text(tb.Column("Several"), "one")
	r.Text(tb.Column("Several"), "two")
	r.Bytes(tb.Column("Big"), make([]byte, eseview.MostOfValue+10))
	if err := tb.Insert(r); err != nil {
		t.Fatal(err)
	}
	r = tb.Row()
	r.Uint32(0, 1)
	r.Uint64(tb.Column("DateTime"), math.Float64bits(45000.25)) // an OLE date
	if err := tb.Insert(r); err != nil {
		t.Fatal(err)
	}
	r = tb.Row()
	r.Uint32(0, 2)
	r.Uint64(tb.Column("DateTime"), 77) // no date of any kind
	if err := tb.Insert(r); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := eseview.OpenDatabase(newFiles(t), path)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func sizeOf(t ese.ColumnType) int {
	if n := t.Size(); n > 0 {
		return n
	}
	if t == ese.Binary || t == ese.Text {
		return 255
	}
	return 0
}

func TestRows(t *testing.T) {
	table, err := everyType(t).Table("T")
	if err != nil {
		t.Fatal(err)
	}
	var csvText bytes.Buffer
	w, err := eseview.NewCSV(&csvText, table)
	if err != nil {
		t.Fatal(err)
	}
	var rows []eseview.Row
	r, err := eseview.ReadRows(t.Context(), table, 0, func(r eseview.Row) error {
		rows = append(rows, r)
		return w.Write(r)
	})
	if err = errors.Join(err, w.Flush()); err != nil || r.Rows != 3 || r.Faults != 0 || r.More {
		t.Fatalf("%+v, %v", r, err)
	}
	got := map[string][]string{}
	for _, c := range rows[0].Values {
		s := fmt.Sprint(c.Value)
		if len(s) > 20 && strings.HasPrefix(s, "abab") || c.Column == "Big" {
			s = fmt.Sprintf("%d hex, cut %d", len(s), c.Cut)
		}
		got[c.Column] = append(got[c.Column], s)
	}
	for column, want := range map[string]string{
		"ID": "-1", "Bit": "true", "UnsignedByte": "200", "Short": "-2", "Long": "-2147024891", "Currency": "-1.2345", "IEEESingle": "0.1", "IEEEDouble": "NaN",
		"DateTime": "2025-08-19T13:04:11.187Z", "Binary": "01ff", "Text": "=1+1\x1b[31m", "LongBinary": "10000 hex, cut 0", "LongText": "Zürich\nBern",
		"UnsignedLong": "4294967295", "LongLong": "-1", "GUIDType": "00112233-4455-6677-0809-0a0b0c0d0e0f", "UnsignedShort": "65534",
		"UnsignedLongLong": "18446744073709551615", "Several": "one|two", "Big": fmt.Sprintf("%d hex, cut %d", 2*eseview.MostOfValue, eseview.MostOfValue+10),
	} {
		name := column
		if column == "GUIDType" {
			name = ese.GUIDType.String()
		}
		if s := strings.Join(got[name], "|"); s != want {
			t.Errorf("%s is %q, want %q", name, s, want)
		}
	}
	for i, want := range map[int]string{1: "2023-03-15T06:00:00Z", 2: "0x000000000000004d"} {
		if s := fmt.Sprint(rows[i].Values[1].Value); s != want {
			t.Errorf("date of row %d is %s, want %s", i, s, want)
		}
	}
	records, err := csv.NewReader(&csvText).ReadAll()
	if err != nil || len(records) != 4 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	cell := func(column string) string { return records[1][slices.Index(records[0], column)] }
	if s := cell("Text"); s != "'=1+1?[31m" {
		t.Errorf("a formula with a control sequence is %q", s)
	}
	if s := cell("LongText"); s != "Zürich\nBern" {
		t.Errorf("a text is %q", s)
	}
	if s := cell("Several"); s != "one; two" {
		t.Errorf("several values are %q", s)
	}
	if s := cell("Big"); !strings.HasSuffix(s, fmt.Sprintf("... (%d bytes)", eseview.MostOfValue+10)) {
		t.Errorf("a long value ends in %q", s[len(s)-40:])
	}
	if s := cell("Long"); s != "-2147024891" { // numbers are no formulas
		t.Errorf("a negative number is %q", s)
	}
}

// TestRowsLimit: the bound is kept, and what is damaged is said.
func TestRowsLimit(t *testing.T) {
	f := live(t, true)
	b := read(t, f.Database)
	files := newFiles(t)
	db, err := eseview.OpenDatabase(files, f.Database)
	if err != nil {
		t.Fatal(err)
	}
	table, err := db.Table("Requests")
	if err != nil {
		t.Fatal(err)
	}
	var pages []uint32
	r, err := eseview.ReadRows(t.Context(), table, 7, func(r eseview.Row) error {
		pages = append(pages, r.Page)
		return nil
	})
	if err != nil || r.Rows != 7 || len(pages) != 7 || !r.More {
		t.Fatalf("%+v, %v", r, err)
	}
	b[(int(pages[0])+1)*4096+200] ^= 0x81
	write(t, f.Database, b)
	if db, err = eseview.OpenDatabase(files, f.Database); err != nil {
		t.Fatal(err)
	}
	if table, err = db.Table("Requests"); err != nil {
		t.Fatal(err)
	}
	errorsSeen := 0
	r, err = eseview.ReadRows(t.Context(), table, 0, func(r eseview.Row) error {
		if r.Error != "" {
			errorsSeen++
		}
		return nil
	})
	if err != nil || r.Faults == 0 || errorsSeen == 0 || r.Rows == 0 || r.Rows >= requests || r.More || r.First == "" {
		t.Errorf("%+v, %d errors, %v", r, errorsSeen, err)
	}
	full := errors.New("disk full")
	if _, err := eseview.ReadRows(t.Context(), table, 0, func(eseview.Row) error { return full }); !errors.Is(err, full) {
		t.Errorf("a write that failed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = eseview.ReadRows(ctx, table, 0, func(eseview.Row) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestCatalog(t *testing.T) {
	f := live(t, true)
	for _, counted := range []bool{false, true} {
		k, err := eseview.ReadCatalog(t.Context(), newFiles(t), f.Database, counted)
		if err != nil {
			t.Fatal(err)
		}
		seen := false
		for _, x := range k.Tables {
			if (x.Rows != nil) != counted {
				t.Errorf("%s: rows %v", x.Name, x.Rows)
			}
			if x.Name != "Requests" {
				continue
			}
			seen = true
			if counted && *x.Rows != requests || x.System || x.Columns[0].Storage != "fixed" || !slices.Contains(x.Columns[0].Flags, "auto-increment") || !slices.Contains(x.Indexes[0].Flags, "primary") {
				t.Errorf("%+v", x)
			}
		}
		if !seen {
			t.Error("Requests is missing")
		}
	}
}
