package cadb

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"strings"

	"github.com/certkeep/certkeep/cadb/schema"
)

// subjectNames are the text columns of a name, in the order of subjectFields.
var subjectNames = []string{
	"DistinguishedName", "Country", "Organization", "OrgUnit", "CommonName", "Locality", "State", "Title", "GivenName",
	"Initials", "SurName", "DomainComponent", "EMail", "StreetAddress", "UnstructuredName", "UnstructuredAddress", "DeviceSerialNumber",
}

func subjectFields(s *schema.Subject) []*string {
	return []*string{
		&s.DistinguishedName, &s.Country, &s.Organization, &s.OrgUnit, &s.CommonName, &s.Locality, &s.State, &s.Title, &s.GivenName,
		&s.Initials, &s.SurName, &s.DomainComponent, &s.EMail, &s.StreetAddress, &s.UnstructuredName, &s.UnstructuredAddress, &s.DeviceSerialNumber,
	}
}

// A cell is scanned into one of these; each takes NULL as its zero value and
// refuses a value of another type, which a damaged record may hold.
type (
	textCell struct{ s *string }
	blobCell struct{ b *[]byte }
	numCell  struct{ n *int64 }
)

func (c textCell) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*c.s = ""
	case string:
		*c.s = v
	default:
		return fmt.Errorf("holds %T where text belongs", v)
	}
	return nil
}

func (c blobCell) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*c.b = nil
	case []byte:
		// The driver's slice is only good until the next row.
		*c.b = append(make([]byte, 0, len(v)), v...)
	default:
		return fmt.Errorf("holds %T where bytes belong", v)
	}
	return nil
}

func (c numCell) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*c.n = 0
	case int64:
		*c.n = v
	default:
		return fmt.Errorf("holds %T where a number belongs", v)
	}
	return nil
}

// iterate yields what scan makes of each row of a query. One value is used for
// all rows unless scan makes a new one.
func iterate[T any](ctx context.Context, r *sqliteReader, maxCell int, what, q string, args []any, scan func(*sql.Rows) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		stopped := false
		var n int64
		err := r.query(ctx, maxCell, q, args, func(rows *sql.Rows) (bool, error) {
			n++
			v, err := scan(rows)
			if err != nil {
				return false, err
			}
			stopped = !yield(v, nil)
			return !stopped, nil
		})
		if err != nil && !stopped {
			var zero T
			yield(zero, fmt.Errorf("%s, after %d rows: %w", what, n, err))
		}
	}
}

func (r *sqliteReader) requests(ctx context.Context, f Filter) iter.Seq2[Request, error] {
	cond, args, err := r.where(f)
	if err != nil {
		return func(yield func(Request, error) bool) { yield(Request{}, err) }
	}
	rawRequest := "RawRequest"
	if f.NoRequest {
		rawRequest = " " // no such column: NULL
	}
	q := "SELECT " +
		r.list("r", schema.Requests, append([]string{"RequestID", "Disposition", "DispositionMessage", "RequestType", "RequestFlags", "StatusCode",
			"SubmittedWhen", "ResolvedWhen", "RevokedWhen", "RevokedEffectiveWhen", "RevokedReason", "RequesterName", "CallerName",
			rawRequest, "RawName"}, subjectNames...)...) + ", c.RequestID, " +
		r.list("c", schema.Certificates, append([]string{"SerialNumber", "NotBefore", "NotAfter", "CertificateHash", "SubjectKeyIdentifier",
			"CertificateTemplate", "IssuerNameID", "RawCertificate", "RawName", "RawPublicKey", "RawPublicKeyAlgorithmParameters", "PublicKeyAlgorithm", "PublicKeyLength"},
			subjectNames...)...) +
		" FROM Requests r LEFT JOIN Certificates c ON c.RequestID = r.RequestID" + cond + " ORDER BY r.RequestID"
	return iterate(ctx, r, maxRowCell, "Requests", q, args, scanRequest)
}

