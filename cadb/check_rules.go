package cadb

import (
	"crypto/x509"
	"errors"
)

// rowRules are what rows are held against. They are not changed.
type rowRules struct {
	// strict says that the database is the embedded authority's, which fills redundant
	// columns in one way only, and has requests of the one kind that it takes.
	strict bool

	// fuzzy says that logs were not replayed: what stands in different rows can be of
	// different times.
	fuzzy bool

	issuers []*x509.Certificate
	earlier []*x509.Certificate // of the same authority, on the database's own word
}

// across adds a finding about rows that do not agree.
func (c *rowCheck) across(sev Severity, code, column, format string, args ...any) {
	if c.fuzzy {
		sev, format = Note, format+unreplayed
	}
	c.add(sev, code, column, format, args...)
}

// columnsUnread says what could not be read.
func (c *rowCheck) columnsUnread() {
	for _, u := range c.r.Unread {
		sev, code := Damage, CodeUnreadable
		if u.Explained {
			sev, code = Note, CodeUnchecked
		}
		c.add(sev, code, u.Column, "%s", u.Message)
	}
}

// unread says whether a column could not be read.
func (c *rowCheck) unread(column string) bool {
	for _, u := range c.r.Unread {
		if u.Column == column {
			return true
		}
	}
	return false
}

// notCheckable says that a signature was made in a way that is not checked here: by an
// algorithm that is broken, or not known.
func notCheckable(err error) bool {
	var insecure x509.InsecureAlgorithmError
	return errors.As(err, &insecure) || errors.Is(err, x509.ErrUnsupportedAlgorithm)
}

// signedBy is CheckSignatureFrom, and verifies signatures with SHA-1 as well: many an
// authority made them, and it is an accident that is looked for.
func signedBy(cert, ca *x509.Certificate) error {
	err := cert.CheckSignatureFrom(ca)
	if insecure := x509.InsecureAlgorithmError(0); errors.As(err, &insecure) {
		return ca.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	}
	return err
}
