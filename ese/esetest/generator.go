package esetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
)

// Generator makes requests and certificates for databases of any size: real ones, whose
// signatures verify, but cheap. One certificate is made properly; the others differ from it in
// serial number, name and key identifier, which are overwritten before it is signed
// again. The same seed makes the same ones.
type Generator struct {
	now         time.Time
	seed        uint64
	key         ed25519.PrivateKey
	subject     ed25519.PrivateKey
	ca          *x509.Certificate
	certificate stencil
	request     stencil
	revoked     []x509.RevocationListEntry
}

// What the stencils have where every certificate differs.
const (
	hostName   = "host0000000.corp.example.test"
	hostFormat = "host%07d.corp.example.test"
)

var (
	serialMark = bytes.Repeat([]byte{0x5a}, 15) // behind a first byte that keeps it positive
	keyMark    = bytes.Repeat([]byte{0xa5}, 20)
)

// stencil is a signed object that others are made of.
type stencil struct {
	der      []byte
	from, to int // what is signed; the signature is at the end
}

func newStencil(der, signed []byte) stencil {
	from := bytes.Index(der, signed)
	return stencil{der, from, from + len(signed)}
}

// with replaces what the stencil has and signs it again.
func (s stencil) with(key ed25519.PrivateKey, pairs ...[]byte) []byte {
	der := bytes.Clone(s.der)
	for i := 0; i < len(pairs); i += 2 {
		for at := s.from; ; {
			n := bytes.Index(der[at:s.to], pairs[i])
			if n < 0 {
				break
			}
			at += n + copy(der[at+n:], pairs[i+1])
		}
	}
	copy(der[len(der)-ed25519.SignatureSize:], ed25519.Sign(key, der[s.from:s.to]))
	return der
}

// NewGenerator makes one. now is the time of the first request.
func NewGenerator(seed uint64, now time.Time) (*Generator, error) {
	g := &Generator{now: now.UTC().Truncate(time.Second), seed: seed}
	r := random(seed, seedCertificates)
	g.key, g.subject = ed25519.NewKeyFromSeed(randomBytes(r, 32)), ed25519.NewKeyFromSeed(randomBytes(r, 32))
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Example Issuing CA", Organization: []string{"Example"}},
		NotBefore: g.now.AddDate(-1, 0, 0), NotAfter: g.now.AddDate(20, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: randomBytes(r, 20)}
	der, err := x509.CreateCertificate(nil, ca, ca, g.key.Public(), g.key)
	if err != nil {
		return nil, err
	}
	if g.ca, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	if err := g.stencils(r); err != nil {
		return nil, err
	}
	return g, nil
}

// stencils makes a certificate and a request of the size that AD CS and its clients
// make them.
func (g *Generator) stencils(r *rand.Rand) error {
	ldap := "ldap:///CN=Example%20Issuing%20CA,CN=ca1,CN=CDP,CN=Public%20Key%20Services,CN=Services,CN=Configuration,DC=corp,DC=example,DC=test"
	leaf := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(append([]byte{0x71}, serialMark...)), Subject: pkix.Name{CommonName: hostName, Organization: []string{"Example"}},
		DNSNames: []string{hostName}, NotBefore: g.now, NotAfter: g.now.AddDate(2, 0, 0), SubjectKeyId: keyMark,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		CRLDistributionPoints: []string{ldap + "?certificateRevocationList?base?objectClass=cRLDistributionPoint", "http://pki.example.test/ca.crl"},
		IssuingCertificateURL: []string{ldap + "?cACertificate?base?objectClass=certificationAuthority"},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, 7}, Value: randomBytes(r, 47)}, // where the template is
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, 10}, Value: randomBytes(r, 28)},
		},
	}
	der, err := x509.CreateCertificate(nil, leaf, g.ca, g.subject.Public(), g.key)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	g.certificate = newStencil(der, cert.RawTBSCertificate)
	der, err = x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: hostName}, DNSNames: []string{hostName},
		URIs:            []*url.URL{{Scheme: "tag", Opaque: "microsoft.com,2022-09-14:sid:S-1-5-21-1004336348-1177238915-682003330-51200"}},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, 20}, Value: randomBytes(r, 700)}}}, g.subject)
	if err != nil {
		return err
	}
	csr, err := x509.ParseCertificateRequest(der)
	g.request = newStencil(der, csr.RawTBSCertificateRequest)
	return err
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// Authority is the certificate that signs all others.
func (g *Generator) Authority() *x509.Certificate { return g.ca }

