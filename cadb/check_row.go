package cadb

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
)

// rowResult is what a worker found out about one request.
type rowResult struct {
	parsed, signed, requestSigned bool
	byEarlier                     bool // signed by one of the earlier certificates
	unparsed                      bool // as it was stored, and not understood here
	oddHashes                     int
	notAfter                      time.Time // the certificate's own
	findings                      []Finding // Where begins with ", column"
}

// rowCheck checks one request; it touches nothing shared.
type rowCheck struct {
	r   *Request
	res rowResult
	*rowRules
}

func (c *rowCheck) add(sev Severity, code, column, format string, args ...any) {
	where := ""
	if column != "" {
		where = ", " + column
	}
	c.res.findings = append(c.res.findings, Finding{Severity: sev, Code: code, Where: where, Message: fmt.Sprintf(format, args...)})
}

// checkRow checks a request against the objects in it.
func checkRow(r *Request, ext []Extension, rules *rowRules) rowResult {
	c := &rowCheck{r: r, rowRules: rules}
	c.columnsUnread()
	c.disposition()
	if c.strict {
		c.subject("Requests", r.Asked, r.RawAsked)
		c.subject("Certificates", r.Subject, r.RawSubject)
	}
	var cert *x509.Certificate
	if r.RawCertificate != nil {
		cert = c.certificate()
	} else if r.Serial != "" && !lost(r) && !c.unread(rawCertificate) {
		c.add(Damage, CodeMissing, "Certificates.RawCertificate", "there is a serial number, %s, and no certificate", r.Serial)
	}
	if r.RawRequest != nil && requestIsPKCS10(r) {
		c.request(cert)
	}
	if cert != nil {
		c.extensions(cert, ext)
	}
	return c.res
}

// rawCertificate is the column as Request.Unread and findings name it.
const rawCertificate = "Certificates.RawCertificate"

// hasCertificate reports whether requests of this disposition have one.
func hasCertificate(d schema.Disposition) bool {
	switch d {
	case schema.Issued, schema.Revoked, schema.CACert, schema.CAChain, schema.KRACert, schema.Foreign:
		return true
	}
	return false
}

// lost reports whether the row stands for a certificate of which only the
// revocation is known: the authority was restored from before its issue, and
// the serial number was revoked again on the word of a CRL.
func lost(r *Request) bool {
	return r.Disposition == schema.Revoked && r.Serial != "" && r.RawCertificate == nil && r.RawRequest == nil && r.RawSubject == nil && r.Hash == ""
}

func (c *rowCheck) disposition() {
	r := c.r
	known := false
	for _, d := range schema.Dispositions {
		known = known || d == r.Disposition
	}
	switch {
	case c.unread("Requests.Disposition"): // said already
	case !known:
		c.add(Damage, CodeFormat, "Disposition", "%d is no disposition", r.Disposition)
	case lost(r):
		c.add(Note, CodeMissing, "Certificates.RawCertificate", "of %s only the revocation is known: the certificate was lost before a restore", r.Serial)
	case c.unread(rawCertificate): // said already
	case hasCertificate(r.Disposition) && r.RawCertificate == nil:
		c.across(Damage, CodeMissing, "Certificates.RawCertificate", "the request is %v and has no certificate", r.Disposition)
	case !hasCertificate(r.Disposition) && r.RawCertificate != nil:
		c.across(Warning, CodeUnexpected, "Certificates.RawCertificate", "the request is %v and has a certificate", r.Disposition)
	}
	if r.Disposition == schema.Revoked {
		if r.RevokedWhen.IsZero() || r.RevokedEffectiveWhen.IsZero() {
			c.add(Damage, CodeMissing, "RevokedWhen", "the request is revoked and has no date of it")
		}
		if r.Reason == nil {
			c.add(Damage, CodeMissing, "RevokedReason", "the request is revoked and has no reason")
		} else if !r.Reason.Revokes() {
			c.add(Damage, CodeFormat, "RevokedReason", "the request is revoked, and %v is no reason for that", *r.Reason)
		}
	}
	if r.Disposition == schema.Issued && !r.RevokedWhen.IsZero() && (r.Reason == nil || r.Reason.Revokes()) {
		c.add(Damage, CodeRevocation, "RevokedWhen", "the request is issued, and has the date of a revocation that was not taken back")
	}
}

