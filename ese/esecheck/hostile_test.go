package esecheck_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esecheck"
	"github.com/certkeep/certkeep/ese/esetest"
	"github.com/certkeep/certkeep/ese/internal/findings"
	"github.com/certkeep/certkeep/ese/internal/seed"
)

// TestLargeValueTakesNoMemory: a file of half a megabyte can hold a value of a hundred.
func TestLargeValueTakesNoMemory(t *testing.T) {
	const size = 100 << 20
	var m esetest.Memory
	w, err := esetest.Create(&m, esetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table, err := w.CreateTable(esetest.TableSpec{Name: "Requests", Columns: []esetest.Column{{Name: "ID", Type: ese.Long, Flags: ese.ColumnNotNull},
		{Name: "Raw", Type: ese.LongBinary, Flags: ese.ColumnCompressed}}, Indexes: []esetest.Index{{Name: "primary", Columns: []string{"ID"}, Primary: true}}})
	if err != nil {
		t.Fatal(err)
	}
	row := table.Row()
	row.Uint32(0, 1)
	row.Bytes(1, make([]byte, size))
	if err := table.Insert(row); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	in := esecheck.Input{Database: &esecheck.File{Name: "CA.edb", R: &m, Size: int64(len(m.Bytes()))}, Depth: esecheck.Rows}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := esecheck.Check(t.Context(), in)
	runtime.ReadMemStats(&after)
	if err != nil || findings.Serious(r) != "" || r.Rows["Requests"] != 1 {
		t.Errorf("%v, %v\n%s", r, err, findings.All(r))
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > size/2 {
		t.Errorf("%d bytes of memory for a file of %d", used, len(m.Bytes()))
	}
}

// TestManyIndexesOfOneTree: the time that a check takes must not be the number of
// entries in the catalog times the size of a tree.
func TestManyIndexesOfOneTree(t *testing.T) {
	d := seed.Sample(4096, false)
	for _, page := range []uint32{4, 24} {
		p := d.Pages[page]
		var nodes []seed.Node
		for _, n := range p.Nodes {
			nodes = append(nodes, n)
			if bytes.Contains(n.Data, []byte("name")) && bytes.Equal(n.Data[len(n.Data)-4:], []byte{0, 0, 128, 0}) {
				n.Key = append(bytes.Clone(n.Key), 0)
				nodes = append(nodes, n)
			}
		}
		if len(nodes) != len(p.Nodes)+1 {
			t.Fatalf("%d indexes more", len(nodes)-len(p.Nodes))
		}
		p.Nodes = nodes
		d.Pages[page] = p
	}
	p := d.Pages[seed.IndexRoot]
	p.Nodes[2].Key = []byte("a")
	p.Nodes[2].Data = seed.Key(77)
	d.Pages[seed.IndexRoot] = p
	s := &set{db: d}
	r := s.check(t)
	all := findings.All(r)
	if strings.Count(all, "its key is below") != 1 || strings.Count(all, "names a row that is not there") != 1 {
		t.Error(all)
	}
}
