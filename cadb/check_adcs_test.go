package cadb_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese/esetest"
)

// adcsCA is an authority whose certificates and CRLs are not all alike.
type adcsCA struct {
	t        *testing.T
	key      *ecdsa.PrivateKey
	cert     *x509.Certificate
	now      time.Time
	requests []esetest.Request
	crls     []esetest.CRL
}

func newADCS(t *testing.T) *adcsCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &adcsCA{t: t, key: key, now: time.Date(2026, 3, 14, 9, 15, 0, 0, time.UTC)}
	c.cert = c.own("Renewed CA", c.now.AddDate(-1, 0, 0))
	c.add(esetest.Request{ID: 1, Disposition: schema.CACert, Certificate: c.row(c.cert.Raw)})
	return c
}

// own is a certificate of the authority itself.
func (c *adcsCA) own(name string, from time.Time) *x509.Certificate {
	c.t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(from.Unix()), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: from.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, c.key.Public(), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert
}

func (c *adcsCA) row(der []byte) *esetest.Certificate {
	c.t.Helper()
	row, err := esetest.CertificateOf(der)
	if err != nil {
		c.t.Fatal(err)
	}
	row.PublicKeyLength = 0
	return row
}

func (c *adcsCA) add(r esetest.Request) *esetest.Request {
	r.Submitted, r.Resolved = c.now, c.now
	c.requests = append(c.requests, r)
	return &c.requests[len(c.requests)-1]
}

func (c *adcsCA) sign(serial int64, change func(*x509.Certificate)) []byte {
	c.t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint("host", serial)}, NotBefore: c.now.AddDate(0, -6, 0), NotAfter: c.now.AddDate(1, 0, 0)}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, c.key.Public(), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return der
}

// issue adds a request whose number and serial number are n.
func (c *adcsCA) issue(n uint32, change func(*x509.Certificate)) *esetest.Request {
	c.t.Helper()
	return c.add(esetest.Request{ID: n, Disposition: schema.Issued, Certificate: c.row(c.sign(int64(n), change))})
}

func revoke(r *esetest.Request, when time.Time) *esetest.Request {
	r.Disposition, r.Revoked, r.RevokedFrom, r.Reason = schema.Revoked, when, when, schema.KeyCompromise
	return r
}

// publish adds a CRL that lists some requests.
func (c *adcsCA) publish(number int64, nameID uint32, at time.Time, extra []pkix.Extension, listed ...*esetest.Request) {
	c.t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: at, NextUpdate: at.AddDate(0, 0, 7), ExtraExtensions: extra}
	for _, r := range listed {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(int64(r.ID)), RevocationTime: r.RevokedFrom, ReasonCode: int(r.Reason)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, c.cert, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := esetest.CRLOf(der, uint32(len(c.crls)+1))
	if err != nil {
		c.t.Fatal(err)
	}
	l.NameID = nameID
	c.crls = append(c.crls, l)
}

// open writes the database, as one that was shut down or as a copy of a running one.
func (c *adcsCA) open(copied bool) *cadb.DB {
	c.t.Helper()
	fill := func(ca *esetest.CA) error {
		for _, r := range c.requests {
			if err := ca.AddRequest(r); err != nil {
				return err
			}
		}
		for _, l := range c.crls {
			if err := ca.AddCRL(l); err != nil {
				return err
			}
		}
		return nil
	}
	path := filepath.Join(c.t.TempDir(), "CA.edb")
	if copied {
		f, err := esetest.WriteBackup(c.t.TempDir(), esetest.FolderOptions{}, fill)
		if err != nil {
			c.t.Fatal(err)
		}
		path = f.Database
	} else if _, err := esetest.WriteDatabase(path, esetest.Options{}, fill); err != nil {
		c.t.Fatal(err)
	}
	db, err := cadb.Open(c.t.Context(), path)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { db.Close() })
	return db
}

// serious lists what is more than a note.
func serious(rep cadb.Report) (list []string) {
	for _, f := range rep.Findings {
		if f.Severity != cadb.Note {
			list = append(list, string(f.Severity)+" "+f.Code+": "+f.Where+": "+f.Message)
		}
	}
	return list
}

// A set of before a renewal is checked by the certificate of after it, when it is to be
// restored, and is the authority's all the same.
func TestESERenewedSince(t *testing.T) {
	c := newADCS(t)
	c.issue(2, nil)
	later, earlier, other := c.own("Renewed CA", c.now), c.own("Renewed CA", c.now.AddDate(-2, 0, 0)), c.own("Other CA", c.now)
	for _, copied := range []bool{false, true} {
		db := c.open(copied)
		for _, tt := range []struct {
			name  string
			ca    *x509.Certificate
			older []*x509.Certificate
			want  string
		}{
			{"its own", c.cert, nil, ""},
			{"the older one was given as well", later, []*x509.Certificate{c.cert}, ""},
			{"a later one of the name", later, nil, "warning foreign"},
			{"an earlier one of the name", earlier, nil, map[bool]string{false: "damage foreign", true: "warning foreign"}[copied]},
			{"another name", other, nil, "damage foreign"},
		} {
			rep, err := cadb.Check(t.Context(), db, tt.ca, tt.older...)
			if err != nil {
				t.Fatal(err)
			}
			list := slices.DeleteFunc(serious(rep), func(s string) bool { return !strings.Contains(s, "foreign") })
			if got := strings.Join(list, ", "); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("copied %v, %s: %q, want %q", copied, tt.name, got, tt.want)
			}
		}
	}
}