// subject compares the text columns of a name with its DER.
func (c *rowCheck) subject(table string, text schema.Subject, raw []byte) {
	if len(raw) == 0 {
		return
	}
	want, err := schema.SplitSubject(raw)
	if err != nil {
		c.add(Damage, CodeFormat, table+".RawName", "%v", err)
		return
	}
	got := subjectFields(&text)
	for i, w := range subjectFields(&want) {
		if *got[i] != *w {
			c.add(Damage, CodeMismatch, table+"."+subjectNames[i], "is %.80q, and RawName says %.80q", *got[i], *w)
		}
	}
}

func (c *rowCheck) certificate() *x509.Certificate {
	r := c.r
	cert, err := x509.ParseCertificate(r.RawCertificate)
	sum := sha1.Sum(r.RawCertificate)
	if err != nil {
		stored, herr := schema.ParseHex(r.Hash)
		if c.strict || herr != nil || !bytes.Equal(stored, sum[:]) {
			c.add(Damage, CodeFormat, rawCertificate, "%v", err)
			return nil
		}
		c.res.unparsed = true
		c.add(Warning, CodeUnchecked, rawCertificate, "it has the hash that the row says, and cannot be parsed here, so that nothing else was compared: %v", err)
		return nil
	}
	c.res.parsed, c.res.notAfter = true, cert.NotAfter
	if r.Disposition == schema.Issued || r.Disposition == schema.Revoked {
		c.signature(cert)
	}
	const t = "Certificates."
	c.same(t+"SerialNumber", r.Serial, schema.SerialText(cert.SerialNumber))
	c.date(t+"NotBefore", r.NotBefore, cert.NotBefore)
	c.date(t+"NotAfter", r.NotAfter, cert.NotAfter)
	c.hex(t+"CertificateHash", r.Hash, sum[:])
	if r.SubjectKeyIdentifier != "" && len(cert.SubjectKeyId) > 0 {
		c.hex(t+"SubjectKeyIdentifier", r.SubjectKeyIdentifier, cert.SubjectKeyId)
	}
	if r.RawSubject != nil && !bytes.Equal(r.RawSubject, cert.RawSubject) {
		c.add(Damage, CodeMismatch, t+"RawName", "is not the certificate's subject")
	}
	c.key(cert)
	return cert
}

func (c *rowCheck) signature(cert *x509.Certificate) {
	const column = rawCertificate
	err := errors.New("no CA certificate was given")
	for i, ca := range slices.Concat(c.issuers, c.earlier) {
		if !bytes.Equal(cert.RawIssuer, ca.RawSubject) {
			name, nerr := schema.NameText(cert.RawIssuer)
			if nerr != nil {
				name = nerr.Error()
			}
			err = fmt.Errorf("it was issued by %.100s", name)
			continue
		}
		if err = signedBy(cert, ca); err == nil {
			c.res.signed, c.res.byEarlier = true, i >= len(c.issuers)
			return
		}
	}
	if notCheckable(err) {
		c.add(Warning, CodeUnchecked, column, "signature not checked: %v", err)
		return
	}
	c.add(Damage, CodeSignature, column, "not signed by this authority: %v", err)
}

func (c *rowCheck) same(column, got, want string) {
	if got != want {
		c.add(Damage, CodeMismatch, column, "is %.80q, and the certificate says %.80q", got, want)
	}
}

// date compares in seconds, which is all that a certificate has.
func (c *rowCheck) date(column string, got, want time.Time) {
	if got.Unix() != want.Unix() || got.IsZero() {
		c.add(Damage, CodeMismatch, column, "is %s, and the certificate says %s", stamp(got), stamp(want))
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "not set"
	}
	return t.UTC().Format(time.RFC3339)
}

func (c *rowCheck) hex(column, got string, want []byte) {
	b, err := schema.ParseHex(got)
	if !c.strict && (err != nil || len(b) != len(want)) {
		c.res.oddHashes++ // AD CS has changed the form before
		return
	}
	if err != nil {
		c.add(Damage, CodeFormat, column, "%.80q is not hexadecimal", got)
	} else if !bytes.Equal(b, want) {
		c.add(Damage, CodeMismatch, column, "is %.80q, and the certificate's is %q", got, schema.HexText(want))
	}
}

