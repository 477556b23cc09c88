package cadb_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/cadbtest"
	"github.com/certkeep/certkeep/cadb/schema"
)

// makeDB makes a database file, changes it by the statements, and opens it.
func makeDB(t *testing.T, n int, statements ...string) (*cadb.DB, *cadbtest.Authority) {
	t.Helper()
	a := cadbtest.New(t, "Test CA")
	path := filepath.Join(t.TempDir(), "Test CA.db")
	cadbtest.File(t, path, a, n, statements...)
	return open(t, path), a
}

func open(t *testing.T, path string) *cadb.DB {
	t.Helper()
	db, err := cadb.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestCheckSound(t *testing.T) {
	db, a := makeDB(t, 70)
	r, err := cadb.Check(t.Context(), db, a.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) != 0 {
		t.Errorf("findings in a sound database: %v", r.Findings)
	}
	want := map[schema.Disposition]int{schema.CACert: 1, schema.Issued: 69, schema.Revoked: 1, schema.Pending: 1, schema.Denied: 1, schema.Failed: 1}
	if d := cmp.Diff(want, r.Dispositions); d != "" {
		t.Error(d)
	}
	if r.Requests != 74 || r.Certificates != 71 || r.Signatures != 70 || r.RequestSignatures != 73 || r.Extensions == 0 ||
		r.CRLs != 1 || r.NewestCRL != 1 || !r.CRLThisUpdate.Equal(a.Now) || r.HighestID != 74 {
		t.Errorf("report %+v", r)
	}
	if r.Issuer != `O="Example, Ltd", CN=Test CA` && r.Issuer != `CN=Test CA, O="Example, Ltd"` {
		t.Errorf("issuer %q", r.Issuer)
	}
	if found, err := db.IntegrityCheck(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("integrity: %v %v", found, err)
	}
}

func TestCheckWithoutCACertificate(t *testing.T) {
	db, _ := makeDB(t, 1)
	r, err := cadb.Check(t.Context(), db, nil)
	if err != nil || r.Damaged() || r.Signatures != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if len(r.Findings) != 1 || r.Findings[0].Severity != cadb.Note {
		t.Errorf("that the certificate came from the database is not said: %v", r.Findings)
	}
	db, _ = makeDB(t, 1, "DELETE FROM Requests WHERE Disposition = 15")
	if _, err := cadb.Check(t.Context(), db, nil); err == nil {
		t.Error("checked signatures by nothing")
	}
}

func TestCheckOtherAuthority(t *testing.T) {
	db, _ := makeDB(t, 2)
	for _, name := range []string{"Other CA", "Test CA"} {
		r, err := cadb.Check(t.Context(), db, cadbtest.New(t, name).Cert)
		if err != nil {
			t.Fatal(err)
		}
		if r.Signatures != 0 {
			t.Errorf("%s: %d signatures verified", name, r.Signatures)
		}
		for _, code := range []string{cadb.CodeSignature, cadb.CodeForeign} {
			if !slices.ContainsFunc(r.Findings, func(f cadb.Finding) bool { return f.Code == code && f.Severity == cadb.Damage }) {
				t.Errorf("%s: no finding %s in %v", name, code, r.Findings)
			}
		}
	}
}

// Request 2 is revoked and in the CRL, 3 to 5 are issued, 6 is pending.
func TestCheckFinds(t *testing.T) {
	for _, c := range []struct {
		statement string
		code      string
		where     string // in the finding's text
		severity  cadb.Severity
	}{
		{"UPDATE Certificates SET SerialNumber = '77' WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.SerialNumber", cadb.Damage},
		{"UPDATE Certificates SET SerialNumber = NULL WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.SerialNumber", cadb.Damage},
		{"UPDATE Certificates SET NotBefore = NotBefore + 10000000 WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.NotBefore", cadb.Damage},
		{"UPDATE Certificates SET NotAfter = NULL WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.NotAfter", cadb.Damage},
		{"UPDATE Certificates SET CertificateHash = '00' WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.CertificateHash", cadb.Damage},
		{"UPDATE Certificates SET CertificateHash = 'zz' WHERE RequestID = 3", cadb.CodeFormat, "request 3, Certificates.CertificateHash", cadb.Damage},
		{"UPDATE Certificates SET SubjectKeyIdentifier = '00' WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.SubjectKeyIdentifier", cadb.Damage},
		{"UPDATE Certificates SET CommonName = 'x' WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.CommonName", cadb.Damage},
		{"UPDATE Certificates SET DistinguishedName = 'x' WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.DistinguishedName", cadb.Damage},
		{"UPDATE Certificates SET RawName = x'3000', CommonName = NULL, DistinguishedName = NULL WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.RawName", cadb.Damage},
		{"UPDATE Certificates SET RawName = x'31' WHERE RequestID = 3", cadb.CodeFormat, "request 3, Certificates.RawName", cadb.Damage},
		{"UPDATE Certificates SET RawPublicKey = x'00' WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.RawPublicKey", cadb.Damage},
		{"UPDATE Certificates SET PublicKeyAlgorithm = '1.2' WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.PublicKeyAlgorithm", cadb.Damage},
		{"UPDATE Certificates SET RawCertificate = NULL WHERE RequestID = 3", cadb.CodeMissing, "request 3, Certificates.RawCertificate", cadb.Damage},
		{"UPDATE Certificates SET RawCertificate = x'3003020101' WHERE RequestID = 3", cadb.CodeFormat, "request 3, Certificates.RawCertificate", cadb.Damage},
		{"UPDATE Certificates SET RawCertificate = (SELECT RawCertificate FROM Certificates WHERE RequestID = 4) WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.SerialNumber", cadb.Damage},
		{"DROP INDEX CertificatesSerialNumber; UPDATE Certificates SET SerialNumber = (SELECT SerialNumber FROM Certificates WHERE RequestID = 4) WHERE RequestID = 3", cadb.CodeDuplicate, "[3 4]", cadb.Damage},
		{"UPDATE Certificates SET RawPublicKeyAlgorithmParameters = x'0500' WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.RawPublicKeyAlgorithmParameters", cadb.Damage},
		{"UPDATE Certificates SET PublicKeyLength = 257 WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Certificates.PublicKeyLength", cadb.Damage},
		// A revoked row whose certificate is gone, and one that never had it.
		{"UPDATE Certificates SET RawCertificate = NULL WHERE RequestID = 2", cadb.CodeMissing, "request 2, Certificates.RawCertificate", cadb.Damage},
		{"INSERT INTO Requests (RequestID, Disposition, RevokedWhen, RevokedEffectiveWhen, RevokedReason) VALUES (50, 21, 9, 9, 1); INSERT INTO Certificates (RequestID, SerialNumber) VALUES (50, 'abcd')",
			cadb.CodeMissing, "request 50, Certificates.RawCertificate: of abcd only the revocation is known", cadb.Note},
		{"UPDATE Requests SET CommonName = 'x' WHERE RequestID = 3", cadb.CodeMismatch, "request 3, Requests.CommonName", cadb.Damage},
		{"UPDATE Requests SET RawRequest = x'00' WHERE RequestID = 3", cadb.CodeFormat, "request 3, Requests.RawRequest", cadb.Damage},
		{"UPDATE Requests SET RawRequest = x'00' WHERE RequestID = 8", cadb.CodeFormat, "request 8, Requests.RawRequest", cadb.Warning},
		{"UPDATE Requests SET Disposition = 33 WHERE RequestID = 3", cadb.CodeFormat, "request 3, Disposition", cadb.Damage},
		{"UPDATE Requests SET Disposition = 21 WHERE RequestID = 3", cadb.CodeMissing, "request 3, RevokedWhen", cadb.Damage},
		{"UPDATE Requests SET Disposition = 20 WHERE RequestID = 2", cadb.CodeRevocation, "CRL 1 revokes", cadb.Damage},
		{"UPDATE Requests SET Disposition = 20 WHERE RequestID = 2", cadb.CodeRevocation, "request 2, RevokedWhen", cadb.Damage},
		{"UPDATE Requests SET RevokedEffectiveWhen = RevokedEffectiveWhen + 10000000 WHERE RequestID = 2", cadb.CodeRevocation, "request 2, Disposition: it was revoked as of", cadb.Damage},
		{"UPDATE Requests SET RevokedReason = 3 WHERE RequestID = 2", cadb.CodeRevocation, "affiliationChanged", cadb.Damage},
		{"UPDATE Requests SET RevokedReason = 99 WHERE RequestID = 2", cadb.CodeFormat, "request 2, RevokedReason", cadb.Damage},
		{"UPDATE Requests SET RevokedReason = NULL WHERE RequestID = 2", cadb.CodeMissing, "request 2, RevokedReason", cadb.Damage},
		{"UPDATE Requests SET Disposition = 20 WHERE RequestID = 6", cadb.CodeMissing, "request 6, Certificates.RawCertificate", cadb.Damage},
		{"UPDATE Requests SET Disposition = 9 WHERE RequestID = 3", cadb.CodeUnexpected, "request 3, Certificates.RawCertificate", cadb.Warning},
		{"UPDATE Requests SET Disposition = 21, RevokedWhen = 1, RevokedEffectiveWhen = 1, RevokedReason = 1 WHERE RequestID = 3", cadb.CodeRevocation, "does not list", cadb.Damage},
		{"UPDATE CertificateExtensions SET ExtensionRawValue = x'00' WHERE ExtensionRequestId = 3 AND ExtensionName = '2.5.29.15'", cadb.CodeMismatch, "request 3, CertificateExtensions 2.5.29.15", cadb.Damage},
		{"UPDATE CertificateExtensions SET ExtensionFlags = 0 WHERE ExtensionRequestId = 3 AND ExtensionName = '2.5.29.15'", cadb.CodeMismatch, "critical", cadb.Damage},
		{"UPDATE CertificateExtensions SET ExtensionName = '1.2.3' WHERE ExtensionRequestId = 3 AND ExtensionName = '2.5.29.15'", cadb.CodeMismatch, "1.2.3: is not in the certificate", cadb.Damage},
		{"UPDATE CertificateExtensions SET ExtensionRequestId = 99 WHERE ExtensionRequestId = 3", cadb.CodeMissing, "CertificateExtensions of request 99", cadb.Damage},
		{"UPDATE RequestAttributes SET AttributeRequestId = 99 WHERE AttributeRequestId = 3", cadb.CodeMissing, "RequestAttributes of request 99", cadb.Damage},
		{"DELETE FROM Requests WHERE RequestID = 3", cadb.CodeMissing, "Certificates of request 3", cadb.Damage},
		{"DELETE FROM Requests WHERE RequestID = 2; DELETE FROM Certificates WHERE RequestID = 2", cadb.CodeRevocation, "no certificate of the database", cadb.Warning},
		{"ALTER TABLE Certificates RENAME COLUMN SubjectKeyIdentifier TO SubjectKeyIdentifieR2", cadb.CodeStructure, "Certificates: column 12", cadb.Damage},
		{"ALTER TABLE CRLs DROP COLUMN RawCRL", cadb.CodeStructure, "CRLs: has 16 columns", cadb.Damage},
		{"ALTER TABLE CRLs ADD COLUMN CRLPartitionIndex INTEGER", cadb.CodeStructure, "crls: it has columns", cadb.Warning},
		{"DROP INDEX RequestsDisposition; CREATE INDEX RequestsDisposition ON Requests (Officer)", cadb.CodeStructure, "requestsdisposition: its definition", cadb.Damage},
		{"DROP INDEX RequestsDisposition", cadb.CodeStructure, "requestsdisposition: there is no such index", cadb.Warning},
		{"UPDATE CRLs SET Number = 9", cadb.CodeMismatch, "number 9", cadb.Damage},
		{"UPDATE CRLs SET ThisUpdate = 9", cadb.CodeMismatch, "ThisUpdate", cadb.Damage},
		{"UPDATE CRLs SET NextUpdate = NULL", cadb.CodeMismatch, "NextUpdate", cadb.Damage},
		{"UPDATE CRLs SET Count = 9", cadb.CodeMismatch, "Count", cadb.Damage},
		{"UPDATE CRLs SET MinBase = 1", cadb.CodeMismatch, "MinBase", cadb.Damage},
		{"UPDATE CRLs SET RawCRL = x'30'", cadb.CodeFormat, "RawCRL", cadb.Damage},
		{"UPDATE CRLs SET RawCRL = NULL", cadb.CodeUnchecked, "no CRL", cadb.Note},
		{"INSERT INTO CRLs SELECT 2, Number, MinBase, NameId, Count, ThisUpdate, NextUpdate, 0, 0, 0, 0, 0, 0, 0, 0, '', RawCRL FROM CRLs", cadb.CodeDuplicate, "row 2", cadb.Damage},
	} {
		t.Run(c.statement, func(t *testing.T) {
			db, a := makeDB(t, 4, c.statement)
			r, err := cadb.Check(t.Context(), db, a.Cert)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				if f.Code == c.code && f.Severity == c.severity && strings.Contains(f.String(), c.where) {
					if f.File != "Test CA.db" {
						t.Errorf("finding names %q", f.File)
					}
					return
				}
			}
			t.Errorf("no %s %s with %q in\n%v", c.severity, c.code, c.where, r.Findings)
		})
	}
}

