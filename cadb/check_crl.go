package cadb

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
)

// newestCRL is the newest base CRL of one CA key, whose entries are crossed off
// as their rows come by.
type newestCRL struct {
	number  int64
	this    time.Time
	entries map[string]*crlEntry // by serial
	raw     []byte

	// partial says that it has an issuing distribution point, so that it may be one of
	// several that share what is revoked.
	partial bool
}

// crlEntry is what a CRL says of one certificate.
type crlEntry struct {
	when   int64 // in seconds since 1970
	reason schema.Reason
	seen   bool // its row was
}

// revocationGrace is how long before a CRL a revocation may be dated that is
// not in it: the date is set before the row is stored, and the CRL is made of
// what is stored.
const revocationGrace = 5 * time.Minute

// clockSkew is how long before the making of a CRL its date may be. AD CS dates it back
// (ClockSkewMinutes, ten by default), and leaves out what had expired when it was made.
const clockSkew = 24 * time.Hour

// oidIssuingPoint is the issuingDistributionPoint of RFC 5280 section 5.2.5.
var oidIssuingPoint = asn1.ObjectIdentifier{2, 5, 29, 28}

// oidDeltaCRL is the deltaCRLIndicator of RFC 5280 section 5.2.4.
var oidDeltaCRL = asn1.ObjectIdentifier{2, 5, 29, 27}

// checkCRLs checks every CRL against its row, and keeps the newest.
func (c *checker) checkCRLs(ctx context.Context) error {
	c.crls = make(map[uint32]*newestCRL)
	numbers := make(map[[2]int64]bool) // number and CA key
	last := make(map[uint32]int64)
	for row, err := range c.db.CRLs(ctx) {
		if c.damaged(err) {
			continue
		}
		if err != nil {
			return err
		}
		c.report.CRLs++
		where := fmt.Sprintf("CRLs row %d, number %d", row.RowID, row.Number)
		add := func(sev Severity, code, format string, args ...any) {
			c.add(Finding{Severity: sev, Code: code, Where: where, Message: fmt.Sprintf(format, args...)})
		}
		if row.Number > c.report.NewestCRL || c.report.NewestCRL == 0 {
			c.report.NewestCRL, c.report.CRLThisUpdate, c.report.CRLNextUpdate = row.Number, row.ThisUpdate, row.NextUpdate
		}
		twice := [2]int64{row.Number, int64(row.NameID)<<1 | int64(min(row.MinBase, 1))}
		if numbers[twice] {
			sev := Damage
			if !c.rules.strict {
				sev = Warning // AD CS can part a CRL into several, of one number
			}
			add(sev, CodeDuplicate, "the number stands twice")
		}
		numbers[twice] = true
		if row.Number < last[row.NameID] {
			add(Warning, CodeChain, "follows number %d", last[row.NameID])
		}
		last[row.NameID] = max(last[row.NameID], row.Number)
		if row.Raw == nil {
			add(Note, CodeUnchecked, "the row holds no CRL")
			continue
		}
		crl, err := x509.ParseRevocationList(row.Raw)
		if err != nil {
			add(Damage, CodeFormat, "RawCRL: %v", err)
			continue
		}
		if err := crlSignedBy(crl, slices.Concat([]*x509.Certificate{c.ca}, c.older, c.earlier)); err != nil {
			if notCheckable(err) {
				add(Warning, CodeUnchecked, "RawCRL: signature not checked: %v", err)
			} else {
				add(Damage, CodeSignature, "RawCRL: %v", err)
			}
		}
		c.compareCRL(row, crl, add)
		key := keyIndex(row.NameID)
		if n := c.crls[key]; row.MinBase == 0 && (n == nil || row.Number >= n.number) {
			c.crls[key] = &newestCRL{number: row.Number, this: crl.ThisUpdate, raw: row.Raw,
				partial: slices.ContainsFunc(crl.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidIssuingPoint) })}
		}
	}
	for _, n := range c.crls {
		crl, err := x509.ParseRevocationList(n.raw)
		if err != nil {
			return err // cannot be: it parsed before
		}
		n.raw, n.entries = nil, make(map[string]*crlEntry, len(crl.RevokedCertificateEntries))
		for _, e := range crl.RevokedCertificateEntries {
			n.entries[serialOf(e.SerialNumber)] = &crlEntry{when: e.RevocationTime.Unix(), reason: schema.Reason(e.ReasonCode)}
		}
	}
	return nil
}

