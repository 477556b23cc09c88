package certsrv

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/cadb/schema"
)

// table inserts rows many to a statement: SQLite's cost for a statement is about
// that of three rows. Statements have one, two, four … 64 rows, so that there
// are few different ones.
type table struct {
	head  string // up to VALUES
	tuple string // parameters and literals
	args  int    // parameters in a tuple
	texts [7]func() string
}

// newTable builds the statements of a table. Each value is a column's text in
// the tuple: ? for a parameter or an SQL literal.
func newTable(name string, columns []string, values ...string) *table {
	if len(values) == 0 {
		values = make([]string, len(columns))
		for i := range values {
			values[i] = "?"
		}
	}
	t := &table{
		head:  "INSERT INTO " + name + " (" + strings.Join(columns, ", ") + ") VALUES ",
		tuple: "(" + strings.Join(values, ",") + ")",
	}
	t.args = strings.Count(t.tuple, "?")
	for i := range t.texts {
		t.texts[i] = sync.OnceValue(func() string {
			return t.head + strings.Repeat(t.tuple+",", 1<<i-1) + t.tuple
		})
	}
	return t
}

// insert runs as many statements as the arguments need.
func (t *table) insert(ctx context.Context, tx *sql.Tx, args []any) error {
	if len(args)%t.args != 0 {
		return fmt.Errorf("%s: %d arguments for tuples of %d", t.head, len(args), t.args)
	}
	for n := len(args) / t.args; n > 0; n = len(args) / t.args {
		i := len(t.texts) - 1
		for 1<<i > n {
			i--
		}
		part := args[:t.args<<i]
		if _, err := tx.ExecContext(ctx, t.texts[i](), part...); err != nil {
			return err
		}
		args = args[len(part):]
	}
	return nil
}

// subjectColumns follow DistinguishedName and RawName in both tables.
var subjectColumns = []string{
	"CommonName", "Country", "Organization", "OrgUnit", "Locality", "State", "Title", "GivenName", "Initials", "SurName",
	"DomainComponent", "EMail", "StreetAddress", "UnstructuredName", "UnstructuredAddress", "DeviceSerialNumber",
}

func subjectArgs(args []any, s *schema.Subject) []any {
	for _, v := range [...]string{
		s.CommonName, s.Country, s.Organization, s.OrgUnit, s.Locality, s.State, s.Title, s.GivenName, s.Initials, s.SurName,
		s.DomainComponent, s.EMail, s.StreetAddress, s.UnstructuredName, s.UnstructuredAddress, s.DeviceSerialNumber,
	} {
		args = append(args, text(v))
	}
	return args
}

// onlyCommonName reports whether no other subject column has a value.
func onlyCommonName(s *schema.Subject) bool {
	t := *s
	t.CommonName, t.DistinguishedName = "", ""
	return t == schema.Subject{}
}

var requestColumns = []string{
	"RequestID", "RawRequest", "SubmittedWhen", "ResolvedWhen", "RequesterName", "CallerName", "DistinguishedName", "RawName",
	"RequestType", "RequestFlags", "StatusCode", "Disposition", "DispositionMessage",
}

var certificateColumns = []string{
	"RequestID", "RawCertificate", "CertificateHash", "SerialNumber", "NotBefore", "NotAfter", "SubjectKeyIdentifier",
	"RawPublicKey", "PublicKeyLength", "PublicKeyAlgorithm", "RawPublicKeyAlgorithmParameters", "IssuerNameID",
	"DistinguishedName", "RawName",
}

// The statements. The first of each pair is for the usual row: issued, with a
// common name and nothing else; what is the same in all of them is in its text.
var (
	requestsIssued = newTable(schema.Requests, append(requestColumns[:len(requestColumns):len(requestColumns)], "CommonName"),
		"?", "?", "?", "?", "?", "?", "?", "?", fmt.Sprint(schema.RequestPKCS10), "0", "0", fmt.Sprint(int(schema.Issued)), "'Issued'", "?")
	requestsAny = newTable(schema.Requests,
		append(append(requestColumns[:len(requestColumns):len(requestColumns)], "RevokedWhen", "RevokedEffectiveWhen", "RevokedReason"), subjectColumns...))
	certificatesIssued = newTable(schema.Certificates, append(certificateColumns[:len(certificateColumns):len(certificateColumns)], "CommonName"))
	certificatesAny    = newTable(schema.Certificates, append(certificateColumns[:len(certificateColumns):len(certificateColumns)], subjectColumns...))
	attributesTable    = newTable(schema.RequestAttributes, []string{"AttributeRequestId", "AttributeName", "AttributeValue"})
	emptyCertificates  = newTable(schema.Certificates, []string{"RequestID"})
)

// issuedMessage is the DispositionMessage of requestsIssued.
const issuedMessage = "Issued"

// insertRows writes the rows; their ids have been given.
func insertRows(ctx context.Context, tx *sql.Tx, rows []*row) error {
	var a batchArgs
	for _, r := range rows {
		a.add(r)
	}
	for _, p := range []struct {
		t    *table
		args []any
	}{
		{requestsIssued, a.requestsIssued}, {requestsAny, a.requestsAny},
		{certificatesIssued, a.certificatesIssued}, {certificatesAny, a.certificatesAny}, {emptyCertificates, a.empty},
		{attributesTable, a.attributes},
	} {
		if err := p.t.insert(ctx, tx, p.args); err != nil {
			return err
		}
	}
	return a.extensions.insert(ctx, tx)
}

type batchArgs struct {
	requestsIssued, requestsAny, certificatesIssued, certificatesAny, empty, attributes []any

	extensions extensionSets
}

func (a *batchArgs) add(r *row) {
	if r.disposition == schema.Issued && r.message == issuedMessage && onlyCommonName(&r.name) {
		a.requestsIssued = append(a.requestsIssued, r.id, r.raw, r.submitted, r.resolved, r.requester, r.requester,
			text(r.name.DistinguishedName), r.rawName, r.name.CommonName)
	} else {
		args := append(a.requestsAny, r.id, blob(r.raw), number(r.submitted), number(r.resolved), text(r.requester), text(r.requester),
			text(r.name.DistinguishedName), blob(r.rawName), schema.RequestPKCS10, 0, int64(r.status), int64(r.disposition), text(r.message))
		if r.revoked != 0 {
			args = append(args, r.revoked, r.revoked, int64(r.reason))
		} else {
			args = append(args, nil, nil, nil)
		}
		a.requestsAny = subjectArgs(args, &r.name)
	}
	for _, at := range r.attrs {
		a.attributes = append(a.attributes, r.id, at.name, at.value)
	}
	c := r.cert
	if c == nil {
		a.empty = append(a.empty, r.id)
		return
	}
	args := []any{r.id, blob(c.raw), text(c.hash), c.serial, number(c.notBefore), number(c.notAfter), text(c.keyID),
		blob(c.key), number(int64(c.keyBits)), text(c.keyOID), blob(c.keyParams), schema.IssuerNameID(0, 0),
		text(c.name.DistinguishedName), blob(c.rawName)}
	if onlyCommonName(&c.name) {
		a.certificatesIssued = append(append(a.certificatesIssued, args...), text(c.name.CommonName))
	} else {
		a.certificatesAny = subjectArgs(append(a.certificatesAny, args...), &c.name)
	}
	a.extensions.add(r.id, c.exts)
}

// Empty values are NULL.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func blob(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

func number(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}
