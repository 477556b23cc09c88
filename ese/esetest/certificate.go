package esetest

import (
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"

	"github.com/certkeep/certkeep/cadb/schema"
)

// CertificateOf is the row that AD CS writes for a certificate.
func CertificateOf(der []byte) (*Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	subject, err := schema.SplitSubject(cert.RawSubject)
	if err != nil {
		return nil, fmt.Errorf("certificate's subject: %w", err)
	}
	var key struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &key); err != nil {
		return nil, fmt.Errorf("certificate's key: %w", err)
	}
	sum := sha1.Sum(der)
	c := &Certificate{
		Raw: der, Hash: schema.HexText(sum[:]), Serial: schema.SerialText(cert.SerialNumber), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		SubjectKeyIdentifier: schema.HexText(cert.SubjectKeyId), PublicKey: key.Key.Bytes, PublicKeyLength: uint32(key.Key.BitLength),
		PublicKeyAlgorithm: key.Algorithm.Algorithm.String(), PublicKeyParams: key.Algorithm.Parameters.FullBytes,
		Subject: subject, RawName: cert.RawSubject,
	}
	for _, e := range cert.Extensions {
		x := Extension{OID: e.Id.String(), Flags: schema.OriginPolicy, Value: e.Value}
		if e.Critical {
			x.Flags |= schema.ExtensionCritical
		}
		c.Extensions = append(c.Extensions, x)
	}
	return c, nil
}

// CRLOf is the row that AD CS writes for a certificate revocation list.
func CRLOf(der []byte, row uint32) (CRL, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return CRL{}, fmt.Errorf("CRL: %w", err)
	}
	l := CRL{RowID: row, Count: uint32(len(crl.RevokedCertificateEntries)), ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate,
		ThisPublish: crl.ThisUpdate, Effective: crl.ThisUpdate, LastPublished: crl.ThisUpdate, PublishAttempts: 1, Raw: der}
	if crl.Number != nil {
		l.Number = uint32(crl.Number.Uint64())
	}
	return l, nil
}
