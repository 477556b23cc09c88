package cadb

import (
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
)

// Request is a row of Requests and the row of Certificates that belongs to it.
// Columns that are NULL are zero values. What the columns say is not what the
// certificate says: [Check] compares them.
type Request struct {
	ID          int64
	Disposition schema.Disposition
	Message     string // DispositionMessage
	Type        uint32 // RequestType
	Flags       uint32 // RequestFlags
	StatusCode  uint32 // an HRESULT

	SubmittedWhen, ResolvedWhen time.Time

	// RevokedWhen is when it was revoked, RevokedEffectiveWhen from when on the
	// revocation counts, which an officer may set to an earlier date.
	RevokedWhen, RevokedEffectiveWhen time.Time

	// Reason is the RevokedReason column, nil when NULL. It stays behind when a
	// certificate is taken off hold.
	Reason *schema.Reason

	RequesterName, CallerName string

	// Asked is the subject as the request has it, Subject as it was issued.
	Asked, Subject schema.Subject

	RawRequest []byte // PKCS #10 in DER, or what Type says
	RawAsked   []byte // RawName of Requests

	// The columns of Certificates.
	HasCertificateRow    bool
	Serial               string // normal form, see schema.ParseSerial; as stored if it has none
	NotBefore, NotAfter  time.Time
	Hash                 string // SHA-1, as stored
	SubjectKeyIdentifier string // as stored
	Template             string // CertificateTemplate
	IssuerNameID         uint32
	RawCertificate       []byte // DER
	RawSubject           []byte // RawName of Certificates
	RawPublicKey         []byte // the bits of subjectPublicKey
	RawPublicKeyParams   []byte // RawPublicKeyAlgorithmParameters
	PublicKeyAlgorithm   string // an OID
	PublicKeyLength      uint32 // bits

	// Unread are columns of an ESE database that could not be read. They are zero
	// values above.
	Unread []Unread
}

// CommonName is the issued common name, or without a certificate the one that
// was asked for.
func (r *Request) CommonName() string {
	if r.RawCertificate == nil && r.Subject.CommonName == "" {
		return r.Asked.CommonName
	}
	return r.Subject.CommonName
}

// DistinguishedName is the issued name, or without a certificate the one that
// was asked for.
func (r *Request) DistinguishedName() string {
	if r.RawCertificate == nil && r.Subject.DistinguishedName == "" {
		return r.Asked.DistinguishedName
	}
	return r.Subject.DistinguishedName
}

// Extension is a row of CertificateExtensions.
type Extension struct {
	RequestID int64
	OID       string
	Flags     uint32 // schema.ExtensionCritical and so on
	Value     []byte // the contents of extnValue
}

// Attribute is a row of RequestAttributes.
type Attribute struct {
	RequestID   int64
	Name, Value string
}

// CRL is a row of CRLs.
type CRL struct {
	RowID                  int64
	Number                 int64
	MinBase                int64 // 0 for a base CRL; a delta's base otherwise
	NameID                 uint32
	Count                  int64 // of entries
	ThisUpdate, NextUpdate time.Time
	ThisPublish            time.Time
	Raw                    []byte // DER; nil when the row has none
}

// Filter selects requests. Its zero value selects all of them; the parts that
// are set must all hold.
type Filter struct {
	// Serial is a serial number as schema.ParseSerial accepts it.
	Serial string

	// Dispositions, if any, are the wanted ones.
	Dispositions []schema.Disposition

	// FromID and ToID bound the request ids; ToID 0 is no bound.
	FromID, ToID int64

	// ExpiresBefore and ExpiresAfter bound NotAfter, both exclusive. Requests
	// without a certificate pass neither.
	ExpiresBefore, ExpiresAfter time.Time

	// NoRequest leaves RawRequest out, which makes reading faster.
	NoRequest bool
}
