package cadb

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/certkeep/certkeep/cadb/schema"
)

// explained is a finding that is no damage in a database that was not recovered.
func (c *checker) explained(f Finding) Finding {
	if c.rules.fuzzy {
		f.Severity, f.Message = Note, f.Message+unreplayed
	}
	return f
}

// unreplayed is why a finding is a note.
const unreplayed = " (the logs may explain it; they were not replayed)"

// remarks says what is about the database as a whole.
func (c *checker) remarks() {
	said := make(map[string]bool)
	for _, e := range c.incomplete {
		if !said[e.Error()] {
			said[e.Error()] = true
			c.add(Finding{Severity: Damage, Code: CodeUnreadable, Message: e.Error()})
		}
	}
	if c.report.EarlierCA > 0 {
		c.add(Finding{Severity: Note, Code: CodeUnchecked, Message: fmt.Sprintf("%d certificates are signed by earlier certificates of the authority, which are known from the database alone", c.report.EarlierCA)})
	}
	if c.oddHashes > 0 {
		c.add(Finding{Severity: Note, Code: CodeUnchecked, Where: "Certificates.CertificateHash", Message: fmt.Sprintf("%d are not in a form that is known, and were not compared", c.oddHashes)})
	}
	for _, note := range c.db.r.notes() {
		c.add(Finding{Severity: Note, Code: CodeUnchecked, Message: note})
	}
}

// caRow takes in a certificate that the database has for the authority's own.
func (c *checker) caRow(r *Request) {
	c.hasCA = true
	if slices.Equal(r.RawCertificate, c.ca.Raw) || slices.ContainsFunc(c.older, func(ca *x509.Certificate) bool { return slices.Equal(r.RawCertificate, ca.Raw) }) {
		c.ownCA = true
		return
	}
	if cert, err := x509.ParseCertificate(r.RawCertificate); err == nil && slices.Equal(cert.RawSubject, c.ca.RawSubject) {
		c.named++
		c.newCA = c.newCA || !cert.NotBefore.Before(c.ca.NotBefore)
	}
}

// authority says whether the database is of the authority whose certificate was given.
// One of before a renewal has only certificates of before; a copy of just after it may
// have the new one in its logs.
func (c *checker) authority() {
	switch {
	case !c.hasCA || c.ownCA:
	case !c.rules.strict && c.named > 0 && (c.rules.fuzzy || !c.newCA):
		c.add(Finding{Severity: Warning, Code: CodeForeign, Message: "the CA certificate given is not in the database, which has others of the same name: " +
			"either the authority was renewed since, or it is another one with that name"})
	default:
		c.add(Finding{Severity: Damage, Code: CodeForeign, Message: "the CA certificates in the database are not the one given: it is another authority's database"})
	}
}

// ownSerial says that a row has a serial number that this authority gave, which must
// be its only one. AD CS also keeps certificates of itself and of others.
func (c *checker) ownSerial(r *Request) bool {
	if !c.rules.strict {
		switch r.Disposition {
		case schema.CACert, schema.CAChain, schema.Foreign, schema.KRACert:
			return false
		}
	}
	return r.Serial != ""
}

// earlierCertificates finds those that the authority had before its key or certificate
// was renewed: AD CS keeps them among its requests.
func (c *checker) earlierCertificates(ctx context.Context) error {
	for r, err := range c.db.Requests(ctx, Filter{NoRequest: true, Dispositions: []schema.Disposition{schema.CACert}}) {
		if c.damaged(err) {
			continue
		}
		if err != nil {
			return err
		}
		cert, err := x509.ParseCertificate(r.RawCertificate)
		if err != nil || !cert.IsCA || string(cert.RawSubject) != string(c.ca.RawSubject) || cert.Equal(c.ca) || len(c.earlier) >= 100 ||
			slices.ContainsFunc(c.older, cert.Equal) {
			continue
		}
		c.earlier = append(c.earlier, cert)
	}
	return nil
}

// damaged takes an IncompleteError in, which is a finding and no failure.
func (c *checker) damaged(err error) bool {
	var e *IncompleteError
	if !errors.As(err, &e) {
		return false
	}
	c.incomplete = append(c.incomplete, e)
	return true
}

// CACertificate returns the newest of the authority's own certificates that the
// database holds (disposition 15), or ErrNoCACertificate.
func (db *DB) CACertificate(ctx context.Context) (*x509.Certificate, error) {
	var newest *x509.Certificate
	for r, err := range db.Requests(ctx, Filter{Dispositions: []schema.Disposition{schema.CACert}}) {
		if ie := (*IncompleteError)(nil); errors.As(err, &ie) && newest != nil {
			break
		}
		if err != nil {
			return nil, err
		}
		cert, err := x509.ParseCertificate(r.RawCertificate)
		if err == nil && (newest == nil || !cert.NotBefore.Before(newest.NotBefore)) {
			newest = cert
		}
	}
	if newest == nil {
		return nil, ErrNoCACertificate
	}
	return newest, nil
}
