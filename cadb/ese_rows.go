package cadb

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
)

// eseRequests are the columns of Requests, nil where there is none.
type eseRequests struct {
	eseTable
	disposition, message, typ, flags, status        *ese.Column
	submitted, resolved, revoked, effective, reason *ese.Column
	requester, caller, rawRequest, rawName          *ese.Column
	subject                                         []*ese.Column // as subjectFields
}

func newESERequests(t eseTable) eseRequests {
	c := t.columns
	return eseRequests{eseTable: t, disposition: c["Disposition"], message: c["DispositionMessage"], typ: c["RequestType"], flags: c["RequestFlags"],
		status: c["StatusCode"], submitted: c["SubmittedWhen"], resolved: c["ResolvedWhen"], revoked: c["RevokedWhen"],
		effective: c["RevokedEffectiveWhen"], reason: c["RevokedReason"], requester: c["RequesterName"], caller: c["CallerName"],
		rawRequest: c["RawRequest"], rawName: c["RawName"], subject: t.subject()}
}

// eseCertificates are the columns of Certificates.
type eseCertificates struct {
	eseTable
	serial, notBefore, notAfter, hash, keyID, template, issuer *ese.Column
	raw, rawName, key, keyParams, keyAlgorithm, keyLength      *ese.Column
	subject                                                    []*ese.Column
}

func newESECertificates(t eseTable) eseCertificates {
	c := t.columns
	return eseCertificates{eseTable: t, serial: c["SerialNumber"], notBefore: c["NotBefore"], notAfter: c["NotAfter"], hash: c["CertificateHash"],
		keyID: c["SubjectKeyIdentifier"], template: c["CertificateTemplate"], issuer: c["IssuerNameID"], raw: c["RawCertificate"], rawName: c["RawName"],
		key: c["RawPublicKey"], keyParams: c["RawPublicKeyAlgorithmParameters"], keyAlgorithm: c["PublicKeyAlgorithm"],
		keyLength: c["PublicKeyLength"], subject: t.subject()}
}

func (t eseTable) subject() []*ese.Column {
	columns := make([]*ese.Column, len(subjectNames))
	for i, name := range subjectNames {
		columns[i] = t.columns[name]
	}
	return columns
}

// requestFilter is a filter, ready to be used.
type requestFilter struct {
	Filter
	serial string
}

func newRequestFilter(f Filter) (r requestFilter, err error) {
	r.Filter = f
	if f.Serial != "" {
		r.serial, err = schema.ParseSerial(f.Serial)
	}
	return r, err
}

// ofCertificate says that the filter asks for something that only the row of
// Certificates has.
func (f *requestFilter) ofCertificate() bool {
	return f.serial != "" || !f.ExpiresBefore.IsZero() || !f.ExpiresAfter.IsZero()
}

func (f *requestFilter) passID(id int64) bool {
	return id >= f.FromID && (f.ToID == 0 || id <= f.ToID)
}

func (f *requestFilter) passDisposition(d schema.Disposition) bool {
	return len(f.Dispositions) == 0 || slices.Contains(f.Dispositions, d)
}

// passCertificate looks at serial number and expiry of v.
func (f *requestFilter) passCertificate(v *Request) bool {
	switch {
	case !f.ofCertificate():
		return true
	case !v.HasCertificateRow, f.serial != "" && v.Serial != f.serial:
		return false
	case !f.ExpiresBefore.IsZero() && (v.NotAfter.IsZero() || !v.NotAfter.Before(f.ExpiresBefore)):
		return false
	}
	return f.ExpiresAfter.IsZero() || v.NotAfter.After(f.ExpiresAfter)
}

