package ese_test

import (
	"bytes"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

// indexed is a clean database of a table with an index that takes every row, and one that
// takes every second.
func indexed(t testing.TB, rows int) []byte {
	t.Helper()
	var m esetest.Memory
	w, err := esetest.Create(&m, esetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table, err := w.CreateTable(esetest.TableSpec{Name: "T", Columns: []esetest.Column{{Name: "ID", Type: ese.Long, Flags: ese.ColumnNotNull},
		{Name: "All", Type: ese.Long}, {Name: "Some", Type: ese.Long}}, Indexes: []esetest.Index{{Name: "primary", Columns: []string{"ID"}, Primary: true},
		{Name: "all", Columns: []string{"All"}}, {Name: "some", Columns: []string{"Some"}, IgnoreNull: true}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		row := table.Row()
		row.Uint32(0, uint32(i))
		row.Uint32(1, uint32(i*7919%1009))
		if i%2 == 0 {
			row.Uint32(2, uint32(i))
		}
		if err := table.Insert(row); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}

// TestCheckIndexes: a page that is older than the rest shows in the indexes.
func TestCheckIndexes(t *testing.T) {
	const rows = 2000
	open := func(b []byte) *ese.Table {
		db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		table, err := db.Table("T")
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	// leaf is one in the middle of a tree.
	leaf := func(root, object uint32, b []byte) uint32 {
		n := 0
		for node, err := range openDB(t, b).Nodes(root, object) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 700 {
				return node.Page
			}
		}
		t.Fatal("too few nodes")
		return 0
	}
	whole := indexed(t, rows)
	table := open(whole)
	roots := map[string][2]uint32{"table": {table.Root(), table.ID()}}
	for _, x := range table.Indexes() {
		if !x.Primary() {
			roots[x.Name] = [2]uint32{x.Root, x.ObjectID}
		}
	}
	type counts struct{ dangling, missing uint64 }
	for _, tt := range []struct {
		stale     string
		all, some counts
	}{
		{"", counts{}, counts{}},
		{"table", counts{dangling: 1}, counts{}}, // or some, if the row is in it: see below
		{"all", counts{missing: 1}, counts{}},
		{"some", counts{}, counts{}}, // whether an entry should be there, the index does not say
	} {
		b := bytes.Clone(whole)
		if tt.stale != "" {
			at := roots[tt.stale]
			if err := esetest.StalePage(b, 4096, leaf(at[0], at[1], b), false); err != nil {
				t.Fatal(err)
			}
		}
		got := make(map[string]counts)
		for c := range open(b).CheckIndexes() {
			got[c.Index.Name] = counts{c.Dangling, c.Missing}
			if c.Unchecked || c.Rows < rows-1 || (c.Dangling > 0) != (c.Page != 0) {
				t.Errorf("%+v", c)
			}
		}
		if tt.stale == "table" && got["some"].dangling <= 1 {
			tt.some = got["some"]
		}
		if len(got) != 2 || got["all"] != tt.all || got["some"] != tt.some {
			t.Errorf("older page in %q: %+v", tt.stale, got)
		}
	}
}

func openDB(t *testing.T, b []byte) *ese.Database {
	t.Helper()
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// BenchmarkCheckIndexes says what it costs for each row.
func BenchmarkCheckIndexes(b *testing.B) {
	const rows = 100000
	data := indexed(b, rows)
	db, err := ese.Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		b.Fatal(err)
	}
	table, err := db.Table("T")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for range table.CheckIndexes() {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
}
