// Package cadbtest fills databases of a certification authority with real
// certificates, for the tests of what reads them.
package cadbtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/asn1"
	"fmt"
	"math/big"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/certkeep/certkeep/cadb/schema"
)

// Execer is a *sql.DB or a *sql.Tx.
type Execer interface {
	Exec(query string, args ...any) (sql.Result, error)
}

// Authority issues certificates and writes their rows.
type Authority struct {
	Key  *ecdsa.PrivateKey
	Cert *x509.Certificate

	// Now is the time of everything; advance it by hand.
	Now time.Time

	NextID    int64
	CRLNumber int64
	Issued    []Issued

	subject *ecdsa.PrivateKey // one key for all: making them is slow
}

// Issued is a certificate that was issued.
type Issued struct {
	ID      int64
	Serial  string
	Cert    *x509.Certificate
	Revoked bool
	When    time.Time // of the revocation
	Reason  schema.Reason
}

// New makes an authority with a self-signed P-256 certificate.
func New(tb testing.TB, name string) *Authority {
	tb.Helper()
	a := &Authority{Key: newKey(tb), subject: newKey(tb), Now: time.Now().UTC().Truncate(time.Second), NextID: 1, CRLNumber: 0}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name, Organization: []string{"Example, Ltd"}},
		NotBefore: a.Now.Add(-24 * time.Hour), NotAfter: a.Now.Add(10 * 365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.Key.Public(), a.Key)
	if err != nil {
		tb.Fatal(err)
	}
	if a.Cert, err = x509.ParseCertificate(der); err != nil {
		tb.Fatal(err)
	}
	return a
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		panic(err)
	}
	return n.Add(n, new(big.Int).Lsh(big.NewInt(1), 126))
}

// PutCA writes the authority's own certificate as a request, as AD CS does.
func (a *Authority) PutCA(db Execer) error {
	id := a.NextID
	a.NextID++
	if err := a.putRequest(db, id, schema.CACert, nil, a.Cert.RawSubject); err != nil {
		return err
	}
	return a.putCertificate(db, id, a.Cert)
}

// Issue makes a request for a common name and issues it.
func (a *Authority) Issue(db Execer, name string) (*Issued, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, a.subject)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: a.Now.Add(-time.Minute), NotAfter: a.Now.Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		SubjectKeyId: []byte{1, 2, 3, 4},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.Cert, a.subject.Public(), a.Key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	id := a.NextID
	a.NextID++
	if err := a.putRequest(db, id, schema.Issued, csr, cert.RawSubject); err != nil {
		return nil, err
	}
	if err := a.putCertificate(db, id, cert); err != nil {
		return nil, err
	}
	a.Issued = append(a.Issued, Issued{ID: id, Serial: schema.SerialText(cert.SerialNumber), Cert: cert})
	return &a.Issued[len(a.Issued)-1], nil
}

// Request makes a request that gets no certificate.
func (a *Authority) Request(db Execer, name string, d schema.Disposition) error {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, a.subject)
	if err != nil {
		return err
	}
	raw, err := asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
	if err != nil {
		return err
	}
	id := a.NextID
	a.NextID++
	if err := a.putRequest(db, id, d, csr, raw); err != nil {
		return err
	}
	_, err = db.Exec("INSERT INTO Certificates (RequestID) VALUES (?)", id)
	return err
}

