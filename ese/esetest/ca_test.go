package esetest_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/cadbtest"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esecheck"
	"github.com/certkeep/certkeep/ese/esetest"
)

// reader reads columns of rows for comparison.
type reader struct {
	t   *testing.T
	row ese.Row
}

func (r reader) fail(name string, err error) {
	if err != nil {
		r.t.Fatalf("%s: %v", name, err)
	}
}

func (r reader) text(name string) string {
	s, err := r.row.Text(name)
	r.fail(name, err)
	return s
}

func (r reader) bytes(name string) []byte {
	b, err := r.row.Bytes(name)
	r.fail(name, err)
	return bytes.Clone(b)
}

func (r reader) number(name string) uint32 {
	n, err := r.row.Uint32(name)
	r.fail(name, err)
	return n
}

func (r reader) date(name string) time.Time {
	d, err := r.row.FileTime(name)
	r.fail(name, err)
	return d
}

func (r reader) subject() schema.Subject {
	return schema.Subject{DistinguishedName: r.text("$DistinguishedName"), Country: r.text("$Country"), Organization: r.text("$Organization"),
		OrgUnit: r.text("$OrganizationalUnit"), CommonName: r.text("$CommonName"), Locality: r.text("$Locality"), State: r.text("$StateOrProvince"),
		Title: r.text("$Title"), GivenName: r.text("$GivenName"), Initials: r.text("$Initials"), SurName: r.text("$SurName"),
		DomainComponent: r.text("$DomainComponent"), EMail: r.text("$EMail"), StreetAddress: r.text("$StreetAddress"),
		UnstructuredName: r.text("$UnstructuredName"), UnstructuredAddress: r.text("$UnstructuredAddress"), DeviceSerialNumber: r.text("$DeviceSerialNumber")}
}

func rows(t *testing.T, db *ese.Database, name string) iter.Seq[reader] {
	t.Helper()
	table, err := db.Table(name)
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(reader) bool) {
		for row, err := range table.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(reader{t, row}) {
				return
			}
		}
	}
}

// readCA reads a database as what it was made of. Extensions and attributes are in the
// order of their names.
func readCA(t *testing.T, b []byte) (requests []esetest.Request, crls []esetest.CRL) {
	t.Helper()
	db, err := ese.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	at := make(map[uint32]*esetest.Request)
	for r := range rows(t, db, "Requests") {
		requests = append(requests, esetest.Request{ID: r.number("RequestID"), Raw: r.bytes("RawRequest"), Type: r.number("RequestType"),
			Flags: r.number("RequestFlags"), Status: r.number("StatusCode"), Disposition: schema.Disposition(r.number("Disposition")),
			Message: r.text("$DispositionMessage"), Submitted: r.date("SubmittedWhen"), Resolved: r.date("ResolvedWhen"), Revoked: r.date("RevokedWhen"),
			RevokedFrom: r.date("RevokedEffectiveWhen"), Reason: schema.Reason(r.number("RevokedReason")), Requester: r.text("$RequesterName"),
			Caller: r.text("$CallerName"), Subject: r.subject(), RawName: r.bytes("RawName"), OldCertificate: r.bytes("RawOldCertificate"),
			ArchivedKey: r.bytes("RawArchivedKey"), RequestAttributes: r.text("$RequestAttributes")})
	}
	for i := range requests {
		at[requests[i].ID] = &requests[i]
	}
	for r := range rows(t, db, "RequestAttributes") {
		q := at[r.number("RequestID")]
		q.Attributes = append(q.Attributes, esetest.Attribute{Name: r.text("$AttributeName"), Value: r.text("$AttributeValue")})
	}
	for r := range rows(t, db, "Certificates") {
		if r.row.IsNull("RawCertificate") {
			continue
		}
		at[r.number("RequestID")].Certificate = &esetest.Certificate{Raw: r.bytes("RawCertificate"), Hash: r.text("$CertificateHash2"),
			Template: r.text("$CertificateTemplate"), UPN: r.text("$UPN"), EnrollmentFlags: r.number("EnrollmentFlags"),
			GeneralFlags: r.number("GeneralFlags"), PrivateKeyFlags: r.number("PrivateKeyFlags"), Serial: r.text("$SerialNumber"),
			IssuerNameID: r.number("IssuerNameID"), NotBefore: r.date("NotBefore"), NotAfter: r.date("NotAfter"),
			SubjectKeyIdentifier: r.text("$SubjectKeyIdentifier"), PublicKey: r.bytes("PublicKey"), PublicKeyParams: r.bytes("PublicKeyParams"),
			PublicKeyLength: r.number("PublicKeyLength"), PublicKeyAlgorithm: r.text("$PublicKeyAlgorithm"), Subject: r.subject(), RawName: r.bytes("RawName")}
	}
	for r := range rows(t, db, "CertificateExtensions") {
		c := at[r.number("RequestID")].Certificate
		c.Extensions = append(c.Extensions, esetest.Extension{OID: r.text("$ExtensionName"), Flags: r.number("ExtensionFlags"), Value: r.bytes("ExtensionRawValue")})
	}
	for r := range rows(t, db, "CRLs") {
		crls = append(crls, esetest.CRL{RowID: r.number("RowId"), Number: r.number("Number"), MinBase: r.number("MinBase"), NameID: r.number("NameId"),
			Count: r.number("Count"), ThisUpdate: r.date("ThisUpdate"), NextUpdate: r.date("NextUpdate"), ThisPublish: r.date("ThisPublish"),
			NextPublish: r.date("NextPublish"), Effective: r.date("Effective"), PropagationComplete: r.date("PropagationComplete"),
			LastPublished: r.date("CRLLastPublished"), PublishAttempts: r.number("CRLPublishAttempts"), PublishFlags: r.number("CRLPublishFlags"),
			PublishStatus: r.number("CRLPublishStatusCode"), PublishError: r.text("$CRLPublishError"), Raw: r.bytes("RawCRL")})
	}
	return requests, crls
}