// What is in order though it looks odd.
func TestCheckAccepts(t *testing.T) {
	for _, statement := range []string{
		// Taken off hold after the CRL was made: the CRL lists it still.
		"UPDATE Requests SET Disposition = 20, RevokedReason = 8 WHERE RequestID = 2",
		// On hold when the CRL was made, and revoked for good since.
		"UPDATE Requests SET RevokedReason = 4, RevokedWhen = (SELECT ThisUpdate + 1 FROM CRLs) WHERE RequestID = 2",
		// An extension that the policy switched off.
		"UPDATE CertificateExtensions SET ExtensionFlags = 2, ExtensionRawValue = x'00' WHERE ExtensionRequestId = 3 AND ExtensionName = '2.5.29.15'",
		"UPDATE Requests SET RawRequest = NULL WHERE RequestID = 3",
		// Revoked while the CRL was being made.
		"UPDATE Requests SET Disposition = 21, RevokedWhen = (SELECT ThisUpdate - 10000000 FROM CRLs), RevokedEffectiveWhen = 1, RevokedReason = 1 WHERE RequestID = 3",
		// Revoked after the CRL was made.
		"UPDATE Requests SET Disposition = 21, RevokedWhen = (SELECT ThisUpdate + 1 FROM CRLs), RevokedEffectiveWhen = 1, RevokedReason = 1 WHERE RequestID = 3",
	} {
		db, a := makeDB(t, 4, statement)
		if r, err := cadb.Check(t.Context(), db, a.Cert); err != nil || len(r.Findings) > 0 {
			t.Errorf("%s: %v, %v", statement, r.Findings, err)
		}
	}
}

