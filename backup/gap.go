package backup

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/internal/hint"
)

// Gap is what is known of an authority and is not in its restored database. A
// CRL made without it would bring revoked certificates back to life.
type Gap struct {
	Schema int `json:"schema"` // 1

	// Revoked are revocations that the restored database does not have. The
	// certificate itself may be among those of Issued.
	Revoked []GapRevocation `json:"revoked"`

	// Issued are certificates that were issued after the point of the restore,
	// as far as anything tells of them.
	Issued []GapCertificate `json:"issued"`

	// CRLNumber is the highest CRL number known, that of the restored database
	// included, and RequestID the highest request id. The restored authority
	// must use neither again.
	CRLNumber int64 `json:"crl_number"`
	RequestID int64 `json:"request_id"`

	// Sources says what was looked at, and what it was good for.
	Sources []GapSource `json:"sources"`

	// Blind says that the restored database could not be read here: the gap is
	// what CRLs tell of, and there may be more.
	Blind bool `json:"blind,omitempty"`

	// Unreplayed says that it was read, if at all, without its logs, which only the
	// service replays. What stands in those alone is listed as missing although it will
	// be there: to revoke it again changes nothing.
	Unreplayed bool `json:"unreplayed,omitempty"`

	// Accepted says that the operator has let the gap be.
	Accepted bool `json:"accepted"`
}

// GapRevocation is a revocation that is known from elsewhere.
type GapRevocation struct {
	Serial string        `json:"serial"`
	Time   time.Time     `json:"time"`
	Reason schema.Reason `json:"reason"`
	Source string        `json:"source"`
	// Known says that the restored database has the certificate, as not revoked.
	Known bool `json:"known"`
}

// GapCertificate is a certificate that is known from elsewhere.
type GapCertificate struct {
	Serial     string     `json:"serial"`
	Source     string     `json:"source"`
	CommonName string     `json:"common_name,omitempty"`
	NotAfter   *time.Time `json:"not_after,omitempty"`
	SHA256     string     `json:"sha256,omitempty"`
}

// GapSource is a CRL or database that was compared with the restored one.
type GapSource struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // "crl" or "database"

	// Newer says that it tells of things after the point of the restore.
	Newer bool `json:"newer"`

	Number     int64      `json:"number,omitempty"` // of the CRL, or the database's newest
	ThisUpdate *time.Time `json:"this_update,omitempty"`

	// Note says why it was of no use, if it was not.
	Note string `json:"note,omitempty"`
}

// Open reports whether there are revocations that the restored authority must
// repeat before it may publish a CRL.
func (g *Gap) Open() bool { return len(g.Revoked) > 0 && !g.Accepted }

// Closed reports whether the authority may publish as it starts: its database could
// be read, and no revocation is known that it lacks.
func (g *Gap) Closed() bool { return g.Accepted || !g.Blind && !g.Open() }

// CRLFile is a CRL that was published, in DER or PEM.
type CRLFile struct {
	Name string // where it is from, for messages
	Raw  []byte

	// Found says that nobody asked for this file: it was merely there. One that
	// is of another authority is then passed over, and not an error.
	Found bool
}

// ErrForeignCRL is wrapped by the error for a CRL that the authority did not
// sign. Taking it would let anyone close, or open, a gap.
var ErrForeignCRL = errors.New("not a CRL of this authority")

// gapFinder compares a restored database with what is known from elsewhere.
type gapFinder struct {
	cas    caCertificates
	report *cadb.Report // of the restored database
	until  time.Time    // up to when everything is in the restored database
	gap    Gap

	// blind says that the restored database could not be read: what it knows is
	// put together from the CRLs in the set.
	blind bool

	seed    maphash.Seed
	serials map[uint64]serialState
	revoked map[string]bool
	issued  map[string]bool
}

// serialState is what the restored database says of a serial number.
type serialState uint8

const (
	serialGood     serialState = iota + 1
	serialReleased             // taken off hold
	serialRevoked
)

