package backup

import (
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
)

// newBlindGapFinder is for a database that cannot be read here: what it has is known
// from the CRLs in the set alone, see ownCRLs.
func newBlindGapFinder(until time.Time, cas caCertificates) *gapFinder {
	g := gapFinderOf(new(cadb.Report), until, cas)
	g.blind = true
	return g
}

// ownCRLs is for a database whose logs are not replayed here: its own CRLs, those that
// came with the set, say which revocations it surely has once they are. Its rows, as far
// as they can be read, are in g already. What a newer CRL, or another database, has
// beyond that is counted as missing. That may be too much (what was revoked between the
// set's CRL and the set, and stands in its logs), never too little as far as CRLs tell,
// and to revoke once more does no harm.
//
// A CRL of the set can have been made after the last log was closed, while files were
// copied. It says nothing then of what the database has, except in a blind comparison,
// which has nothing better than the dates in it; and it is compared like any other.
func (g *gapFinder) ownCRLs(own []CRLFile) {
	for _, f := range own {
		crl, err := parseCRL(f.Raw)
		if err != nil || g.cas.signed(crl.CheckSignatureFrom) != nil || crl.Number == nil || !crl.Number.IsInt64() || crl.Number.Sign() < 0 {
			continue // crl will say so
		}
		later := crl.ThisUpdate.After(g.until)
		if later && !g.blind {
			continue
		}
		for _, e := range crl.RevokedCertificateEntries {
			switch {
			case schema.Reason(e.ReasonCode) == schema.RemoveFromCRL:
			case e.RevocationTime.After(g.until):
				later = true
			default:
				g.setState(schema.SerialText(e.SerialNumber), serialRevoked)
			}
		}
		if !later {
			g.report.NewestCRL = max(g.report.NewestCRL, crl.Number.Int64())
		}
	}
	g.gap.CRLNumber = max(g.gap.CRLNumber, g.report.NewestCRL)
}