func scanRequest(rows *sql.Rows) (Request, error) {
	var v Request
	var disposition, typ, flags, status, submitted, resolved, revoked, effective, notBefore, notAfter, issuer, keyLength int64
	var reason, certID sql.NullInt64
	dst := []any{numCell{&v.ID}, numCell{&disposition}, textCell{&v.Message}, numCell{&typ}, numCell{&flags}, numCell{&status},
		numCell{&submitted}, numCell{&resolved}, numCell{&revoked}, numCell{&effective}, &reason, textCell{&v.RequesterName}, textCell{&v.CallerName},
		blobCell{&v.RawRequest}, blobCell{&v.RawAsked}}
	for _, s := range subjectFields(&v.Asked) {
		dst = append(dst, textCell{s})
	}
	dst = append(dst, &certID, textCell{&v.Serial}, numCell{&notBefore}, numCell{&notAfter}, textCell{&v.Hash}, textCell{&v.SubjectKeyIdentifier},
		textCell{&v.Template}, numCell{&issuer}, blobCell{&v.RawCertificate}, blobCell{&v.RawSubject}, blobCell{&v.RawPublicKey}, blobCell{&v.RawPublicKeyParams},
		textCell{&v.PublicKeyAlgorithm}, numCell{&keyLength})
	for _, s := range subjectFields(&v.Subject) {
		dst = append(dst, textCell{s})
	}
	if err := rows.Scan(dst...); err != nil {
		return v, fmt.Errorf("request %d: %w", v.ID, err)
	}
	v.Disposition, v.Type, v.Flags, v.StatusCode = schema.Disposition(uint32(disposition)), uint32(typ), uint32(flags), uint32(status)
	v.SubmittedWhen, v.ResolvedWhen = schema.Time(submitted), schema.Time(resolved)
	v.RevokedWhen, v.RevokedEffectiveWhen = schema.Time(revoked), schema.Time(effective)
	v.NotBefore, v.NotAfter = schema.Time(notBefore), schema.Time(notAfter)
	v.IssuerNameID, v.PublicKeyLength = uint32(issuer), uint32(keyLength)
	if reason.Valid {
		x := schema.Reason(uint32(reason.Int64))
		v.Reason = &x
	}
	v.HasCertificateRow = certID.Valid
	if v.Serial != "" {
		if s, err := schema.ParseSerial(v.Serial); err == nil {
			v.Serial = s
		}
	}
	return v, nil
}

// where turns a filter into a condition. Only the serial number may use an
// index: with any other, the rows would come in another order and be sorted
// with all their blobs.
func (r *sqliteReader) where(f Filter) (string, []any, error) {
	var conds []string
	var args []any
	if f.Serial != "" {
		s, err := schema.ParseSerial(f.Serial)
		if err != nil {
			return "", nil, err
		}
		conds, args = append(conds, "c.SerialNumber = ?"), append(args, s)
	}
	if len(f.Dispositions) > 0 {
		conds = append(conds, "+r.Disposition IN (?"+strings.Repeat(", ?", len(f.Dispositions)-1)+")")
		for _, d := range f.Dispositions {
			args = append(args, int64(d))
		}
	}
	if f.FromID != 0 {
		conds, args = append(conds, "r.RequestID >= ?"), append(args, f.FromID)
	}
	if f.ToID != 0 {
		conds, args = append(conds, "r.RequestID <= ?"), append(args, f.ToID)
	}
	if !f.ExpiresBefore.IsZero() {
		conds, args = append(conds, "+c.NotAfter < ?"), append(args, schema.Filetime(f.ExpiresBefore))
	}
	if !f.ExpiresAfter.IsZero() {
		conds, args = append(conds, "+c.NotAfter > ?"), append(args, schema.Filetime(f.ExpiresAfter))
	}
	if len(conds) == 0 {
		return "", nil, nil
	}
	return " WHERE " + strings.Join(conds, " AND "), args, nil
}

func (r *sqliteReader) extensions(ctx context.Context, id int64) iter.Seq2[Extension, error] {
	q, args := r.children(schema.CertificateExtensions, id, "ExtensionRequestId", "ExtensionName", "ExtensionFlags", "ExtensionRawValue")
	return iterate(ctx, r, maxRowCell, schema.CertificateExtensions, q, args, func(rows *sql.Rows) (v Extension, err error) {
		var flags int64
		err = rows.Scan(numCell{&v.RequestID}, textCell{&v.OID}, numCell{&flags}, blobCell{&v.Value})
		v.Flags = uint32(flags)
		return v, err
	})
}

