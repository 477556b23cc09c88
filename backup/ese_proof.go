package backup

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
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
	files := fmt.Sprintf("The database and %s (%s) are whole: each of %s and %s", count(len(logs), "log"), generations(from, to),
		count(int64(c.Pages.Good+c.Pages.Correctable), "page"), segments(oldLogs(c)))
	if !r.Chain.Full().Manifest.Synthesized {
		files += ", and every byte the SHA-256 that the manifest records"
	}
	chain := fmt.Sprintf("The logs follow each other without a gap and belong to this database (signature %.16s…)", r.Target.Signature)
	if c.Low != 0 {
		chain += "; they are all that recovery needs, " + generations(c.Low, max(c.High, c.Low))
	}
	return []Statement{{"files", files + "."}, {"chain", chain + "."}, {"verdict", "Verdict: " + c.String() + "."}}
}

// certain is the time up to which everything that happened is in the logs that are used.
// When the last log of a set of AD CS was closed, nobody says: it had been begun, and the
// backup that closed it had been, too. Until when it may hold something is Target.Closed.
func (r *Recovery) certain() time.Time {
	t := r.Target.Closed
	if r.Engine.Replays() || r.Checked == nil {
		return t
	}
	var made ese.LogTime
	for _, l := range r.Checked.Logs {
		if l.Generation == r.Target.Generation {
			made = l.Created
		}
	}
	if r.Target.Generation < r.Latest.Generation { // when the next one was begun
		if !inUTC(made) {
			t = t.Add(-easternmost)
		}
		return t
	}
	t = notBefore(made)
	for _, l := range r.Logs {
		if l.Generation != r.Target.Generation || l.Set < 0 {
			continue
		}
		if m := r.Chain[l.Set].Manifest; !m.Synthesized {
			t = latest(t, m.Start.Add(-clockDifference))
		}
		if h := r.Checked.Header; l.Set == 0 && h != nil && h.StreamingBackup() {
			t = latest(t, notBefore(h.FullCur.Time))
		}
	}
	return t
}

// inUTC reports the mark that a time of ESE has if it is in UTC. Without it the time is
// local to a place that is not known.
func inUTC(t ese.LogTime) bool { return t[6]&1 != 0 }

// notBefore is the earliest that a time of ESE can mean.
func notBefore(t ese.LogTime) time.Time {
	at := t.Time()
	if at.IsZero() || inUTC(t) {
		return at
	}
	return at.Add(-easternmost)
}

// clockDifference is what the clocks of two machines that talk to each other may differ
// by, and easternmost how far a local time can be before UTC.
const (
	clockDifference = 5 * time.Minute
	easternmost     = 14 * time.Hour
)

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// later says that nothing is proven of what came after the logs that are used.
func (r *Recovery) later() Statement {
	if certain := r.certain(); !certain.Equal(r.Target.Closed) {
		return Statement{"later", fmt.Sprintf("That nothing is lost: what happened after the last log used was closed is not in it; that was at some time from %s, to %s, the date of its set.",
			when(certain), when(r.Target.Closed))}
	}
	return Statement{"later", fmt.Sprintf("That nothing is lost: what happened after %s, when the last log used was closed, is not in it.", when(r.Target.Closed))}
}

// oldLogs counts the logs of before Windows Server 2012, of which the header can be
// checked and the body cannot.
func oldLogs(r *esecheck.Report) (n int) {
	for _, l := range r.Logs {
		if l.Major < 8 {
			n++
		}
	}
	return n
}

// segments says what was proven of the logs of which old ones have none.
func segments(old int) string {
	const has = "every segment of the logs has the checksum in it"
	if old > 0 {
		return fmt.Sprintf("%s, but for %s of an old version, of which the header alone was checked", has, count(old, "log"))
	}
	return has
}

// parsed says how many certificates agree with their rows, and how many nobody could tell
// of.
func parsed(rep *cadb.Report) Statement {
	text := fmt.Sprintf("Every certificate in it parses (%d), and agrees with its row; no serial number stands twice.", rep.Certificates)
	if rep.Unparsed > 0 {
		text = fmt.Sprintf("%s in it agree with their rows, and %d that do not parse here have the hash in theirs; no serial number stands twice.", count(rep.Certificates, "certificate"), rep.Unparsed)
	}
	return Statement{"certificates", text}
}

// provenUnreplayed is proven for a database that was read as it was copied.
func (r *Recovery) provenUnreplayed(p proof) []Statement {
	rep := &p.report
	out := append(r.wholeStatements(), Statement{"rows", fmt.Sprintf("Read without the logs, it holds %s: %s.", count(rep.Requests, "request"), counts(rep.Dispositions))})
	if rep.Damaged() {
		return out
	}
	out = append(out,
		parsed(rep),
		Statement{"signatures", fmt.Sprintf("%s issued and revoked certificates in it are signed by %s (certificate from %s).",
			allOf(rep.Signatures, rep.Dispositions[schema.Issued]+rep.Dispositions[schema.Revoked]), rep.Issuer, p.caFrom)})
	if rep.CRLs > 0 {
		out = append(out, Statement{"crl", fmt.Sprintf("The newest CRL in it is number %d of %s; every CRL in it is signed by the authority.", rep.NewestCRL, when(rep.CRLThisUpdate))})
	}
	return out
}