// newGapFinder reads the serial numbers of the restored database, of which it
// keeps eight bytes each.
func newGapFinder(ctx context.Context, restored *cadb.DB, report *cadb.Report, until time.Time, cas caCertificates) (*gapFinder, error) {
	g := gapFinderOf(report, until, cas)
	for r, err := range restored.Requests(ctx, cadb.Filter{NoRequest: true}) {
		if err != nil {
			return nil, err
		}
		if r.Serial == "" {
			continue
		}
		state := serialGood
		switch {
		case r.Disposition == schema.Revoked:
			state = serialRevoked
		case r.Reason != nil:
			state = serialReleased
		}
		g.setState(r.Serial, state)
	}
	return g, nil
}

func gapFinderOf(report *cadb.Report, until time.Time, cas caCertificates) *gapFinder {
	g := &gapFinder{cas: cas, report: report, until: until, seed: maphash.MakeSeed(), serials: make(map[uint64]serialState),
		revoked: make(map[string]bool), issued: make(map[string]bool)}
	g.gap = Gap{Schema: 1, Revoked: []GapRevocation{}, Issued: []GapCertificate{}, Sources: []GapSource{}, CRLNumber: report.NewestCRL, RequestID: report.HighestID}
	return g
}

func (g *gapFinder) setState(serial string, s serialState) {
	g.serials[maphash.String(g.seed, serial)] = s
}

func (g *gapFinder) state(serial string) serialState {
	return g.serials[maphash.String(g.seed, serial)]
}

// source notes what was looked at.
func (g *gapFinder) source(s GapSource) { g.gap.Sources = append(g.gap.Sources, s) }

// addRevoked notes a revocation that the restored database lacks.
func (g *gapFinder) addRevoked(serial string, t time.Time, reason schema.Reason, source string) {
	state := g.state(serial)
	if state == serialRevoked || g.revoked[serial] {
		return
	}
	if !reason.Revokes() {
		reason = schema.Unspecified
	}
	g.revoked[serial] = true
	g.gap.Revoked = append(g.gap.Revoked, GapRevocation{Serial: serial, Time: t.UTC(), Reason: reason, Source: source, Known: state != 0})
}

// addIssued notes a certificate that the restored database lacks.
func (g *gapFinder) addIssued(c GapCertificate) {
	if g.state(c.Serial) != 0 || g.issued[c.Serial] {
		return
	}
	g.issued[c.Serial] = true
	g.gap.Issued = append(g.gap.Issued, c)
}

// crl compares a CRL. A forged one is an error, one that is older than the
// restored database adds nothing.
func (g *gapFinder) crl(f CRLFile) error {
	src := GapSource{Name: f.Name, Kind: "crl"}
	crl, err := parseCRL(f.Raw)
	if err == nil {
		err = g.cas.signed(crl.CheckSignatureFrom)
	}
	if err == nil && (crl.Number == nil || !crl.Number.IsInt64() || crl.Number.Sign() < 0) {
		err = errors.New("it has no number, or one out of range")
	}
	if err != nil {
		if f.Found {
			src.Note = fmt.Sprintf("passed over: %v", err)
			g.source(src)
			return nil
		}
		return hint.With(fmt.Errorf("%s: %w: %v", f.Name, ErrForeignCRL, err),
			"give the newest CRL that this authority published; one of another authority, or a forged one, would hide revocations")
	}
	src.Number, src.ThisUpdate = crl.Number.Int64(), &crl.ThisUpdate
	if src.Number <= g.report.NewestCRL {
		have := "the restored database"
		if g.blind {
			have = "the set"
		}
		src.Note = fmt.Sprintf("adds nothing: %s has CRL %d", have, g.report.NewestCRL)
		g.source(src)
		return nil
	}
	src.Newer = true
	g.gap.CRLNumber = max(g.gap.CRLNumber, src.Number)
	g.source(src)
	for _, e := range crl.RevokedCertificateEntries {
		if reason := schema.Reason(e.ReasonCode); reason != schema.RemoveFromCRL {
			g.addRevoked(schema.SerialText(e.SerialNumber), e.RevocationTime, reason, f.Name)
			if !g.blind { // which certificates the database knows is not known
				g.addIssued(GapCertificate{Serial: schema.SerialText(e.SerialNumber), Source: f.Name})
			}
		}
	}
	return nil
}