// publicKeyInfo is SubjectPublicKeyInfo.
type publicKeyInfo struct {
	Algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	Key asn1.BitString
}

func (c *rowCheck) key(cert *x509.Certificate) {
	r := c.r
	if r.RawPublicKey == nil && r.PublicKeyAlgorithm == "" {
		return
	}
	var info publicKeyInfo
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &info); err != nil {
		c.add(Damage, CodeFormat, "Certificates.RawCertificate", "public key: %v", err)
		return
	}
	if r.RawPublicKey != nil && !bytes.Equal(r.RawPublicKey, info.Key.Bytes) {
		c.add(Damage, CodeMismatch, "Certificates.RawPublicKey", "is not the certificate's public key")
	}
	if r.PublicKeyAlgorithm != "" {
		c.same("Certificates.PublicKeyAlgorithm", r.PublicKeyAlgorithm, info.Algorithm.OID.String())
	}
	if r.RawPublicKeyParams != nil && !bytes.Equal(r.RawPublicKeyParams, info.Algorithm.Parameters.FullBytes) {
		c.add(Damage, CodeMismatch, "Certificates.RawPublicKeyAlgorithmParameters", "are not those of the certificate's public key")
	}
	if n := keyBits(cert.PublicKey); r.PublicKeyLength != 0 && n != 0 && int(r.PublicKeyLength) != n {
		c.add(Damage, CodeMismatch, "Certificates.PublicKeyLength", "is %d, and the certificate's key has %d bits", r.PublicKeyLength, n)
	}
}

// keyBits is the length of a public key, 0 if it is of an unknown kind.
func keyBits(pub any) int {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return k.Params().BitSize
	case ed25519.PublicKey:
		return 256
	}
	return 0
}

func requestIsPKCS10(r *Request) bool {
	t := r.Type &^ schema.RequestFullResponse
	return t == 0 || t == schema.RequestPKCS10
}

// request checks a PKCS #10 request. Before a certificate was made of it, it
// may be anything that somebody sent.
func (c *rowCheck) request(cert *x509.Certificate) {
	const column = "Requests.RawRequest"
	sev := Damage
	if c.r.Disposition != schema.Issued && c.r.Disposition != schema.Revoked && c.r.Disposition != schema.Pending {
		sev = Warning
	}
	if !c.strict {
		sev = Warning // what AD CS takes, others may not understand
	}
	req, err := x509.ParseCertificateRequest(c.r.RawRequest)
	if err != nil {
		c.add(sev, CodeFormat, column, "%v", err)
		return
	}
	if err := req.CheckSignature(); err != nil {
		if notCheckable(err) {
			sev = Warning
		}
		c.add(sev, CodeSignature, column, "not signed by its own key: %v", err)
		return
	}
	c.res.requestSigned = true
	if cert != nil && c.r.Disposition != schema.CACert && !bytes.Equal(req.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo) {
		c.add(sev, CodeMismatch, column, "asks for another key than the one certified")
	}
}

// extensions compares the extension rows with the certificate. Rows may be
// there that the policy disabled; an extension without a row is one that the
// authority did not record. AD CS lets policy and exit modules write rows.
func (c *rowCheck) extensions(cert *x509.Certificate, rows []Extension) {
	sev := Damage
	if !c.strict {
		sev = Warning
	}
	for _, row := range rows {
		if row.Flags&(schema.ExtensionDisabled|schema.ExtensionDelete) != 0 {
			continue
		}
		column := "CertificateExtensions " + strings.ToValidUTF8(row.OID, "?")
		found := false
		for _, e := range cert.Extensions {
			if e.Id.String() != row.OID {
				continue
			}
			found = true
			if !bytes.Equal(e.Value, row.Value) {
				c.across(sev, CodeMismatch, column, "has another value than the certificate")
			}
			if e.Critical != (row.Flags&schema.ExtensionCritical != 0) {
				c.across(sev, CodeMismatch, column, "critical is %v in the certificate", e.Critical)
			}
		}
		if !found {
			c.across(sev, CodeMismatch, column, "is not in the certificate")
		}
	}
}

// serialOf is the text form of a serial number, bounded: what a hostile CRL
// holds may be longer than any serial number.
func serialOf(n *big.Int) string {
	if n == nil || n.BitLen() > 8*64 {
		return "(absurd)"
	}
	return schema.SerialText(n)
}