// requests goes through Requests and Certificates side by side, both in the order of
// the request's number.
func (r *eseReader) requests(ctx context.Context, f Filter) iter.Seq2[Request, error] {
	filter, err := newRequestFilter(f)
	return func(yield func(Request, error) bool) {
		if err != nil {
			yield(Request{}, err)
			return
		}
		reqFaults, certFaults := &faults{r: r, table: schema.Requests}, &faults{r: r, table: schema.Certificates}
		next, stop := iter.Pull2(r.certificates(ctx, certFaults))
		defer stop()
		cert, cerr, more := next()
		for q, err := range r.requestRows(ctx, &filter, reqFaults) {
			for err == nil && more && cerr == nil && cert.id < q.v.ID {
				cert, cerr, more = next()
			}
			if err == nil && more {
				err = cerr
			}
			if err != nil {
				yield(Request{}, err)
				return
			}
			v := q.v
			if more && cert.id == v.ID {
				if !cert.into(r, &v, &filter, certFaults) {
					continue
				}
			} else if filter.ofCertificate() {
				continue
			}
			if !q.read {
				r.requestTable.read(&eseRow{x: reqFaults, row: q.row}, &v, filter.NoRequest)
			}
			if !yield(v, nil) {
				return
			}
		}
		for _, x := range []*faults{reqFaults, certFaults} {
			if err := x.err(); err != nil && !yield(Request{}, err) {
				return
			}
		}
	}
}

// requestRow is a row of Requests: id and disposition, and whether the rest was read.
type requestRow struct {
	v    Request
	row  ese.Row
	read bool
}

// requestRows yields the rows of Requests that pass the filter, in the order of their
// numbers.
func (r *eseReader) requestRows(ctx context.Context, f *requestFilter, x *faults) iter.Seq2[requestRow, error] {
	t := &r.requestTable
	rows := func(yield func(requestRow, error) bool) {
		seen := order{x: x, ordered: t.ordered}
		for row, err := range r.rowsOf(ctx, t.eseTable, x) {
			if err != nil {
				yield(requestRow{}, err)
				return
			}
			w := eseRow{x: x, row: row}
			id := w.id(t.id)
			if t.ordered && f.ToID != 0 && id > f.ToID {
				return
			}
			if !seen.next(id) || !f.passID(id) {
				continue
			}
			d := schema.Disposition(w.uint32(t.disposition))
			if f.passDisposition(d) && !yield(requestRow{v: Request{ID: id, Disposition: d, Unread: w.unread}, row: row}, nil) {
				return
			}
		}
	}
	if t.ordered {
		return rows
	}
	whole := func(yield func(Request, error) bool) {
		for q, err := range rows {
			if err == nil {
				t.read(&eseRow{x: x, row: q.row}, &q.v, f.NoRequest)
			}
			if !yield(q.v, err) {
				return
			}
		}
	}
	return func(yield func(requestRow, error) bool) {
		for v, err := range sorted(ctx, whole, func(v *Request) int64 { return v.ID }, func(v *Request) int { return len(v.RawRequest) + len(v.RawAsked) }) {
			if !yield(requestRow{v: v, read: true}, err) {
				return
			}
		}
	}
}

// read reads the other columns of a row of Requests.
func (t *eseRequests) read(w *eseRow, v *Request, noRequest bool) {
	v.Message, v.Type, v.Flags, v.StatusCode = w.text(t.message), w.uint32(t.typ), w.uint32(t.flags), w.uint32(t.status)
	v.SubmittedWhen, v.ResolvedWhen = w.date(t.submitted), w.date(t.resolved)
	v.RevokedWhen, v.RevokedEffectiveWhen = w.date(t.revoked), w.date(t.effective)
	if n, ok := w.number(t.reason); ok {
		reason := schema.Reason(uint32(n))
		v.Reason = &reason
	}
	v.RequesterName, v.CallerName = w.text(t.requester), w.text(t.caller)
	if !noRequest {
		v.RawRequest = w.blob(t.rawRequest, maxRowCell)
	}
	v.RawAsked = w.blob(t.rawName, maxRowCell)
	w.subject(&v.Asked, t.subject)
	v.Unread = append(v.Unread, w.unread...)
}

func (w *eseRow) subject(s *schema.Subject, columns []*ese.Column) {
	for i, field := range subjectFields(s) {
		*field = w.text(columns[i])
	}
}

// certificateRow is a row of Certificates that was found, and is read only if its
// request is wanted.
type certificateRow struct {
	id   int64
	row  ese.Row
	read *Request // the half that it is, where rows had to be put in order
}

