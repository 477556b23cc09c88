package ese_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

var pageSizes = []int{4096, 8192, 16384, 32768}

// requests are the rows of the sample's table by RequestID.
func requests(t *testing.T, db *ese.Database) map[int32]ese.Row {
	t.Helper()
	table, err := db.Table("requests")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[int32]ese.Row)
	for row, err := range table.Rows() {
		if err != nil {
			t.Fatal(err)
		}
		id, err := row.Int32("RequestID")
		if err != nil {
			t.Fatal(err)
		}
		rows[id] = row
	}
	return rows
}

func TestSample(t *testing.T) {
	for _, size := range pageSizes {
		for _, options := range []ese.Options{{}, {CacheBytes: -1}} {
			data := seed.Sample(size, false).Bytes()
			db, err := ese.OpenWith(bytes.NewReader(data), int64(len(data)), options)
			if err != nil {
				t.Fatal(err)
			}
			if n := db.Notes(); len(n) > 0 {
				t.Errorf("%q", n)
			}
			rows := requests(t, db)
			if len(rows) != 4 {
				t.Fatalf("%d: %d rows", size, len(rows))
			}
			one := rows[1]
			text(t, one, "Name", "name€")
			text(t, one, "$CommonName", "Grüße")
			text(t, one, "packed", "seven bits are enough")
			if when, err := one.FileTime("SubmittedWhen"); err != nil || !when.Equal(time.Date(2025, 8, 19, 13, 4, 11, 0, time.UTC).Add(when.Sub(when.Truncate(time.Second)))) {
				t.Errorf("%v, %v", when, err)
			}
			if on, err := one.Bool("Flag"); !on || err != nil {
				t.Errorf("%v, %v", on, err)
			}
			if n, err := one.Int32("Disposition"); n != 20 || err != nil {
				t.Errorf("default: %d, %v", n, err)
			}
			numbers, err := one.Values("Numbers")
			if err != nil || len(numbers) != 2 {
				t.Fatalf("%v, %v", numbers, err)
			}
			if n, err := numbers[1].Int64(); n != 2 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			raw(t, one, "RawRequest", seed.PlainLongBytes())
			two := rows[2]
			raw(t, two, "RawRequest", []byte("wide"))
			raw(t, two, "Hash", []byte{1, 2, 2})
			if !two.IsNull("Packed") || !two.IsNull("Numbers") || !two.IsNull("no such column") || two.IsNull("Blobs") {
				t.Error("NULLs")
			}
			blobs(t, two, "packed packed packed packed packed packed packed packed", "second")
			three := rows[3]
			if !three.IsNull("SubmittedWhen") || !three.IsNull("Name") || !three.IsNull("Hash") || three.IsNull("RawRequest") || three.IsNull("Flag") {
				t.Error("NULLs")
			}
			raw(t, three, "RawRequest", []byte{})
			if s, err := three.Text("Packed"); s != "" || !errors.Is(err, ese.ErrUnsupported) || !strings.Contains(err.Error(), "LZ4") {
				t.Errorf("%q, %v", s, err)
			}
			blobs(t, rows[4], "first", "\x18 not packed")
			if b, err := rows[4].Bytes("RawRequest"); b != nil || !errors.Is(err, ese.ErrNoLongValue) {
				t.Errorf("%x, %v", b, err)
			}
		}
	}
}

func text(t *testing.T, r ese.Row, column, want string) {
	t.Helper()
	if s, err := r.Text(column); s != want || err != nil {
		t.Errorf("%s: %q, %v; want %q", column, s, err, want)
	}
}

// raw compares a value's bytes, read whole and piece by piece.
func raw(t *testing.T, r ese.Row, column string, want []byte) {
	t.Helper()
	if b, err := r.Bytes(column); !bytes.Equal(b, want) || err != nil {
		t.Errorf("%s: %x, %v; want %x", column, b, err, want)
	}
	rd, err := r.Reader(column)
	if err != nil {
		t.Error(err)
		return
	}
	if b, err := io.ReadAll(rd); !bytes.Equal(b, want) || err != nil {
		t.Errorf("%s: read %x, %v; want %x", column, b, err, want)
	}
}