// byName puts what belongs to a request into the order in which it is read.
func byName(r *esetest.Request) {
	slices.SortFunc(r.Attributes, func(a, b esetest.Attribute) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	if c := r.Certificate; c != nil {
		slices.SortFunc(c.Extensions, func(a, b esetest.Extension) int { return bytes.Compare([]byte(a.OID), []byte(b.OID)) })
	}
}

func compareCA(t *testing.T, b []byte, want []esetest.Request, wantCRLs []esetest.CRL) {
	t.Helper()
	got, crls := readCA(t, b)
	if len(got) != len(want) {
		t.Fatalf("%d requests, want %d", len(got), len(want))
	}
	for i := range want {
		byName(&want[i])
		byName(&got[i])
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("request %d:\n%+v, want\n%+v\n%+v, want\n%+v", want[i].ID, got[i], want[i], got[i].Certificate, want[i].Certificate)
		}
	}
	if !reflect.DeepEqual(crls, wantCRLs) {
		t.Errorf("CRLs %+v, want %+v", crls, wantCRLs)
	}
}

// TestCAReadsBack: what was added is what package ese reads.
func TestCAReadsBack(t *testing.T) {
	for _, o := range []esetest.Options{{}, {Compress: true, Intrinsic: 100}, {PageSize: 32768, WideLongIDs: true}} {
		g, err := esetest.NewGenerator(3, time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		var m esetest.Memory
		ca, err := esetest.CreateCA(&m, o)
		if err != nil {
			t.Fatal(err)
		}
		var want []esetest.Request
		for n := uint32(1); n <= 210; n++ {
			r, err := g.Request(n)
			if err != nil {
				t.Fatal(err)
			}
			if n%50 == 3 {
				r.Flags, r.OldCertificate, r.ArchivedKey, r.RequestAttributes = 2, []byte("old"), bytes.Repeat([]byte{byte(n)}, 30000), "CertificateTemplate:Machine\n"
				r.Subject.State, r.Subject.EMail = "Zürich", "ca@example.test\nπ@example.test"
			}
			if err := ca.AddRequest(r); err != nil {
				t.Fatal(err)
			}
			want = append(want, r)
		}
		crl, err := g.CRL(4)
		if err != nil {
			t.Fatal(err)
		}
		crl.PublishError, crl.NextPublish = "LDAP: Zugriff verweigert", crl.NextUpdate
		if err := ca.AddCRL(crl); err != nil {
			t.Fatal(err)
		}
		if _, err := ca.Close(); err != nil {
			t.Fatal(err)
		}
		compareCA(t, m.Bytes(), want, []esetest.CRL{crl})
		for _, f := range check(t, m.Bytes(), esecheck.Rows) {
			t.Error(f)
		}
		checkSignatures(t, g, want, crl)
	}
}

// checkSignatures: what the generator makes is what a real authority could have made.
func checkSignatures(t *testing.T, g *esetest.Generator, requests []esetest.Request, l esetest.CRL) {
	t.Helper()
	crl, err := x509.ParseRevocationList(l.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := crl.CheckSignatureFrom(g.Authority()); err != nil {
		t.Error(err)
	}
	revoked := make(map[string]bool)
	for _, e := range crl.RevokedCertificateEntries {
		revoked[schema.SerialText(e.SerialNumber)] = true
	}
	seen := make(map[string]bool)
	counts := make(map[schema.Disposition]int)
	for _, r := range requests {
		counts[r.Disposition]++
		if r.Raw != nil {
			csr, err := x509.ParseCertificateRequest(r.Raw)
			if err == nil {
				err = csr.CheckSignature()
			}
			if err != nil || csr.Subject.CommonName != fmt.Sprintf("host%07d.corp.example.test", r.ID) {
				t.Errorf("request %d: %v", r.ID, err)
			}
		}
		if r.Certificate == nil {
			continue
		}
		cert, err := x509.ParseCertificate(r.Certificate.Raw)
		if err == nil {
			err = cert.CheckSignatureFrom(g.Authority())
		}
		serial := schema.SerialText(cert.SerialNumber)
		if err != nil || r.Certificate.Serial != serial || seen[serial] || revoked[serial] != (r.Disposition == schema.Revoked) {
			t.Errorf("certificate %d: %v", r.ID, err)
		}
		seen[serial] = true
	}
	for _, d := range []schema.Disposition{schema.CACert, schema.Pending, schema.Denied, schema.Failed, schema.Revoked, schema.Issued} {
		if counts[d] == 0 {
			t.Errorf("there is no request that is %v", d)
		}
	}
}

// TestCAOfRealAuthority: the database of an authority that issues with ECDSA keys,
// taken over from SQLite.
func TestCAOfRealAuthority(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.db")
	cadbtest.File(t, path, cadbtest.New(t, "Real CA"), 20)
	db, err := cadb.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var m esetest.Memory
	ca, err := esetest.CreateCA(&m, esetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var want []esetest.Request
	for r, err := range db.Requests(t.Context(), cadb.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		q := esetest.Request{ID: uint32(r.ID), Raw: r.RawRequest, Type: r.Type, Flags: r.Flags, Status: r.StatusCode, Disposition: r.Disposition,
			Message: r.Message, Submitted: r.SubmittedWhen, Resolved: r.ResolvedWhen, Revoked: r.RevokedWhen, RevokedFrom: r.RevokedEffectiveWhen,
			Requester: r.RequesterName, Caller: r.CallerName, Subject: r.Asked, RawName: r.RawAsked}
		if r.Reason != nil {
			q.Reason = *r.Reason
		}
		for a, err := range db.Attributes(t.Context(), r.ID) {
			if err != nil {
				t.Fatal(err)
			}
			q.Attributes = append(q.Attributes, esetest.Attribute{Name: a.Name, Value: a.Value})
		}
		if r.RawCertificate != nil {
			if q.Certificate, err = esetest.CertificateOf(r.RawCertificate); err != nil {
				t.Fatal(err)
			}
			if q.Certificate.Serial != r.Serial || q.Certificate.Hash != r.Hash || !q.Certificate.NotAfter.Equal(r.NotAfter) ||
				q.Certificate.Subject != r.Subject || !bytes.Equal(q.Certificate.PublicKey, r.RawPublicKey) {
				t.Errorf("request %d: %+v, the authority wrote %+v", r.ID, q.Certificate, r)
			}
		}
		if err := ca.AddRequest(q); err != nil {
			t.Fatal(err)
		}
		want = append(want, q)
	}
	var crls []esetest.CRL
	for l, err := range db.CRLs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		c, err := esetest.CRLOf(l.Raw, uint32(l.RowID))
		if err != nil {
			t.Fatal(err)
		}
		if int64(c.Number) != l.Number || int64(c.Count) != l.Count {
			t.Errorf("CRL %+v", c)
		}
		if err := ca.AddCRL(c); err != nil {
			t.Fatal(err)
		}
		crls = append(crls, c)
	}
	if _, err := ca.Close(); err != nil || len(want) < 20 || len(crls) == 0 {
		t.Fatalf("%d requests, %d CRLs, %v", len(want), len(crls), err)
	}
	compareCA(t, m.Bytes(), want, crls)
}

// TestCARefuses: what would make a database that is no longer sound is refused.
func TestCARefuses(t *testing.T) {
	ca, err := esetest.CreateCA(new(esetest.Memory), esetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Abort()
	if err := ca.AddRequest(esetest.Request{ID: 7}); err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]esetest.Request{
		"an id that was there":     {ID: 7},
		"an id before the last":    {ID: 3},
		"the same attribute twice": {ID: 8, Attributes: []esetest.Attribute{{Name: "a", Value: "1"}, {Name: "A", Value: "2"}}},
		"a text that is too long":  {ID: 9, Certificate: &esetest.Certificate{Serial: string(make([]byte, 65))}},
	} {
		if err := ca.AddRequest(r); err == nil {
			t.Errorf("%s was taken", what)
		} else if errors.Unwrap(err) == nil && what != "a text that is too long" {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, o := range []esetest.Options{{PageSize: 5000}, {PageSize: 16384, OldChecksums: true}, {State: ese.DirtyShutdown}, {Backup: &esetest.Backup{Low: 1, High: 1}}} {
		if _, err := esetest.CreateCA(new(esetest.Memory), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// TestSameSeedSameBytes: the same seed makes the same database, another one another.
func TestSameSeedSameBytes(t *testing.T) {
	var all [][]byte
	for _, seed := range []uint64{5, 5, 6} {
		g, err := esetest.NewGenerator(seed, time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		var m esetest.Memory
		ca, err := esetest.CreateCA(&m, esetest.Options{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Fill(t.Context(), ca, 50); err != nil {
			t.Fatal(err)
		}
		if _, err := ca.Close(); err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Bytes())
	}
	if !bytes.Equal(all[0], all[1]) || bytes.Equal(all[0], all[2]) {
		t.Error("the seed does not decide")
	}
}
