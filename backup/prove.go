package backup

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
)

var caDispositions = []schema.Disposition{schema.CACert}

// Statement is one sentence of a report: what was proven, or what was not.
type Statement struct {
	Code string `json:"code"` // a fixed word, for programs
	Text string `json:"text"`
}

// proof is what looking at a recovered database showed.
type proof struct {
	report   cadb.Report
	caFrom   string // where the CA certificate is from
	anchored bool   // it was not taken on the database's own word
}

// prove holds the recovered database against what is signed in it. Findings
// name the file of the set. With ca nil the manifest decides which CA
// certificate it is. older are certificates that the authority had before.
func (r *Recovery) prove(ctx context.Context, ca *x509.Certificate, older ...*x509.Certificate) (p proof, err error) {
	if ca != nil {
		p.caFrom, p.anchored = "the certificate given", true
	} else {
		if ca, p.caFrom, err = r.caCertificate(ctx); err != nil {
			return p, err
		}
		p.anchored = ca != nil
		if ca == nil {
			p.caFrom = "the database itself"
		}
	}
	label := r.databaseLabel()
	p.report, err = cadb.Check(ctx, r.DB, ca, older...)
	if r.Unreplayed && errors.Is(err, cadb.ErrNoCACertificate) {
		// The logs may have it.
		p.report.Findings = append(p.report.Findings, cadb.Finding{Severity: cadb.Warning, Code: cadb.CodeMissing, File: label,
			Message: err.Error() + "; rows were not looked at"})
		return p, nil
	}
	for i := range p.report.Findings {
		p.report.Findings[i].File = label
	}
	switch {
	case err == nil:
		return p, nil
	case ctx.Err() != nil:
		return p, ctx.Err()
	case errors.Is(err, cadb.ErrNoCACertificate):
		return p, damage(cadb.CodeMissing, label, "", "%v", err)
	}
	p.report.Findings = append(p.report.Findings, cadb.Finding{Severity: cadb.Damage, Code: cadb.CodeUnreadable, File: label, Message: err.Error()})
	return p, nil
}

// proven says what a recovered and checked database proves.
func (r *Recovery) proven(p proof) []Statement {
	out := r.provenContents(p)
	if by := r.Chain.Full().SignedBy; by != "" {
		out = append(out, Statement{"signature", fmt.Sprintf("The manifest is signed by %s, and so is where each byte of the set is stored.", by)})
	}
	return out
}

func (r *Recovery) provenContents(p proof) []Statement {
	if r.Unreplayed {
		return r.provenUnreplayed(p)
	}
	rep := &p.report
	logs := len(r.Logs)
	out := []Statement{
		{"files", fmt.Sprintf("The database and %s (%s) are whole: %s.", count(logs, "log"),
			generations(r.Logs[0].Generation, r.Logs[logs-1].Generation), r.wholeBy())},
		{"chain", fmt.Sprintf("The logs follow each other without a gap and belong to this database (signature %.16s…).", r.Target.Signature)},
		{"recovery", fmt.Sprintf("The database recovers to generation %s, closed %s, and passes the engine's integrity check.",
			generation(r.Target.Generation), when(r.Target.Closed))},
		{"rows", fmt.Sprintf("It holds %s: %s.", count(rep.Requests, "request"), counts(rep.Dispositions))},
	}
	if rep.Damaged() {
		return out
	}
	out = append(out, []Statement{
		{"certificates", fmt.Sprintf("Every certificate parses (%d); serial number, dates, hash, subject, key and extensions agree with its row; no serial number stands twice.", rep.Certificates)},
		{"signatures", fmt.Sprintf("%s issued and revoked certificates are signed by %s (certificate from %s).",
			allOf(rep.Signatures, rep.Dispositions[schema.Issued]+rep.Dispositions[schema.Revoked]), rep.Issuer, p.caFrom)},
	}...)
	if rep.CRLs > 0 {
		out = append(out, Statement{"crl", fmt.Sprintf("The newest CRL in it is number %d of %s; every CRL is signed by the authority, and the newest agrees with the revoked rows.",
			rep.NewestCRL, when(rep.CRLThisUpdate))})
	}
	return out
}

func allOf(n int64, total int) string {
	if n == int64(total) {
		return fmt.Sprintf("All %d", n)
	}
	return fmt.Sprintf("%d of %d", n, total)
}

func (r *Recovery) wholeBy() string {
	if r.Chain.Full().Manifest.Synthesized {
		return "the logs by their own digests; there is none for the copy of the database"
	}
	return "every byte has the SHA-256 that the manifest records"
}

// counts is "3 issued, 1 revoked" in the order of the dispositions.
func counts(m map[schema.Disposition]int) string {
	var parts []string
	for _, d := range schema.Dispositions {
		if n := m[d]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %v", n, d))
		}
	}
	for d, n := range m {
		if strings.Trim(d.String(), "0123456789") == "" {
			parts = append(parts, fmt.Sprintf("%d of the unknown disposition %v", n, d))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// notProven says what a recovered and checked database leaves open.
func (r *Recovery) notProven(p proof) []Statement {
	tip, full := r.Chain.Tip(), r.Chain.Full()
	out := []Statement{
		r.later(),
	}
	if r.Unreplayed {
		out = append([]Statement{recoveryOpen}, out...)
	}
	if r.Latest.Generation > r.Target.Generation {
		out = append(out, Statement{"until", fmt.Sprintf("What is in %s of the set: it was left out.", generations(r.Target.Generation+1, r.Latest.Generation))})
	}
	var missing []string
	for _, part := range tip.Manifest.Completeness.Parts() {
		if part.Presence == backupset.Present || part.Presence == "" {
			continue
		}
		if tip.Manifest.Type == backupset.Incremental && (part.Name == "database" || part.Name == "restore map") {
			continue // they are in the full set
		}
		missing = append(missing, fmt.Sprintf("%s (%s)", part.Name, part.Presence))
	}
	if len(missing) > 0 {
		out = append(out, Statement{"completeness", "That the authority can be rebuilt from this alone: the set does not hold " + strings.Join(missing, ", ") + "."})
	}
	if !p.anchored {
		out = append(out, Statement{"ca-certificate", "That this is the right authority: the CA certificate was taken from the database itself, and nothing outside it says that it is the right one."})
	}
	switch {
	case full.Manifest.Synthesized && r.Unreplayed:
		out = append(out, Statement{"no-manifest", "That nobody changed the files and their checksums with them: the set has no manifest, and what it is held against stands in it."})
	case full.Manifest.Synthesized:
		out = append(out, Statement{"no-manifest", "That the set is as it was taken: it has no manifest. What is signed was checked; " +
			"columns that no signature covers, such as requester names and dates of submission, free space in the database, the restore map, and whether later sets exist, were not."})
	case full.SignedBy != "":
		out = append(out, Statement{"manifest", fmt.Sprintf("That %s was in good hands when it took the set: whoever had its key could have signed another.", full.SignedBy)})
	default:
		out = append(out, Statement{"manifest", "That nobody who could write to the set made up a manifest to match: the manifest is not signed."})
	}
	for _, e := range r.Chain {
		if !e.Manifest.Synthesized && !e.Confirmed {
			out = append(out, Statement{"unconfirmed", fmt.Sprintf("That the server agrees that set %s was a backup: it has no good receipt.", setLabel(e))})
		}
	}
	if p.report.CRLs == 0 {
		out = append(out, Statement{"crl", "Which certificates the world was told are revoked: the database holds no CRL."})
	}
	return out
}