// After a renewal with the same key, CRLs go on with another certificate's number.
func TestESEKeyOfSeveralCertificates(t *testing.T) {
	c := newADCS(t)
	a, b := *revoke(c.issue(2, nil), c.now.AddDate(0, -2, 0)), *c.issue(3, nil)
	gone := esetest.Request{ID: 99, RevokedFrom: c.now.AddDate(0, -3, 0)}
	// A row that was deleted since, when its certificate had expired.
	c.publish(7, 0, c.now.AddDate(0, -1, 0), nil, &a, &gone)
	revoke(&b, c.now.AddDate(0, 0, -1))
	c.requests[2] = b
	c.requests[2].Certificate.IssuerNameID = 1
	c.publish(8, 1, c.now, nil, &a, &b)
	db := c.open(false)
	for range 20 { // the order of a map must not decide
		rep, err := cadb.Check(t.Context(), db, c.cert)
		if list := serious(rep); err != nil || len(list) > 0 {
			t.Fatalf("%v, %q", err, list)
		}
	}
}

// A CRL can be parted into several of one number, of which none lists all.
func TestESEPartsOfCRL(t *testing.T) {
	c := newADCS(t)
	for n := range uint32(2) {
		revoke(c.issue(n+2, nil), c.now.AddDate(0, -1, 0))
	}
	part := func(n byte) []pkix.Extension {
		value, err := asn1.Marshal([]asn1.RawValue{{Class: 2, Tag: 0, IsCompound: true, Bytes: []byte{0xa0, 3, 0x86, 1, n}}})
		if err != nil {
			t.Fatal(err)
		}
		return []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: value}}
	}
	c.publish(5, 0, c.now, part('1'), &c.requests[1])
	c.publish(5, 0, c.now, part('2'), &c.requests[2])
	rep, err := cadb.Check(t.Context(), c.open(false), c.cert)
	if list := serious(rep); err != nil || len(list) != 1 || !strings.HasPrefix(list[0], "warning duplicate") {
		t.Errorf("%v, %q", err, list)
	}
}

// AD CS dates CRLs back, and leaves out what had expired when it made them.
func TestESEExpiredWhileCRLWasMade(t *testing.T) {
	for _, tt := range []struct {
		expires time.Duration
		damage  bool
	}{{5 * time.Minute, false}, {30 * 24 * time.Hour, true}} {
		c := newADCS(t)
		revoke(c.issue(2, func(x *x509.Certificate) { x.NotAfter = c.now.Add(tt.expires) }), c.now.AddDate(0, -1, 0))
		c.publish(5, 0, c.now, nil)
		rep, err := cadb.Check(t.Context(), c.open(false), c.cert)
		if err != nil || rep.Damaged() != tt.damage {
			t.Errorf("%v: %v, %q", tt.expires, err, serious(rep))
		}
	}
}

// Others take certificates that are not understood here. That they are what was stored,
// their hash says.
func TestESECertificateNotUnderstood(t *testing.T) {
	c := newADCS(t)
	odd := c.sign(2, func(x *x509.Certificate) {
		x.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{0x30, 4, 0x82, 2, 0xc3, 0xa4}}} // a dNSName in UTF-8
	})
	if _, err := x509.ParseCertificate(odd); err == nil {
		t.Fatal("it is understood")
	}
	r := c.issue(2, nil)
	sum := sha1.Sum(odd)
	r.Certificate.Raw, r.Certificate.Hash = odd, schema.HexText(sum[:])
	rep, err := cadb.Check(t.Context(), c.open(true), c.cert)
	if list := serious(rep); err != nil || len(list) != 1 || !strings.HasPrefix(list[0], "warning unchecked: request 2") || rep.Unparsed != 1 || rep.Certificates != 1 || rep.Signatures != 0 {
		t.Errorf("%v, %q, %+v", err, list, rep)
	}
	c.requests[1].Certificate.Hash = schema.HexText(make([]byte, 20))
	if rep, err := cadb.Check(t.Context(), c.open(true), c.cert); err != nil || !rep.Damaged() {
		t.Errorf("%v, %q", err, serious(rep))
	}
}

// Signatures with SHA-1, of authorities of their time, are verified.
func TestESESignedWithSHA1(t *testing.T) {
	c := newADCS(t)
	r := c.issue(2, func(x *x509.Certificate) { x.SignatureAlgorithm = x509.ECDSAWithSHA1 })
	if rep, err := cadb.Check(t.Context(), c.open(false), c.cert); err != nil || len(serious(rep)) > 0 || rep.Signatures != 1 {
		t.Errorf("%v, %q, %d signatures", err, serious(rep), rep.Signatures)
	}
	forged := slices.Clone(r.Certificate.Raw)
	forged[len(forged)-1] ^= 1
	sum := sha1.Sum(forged)
	c.requests[1].Certificate.Raw, c.requests[1].Certificate.Hash = forged, schema.HexText(sum[:])
	if rep, err := cadb.Check(t.Context(), c.open(false), c.cert); err != nil || !rep.Damaged() {
		t.Errorf("%v, %q", err, serious(rep))
	}
}
