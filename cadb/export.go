package cadb

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
)

// Record is a request as it is printed, in JSON and in CSV.
type Record struct {
	Schema               int                `json:"schema"` // 1
	RequestID            int64              `json:"request_id"`
	Disposition          schema.Disposition `json:"disposition"`
	Message              string             `json:"message,omitempty"`
	Serial               string             `json:"serial,omitempty"`
	CommonName           string             `json:"common_name,omitempty"`
	DistinguishedName    string             `json:"distinguished_name,omitempty"`
	RequesterName        string             `json:"requester_name,omitempty"`
	SubmittedWhen        *time.Time         `json:"submitted_when,omitempty"`
	ResolvedWhen         *time.Time         `json:"resolved_when,omitempty"`
	NotBefore            *time.Time         `json:"not_before,omitempty"`
	NotAfter             *time.Time         `json:"not_after,omitempty"`
	RevokedWhen          *time.Time         `json:"revoked_when,omitempty"`
	RevokedEffectiveWhen *time.Time         `json:"revoked_effective_when,omitempty"`
	RevokedReason        *schema.Reason     `json:"revoked_reason,omitempty"`
	Template             string             `json:"template,omitempty"`
	SHA256               string             `json:"sha256,omitempty"` // of the certificate, in hexadecimal
	Certificate          string             `json:"certificate,omitempty"`
}

// Record makes the printable form; with raw it includes the certificate in PEM.
func (r *Request) Record(raw bool) Record {
	date := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	rec := Record{
		Schema: 1, RequestID: r.ID, Disposition: r.Disposition, Message: r.Message, Serial: r.Serial,
		CommonName: r.CommonName(), DistinguishedName: r.DistinguishedName(), RequesterName: r.RequesterName,
		SubmittedWhen: date(r.SubmittedWhen), ResolvedWhen: date(r.ResolvedWhen),
		NotBefore: date(r.NotBefore), NotAfter: date(r.NotAfter),
		RevokedWhen: date(r.RevokedWhen), RevokedEffectiveWhen: date(r.RevokedEffectiveWhen), Template: r.Template,
	}
	if !r.RevokedWhen.IsZero() {
		rec.RevokedReason = r.Reason
	}
	if r.RawCertificate != nil {
		sum := sha256.Sum256(r.RawCertificate)
		rec.SHA256 = hex.EncodeToString(sum[:])
		if raw {
			rec.Certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.RawCertificate}))
		}
	}
	return rec
}

// WriteJSON writes the requests as JSON lines, one [Record] a line, with the
// certificates in PEM if raw is set. It returns how many there were.
func WriteJSON(w io.Writer, requests iter.Seq2[Request, error], raw bool) (int, error) {
	enc := json.NewEncoder(w)
	return each(requests, func(r *Request) error { return enc.Encode(r.Record(raw)) })
}

// CSVHeader names the columns of WriteCSV.
var CSVHeader = []string{"RequestID", "Disposition", "SerialNumber", "CommonName", "DistinguishedName", "RequesterName", "SubmittedWhen",
	"ResolvedWhen", "NotBefore", "NotAfter", "RevokedWhen", "RevokedEffectiveWhen", "RevokedReason", "CertificateTemplate", "SHA256", "DispositionMessage"}

// WriteCSV writes the requests as RFC 4180 comma-separated values after a line
// of column names. Dates are RFC 3339 in UTC. Text came from whoever asked for
// a certificate, and spreadsheets run cells that begin like a formula, so such
// a text gets an apostrophe before it.
func WriteCSV(w io.Writer, requests iter.Seq2[Request, error]) (int, error) {
	cw := csv.NewWriter(w)
	cw.UseCRLF = true
	if err := cw.Write(CSVHeader); err != nil {
		return 0, err
	}
	date := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	n, err := each(requests, func(r *Request) error {
		c := r.Record(false)
		reason := ""
		if c.RevokedReason != nil {
			reason = c.RevokedReason.String()
		}
		return cw.Write([]string{strconv.FormatInt(c.RequestID, 10), c.Disposition.String(), inert(c.Serial), inert(c.CommonName),
			inert(c.DistinguishedName), inert(c.RequesterName), date(c.SubmittedWhen), date(c.ResolvedWhen), date(c.NotBefore),
			date(c.NotAfter), date(c.RevokedWhen), date(c.RevokedEffectiveWhen), reason, inert(c.Template), c.SHA256, inert(c.Message)})
	})
	cw.Flush()
	if err == nil {
		err = cw.Error()
	}
	return n, err
}

// inert makes a text harmless in a spreadsheet.
func inert(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// WritePEM writes the certificates in PEM, each after lines that say whose it
// is, as openssl does. Requests without a certificate are passed over; it
// returns how many certificates there were.
func WritePEM(w io.Writer, requests iter.Seq2[Request, error]) (int, error) {
	skipped := 0
	n, err := each(requests, func(r *Request) error {
		if r.RawCertificate == nil {
			skipped++
			return nil
		}
		_, err := fmt.Fprintf(w, "# request %d, %v, serial %s, %s\n", r.ID, r.Disposition, oneLine(r.Serial), oneLine(r.DistinguishedName()))
		if err != nil {
			return err
		}
		return pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: r.RawCertificate})
	})
	return n - skipped, err
}

// oneLine keeps text from the database from looking like PEM, or from steering
// a terminal.
func oneLine(s string) string {
	return strings.ReplaceAll(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s), "-----", "_____")
}

func each(requests iter.Seq2[Request, error], f func(*Request) error) (int, error) {
	n := 0
	for r, err := range requests {
		if err != nil {
			return n, err
		}
		if err := f(&r); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// CRLRecord is a CRL as it is printed.
type CRLRecord struct {
	Schema     int        `json:"schema"` // 1
	RowID      int64      `json:"row_id"`
	Number     int64      `json:"number"`
	MinBase    int64      `json:"min_base,omitempty"`
	Entries    int64      `json:"entries"`
	ThisUpdate *time.Time `json:"this_update,omitempty"`
	NextUpdate *time.Time `json:"next_update,omitempty"`
	CRL        string     `json:"crl,omitempty"`
}

// Record makes the printable form; with raw it includes the CRL in PEM.
func (c *CRL) Record(raw bool) CRLRecord {
	rec := CRLRecord{Schema: 1, RowID: c.RowID, Number: c.Number, MinBase: c.MinBase, Entries: c.Count}
	if !c.ThisUpdate.IsZero() {
		rec.ThisUpdate = &c.ThisUpdate
	}
	if !c.NextUpdate.IsZero() {
		rec.NextUpdate = &c.NextUpdate
	}
	if raw && c.Raw != nil {
		rec.CRL = string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: c.Raw}))
	}
	return rec
}