func blobs(t *testing.T, r ese.Row, want ...string) {
	t.Helper()
	values, err := r.Values("Blobs")
	if err != nil || len(values) != len(want) {
		t.Errorf("%d values, %v", len(values), err)
		return
	}
	for i, v := range values {
		if b, err := v.Bytes(); string(b) != want[i] || err != nil {
			t.Errorf("value %d: %q, %v; want %q", i, b, err, want[i])
		}
	}
}

// TestDerivedTable: a table has its template's columns before its own, and tagged
// ones of the same number are told apart.
func TestDerivedTable(t *testing.T) {
	for _, size := range pageSizes {
		table, err := open(t, seed.Sample(size, false).Bytes()).Table("Derived")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range table.Columns() {
			names = append(names, c.Name)
		}
		if got := strings.Join(names, " "); got != "BaseID BaseText OwnID OwnText" || table.Template() != "Base" {
			t.Errorf("columns %q of %q", got, table.Template())
		}
		n := 0
		for row, err := range table.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			n++
			text(t, row, "BaseText", "from the base")
			text(t, row, "OwnText", "its own")
			base, err1 := row.Int32("BaseID")
			own, err2 := row.Int32("OwnID")
			if base != 1 || own != 2 || err1 != nil || err2 != nil {
				t.Errorf("%d, %v, %d, %v", base, err1, own, err2)
			}
			all := 0
			for range row.All() {
				all++
			}
			if all != 4 {
				t.Errorf("%d columns of 4", all)
			}
		}
		if n != 1 {
			t.Errorf("%d rows", n)
		}
	}
}

func TestSchema(t *testing.T) {
	db := open(t, seed.Sample(4096, false).Bytes())
	table, err := db.Table("Requests")
	if err != nil {
		t.Fatal(err)
	}
	x := table.Indexes()
	if len(x) != 2 || !x[0].Primary() || x[0].Columns[0] != "RequestID" || x[1].Primary() || x[1].Unique() || x[1].Columns[0] != "Name" {
		t.Errorf("%+v", x)
	}
	if _, err := db.Table("nothing"); !errors.Is(err, ese.ErrNoTable) {
		t.Error(err)
	}
	if _, err := table.Column("nothing"); !errors.Is(err, ese.ErrNoColumn) {
		t.Error(err)
	}
	if sys, err := db.Table("MSysObjects"); err != nil || !sys.System() || table.System() {
		t.Error(err)
	}
}

// TestWrongTypes: asking for what a column is not is an error, never a number.
func TestWrongTypes(t *testing.T) {
	row := requests(t, open(t, seed.Sample(4096, false).Bytes()))[1]
	for what, get := range map[string]func() error{
		"text of a number":  func() error { _, err := row.Text("RequestID"); return err },
		"number of a text":  func() error { _, err := row.Int64("Name"); return err },
		"float of a number": func() error { _, err := row.Float64("RequestID"); return err },
		"GUID of a time":    func() error { _, err := row.GUID("SubmittedWhen"); return err },
		"time of a number":  func() error { _, err := row.FileTime("RequestID"); return err },
		"bool of a number":  func() error { _, err := row.Bool("RequestID"); return err },
		"too large":         func() error { _, err := row.Int32("SubmittedWhen"); return err },
		"no OLE date":       func() error { _, err := row.OLETime("RequestID"); return err },
	} {
		if err := get(); !errors.Is(err, ese.ErrType) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := row.Text("nothing"); !errors.Is(err, ese.ErrNoColumn) {
		t.Error(err)
	}
	if _, err := (ese.Row{}).Text("Name"); err == nil {
		t.Error("text of no row")
	}
	if _, err := (ese.Value{}).Bytes(); err != nil {
		t.Error(err)
	}
}
