package backup

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese/esecheck"
)

// check is what replay is for an engine that replays: database and logs are checked
// together, as far as the target, and the database is opened as it stands.
func (r *Recovery) check(ctx context.Context, o RecoverOptions) error {
	m := r.Materialized
	if err := m.checkChain(); err != nil {
		return err
	}
	label := m.databaseLabel()
	db, err := localESE(label, m.Database)
	if err != nil {
		return err
	}
	in := eseInput{what: setLabel(m.Chain[0]), database: &db, depth: esecheck.Trees}
	if o.quick {
		in.depth = esecheck.Pages
	}
	x := fetcher{progress: o.Progress, phase: Progress{Phase: "checking", File: m.DatabaseFile.Name, Total: db.size}}
	for _, l := range m.Logs {
		f, err := localESE(m.Label(l.MaterializedFile), l.Path)
		if err != nil {
			return err
		}
		in.logs, x.phase.Total = append(in.logs, f), x.phase.Total+f.size
	}
	in.progress = x.reached
	if r.Checked, r.checked, err = checkESE(ctx, in); err != nil {
		return err
	}
	if cadb.HasDamage(r.checked) {
		return &DamageError{r.checked}
	}
	r.Unreplayed, r.Recovered = true, cadb.Recovered{Signature: m.Target.Signature, Size: db.size}
	if r.DB, err = cadb.Open(ctx, m.Database); err != nil {
		if ctx.Err() != nil || environmental(err) {
			return err
		}
		// Pages and headers are sound: it is a format or a schema that is not known.
		r.DB, r.Unreadable = nil, err
	}
	return nil
}

// unreadable is what to say of a database that is whole and cannot be read.
func (r *Recovery) unreadable() (cadb.Finding, []Statement) {
	why := fmt.Sprintf("no fault was found in its pages, and it cannot be read: %s", inDir(r.Unreadable, filepath.Dir(r.Materialized.Database)))
	return cadb.Finding{Severity: cadb.Warning, Code: cadb.CodeUnchecked, File: r.databaseLabel(), Message: why},
		[]Statement{recoveryOpen, {"rows", "What is in the database: it could not be read."}}
}

// recoveryOpen is what nobody but the engine can prove.
var recoveryOpen = Statement{"recovery", "That the logs can be replayed: AD CS alone does that, as it starts. What they hold was not read: " +
	"rows from while the copy was made and since can be missing, old or there twice here; a restore makes them right."}

// wholeStatements are those about the files of an engine that does not replay here.
func (r *Recovery) wholeStatements() []Statement {
	logs, c := r.Logs, r.Checked
	from, to := logs[0].Generation, logs[len(logs)-1].Generation
	files := fmt.Sprintf("The database and %s (%s) are whole: each of %s and every segment has the checksum in it", count(len(logs), "log"), generations(from, to),
		count(int64(c.Pages.Good+c.Pages.Correctable), "page"))
	if !r.Chain.Full().Manifest.Synthesized {
		files += ", and every byte the SHA-256 that the manifest records"
	}
	chain := fmt.Sprintf("The logs follow each other without a gap and belong to this database (signature %.16s…)", r.Target.Signature)
	if c.Low != 0 {
		chain += "; they are all that recovery needs, " + generations(c.Low, max(c.High, c.Low))
	}
	return []Statement{{"files", files + "."}, {"chain", chain + "."}, {"verdict", "Verdict: " + c.String() + "."}}
}

// provenUnreplayed is proven for a database that was read as it was copied.
func (r *Recovery) provenUnreplayed(p proof) []Statement {
	rep := &p.report
	out := append(r.wholeStatements(), Statement{"rows", fmt.Sprintf("Read without the logs, it holds %s: %s.", count(rep.Requests, "request"), counts(rep.Dispositions))})
	if rep.Damaged() {
		return out
	}
	out = append(out,
		Statement{"certificates", fmt.Sprintf("Every certificate in it parses (%d), and agrees with its row; no serial number stands twice.", rep.Certificates)},
		Statement{"signatures", fmt.Sprintf("%s issued and revoked certificates in it are signed by %s (certificate from %s).",
			allOf(rep.Signatures, rep.Dispositions[schema.Issued]+rep.Dispositions[schema.Revoked]), rep.Issuer, p.caFrom)})
	if rep.CRLs > 0 {
		out = append(out, Statement{"crl", fmt.Sprintf("The newest CRL in it is number %d of %s; every CRL in it is signed by the authority.", rep.NewestCRL, when(rep.CRLThisUpdate))})
	}
	return out
}
