package backup

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/hint"
)

// RestoreOptions are the options of [Restore].
type RestoreOptions struct {
	Source
	Until    Until
	MoreLogs []string // see MaterializeOptions
	OpenLog  string

	Target Target

	// CRLs are published CRLs: what they revoke and the restored database does
	// not is reported as a gap. The CRLs in the set, and the database that the
	// restore displaces, are looked at in any case.
	CRLs []CRLFile

	// AcceptGap lets the gap be: the authority may publish CRLs at once.
	AcceptGap bool

	// ClearLogs leaves logs that the target has after those of the sets where they
	// were set aside. Without it a Target that is a [LogKeeper] replays them, too,
	// unless Until asks for less than the sets hold.
	ClearLogs bool

	// PlanOnly computes everything and changes nothing.
	PlanOnly bool

	Scratch  string     // see RecoverOptions
	Observe  func(Call) // every call as it returns; may be nil
	Progress func(Progress)
}

// RestoreReport is what [Restore] did, or would do.
type RestoreReport struct {
	Schema int  `json:"schema"` // 1
	Plan   bool `json:"plan"`   // nothing was changed
	OK     bool `json:"ok"`

	CA       string          `json:"ca"`
	Sets     []string        `json:"sets"`
	Database *DatabaseReport `json:"database,omitempty"`
	Steps    []RestoreStep   `json:"steps"`
	Gap      *Gap            `json:"gap,omitempty"`

	Displaced Displaced      `json:"displaced"`
	NewerLogs []string       `json:"newer_logs,omitempty"` // of the target's own, put back to be replayed
	Withheld  *Withheld      `json:"withheld,omitempty"`   // and not released again
	Findings  []cadb.Finding `json:"findings"`
	Proven    []Statement    `json:"proven"`
	NotProven []Statement    `json:"not_proven"`

	// Next says what the operator has to do now, and WayBack, after a failure of a
	// restore that had begun to change the target, how to undo it.
	Next    []string `json:"next"`
	WayBack []string `json:"way_back,omitempty"`

	Bytes    int64         `json:"bytes"` // written to the target
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration_nanoseconds"`
}

// RestoreStep is one step of Microsoft's page "Restoring Certificate Services
// from Backup"; step 0 is the verification that goes before.
type RestoreStep struct {
	Number int       `json:"number"`
	Title  string    `json:"title"`
	Detail []string  `json:"detail,omitempty"`
	State  StepState `json:"state"`
}

// StepState is how far a step has come.
type StepState string

// The states of steps.
const (
	StepPlanned StepState = "planned"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepOpen    StepState = "open" // left to the operator
)

// RestoreError is the failure of a restore after it began to change the target.
type RestoreError struct {
	Step      RestoreStep
	Displaced Displaced
	WayBack   []string // as in the report

	// Registered says that the instruction stays: the service carries it out when
	// it is started.
	Registered bool

	Err error
}

func (e *RestoreError) Error() string {
	return fmt.Sprintf("restore, step %d (%s): %v", e.Step.Number, e.Step.Title, e.Err)
}

func (e *RestoreError) Unwrap() error { return e.Err }

// Hint says where what the restore displaced is.
func (e *RestoreError) Hint() string {
	again := "nothing stays registered; run the restore again once the cause is mended"
	if e.Registered {
		again = "the restore stays registered, and the service carries it out when it starts; run the restore again once the cause is mended"
	}
	if len(e.WayBack) > 0 {
		return again + ", or go back as the report says (way back)"
	}
	if e.Displaced.Dir == "" {
		return again
	}
	files := e.Displaced.Files
	more := ""
	if len(files) > 5 {
		files, more = files[:5], fmt.Sprintf(" and %d more", len(e.Displaced.Files)-5)
	}
	return fmt.Sprintf("%s; what was there before is in %s (%s%s)", again, e.Displaced.Dir, strings.Join(files, ", "), more)
}