// crlSignedBy returns nil when one of the certificates signed the CRL.
func crlSignedBy(crl *x509.RevocationList, issuers []*x509.Certificate) error {
	err := fmt.Errorf("there is no CA certificate")
	for _, ca := range issuers {
		if !bytes.Equal(crl.RawIssuer, ca.RawSubject) {
			name, nerr := schema.NameText(crl.RawIssuer)
			if nerr != nil {
				name = nerr.Error()
			}
			err = fmt.Errorf("it was issued by %.100s", name)
			continue
		}
		if err = crl.CheckSignatureFrom(ca); err == nil {
			return nil
		}
	}
	return err
}

func (c *checker) compareCRL(row CRL, crl *x509.RevocationList, add func(Severity, string, string, ...any)) {
	if crl.Number == nil || crl.Number.Cmp(big.NewInt(row.Number)) != 0 {
		add(Damage, CodeMismatch, "the CRL in it has the number %.40v", crl.Number)
	}
	for _, d := range []struct {
		column    string
		got, want time.Time
	}{{"ThisUpdate", row.ThisUpdate, crl.ThisUpdate}, {"NextUpdate", row.NextUpdate, crl.NextUpdate}} {
		if !d.want.IsZero() && (d.got.IsZero() || d.got.Unix() != d.want.Unix()) {
			add(Damage, CodeMismatch, "%s is %s, and the CRL says %s", d.column, stamp(d.got), stamp(d.want))
		}
	}
	if n := int64(len(crl.RevokedCertificateEntries)); row.Count != n {
		add(Damage, CodeMismatch, "Count is %d, and the CRL has %d entries", row.Count, n)
	}
	delta := slices.ContainsFunc(crl.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidDeltaCRL) })
	if delta != (row.MinBase != 0) {
		add(Damage, CodeMismatch, "MinBase is %d, and the CRL is a delta: %v", row.MinBase, delta)
	}
}

// checkRevocation compares a row with the newest base CRL of its CA key.
func (c *checker) checkRevocation(j *job) {
	r := &j.row
	n := c.crls[keyIndex(r.IssuerNameID)]
	if n == nil || r.Serial == "" {
		return
	}
	add := func(format string, args ...any) {
		j.res.findings = append(j.res.findings, c.explained(Finding{Severity: Damage, Code: CodeRevocation, Where: ", Disposition", Message: fmt.Sprintf(format, args...)}))
	}
	if e, listed := n.entries[r.Serial]; listed {
		e.seen = true
		// A certificate taken off hold after the CRL was made is still in it.
		released := r.Disposition == schema.Issued && r.Reason != nil && !r.Reason.Revokes()
		if r.Disposition != schema.Revoked && !released {
			add("CRL %d revokes %s, and the request is %v", n.number, r.Serial, r.Disposition)
		}
		// What was on hold may have been revoked for good since.
		if r.Disposition == schema.Revoked && r.RevokedWhen.Before(n.this.Add(-revocationGrace)) && r.Reason != nil &&
			(r.RevokedEffectiveWhen.Unix() != e.when || *r.Reason != e.reason) {
			add("it was revoked as of %s (%v), and CRL %d says %s (%v)", stamp(r.RevokedEffectiveWhen), *r.Reason, n.number, stamp(time.Unix(e.when, 0)), e.reason)
		}
		return
	}
	if r.Disposition != schema.Revoked || r.RevokedWhen.IsZero() || !r.RevokedWhen.Before(n.this.Add(-revocationGrace)) {
		return
	}
	// It may be left out of the CRL when it had expired by then.
	skew := clockSkew
	if c.rules.strict {
		skew = 0
	}
	if j.res.parsed && !n.partial && !j.res.notAfter.Before(n.this.Add(skew)) && r.RevokedEffectiveWhen.Before(n.this) {
		add("it was revoked on %s, and CRL %d of %s does not list %s", stamp(r.RevokedWhen), n.number, stamp(n.this), r.Serial)
	}
}

// keyIndex is the number of the CA key in an IssuerNameID or NameId: AD CS counts keys in
// the high half, and in the low one certificates, of which a key can have several.
func keyIndex(nameID uint32) uint32 { return nameID >> 16 }

// revokedElsewhere reports what the newest CRL revokes and no row knows.
func (c *checker) revokedElsewhere() {
	for _, id := range slices.Sorted(maps.Keys(c.crls)) {
		n := c.crls[id]
		for _, serial := range slices.Sorted(maps.Keys(n.entries)) {
			if !n.entries[serial].seen {
				c.add(c.explained(Finding{Severity: Warning, Code: CodeRevocation, Where: fmt.Sprintf("CRL number %d", n.number),
					Message: fmt.Sprintf("revokes %s, which is no certificate of the database", serial)}))
			}
		}
	}
}