func (r *sqliteReader) attributes(ctx context.Context, id int64) iter.Seq2[Attribute, error] {
	q, args := r.children(schema.RequestAttributes, id, "AttributeRequestId", "AttributeName", "AttributeValue")
	return iterate(ctx, r, maxRowCell, schema.RequestAttributes, q, args, func(rows *sql.Rows) (v Attribute, err error) {
		err = rows.Scan(numCell{&v.RequestID}, textCell{&v.Name}, textCell{&v.Value})
		return v, err
	})
}

// children selects from a table whose key begins with a request id.
func (r *sqliteReader) children(table string, id int64, columns ...string) (string, []any) {
	q := "SELECT " + r.list("t", table, columns...) + " FROM " + table + " t"
	var args []any
	if id != AllExtensions {
		q, args = q+" WHERE "+r.list("t", table, columns[0])+" = ?", append(args, id)
	}
	return q + " ORDER BY " + r.list("t", table, columns[0]), args
}

func (r *sqliteReader) crls(ctx context.Context) iter.Seq2[CRL, error] {
	q := "SELECT " + r.list("t", schema.CRLs, "RowId", "Number", "MinBase", "NameId", "Count", "ThisUpdate", "NextUpdate", "ThisPublish", "RawCRL") +
		" FROM CRLs t ORDER BY " + r.list("t", schema.CRLs, "RowId")
	return iterate(ctx, r, schema.MaxCell, schema.CRLs, q, nil, func(rows *sql.Rows) (v CRL, err error) {
		var this, next, publish, name int64
		err = rows.Scan(numCell{&v.RowID}, numCell{&v.Number}, numCell{&v.MinBase}, numCell{&name}, numCell{&v.Count},
			numCell{&this}, numCell{&next}, numCell{&publish}, blobCell{&v.Raw})
		v.NameID = uint32(name)
		v.ThisUpdate, v.NextUpdate, v.ThisPublish = schema.Time(this), schema.Time(next), schema.Time(publish)
		return v, err
	})
}

func (r *sqliteReader) counts(ctx context.Context) (map[schema.Disposition]int, error) {
	m := make(map[schema.Disposition]int)
	// Not by GROUP BY, which would answer from the index: the rows are what
	// counts. A database has ten dispositions; a damaged one has no more than
	// one for each row.
	err := r.query(ctx, maxRowCell, "SELECT "+r.list("r", schema.Requests, "Disposition")+" FROM Requests r NOT INDEXED", nil, func(rows *sql.Rows) (bool, error) {
		var d int64
		if err := rows.Scan(numCell{&d}); err != nil {
			return false, err
		}
		m[schema.Disposition(uint32(d))]++
		return true, nil
	})
	return m, err
}

func (r *sqliteReader) rows(ctx context.Context) (map[string]int64, error) {
	m := make(map[string]int64)
	for _, t := range schema.Tables {
		err := r.query(ctx, maxRowCell, "SELECT count(*) FROM "+t.Name, nil, func(rows *sql.Rows) (bool, error) {
			var n int64
			err := rows.Scan(&n)
			m[t.Name] = n
			return true, err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	return m, nil
}

func (r *sqliteReader) orphans(ctx context.Context) iter.Seq2[orphan, error] {
	return func(yield func(orphan, error) bool) {
		for table, key := range map[string]string{schema.Certificates: "RequestID", schema.CertificateExtensions: "ExtensionRequestId", schema.RequestAttributes: "AttributeRequestId"} {
			key = r.list("t", table, key)
			q := "SELECT DISTINCT " + key + " FROM " + table + " t WHERE NOT EXISTS (SELECT 1 FROM Requests r WHERE r.RequestID = " + key + ")"
			for o, err := range iterate(ctx, r, maxRowCell, table, q, nil, func(rows *sql.Rows) (orphan, error) {
				o := orphan{table: table}
				err := rows.Scan(numCell{&o.id})
				return o, err
			}) {
				if !yield(o, err) || err != nil {
					return
				}
			}
		}
	}
}

func (r *sqliteReader) integrity(ctx context.Context) ([]string, error) {
	var found []string
	err := r.query(ctx, schema.MaxCell, "PRAGMA integrity_check(100)", nil, func(rows *sql.Rows) (bool, error) {
		var s string
		if err := rows.Scan(&s); err != nil {
			return false, err
		}
		if s != "ok" {
			found = append(found, s)
		}
		return len(found) < 100, nil
	})
	return found, err
}
