package cadb_test

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esetest"
)

// eseWorld is a generator, and what it wrote.
type eseWorld struct {
	*esetest.Generator
	requests []esetest.Request
	crls     []esetest.CRL
}

func newESEWorld(tb testing.TB) *eseWorld {
	tb.Helper()
	g, err := esetest.NewGenerator(7, time.Date(2026, 3, 14, 9, 15, 0, 0, time.UTC))
	if err != nil {
		tb.Fatal(err)
	}
	return &eseWorld{Generator: g}
}

// fill writes n requests, changed by change, and a CRL.
func (w *eseWorld) fill(ca *esetest.CA, n int, change func(*esetest.Request)) error {
	for i := range n {
		r, err := w.Request(uint32(i + 1))
		if err != nil {
			return err
		}
		if change != nil {
			change(&r)
		}
		w.requests = append(w.requests, r)
		if err := ca.AddRequest(r); err != nil {
			return err
		}
	}
	l, err := w.CRL(1)
	if err != nil {
		return err
	}
	w.crls = append(w.crls, l)
	return ca.AddCRL(l)
}

// eseFile writes a clean database.
func eseFile(tb testing.TB, n int, o esetest.Options, change func(*esetest.Request)) (string, *eseWorld) {
	tb.Helper()
	w := newESEWorld(tb)
	path := filepath.Join(tb.TempDir(), "Example CA.edb")
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	ca, err := esetest.CreateCA(f, o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := w.fill(ca, n, change); err != nil {
		tb.Fatal(err)
	}
	if _, err := ca.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	return path, w
}

// eseBackup writes a copy of a running engine, whose logs are elsewhere.
func eseBackup(tb testing.TB, n int, change func(*esetest.Request)) (string, *eseWorld) {
	tb.Helper()
	w := newESEWorld(tb)
	f, err := esetest.WriteBackup(tb.TempDir(), esetest.FolderOptions{}, func(ca *esetest.CA) error { return w.fill(ca, n, change) })
	if err != nil {
		tb.Fatal(err)
	}
	return f.Database, w
}

// want is what cadb should say of a request that was written.
func want(r esetest.Request) cadb.Request {
	v := cadb.Request{ID: int64(r.ID), Disposition: r.Disposition, Message: r.Message, Type: r.Type, Flags: r.Flags, StatusCode: r.Status,
		SubmittedWhen: r.Submitted, ResolvedWhen: r.Resolved, RevokedWhen: r.Revoked, RevokedEffectiveWhen: r.RevokedFrom,
		RequesterName: r.Requester, CallerName: r.Caller, Asked: r.Subject, RawRequest: r.Raw, RawAsked: r.RawName, HasCertificateRow: true}
	if !r.Revoked.IsZero() {
		v.Reason = &r.Reason
	}
	if c := r.Certificate; c != nil {
		v.Serial, v.NotBefore, v.NotAfter, v.Hash, v.SubjectKeyIdentifier, v.Template = c.Serial, c.NotBefore, c.NotAfter, c.Hash, c.SubjectKeyIdentifier, c.Template
		v.IssuerNameID, v.RawCertificate, v.RawSubject, v.RawPublicKey, v.RawPublicKeyParams = c.IssuerNameID, c.Raw, c.RawName, c.PublicKey, c.PublicKeyParams
		v.PublicKeyAlgorithm, v.PublicKeyLength, v.Subject = c.PublicKeyAlgorithm, c.PublicKeyLength, c.Subject
	}
	return v
}

func TestESERows(t *testing.T) {
	for name, o := range map[string]esetest.Options{
		"as AD CS writes it": {},
		"pages of 32 KiB":    {PageSize: 32768, WideLongIDs: true, AutoIncrementInRoot: true, ExtraCatalogColumn: true, Revision: 300},
		"compressed":         {Compress: true},
		"old checksums":      {OldChecksums: true},
	} {
		t.Run(name, func(t *testing.T) {
			path, w := eseFile(t, 130, o, func(r *esetest.Request) {
				if c := r.Certificate; c != nil && r.ID%2 == 0 { // as people have seen it
					c.Serial = strings.ToUpper(c.Serial[:2]) + " " + c.Serial[2:]
				}
			})
			db := open(t, path)
			var got, expected []cadb.Request
			for r, err := range db.Requests(t.Context(), cadb.Filter{}) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, r)
			}
			for _, r := range w.requests {
				if r.Certificate != nil {
					r.Certificate.Serial, _ = schema.ParseSerial(r.Certificate.Serial)
				}
				expected = append(expected, want(r))
			}
			if d := gocmp.Diff(expected, got, gocmp.Comparer(time.Time.Equal)); d != "" {
				t.Error(d)
			}
			if info := db.Info(); info.Engine != "ese" || info.State == "" || info.Unrecovered || info.Rows != nil || info.PageSize == 0 || len(info.Notes) > 0 {
				t.Errorf("%+v", info)
			}
			rows, err := db.RowCounts(t.Context())
			if err != nil || rows[schema.Requests] != 130 || rows[schema.Certificates] != 130 || rows[schema.CRLs] != 1 {
				t.Errorf("rows %v, %v", rows, err)
			}
			testESEChildren(t, db, w)
			rep, err := cadb.Check(t.Context(), db, w.Authority())
			if err != nil || len(rep.Findings) > 0 {
				t.Errorf("%v, findings %v", err, rep.Findings)
			}
			issued := rep.Dispositions[schema.Issued] + rep.Dispositions[schema.Revoked]
			if rep.Signatures != int64(issued) || rep.Certificates != int64(issued)+1 || rep.Requests != 130 || rep.CRLs != 1 || rep.Extensions == 0 {
				t.Errorf("%+v", rep)
			}
			counts, err := db.Counts(t.Context())
			if d := gocmp.Diff(rep.Dispositions, counts); d != "" || err != nil {
				t.Errorf("%v, %s", err, d)
			}
			if found, err := db.IntegrityCheck(t.Context()); err != nil || len(found) > 0 {
				t.Errorf("integrity %v, %v", found, err)
			}
		})
	}
}