// Restore restores a chain into an authority, in the order of Microsoft's page
// "Restoring Certificate Services from Backup". Before anything of the target is
// touched the chain is recovered and checked in a temporary directory, and it
// must be of the target's authority. What is in the target's database and log
// directories is set aside, never deleted. The service is left stopped; it
// recovers when it is started, and needs a new full backup then.
//
// A Target that is a [Controller] may be running: the service is stopped, and started
// again at the end. Until a gap is closed it is kept from publishing and issuing.
//
// On a failure after that the registration is taken back and the session
// ended; the error is a [*RestoreError].
func Restore(ctx context.Context, o RestoreOptions) (rep *RestoreReport, err error) {
	started := time.Now()
	j := &restoreJob{o: o, rep: &RestoreReport{Schema: 1, Plan: o.PlanOnly, Started: started.UTC(), Findings: []cadb.Finding{}}}
	defer func() {
		j.rep.Duration = time.Since(started)
		j.rep.OK = err == nil
	}()
	j.svc = Traced(o.Target.Service(), o.Observe)
	j.control, _ = o.Target.(Controller)
	defer func() {
		if j.rec != nil {
			err = errors.Join(err, j.rec.Close())
		}
	}()
	if err := j.prepare(ctx); err != nil {
		return j.rep, err
	}
	j.plan()
	if o.PlanOnly {
		return j.rep, nil
	}
	if err := j.carryOut(ctx); err != nil {
		return j.rep, err
	}
	return j.rep, nil
}

// restoreJob is one run of Restore.
type restoreJob struct {
	o   RestoreOptions
	rep *RestoreReport
	svc certadm.Service

	registered bool       // something is registered, and the service has not carried it out
	control    Controller // nil: the service is stopped, and stays so
	running    bool       // it was, before the restore
	gap        *gapFinder

	id     certadm.Identity
	ca     *x509.Certificate // the newest
	cas    caCertificates
	places certadm.RestoreMap // the target's
	saved  certadm.RestoreMap // the set's
	rec    *Recovery
	runs   []logRun
	dyn    []dynamicCopy
}

// logRun is the logs that one set contributes, and one Register call covers.
type logRun struct {
	label     string
	low, high uint32
	logs      []MaterializedLog
}

// prepare is everything that only reads: step 0, 3, 5 and 6, the gap, and what
// will be copied where.
func (j *restoreJob) prepare(ctx context.Context) (err error) {
	if err := j.online(ctx); err != nil {
		return err
	}
	if j.id, err = j.o.Target.Identity(ctx); err != nil {
		return err
	}
	if j.ca, err = x509.ParseCertificate(j.id.Certificate); err != nil {
		return hint.With(fmt.Errorf("the target's CA certificate: %w", err),
			"restore the authority's key and certificate first; a database is of no use without them")
	}
	if j.cas, err = casOf(ctx, j.o.Target, j.ca); err != nil {
		return err
	}
	locations, err := j.o.Target.Locations(ctx)
	if err != nil {
		return err
	}
	if j.places, err = locations.RestoreMap(); err != nil {
		return fmt.Errorf("the target's locations: %w", err)
	}
	chain, _, err := j.o.chain(ctx)
	if err != nil {
		return err
	}
	j.rep.CA = j.id.Name
	for _, e := range chain {
		j.rep.Sets = append(j.rep.Sets, setLabel(e))
	}
	if err := j.sameAuthority(chain.Full().Manifest); err != nil {
		return err
	}
	if engine, err := cadb.EngineNamed(chain.Full().Manifest.Engine); err == nil && !engine.Replays() && j.control == nil {
		return hint.With(fmt.Errorf("set %s: %w", setLabel(chain.Full()), cadb.ErrUnsupported),
			"restore it on the machine of AD CS with --service, or make a folder for certutil -restoreDB with --to")
	}
	j.rec, err = RecoverOptions{Source: j.o.Source, Until: j.o.Until, MoreLogs: j.o.MoreLogs, OpenLog: j.o.OpenLog,
		Scratch: j.o.Scratch, Progress: j.o.Progress, quick: true}.recover(ctx, chain)
	if err != nil {
		return err
	}
	if err := j.verify(ctx); err != nil {
		return err
	}
	if j.saved, err = j.rec.Locations.RestoreMap(); err != nil {
		return damage(cadb.CodeFormat, setLabel(chain.Full())+"/"+backupset.RoleLocations.Dir()+"/"+backupset.LocationsName, "", "%v", err)
	}
	if err := j.spellAsSaved(ctx); err != nil {
		return err
	}
	j.runs = j.rec.runs()
	if err := j.findGap(ctx); err != nil {
		return err
	}
	return j.planDynamic(ctx)
}

// online looks whether the service runs, and refuses one that this restore cannot
// stop.
func (j *restoreJob) online(ctx context.Context) error {
	if j.control == nil {
		return j.mustBeOffline(ctx)
	}
	_, err := j.svc.IsServerOnline(ctx)
	j.running = err == nil
	return ctx.Err()
}

