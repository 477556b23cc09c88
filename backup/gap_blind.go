package backup

import (
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
)

// newBlindGapFinder is for a database that cannot be read here: its own CRLs, those
// that came with the set, say which revocations it surely has. What a newer CRL has
// beyond them is counted as missing. That may be too much (what was revoked between
// the set's CRL and the set), never too little as far as CRLs tell, and to revoke
// once more does no harm.
func newBlindGapFinder(own []CRLFile, until time.Time, cas caCertificates) *gapFinder {
	report := new(cadb.Report)
	g := gapFinderOf(report, until, cas)
	g.blind = true
	for _, f := range own {
		crl, err := parseCRL(f.Raw)
		if err != nil || cas.signed(crl.CheckSignatureFrom) != nil || crl.Number == nil || !crl.Number.IsInt64() || crl.Number.Sign() < 0 {
			continue // crl will say so
		}
		report.NewestCRL = max(report.NewestCRL, crl.Number.Int64())
		for _, e := range crl.RevokedCertificateEntries {
			if schema.Reason(e.ReasonCode) != schema.RemoveFromCRL && !e.RevocationTime.After(until) {
				g.setState(schema.SerialText(e.SerialNumber), serialRevoked)
			}
		}
	}
	g.gap.CRLNumber = report.NewestCRL
	return g
}