// testESEChildren compares what belongs to requests, and the CRLs.
func testESEChildren(t *testing.T, db *cadb.DB, w *eseWorld) {
	t.Helper()
	var ext, wantExt []cadb.Extension
	for e, err := range db.Extensions(t.Context(), cadb.AllExtensions) {
		if err != nil {
			t.Fatal(err)
		}
		ext = append(ext, e)
	}
	var attr, wantAttr []cadb.Attribute
	for a, err := range db.Attributes(t.Context(), cadb.AllExtensions) {
		if err != nil {
			t.Fatal(err)
		}
		attr = append(attr, a)
	}
	for _, r := range w.requests {
		for _, a := range r.Attributes {
			wantAttr = append(wantAttr, cadb.Attribute{RequestID: int64(r.ID), Name: a.Name, Value: a.Value})
		}
		if r.Certificate != nil {
			for _, e := range r.Certificate.Extensions {
				wantExt = append(wantExt, cadb.Extension{RequestID: int64(r.ID), OID: e.OID, Flags: e.Flags, Value: e.Value})
			}
		}
	}
	if !slices.IsSortedFunc(ext, func(a, b cadb.Extension) int { return cmp.Compare(a.RequestID, b.RequestID) }) {
		t.Error("extensions are not in the order of their requests")
	}
	byName := func(a, b cadb.Extension) int {
		return cmp.Or(cmp.Compare(a.RequestID, b.RequestID), cmp.Compare(a.OID, b.OID))
	}
	slices.SortFunc(ext, byName)
	slices.SortFunc(wantExt, byName)
	if d := gocmp.Diff(wantExt, ext); d != "" {
		t.Error(d)
	}
	byAttr := func(a, b cadb.Attribute) int {
		return cmp.Or(cmp.Compare(a.RequestID, b.RequestID), cmp.Compare(a.Name, b.Name))
	}
	slices.SortFunc(attr, byAttr)
	slices.SortFunc(wantAttr, byAttr)
	if d := gocmp.Diff(wantAttr, attr); d != "" {
		t.Error(d)
	}
	n := 0
	for e, err := range db.Extensions(t.Context(), 5) {
		if n++; err != nil || e.RequestID != 5 {
			t.Errorf("%+v, %v", e, err)
		}
	}
	if want := len(w.requests[4].Certificate.Extensions); n != want {
		t.Errorf("%d extensions of request 5, want %d", n, want)
	}
	for c, err := range db.CRLs(t.Context()) {
		l := w.crls[0]
		if err != nil || c.Number != int64(l.Number) || c.RowID != 1 || !slices.Equal(c.Raw, l.Raw) || c.Count != int64(l.Count) || !c.ThisUpdate.Equal(l.ThisUpdate) || !c.NextUpdate.Equal(l.NextUpdate) {
			t.Errorf("%+v, %v", c, err)
		}
	}
}

func TestESEFilter(t *testing.T) {
	path, w := eseFile(t, 120, esetest.Options{}, nil)
	db := open(t, path)
	pending, revoked := int64(17), int64(9)
	for _, c := range []struct {
		name string
		f    cadb.Filter
		want []int64
	}{
		{"serial", cadb.Filter{Serial: "0x" + strings.ToUpper(w.requests[30].Certificate.Serial)}, []int64{31}},
		{"no such serial", cadb.Filter{Serial: "abcd"}, nil},
		{"dispositions", cadb.Filter{Dispositions: []schema.Disposition{schema.Pending, schema.Revoked}, ToID: 20}, []int64{revoked, pending}},
		{"ids", cadb.Filter{FromID: 3, ToID: 5}, []int64{3, 4, 5}},
		{"expired", cadb.Filter{ExpiresBefore: w.requests[5].Certificate.NotAfter}, nil},
		{"expires", cadb.Filter{ExpiresAfter: w.requests[0].Certificate.NotAfter.Add(-time.Second)}, []int64{1}},
	} {
		if got := ids(t, db.Requests(t.Context(), c.f)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, err := range db.Requests(t.Context(), cadb.Filter{Serial: "x"}) {
		if err == nil {
			t.Error("a serial number that is none was searched for")
		}
	}
	for r, err := range db.Requests(t.Context(), cadb.Filter{NoRequest: true, FromID: 2, ToID: 2}) {
		if err != nil || r.RawRequest != nil || r.RawCertificate == nil {
			t.Errorf("%v, %v", r, err)
		}
	}
	_ = ese.CleanShutdown
}