// spellAsSaved asks for the target's places once more, by the names of the set.
func (j *restoreJob) spellAsSaved(ctx context.Context) error {
	speller, ok := j.o.Target.(Speller)
	if !ok {
		return nil
	}
	list, err := speller.LocationsLike(ctx, j.saved)
	if err != nil {
		return err
	}
	if j.places, err = list.RestoreMap(); err != nil {
		return fmt.Errorf("the target's locations: %w", err)
	}
	return nil
}

// mustBeOffline is step 3. A call that fails is what a stopped service answers.
func (j *restoreJob) mustBeOffline(ctx context.Context) error {
	if _, err := j.svc.IsServerOnline(ctx); err != nil {
		return ctx.Err()
	}
	return &certadm.Error{Op: certadm.FnRestorePrepare, Code: certadm.ErrorSharingViolation,
		Err: errors.New("the service is running"), Hint: "stop Certificate Services, then restore"}
}

// ErrOtherAuthority is wrapped by the error for a set that is not the target's.
var ErrOtherAuthority = errors.New("the set is another authority's")

func (j *restoreJob) sameAuthority(m *backupset.Manifest) error {
	have := fingerprint(j.id.Certificate)
	if m.CA.CertificateSHA256 == "" || j.cas.hasSum(m.CA.CertificateSHA256) {
		return nil // without a digest the database decides, see verify
	}
	return otherAuthority(m.CA.Name, m.CA.CertificateSHA256, j.id.Name, have)
}

func otherAuthority(setName, setSum, name, sum string) error {
	return hint.With(fmt.Errorf("%w: it was taken of %s (CA certificate SHA-256 %.16s…), and the target is %s (%.16s…)", ErrOtherAuthority, setName, setSum, name, sum),
		"restore into the authority that the set was taken of, with its key and certificate; a key alone, or a certificate of the same name, is not enough")
}

// verify is step 0: the recovered database must be sound and the target's.
func (j *restoreJob) verify(ctx context.Context) error {
	if !j.rec.Engine.Replays() {
		return j.verifyUnreplayed(ctx)
	}
	own, err := j.rec.DB.CACertificate(ctx)
	if err == nil && !j.cas.has(own) && !j.hasCA(ctx) {
		return otherAuthority(own.Subject.String(), fingerprint(own.Raw), j.id.Name, fingerprint(j.ca.Raw))
	}
	if err != nil && !errors.Is(err, cadb.ErrNoCACertificate) {
		return err
	}
	j.noteFindings()
	return j.proveAll(ctx)
}

// proveAll looks into the database, recovered or not, and reports what that proves.
func (j *restoreJob) proveAll(ctx context.Context) error {
	p, err := j.rec.prove(ctx, j.ca, j.cas...)
	if err != nil {
		return err
	}
	p.caFrom = "the target"
	j.rep.Findings = append(j.rep.Findings, p.report.Findings...)
	if p.report.Damaged() {
		return &DamageError{p.report.Findings}
	}
	j.rep.Database = j.rec.databaseReport(p)
	j.rep.Proven, j.rep.NotProven = j.rec.proven(p), j.rec.notProven(p)
	return nil
}

// noteFindings reports what reading the sets found: not needed for the recovery,
// or there would have been an error.
func (j *restoreJob) noteFindings() {
	for _, f := range j.rec.Materialized.Findings {
		if f.Severity == cadb.Damage {
			f.Severity = cadb.Warning
		}
		j.rep.Findings = append(j.rep.Findings, f)
	}
}

// hasCA reports whether the target's certificate is one of several that the
// database has, as after a renewal.
func (j *restoreJob) hasCA(ctx context.Context) bool {
	for r, err := range j.rec.DB.Requests(ctx, cadb.Filter{NoRequest: true, Dispositions: caDispositions}) {
		if err != nil {
			return false
		}
		if string(r.RawCertificate) == string(j.ca.Raw) {
			return true
		}
	}
	return false
}

// runs splits the logs by where they come from: one run for each set, and one
// for each log from outside the sets.
func (r *Recovery) runs() []logRun {
	var runs []logRun
	for _, l := range r.Logs {
		label := "salvaged " + l.File.Source
		if l.Set >= 0 {
			label = "set " + setLabel(r.Chain[l.Set])
		}
		if n := len(runs); n > 0 && runs[n-1].label == label {
			runs[n-1].logs = append(runs[n-1].logs, l)
			runs[n-1].high = min(l.Generation, r.Target.Generation)
			continue
		}
		if l.Generation > r.Target.Generation && len(runs) > 0 {
			// It only says what the copy needs, and is not replayed.
			runs[len(runs)-1].logs = append(runs[len(runs)-1].logs, l)
			continue
		}
		runs = append(runs, logRun{label, l.Generation, min(l.Generation, r.Target.Generation), []MaterializedLog{l}})
	}
	return runs
}