func TestCheckForgedCRL(t *testing.T) {
	a := cadbtest.New(t, "Test CA")
	path := filepath.Join(t.TempDir(), "x.db")
	cadbtest.File(t, path, a, 2)
	forged, err := cadbtest.New(t, "Test CA").CRL()
	if err != nil {
		t.Fatal(err)
	}
	exec(t, path, "UPDATE CRLs SET RawCRL = ?", forged)
	r, err := cadb.Check(t.Context(), open(t, path), a.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Findings, func(f cadb.Finding) bool { return f.Code == cadb.CodeSignature && f.Severity == cadb.Damage }) {
		t.Errorf("a CRL signed by somebody else passes: %v", r.Findings)
	}
}

// A request that its own key did not sign, and one for another key.
func TestCheckRequest(t *testing.T) {
	a := cadbtest.New(t, "Test CA")
	path := filepath.Join(t.TempDir(), "x.db")
	cadbtest.File(t, path, a, 3)
	var raw []byte
	db, err := cadb.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range db.Requests(t.Context(), cadb.Filter{FromID: 3, ToID: 3}) {
		if err != nil {
			t.Fatal(err)
		}
		raw = r.RawRequest
	}
	db.Close()
	raw[len(raw)-1] ^= 1
	exec(t, path, "UPDATE Requests SET RawRequest = ? WHERE RequestID = 3", raw)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, path, "UPDATE Requests SET RawRequest = ? WHERE RequestID = 4", other)
	r, err := cadb.Check(t.Context(), open(t, path), a.Cert)
	if err != nil || len(r.Findings) != 2 || r.RequestSignatures != 5 {
		t.Fatalf("%+v %v", r, err)
	}
	if f := r.Findings[0]; f.Code != cadb.CodeSignature || !strings.HasPrefix(f.Where, "request 3, Requests.RawRequest") {
		t.Errorf("%+v", f)
	}
	if f := r.Findings[1]; f.Code != cadb.CodeMismatch || !strings.HasPrefix(f.Where, "request 4, Requests.RawRequest") {
		t.Errorf("%+v", f)
	}
}