// Request is the n-th request, from 1 on: the first is the authority's own certificate, of a hundred
// others one each is pending, denied and failed, and five are revoked. It remembers
// what is revoked, for CRL.
func (g *Generator) Request(n uint32) (Request, error) {
	when := g.now.Add(time.Duration(n) * 37 * time.Second)
	req := Request{ID: n, Type: schema.RequestPKCS10, Disposition: schema.Issued, Message: "Issued", Submitted: when, Resolved: when.Add(time.Second),
		Requester: fmt.Sprintf(`CORP\HOST%05d$`, n%50021), Caller: fmt.Sprintf(`CORP\HOST%05d$`, n%50021),
		Attributes: []Attribute{{"CertificateTemplate", "Machine"}, {"ccm", fmt.Sprintf(hostFormat, n)}, {"cdc", "dc1.corp.example.test"}}}
	if n == 1 {
		req.Disposition, req.Message, req.Attributes = schema.CACert, "CA certificate", nil
		return req, g.issue(&req, g.ca.Raw)
	}
	name := fmt.Appendf(nil, hostFormat, n)
	req.Raw = g.request.with(g.subject, []byte(hostName), name)
	switch n % 100 {
	case 17:
		req.Disposition, req.Message, req.Resolved = schema.Pending, "Taken Under Submission", time.Time{}
	case 43:
		req.Disposition, req.Message = schema.Denied, "Denied by Policy Module"
	case 71:
		req.Disposition, req.Message, req.Status = schema.Failed, "Error Parsing Request", 0x80094001
	}
	if req.Disposition != schema.Issued {
		csr, err := x509.ParseCertificateRequest(req.Raw)
		if err != nil {
			return req, err
		}
		req.RawName = csr.RawSubject
		req.Subject, err = schema.SplitSubject(csr.RawSubject)
		return req, err
	}
	r := random(g.seed^uint64(n)<<20, seedCertificates)
	serial, id := randomBytes(r, len(serialMark)), randomBytes(r, len(keyMark))
	if err := g.issue(&req, g.certificate.with(g.key, []byte(hostName), name, serialMark, serial, keyMark, id)); err != nil {
		return req, err
	}
	if n%20 == 9 {
		req.Disposition, req.Revoked, req.RevokedFrom, req.Reason = schema.Revoked, when.Add(time.Hour), when.Add(time.Hour), schema.KeyCompromise
		g.revoked = append(g.revoked, x509.RevocationListEntry{SerialNumber: new(big.Int).SetBytes(append([]byte{0x71}, serial...)),
			RevocationTime: req.Revoked, ReasonCode: int(req.Reason)})
	}
	return req, nil
}

func (g *Generator) issue(req *Request, der []byte) (err error) {
	if req.Certificate, err = CertificateOf(der); err != nil {
		return err
	}
	req.RawName, req.Subject = req.Certificate.RawName, req.Certificate.Subject
	if req.Disposition != schema.CACert {
		req.Certificate.Template = "Machine"
	}
	return nil
}

// CRL is a base CRL of everything that was revoked so far.
func (g *Generator) CRL(number uint32) (CRL, error) {
	tmpl := &x509.RevocationList{Number: big.NewInt(int64(number)), ThisUpdate: g.now, NextUpdate: g.now.AddDate(0, 0, 7), RevokedCertificateEntries: g.revoked}
	der, err := x509.CreateRevocationList(unused{}, tmpl, g.ca, g.key)
	if err != nil {
		return CRL{}, err
	}
	return CRLOf(der, number)
}

// unused is a source of randomness for what needs none.
type unused struct{}

func (unused) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Fill writes n requests, and a CRL at the end.
func (g *Generator) Fill(ctx context.Context, ca *CA, n int) error {
	for i := range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := g.Request(uint32(i + 1))
		if err != nil {
			return fmt.Errorf("request %d: %w", i+1, err)
		}
		if err := ca.AddRequest(r); err != nil {
			return err
		}
	}
	l, err := g.CRL(1)
	if err != nil {
		return err
	}
	return ca.AddCRL(l)
}