// findGap compares the recovered database with everything else that is known.
func (j *restoreJob) findGap(ctx context.Context) (err error) {
	var found []CRLFile // in the sets
	used := 0
	for _, l := range j.rec.Logs {
		used = max(used, l.Set)
	}
	var own []CRLFile
	for _, f := range j.rec.Dynamic {
		if !strings.HasSuffix(strings.ToLower(f.File.Name), ".crl") {
			continue
		}
		raw, err := os.ReadFile(f.Path)
		if err != nil {
			return err
		}
		found = append(found, CRLFile{Name: j.rec.Label(f), Raw: raw, Found: true})
		// A set that the target cuts short has a CRL from after the target.
		if f.Set <= used && j.rec.Chain[f.Set].Manifest.LastGeneration <= j.rec.Target.Generation {
			own = append(own, found[len(found)-1])
		}
	}
	if j.rec.DB == nil {
		j.gap = newBlindGapFinder(j.rec.certain(), j.cas)
	} else {
		report := j.rep.Database.Report // the finder changes it
		if j.gap, err = newGapFinder(ctx, j.rec.DB, &report, j.rec.certain(), j.cas); err != nil {
			return err
		}
	}
	if j.rec.Unreplayed {
		j.gap.gap.Unreplayed = true
		j.gap.ownCRLs(own)
	}
	for _, f := range slices.Concat(j.o.CRLs, found) {
		if err := j.gap.crl(f); err != nil {
			return err
		}
	}
	if err := j.beyondTarget(ctx, j.gap); err != nil {
		return err
	}
	if j.control != nil && !j.o.PlanOnly {
		return nil // the rest when the service has stopped, see carryOut
	}
	return j.finishGap(ctx)
}

// finishGap compares the database that will be displaced, which the service holds
// while it runs.
func (j *restoreJob) finishGap(ctx context.Context) error {
	if err := j.oldDatabase(ctx, j.gap); err != nil {
		return err
	}
	gap := j.gap.finish()
	gap.Accepted = j.o.AcceptGap
	j.rep.Gap = &gap
	newer := false
	for _, s := range gap.Sources {
		newer = newer || s.Newer
	}
	if !newer {
		j.rep.NotProven = append(j.rep.NotProven, Statement{"gap", "That no certificate was issued or revoked after the backup: nothing newer than the restored database was found to compare it with."})
	}
	return nil
}

// beyondTarget compares the rest of the chain, if the target leaves some out.
func (j *restoreJob) beyondTarget(ctx context.Context, g *gapFinder) (err error) {
	if j.rec.Latest.Generation <= j.rec.Target.Generation {
		return nil
	}
	name := fmt.Sprintf("the set beyond generation %s", generation(j.rec.Target.Generation))
	if j.rec.Unreplayed {
		g.source(GapSource{Name: name, Kind: "database", Note: "what its logs revoke is not read here; CRLs tell of it"})
		return nil
	}
	rest, err := RecoverOptions{Source: j.o.Source, MoreLogs: j.o.MoreLogs, OpenLog: j.o.OpenLog, Scratch: j.o.Scratch, Progress: j.o.Progress}.recover(ctx, j.rec.Chain)
	if err != nil {
		var d *DamageError
		if errors.As(err, &d) {
			g.source(GapSource{Name: name, Kind: "database", Note: fmt.Sprintf("cannot be recovered: %v", err)})
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, rest.Close()) }()
	return g.database(ctx, name, rest.DB)
}

// oldDatabase compares the database that the restore will displace, if there is
// one that can be read.
func (j *restoreJob) oldDatabase(ctx context.Context, g *gapFinder) (err error) {
	path, err := j.o.Target.LocalPath(j.places.Database)
	if err != nil {
		return fmt.Errorf("the target's database: %w", err)
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if j.control != nil && j.running && j.o.PlanOnly {
		g.source(GapSource{Name: path, Kind: "database", Note: "the running service holds it; it is compared when the service has stopped"})
		return nil
	}
	db, err := cadb.Open(ctx, path)
	if err != nil {
		return g.unreadable(ctx, GapSource{Name: path, Kind: "database"}, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return g.database(ctx, path, db)
}
