package esetest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
)

// CA writes the database of a certification authority.
type CA struct {
	w                                                    *Writer
	requests, certificates, extensions, attributes, crls *Table
	request, certificate, extension, attribute, crl      columnMap
	sorted                                               []named
}

// columnMap is where columns are in a table.
type columnMap map[string]int

// Request is a row of Requests, and what belongs to it. What is empty, zero or nil is
// NULL, except for numbers.
type Request struct {
	ID                   uint32 // ascending from one request to the next
	Raw                  []byte // DER
	Type, Flags, Status  uint32
	Disposition          schema.Disposition
	Message              string
	Submitted, Resolved  time.Time
	Revoked, RevokedFrom time.Time
	Reason               schema.Reason // NULL unless Revoked is set
	Requester, Caller    string
	Subject              schema.Subject
	RawName              []byte
	OldCertificate       []byte
	ArchivedKey          []byte
	Attributes           []Attribute
	RequestAttributes    string       // the same as the request had it
	Certificate          *Certificate // nil: a row of Certificates without one
}

// Certificate is a row of Certificates, and its extensions.
type Certificate struct {
	Raw                                            []byte // DER
	Hash                                           string // as schema.HexText
	Template, UPN                                  string
	EnrollmentFlags, GeneralFlags, PrivateKeyFlags uint32
	Serial                                         string // as schema.SerialText
	IssuerNameID                                   uint32
	NotBefore, NotAfter                            time.Time
	SubjectKeyIdentifier                           string // as schema.HexText
	PublicKey, PublicKeyParams                     []byte
	PublicKeyLength                                uint32 // bits
	PublicKeyAlgorithm                             string
	Subject                                        schema.Subject
	RawName                                        []byte
	Extensions                                     []Extension
}

// Extension is a row of CertificateExtensions.
type Extension struct {
	OID   string
	Flags uint32
	Value []byte
}

// Attribute is a row of RequestAttributes.
type Attribute struct{ Name, Value string }

// CRL is a row of CRLs.
type CRL struct {
	RowID, Number, MinBase, NameID, Count            uint32
	ThisUpdate, NextUpdate, ThisPublish, NextPublish time.Time
	Effective, PropagationComplete, LastPublished    time.Time
	PublishAttempts, PublishFlags, PublishStatus     uint32
	PublishError                                     string
	Raw                                              []byte
}

// CreateCA begins the database of an authority.
func CreateCA(out io.WriterAt, o Options) (*CA, error) {
	w, err := Create(out, o)
	if err != nil {
		return nil, err
	}
	c := &CA{w: w}
	for _, x := range []struct {
		spec  TableSpec
		table **Table
		at    *columnMap
	}{
		{requestsSpec(), &c.requests, &c.request},
		{certificatesSpec(), &c.certificates, &c.certificate},
		{namedSpec("RequestAttributes", "$AttributeName", text("$AttributeValue", 8192)), &c.attributes, &c.attribute},
		{namedSpec("CertificateExtensions", "$ExtensionName", long("ExtensionFlags"), blob("ExtensionRawValue", 4096)), &c.extensions, &c.extension},
		{crlsSpec(), &c.crls, &c.crl},
	} {
		if o.Compress {
			for i := range x.spec.Columns {
				if t := x.spec.Columns[i].Type; t == ese.LongBinary || t == ese.LongText {
					x.spec.Columns[i].Flags |= ese.ColumnCompressed
				}
			}
		}
		if *x.table, err = w.CreateTable(x.spec); err != nil {
			w.Abort()
			return nil, err
		}
		*x.at = make(columnMap)
		for i, col := range x.spec.Columns {
			(*x.at)[col.Name] = i
		}
	}
	return c, nil
}

// Close writes what is left.
func (c *CA) Close() (Info, error) { return c.w.Close() }

// Abort gives up instead.
func (c *CA) Abort() { c.w.Abort() }

// put writes values into a row by the names of columns.
type put struct {
	row *Row
	at  columnMap
}

func (p put) number(name string, v uint32) { p.row.Uint32(p.at[name], v) }

func (p put) text(name, v string) {
	if v != "" {
		p.row.Text(p.at[name], v)
	}
}

func (p put) blob(name string, v []byte) {
	if v != nil {
		p.row.Bytes(p.at[name], v)
	}
}

// date writes a FILETIME, as AD CS does in columns of type DateTime.
func (p put) date(name string, v time.Time) {
	if !v.IsZero() {
		p.row.Uint64(p.at[name], uint64(schema.Filetime(v)))
	}
}

func (p put) subject(s schema.Subject, raw []byte) {
	p.text("$DistinguishedName", s.DistinguishedName)
	p.blob("RawName", raw)
	for i, v := range []string{s.Country, s.Organization, s.OrgUnit, s.CommonName, s.Locality, s.State, s.Title, s.GivenName, s.Initials, s.SurName,
		s.DomainComponent, s.EMail, s.StreetAddress, s.UnstructuredName, s.UnstructuredAddress, s.DeviceSerialNumber} {
		p.text(subjectColumns[i], v)
	}
}

