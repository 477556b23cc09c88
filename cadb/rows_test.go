package cadb_test

import (
	"bytes"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"encoding/pem"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
)

func ids(t *testing.T, seq iter.Seq2[cadb.Request, error]) (out []int64) {
	t.Helper()
	for r, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r.ID)
	}
	return out
}

func TestFilter(t *testing.T) {
	// 1 the CA, 2 revoked, 3-5 issued, 6 pending, 7 denied, 8 failed.
	db, a := makeDB(t, 4, "UPDATE Certificates SET NotAfter = 5 WHERE RequestID = 4")
	serial := strings.ToUpper(a.Issued[1].Serial)
	for _, c := range []struct {
		name string
		f    cadb.Filter
		want []int64
	}{
		{"all", cadb.Filter{}, []int64{1, 2, 3, 4, 5, 6, 7, 8}},
		{"serial", cadb.Filter{Serial: "0x" + serial}, []int64{3}},
		{"no such serial", cadb.Filter{Serial: "abcd"}, nil},
		{"dispositions", cadb.Filter{Dispositions: []schema.Disposition{schema.Denied, schema.Revoked}}, []int64{2, 7}},
		{"ids", cadb.Filter{FromID: 3, ToID: 4}, []int64{3, 4}},
		{"expired", cadb.Filter{ExpiresBefore: a.Now}, []int64{4}},
		{"expires", cadb.Filter{ExpiresAfter: a.Now, Dispositions: []schema.Disposition{schema.Issued}}, []int64{3, 5}},
		{"both", cadb.Filter{Serial: serial, Dispositions: []schema.Disposition{schema.Revoked}}, nil},
	} {
		if got := ids(t, db.Requests(t.Context(), c.f)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, err := range db.Requests(t.Context(), cadb.Filter{Serial: "x'; --"}) {
		if err == nil {
			t.Error("a serial number that is none was searched for")
		}
	}
	for r, err := range db.Requests(t.Context(), cadb.Filter{NoRequest: true, ToID: 2}) {
		if err != nil || r.RawRequest != nil || r.RawCertificate == nil {
			t.Errorf("NoRequest: %v %v", r, err)
		}
	}
}

func TestRows(t *testing.T) {
	db, a := makeDB(t, 3)
	counts, err := db.Counts(t.Context())
	want := map[schema.Disposition]int{schema.CACert: 1, schema.Issued: 2, schema.Revoked: 1, schema.Pending: 1, schema.Denied: 1, schema.Failed: 1}
	if d := cmp.Diff(want, counts); d != "" || err != nil {
		t.Error(d, err)
	}
	info := db.Info()
	if info.Engine != "sqlite" || info.PageSize != 4096 || info.Size%4096 != 0 || info.Rows[schema.Requests] != 7 || info.Rows[schema.CRLs] != 1 {
		t.Errorf("%+v", info)
	}
	// An iteration inside an iteration, and one left early.
	for r, err := range db.Requests(t.Context(), cadb.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for e, err := range db.Extensions(t.Context(), r.ID) {
			if err != nil || e.RequestID != r.ID {
				t.Fatal(e, err)
			}
			n++
		}
		if (r.RawCertificate != nil) != (n > 0) {
			t.Errorf("request %d has %d extensions", r.ID, n)
		}
		for at, err := range db.Attributes(t.Context(), r.ID) {
			if err != nil || at.Name != "ccm" || at.Value != "client1.example" {
				t.Errorf("%+v %v", at, err)
			}
		}
		if r.ID == 4 {
			break
		}
	}
	for c, err := range db.CRLs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		crl, err := x509.ParseRevocationList(c.Raw)
		if err != nil || c.Number != 1 || c.Count != 1 || !c.ThisUpdate.Equal(crl.ThisUpdate) || crl.CheckSignatureFrom(a.Cert) != nil {
			t.Errorf("%+v %v", c, err)
		}
		rec := c.Record(true)
		if rec.Number != 1 || !strings.HasPrefix(rec.CRL, "-----BEGIN X509 CRL-----") {
			t.Errorf("%+v", rec)
		}
	}
	ca, err := db.CACertificate(t.Context())
	if err != nil || !ca.Equal(a.Cert) {
		t.Errorf("CA certificate: %v", err)
	}
}

func TestExport(t *testing.T) {
	db, a := makeDB(t, 2, "UPDATE Requests SET RequesterName = '=cmd()' WHERE RequestID = 2",
		"UPDATE Certificates SET DistinguishedName = 'CN=x' || char(10) || '-----BEGIN X-----' WHERE RequestID = 3")
	all := func() iter.Seq2[cadb.Request, error] { return db.Requests(t.Context(), cadb.Filter{}) }

	var buf bytes.Buffer
	n, err := cadb.WriteCSV(&buf, all())
	if err != nil || n != 6 {
		t.Fatal(n, err)
	}
	rows, err := csv.NewReader(&buf).ReadAll()
	if err != nil || len(rows) != 7 || !slices.Equal(rows[0], cadb.CSVHeader) {
		t.Fatal(rows, err)
	}
	if r := rows[2]; r[1] != "revoked" || r[2] != a.Issued[0].Serial || r[5] != "'=cmd()" || r[12] != "keyCompromise" || r[10] != a.Issued[0].When.Format(time.RFC3339) {
		t.Errorf("row %q", r)
	}

	buf.Reset()
	if n, err = cadb.WriteJSON(&buf, all(), true); err != nil || n != 6 {
		t.Fatal(n, err)
	}
	dec := json.NewDecoder(&buf)
	for i := range 6 {
		var rec cadb.Record
		if err := dec.Decode(&rec); err != nil || rec.Schema != 1 || rec.RequestID != int64(i+1) {
			t.Fatalf("%d: %+v %v", i, rec, err)
		}
		if i == 1 && (rec.Disposition != schema.Revoked || *rec.RevokedReason != schema.KeyCompromise || rec.NotAfter == nil) {
			t.Errorf("%+v", rec)
		}
		if i == 5 && (rec.NotAfter != nil || rec.Certificate != "" || rec.CommonName != "failed.example") {
			t.Errorf("%+v", rec)
		}
	}

	buf.Reset()
	if n, err = cadb.WritePEM(&buf, all()); err != nil || n != 3 {
		t.Fatal(n, err)
	}
	rest := buf.Bytes()
	for i := range 3 {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil || b.Type != "CERTIFICATE" {
			t.Fatalf("block %d: %v", i, b)
		}
		if i > 0 && !bytes.Equal(b.Bytes, a.Issued[i-1].Cert.Raw) {
			t.Errorf("block %d is another certificate", i)
		}
	}
	if left, _ := pem.Decode(rest); left != nil {
		t.Errorf("one more block: %v", left.Type)
	}

	if _, err := cadb.WritePEM(brokenPipe{}, all()); !errors.Is(err, errPipe) {
		t.Errorf("PEM: %v", err)
	}
	if _, err := cadb.WriteCSV(brokenPipe{}, all()); !errors.Is(err, errPipe) {
		t.Errorf("CSV: %v", err)
	}
}

var errPipe = errors.New("broken pipe")

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errPipe }