// database compares another database of the authority: the one that the restore
// displaces, or the set's own beyond the target. The file may have been tampered
// with: certificates and CRL numbers count only if the authority signed them. A
// revocation is believed without; one too many does no harm. A database that
// cannot be read is noted.
func (g *gapFinder) database(ctx context.Context, name string, db *cadb.DB) error {
	src := GapSource{Name: name, Kind: "database"}
	for c, err := range db.CRLs(ctx) {
		if err != nil {
			return g.unreadable(ctx, src, err)
		}
		if c.Number <= max(src.Number, g.report.NewestCRL) {
			continue
		}
		crl, err := parseCRL(c.Raw)
		if err == nil && g.cas.signed(crl.CheckSignatureFrom) == nil && crl.Number != nil && crl.Number.IsInt64() && crl.Number.Int64() == c.Number {
			src.Number, src.ThisUpdate = c.Number, &crl.ThisUpdate
		}
	}
	before := len(g.gap.Revoked) + len(g.gap.Issued)
	forged, err := g.rows(ctx, name, db.Requests(ctx, cadb.Filter{NoRequest: true}))
	if err != nil {
		return g.unreadable(ctx, src, err)
	}
	src.Newer = src.Number > 0 || len(g.gap.Revoked)+len(g.gap.Issued) > before
	switch {
	case forged > 0:
		src.Note = fmt.Sprintf("%d certificates in it are not signed by this authority, and were passed over", forged)
	case !src.Newer:
		src.Note = "adds nothing to the restored database"
	}
	g.gap.CRLNumber = max(g.gap.CRLNumber, src.Number)
	g.source(src)
	return nil
}

// rows notes what the rows of another database tell, and returns how many of
// them are not to be believed.
func (g *gapFinder) rows(ctx context.Context, name string, rows iter.Seq2[cadb.Request, error]) (forged int, err error) {
	for r, err := range rows {
		if err != nil {
			return forged, err
		}
		state := g.state(r.Serial)
		revoked := r.Disposition == schema.Revoked && state != serialRevoked
		if state == serialReleased && !r.RevokedWhen.After(g.until) {
			revoked = false // it was taken off hold since
		}
		issuedOrRevoked := r.Disposition == schema.Issued || r.Disposition == schema.Revoked
		if r.Serial == "" || !issuedOrRevoked || (state != 0 && !revoked) {
			continue
		}
		if g.blind && !revoked {
			continue // which certificates the restored database has is not known
		}
		c := GapCertificate{Serial: r.Serial, Source: name, CommonName: r.CommonName()}
		if revoked && r.RawCertificate == nil && r.Reason != nil {
			// An earlier restore had lost it, and its revocation was repeated.
			g.addRevoked(r.Serial, r.RevokedEffectiveWhen, *r.Reason, name)
			continue
		}
		cert, err := x509.ParseCertificate(r.RawCertificate)
		if err != nil || g.cas.signed(cert.CheckSignatureFrom) != nil || schema.SerialText(cert.SerialNumber) != r.Serial {
			forged++
			continue
		}
		c.NotAfter, c.SHA256 = &cert.NotAfter, fingerprint(cert.Raw)
		g.gap.RequestID = max(g.gap.RequestID, r.ID)
		if !g.blind {
			g.addIssued(c)
		}
		if revoked {
			reason := schema.Unspecified
			if r.Reason != nil {
				reason = *r.Reason
			}
			g.addRevoked(r.Serial, r.RevokedEffectiveWhen, reason, name)
		}
	}
	return forged, nil
}

func (g *gapFinder) unreadable(ctx context.Context, src GapSource, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	src.Note = fmt.Sprintf("could not be read to its end: %v", err)
	g.source(src)
	return nil
}

// finish sorts the lists, so that the same gap reads the same.
func (g *gapFinder) finish() Gap {
	g.gap.Blind = g.blind
	slices.SortFunc(g.gap.Revoked, func(a, b GapRevocation) int { return cmp.Compare(a.Serial, b.Serial) })
	slices.SortFunc(g.gap.Issued, func(a, b GapCertificate) int { return cmp.Compare(a.Serial, b.Serial) })
	return g.gap
}