// exec changes a database and leaves no WAL behind.
func exec(t *testing.T, path, q string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(q, args...); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCheckBoundsFindings(t *testing.T) {
	a := cadbtest.New(t, "Test CA")
	path := filepath.Join(t.TempDir(), "x.db")
	cadbtest.File(t, path, a, 2)
	exec(t, path, `WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
		INSERT INTO Requests (RequestID, Disposition) SELECT i, 20 FROM n`)
	r, err := cadb.Check(t.Context(), open(t, path), a.Cert)
	if err != nil {
		t.Fatal(err)
	}
	last := r.Findings[len(r.Findings)-1]
	if len(r.Findings) != 1001 || last.Code != cadb.CodeTooMany || last.Severity != cadb.Damage || !strings.Contains(last.Message, "501 more") {
		t.Errorf("%d findings, the last %v", len(r.Findings), last)
	}
}

func TestCheckStops(t *testing.T) {
	db, a := makeDB(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cadb.Check(ctx, db, a.Cert); err == nil {
		t.Error("checked although canceled")
	}
}

func BenchmarkCheck(b *testing.B) {
	a := cadbtest.New(b, "Test CA")
	path := filepath.Join(b.TempDir(), "x.db")
	const n = 2000
	cadbtest.File(b, path, a, n)
	for b.Loop() {
		db, err := cadb.Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		r, err := cadb.Check(b.Context(), db, a.Cert)
		if err != nil || r.Damaged() {
			b.Fatal(err, r.Findings)
		}
		db.Close()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "certs/s")
}