func (a *Authority) putRequest(db Execer, id int64, d schema.Disposition, csr, rawName []byte) error {
	s, err := schema.SplitSubject(rawName)
	if err != nil {
		return err
	}
	_, err = db.Exec(`INSERT INTO Requests (RequestID, RawRequest, RequestType, Disposition, DispositionMessage, SubmittedWhen, ResolvedWhen,
		RequesterName, CallerName, DistinguishedName, RawName, Organization, CommonName) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		id, csr, schema.RequestPKCS10, int64(d), d.String(), schema.Filetime(a.Now), schema.Filetime(a.Now),
		"client1", "client1", s.DistinguishedName, rawName, text(s.Organization), text(s.CommonName))
	if err != nil {
		return err
	}
	_, err = db.Exec("INSERT INTO RequestAttributes VALUES (?, 'ccm', 'client1.example')", id)
	return err
}

func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (a *Authority) putCertificate(db Execer, id int64, cert *x509.Certificate) error {
	s, err := schema.SplitSubject(cert.RawSubject)
	if err != nil {
		return err
	}
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &spki); err != nil {
		return err
	}
	sum := sha1.Sum(cert.Raw)
	_, err = db.Exec(`INSERT INTO Certificates (RequestID, RawCertificate, CertificateHash, SerialNumber, IssuerNameID, NotBefore, NotAfter,
		SubjectKeyIdentifier, RawPublicKey, RawPublicKeyAlgorithmParameters, PublicKeyLength, PublicKeyAlgorithm, DistinguishedName, RawName, Organization, CommonName)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		id, cert.Raw, schema.HexText(sum[:]), schema.SerialText(cert.SerialNumber), 0, schema.Filetime(cert.NotBefore), schema.Filetime(cert.NotAfter),
		schema.HexText(cert.SubjectKeyId), spki.Key.Bytes, spki.Algorithm.Parameters.FullBytes, 256, spki.Algorithm.Algorithm.String(), s.DistinguishedName, cert.RawSubject,
		text(s.Organization), text(s.CommonName))
	if err != nil {
		return err
	}
	for _, e := range cert.Extensions {
		flags := schema.OriginPolicy
		if e.Critical {
			flags |= schema.ExtensionCritical
		}
		if _, err := db.Exec("INSERT INTO CertificateExtensions VALUES (?,?,?,?)", id, e.Id.String(), flags, e.Value); err != nil {
			return err
		}
	}
	return nil
}

// Revoke revokes what Issue returned.
func (a *Authority) Revoke(db Execer, c *Issued, reason schema.Reason) error {
	_, err := db.Exec("UPDATE Requests SET Disposition = ?, RevokedWhen = ?, RevokedEffectiveWhen = ?, RevokedReason = ? WHERE RequestID = ?",
		int64(schema.Revoked), schema.Filetime(a.Now), schema.Filetime(a.Now), int64(reason), c.ID)
	c.Revoked, c.When, c.Reason = true, a.Now, reason
	return err
}

// CRL makes the next base CRL, of everything revoked, and returns it.
func (a *Authority) CRL() ([]byte, error) {
	a.CRLNumber++
	tmpl := &x509.RevocationList{Number: big.NewInt(a.CRLNumber), ThisUpdate: a.Now, NextUpdate: a.Now.Add(7 * 24 * time.Hour)}
	for _, c := range a.Issued {
		if c.Revoked {
			tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: c.Cert.SerialNumber, RevocationTime: c.When, ReasonCode: int(c.Reason)})
		}
	}
	return x509.CreateRevocationList(rand.Reader, tmpl, a.Cert, a.Key)
}

// PublishCRL makes the next base CRL and writes its row.
func (a *Authority) PublishCRL(db Execer) ([]byte, error) {
	der, err := a.CRL()
	if err != nil {
		return nil, err
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(`INSERT INTO CRLs (RowId, Number, MinBase, NameId, Count, ThisUpdate, NextUpdate, RawCRL) VALUES (?,?,0,0,?,?,?,?)`,
		a.CRLNumber, a.CRLNumber, len(crl.RevokedCertificateEntries), schema.Filetime(crl.ThisUpdate), schema.Filetime(crl.NextUpdate), der)
	return der, err
}

// Fill makes a little of everything: the CA's row, n issued certificates, a
// pending, a denied and a failed request, one revocation and a CRL.
func (a *Authority) Fill(db Execer, n int) error {
	if err := a.PutCA(db); err != nil {
		return err
	}
	for i := range n {
		if _, err := a.Issue(db, fmt.Sprintf("host%d.example", i)); err != nil {
			return err
		}
	}
	for _, d := range []schema.Disposition{schema.Pending, schema.Denied, schema.Failed} {
		if err := a.Request(db, d.String()+".example", d); err != nil {
			return err
		}
	}
	if err := a.Revoke(db, &a.Issued[0], schema.KeyCompromise); err != nil {
		return err
	}
	a.Now = a.Now.Add(time.Hour)
	_, err := a.PublishCRL(db)
	return err
}

// File makes a database file filled by [Authority.Fill] and changed by the
// given statements. It is in WAL mode, and has no WAL.
func File(tb testing.TB, path string, a *Authority, n int, statements ...string) {
	tb.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)&_pragma=synchronous(off)")
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(schema.SQLite); err != nil {
		tb.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		tb.Fatal(err)
	}
	if err := a.Fill(tx, n); err != nil {
		tb.Fatal(err)
	}
	for _, s := range statements {
		if _, err := tx.Exec(s); err != nil {
			tb.Fatalf("%s: %v", s, err)
		}
	}
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
}