// AddRequest writes a request, its certificate, extensions and attributes.
func (c *CA) AddRequest(r Request) error {
	p := put{c.requests.Row(), c.request}
	p.number("RequestID", r.ID)
	p.blob("RawRequest", r.Raw)
	p.blob("RawArchivedKey", r.ArchivedKey)
	p.blob("RawOldCertificate", r.OldCertificate)
	p.text("$RequestAttributes", r.RequestAttributes)
	p.number("RequestType", r.Type)
	p.number("RequestFlags", r.Flags)
	p.number("StatusCode", r.Status)
	p.number("Disposition", uint32(r.Disposition))
	p.text("$DispositionMessage", r.Message)
	p.date("SubmittedWhen", r.Submitted)
	p.date("ResolvedWhen", r.Resolved)
	if !r.Revoked.IsZero() {
		p.date("RevokedWhen", r.Revoked)
		p.date("RevokedEffectiveWhen", r.RevokedFrom)
		p.number("RevokedReason", uint32(r.Reason))
	}
	p.text("$RequesterName", r.Requester)
	p.text("$CallerName", r.Caller)
	p.subject(r.Subject, r.RawName)
	if err := c.requests.Insert(p.row); err != nil {
		return err
	}
	for _, a := range r.Attributes {
		c.sorted = append(c.sorted, named{name: a.Name, text: a.Value})
	}
	if err := c.insertNamed(c.attributes, r.ID); err != nil {
		return err
	}
	return c.addCertificate(r.ID, r.Certificate)
}

func (c *CA) addCertificate(id uint32, x *Certificate) error {
	p := put{c.certificates.Row(), c.certificate}
	p.number("RequestID", id)
	if x == nil {
		return c.certificates.Insert(p.row)
	}
	p.blob("RawCertificate", x.Raw)
	p.text("$CertificateHash2", x.Hash)
	p.text("$CertificateTemplate", x.Template)
	p.number("EnrollmentFlags", x.EnrollmentFlags)
	p.number("GeneralFlags", x.GeneralFlags)
	p.number("PrivateKeyFlags", x.PrivateKeyFlags)
	p.text("$SerialNumber", x.Serial)
	p.number("IssuerNameID", x.IssuerNameID)
	p.date("NotBefore", x.NotBefore)
	p.date("NotAfter", x.NotAfter)
	p.text("$SubjectKeyIdentifier", x.SubjectKeyIdentifier)
	p.blob("PublicKey", x.PublicKey)
	p.number("PublicKeyLength", x.PublicKeyLength)
	p.text("$PublicKeyAlgorithm", x.PublicKeyAlgorithm)
	p.blob("PublicKeyParams", x.PublicKeyParams)
	p.text("$UPN", x.UPN)
	p.subject(x.Subject, x.RawName)
	if err := c.certificates.Insert(p.row); err != nil {
		return err
	}
	for _, e := range x.Extensions {
		c.sorted = append(c.sorted, named{name: e.OID, flags: e.Flags, value: e.Value})
	}
	return c.insertNamed(c.extensions, id)
}

// named is a row of attributes or extensions.
type named struct {
	key        []byte
	name, text string
	flags      uint32
	value      []byte
}

// insertNamed inserts what is in sorted, in the order that the key of the names
// demands.
func (c *CA) insertNamed(t *Table, id uint32) error {
	defer func() { c.sorted = c.sorted[:0] }()
	for i := range c.sorted {
		r := t.Row()
		r.Uint32(0, id)
		r.Text(1, c.sorted[i].name)
		c.sorted[i].key, _ = t.key(nil, t.indexes[0], r)
	}
	slices.SortFunc(c.sorted, func(a, b named) int { return bytes.Compare(a.key, b.key) })
	for _, n := range c.sorted {
		r := t.Row()
		r.Uint32(0, id)
		r.Text(1, n.name)
		if t == c.attributes {
			r.Text(c.attribute["$AttributeValue"], n.text)
		} else {
			r.Uint32(c.extension["ExtensionFlags"], n.flags)
			r.Bytes(c.extension["ExtensionRawValue"], n.value)
		}
		if err := t.Insert(r); err != nil {
			return fmt.Errorf("%q of request %d: %w", n.name, id, err)
		}
	}
	return nil
}

// AddCRL writes a certificate revocation list.
func (c *CA) AddCRL(l CRL) error {
	p := put{c.crls.Row(), c.crl}
	for name, v := range map[string]uint32{"RowId": l.RowID, "Number": l.Number, "MinBase": l.MinBase, "NameId": l.NameID, "Count": l.Count,
		"CRLPublishAttempts": l.PublishAttempts, "CRLPublishFlags": l.PublishFlags, "CRLPublishStatusCode": l.PublishStatus} {
		p.number(name, v)
	}
	p.date("ThisUpdate", l.ThisUpdate)
	p.date("NextUpdate", l.NextUpdate)
	p.date("ThisPublish", l.ThisPublish)
	p.date("NextPublish", l.NextPublish)
	p.date("Effective", l.Effective)
	p.date("PropagationComplete", l.PropagationComplete)
	p.date("CRLLastPublished", l.LastPublished)
	p.text("$CRLPublishError", l.PublishError)
	p.blob("RawCRL", l.Raw)
	return c.crls.Insert(p.row)
}