// certificates yields the rows of Certificates in the order of their requests.
func (r *eseReader) certificates(ctx context.Context, x *faults) iter.Seq2[certificateRow, error] {
	t := &r.certTable
	rows := func(yield func(certificateRow, error) bool) {
		seen := order{x: x, ordered: t.ordered}
		for row, err := range r.rowsOf(ctx, t.eseTable, x) {
			if err != nil {
				yield(certificateRow{}, err)
				return
			}
			w := eseRow{x: x, row: row}
			id := w.id(t.id)
			if seen.next(id) && !yield(certificateRow{id: id, row: row}, nil) {
				return
			}
		}
	}
	if t.ordered {
		return rows
	}
	halves := func(yield func(Request, error) bool) {
		for c, err := range rows {
			v := Request{ID: c.id}
			if err == nil {
				c.into(r, &v, &requestFilter{}, x)
			}
			if !yield(v, err) {
				return
			}
		}
	}
	inOrder := sorted(ctx, halves, func(v *Request) int64 { return v.ID }, func(v *Request) int { return len(v.RawCertificate) + len(v.RawSubject) + len(v.RawPublicKey) })
	return func(yield func(certificateRow, error) bool) {
		for v, err := range inOrder {
			if !yield(certificateRow{id: v.ID, read: &v}, err) {
				return
			}
		}
	}
}

// into reads the row into the request that it belongs to, and says whether that
// passes the filter.
func (c *certificateRow) into(r *eseReader, v *Request, f *requestFilter, x *faults) bool {
	v.HasCertificateRow = true
	if h := c.read; h != nil {
		v.Serial, v.NotBefore, v.NotAfter, v.Hash, v.SubjectKeyIdentifier = h.Serial, h.NotBefore, h.NotAfter, h.Hash, h.SubjectKeyIdentifier
		v.Template, v.IssuerNameID, v.RawCertificate, v.RawSubject = h.Template, h.IssuerNameID, h.RawCertificate, h.RawSubject
		v.RawPublicKey, v.RawPublicKeyParams, v.PublicKeyAlgorithm, v.PublicKeyLength = h.RawPublicKey, h.RawPublicKeyParams, h.PublicKeyAlgorithm, h.PublicKeyLength
		v.Subject, v.Unread = h.Subject, append(v.Unread, h.Unread...)
		return f.passCertificate(v)
	}
	t, w := &r.certTable, &eseRow{x: x, row: c.row}
	v.Serial = w.text(t.serial)
	if s, err := schema.ParseSerial(v.Serial); v.Serial != "" && err == nil {
		v.Serial = s
	}
	v.NotBefore, v.NotAfter = w.date(t.notBefore), w.date(t.notAfter)
	if !f.passCertificate(v) {
		return false
	}
	v.Hash, v.SubjectKeyIdentifier, v.Template, v.IssuerNameID = w.text(t.hash), w.text(t.keyID), w.text(t.template), w.uint32(t.issuer)
	v.RawCertificate, v.RawSubject = w.blob(t.raw, maxRowCell), w.blob(t.rawName, maxRowCell)
	v.RawPublicKey, v.RawPublicKeyParams = w.blob(t.key, maxRowCell), w.blob(t.keyParams, maxRowCell)
	v.PublicKeyAlgorithm, v.PublicKeyLength = w.text(t.keyAlgorithm), w.uint32(t.keyLength)
	w.subject(&v.Subject, t.subject)
	v.Unread = append(v.Unread, w.unread...)
	return true
}

// order watches the numbers of rows that should ascend. A copy that was made while a
// page was being split has its second half twice; what was read before is left out.
type order struct {
	x       *faults
	ordered bool
	last    int64
	any     bool
	recent  [recentRows]int64
	n       int
}

// recentRows is more than the rows on two pages.
const recentRows = 4096

// next says whether a row is to be used.
func (o *order) next(id int64) bool {
	if !o.ordered {
		return true
	}
	if o.any && id <= o.last {
		if !slices.Contains(o.recent[:min(o.n, recentRows)], id) {
			o.x.add(fmt.Errorf("row of request %d after that of %d: %w", id, o.last, ese.ErrCorrupt))
			return true
		}
		o.x.add(fmt.Errorf("row %d is there twice, and was read once: %w", id, ese.ErrCorrupt))
		return false
	}
	o.last, o.any = id, true
	o.recent[o.n%recentRows] = id
	o.n++
	return true
}
