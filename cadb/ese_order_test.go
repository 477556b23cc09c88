package cadb_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

// In which order an authority's own tables keep their rows has not been seen. Whatever
// it is, requests come in their order, each with what belongs to it.
func TestESEOtherOrder(t *testing.T) {
	out := new(esetest.Memory)
	w, err := esetest.Create(out, esetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 50
	id := func(i int) uint32 { return uint32(i*37%n + 1) } // not the order of rows
	long := func(name string) esetest.Column { return esetest.Column{Name: name, Type: ese.Long} }
	text := func(name string) esetest.Column { return esetest.Column{Name: name, Type: ese.Text, Size: 200} }
	blob := func(name string) esetest.Column { return esetest.Column{Name: name, Type: ese.LongBinary} }
	for _, x := range []struct {
		table   string
		columns []esetest.Column
		write   func(r *esetest.Row, i int) // columns from 1 on
	}{
		// Names as certutil has them, in other case, and only what cannot be missing.
		{"Requests", []esetest.Column{long("REQUESTID"), long("Disposition"), blob("RawRequest"), text("$Requestername")}, func(r *esetest.Row, i int) {
			r.Uint32(1, id(i))
			r.Uint32(2, uint32(schema.Issued))
			r.Bytes(3, fmt.Appendf(nil, "request %d", id(i)))
			r.Text(4, fmt.Sprint("requester ", id(i)))
		}},
		{"Certificates", []esetest.Column{long("RequestID"), text("SerialNumber"), blob("RawCertificate"), text("$StateOrProvince")}, func(r *esetest.Row, i int) {
			r.Uint32(1, id(i+7))
			r.Text(2, fmt.Sprintf("%04X", id(i+7)))
			r.Bytes(3, fmt.Appendf(nil, "certificate %d", id(i+7)))
			r.Text(4, fmt.Sprint("state ", id(i+7)))
		}},
		{"RequestAttributes", []esetest.Column{long("AttributeRequestId"), text("$AttributeName"), text("$AttributeValue")}, func(r *esetest.Row, i int) {
			r.Uint32(1, id(i/2))
			r.Text(2, fmt.Sprint("name ", i%2))
			r.Text(3, fmt.Sprint("value of ", id(i/2)))
		}},
		{"CertificateExtensions", []esetest.Column{long("RequestID"), text("$ExtensionName"), long("ExtensionFlags")}, func(r *esetest.Row, i int) {
			r.Uint32(1, id(i))
			r.Text(2, "1.2.3")
			r.Uint32(3, 1)
		}},
		{"CRLs", []esetest.Column{long("CRLRowId"), long("CRLNumber")}, func(r *esetest.Row, i int) {
			r.Uint32(1, uint32(i+1))
			r.Uint32(2, uint32(i+100))
		}},
	} {
		table, err := w.CreateTable(esetest.TableSpec{Name: x.table, Columns: append([]esetest.Column{long("Place")}, x.columns...),
			Indexes: []esetest.Index{{Name: x.table, Columns: []string{"Place"}, Primary: true}}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			r := table.Row()
			r.Uint32(0, uint32(i))
			x.write(r, i)
			if err := table.Insert(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.edb")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	db := open(t, path)
	rows, end := read(t, db)
	if end != nil || len(rows) != n {
		t.Fatalf("%d rows, %v", len(rows), end)
	}
	for i, r := range rows {
		if r.ID != int64(i+1) || string(r.RawRequest) != fmt.Sprint("request ", r.ID) || r.RequesterName != fmt.Sprint("requester ", r.ID) || r.Disposition != schema.Issued ||
			!r.HasCertificateRow || r.Serial != fmt.Sprintf("%04x", r.ID)[len(fmt.Sprintf("%04x", r.ID))-2:] || string(r.RawCertificate) != fmt.Sprint("certificate ", r.ID) || r.Subject.State != fmt.Sprint("state ", r.ID) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if got := ids(t, db.Requests(t.Context(), cadb.Filter{FromID: 5, ToID: 7, Serial: "6"})); len(got) != 1 || got[0] != 6 {
		t.Errorf("%v", got)
	}
	last, count := int64(0), 0
	for a, err := range db.Attributes(t.Context(), cadb.AllExtensions) {
		if err != nil || a.RequestID < last || a.Value != fmt.Sprint("value of ", a.RequestID) || a.Name != fmt.Sprint("name ", count%2) {
			t.Errorf("%+v, %v", a, err)
		}
		last = a.RequestID
		count++
	}
	if count != n {
		t.Errorf("%d attributes", count)
	}
	for c, err := range db.CRLs(t.Context()) {
		if err != nil || c.Number != c.RowID+99 {
			t.Errorf("%+v, %v", c, err)
		}
	}
}
