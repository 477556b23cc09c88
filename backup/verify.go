package backup

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
)

// Level says how deep [Verify] looks. Each level does what those before it do.
// docs/verification.md says which changes each of them finds.
type Level string

// The levels.
const (
	// LevelInventory reads manifests and receipts, resolves the chain and looks
	// whether every file is there in its size. No file's contents are read.
	LevelInventory Level = "inventory"
	// LevelSealed reads every file and compares its SHA-256 with the manifest's.
	LevelSealed Level = "sealed"
	// LevelContent looks into the files: every log's header, digest and frames,
	// that the logs follow each other, the restore map, CRLs and certificates. Of AD
	// CS also the database: header, trailer, every page, and whether the logs are all
	// that its recovery needs.
	LevelContent Level = "content"
	// LevelDatabase replays the logs in a temporary directory, runs the engine's
	// integrity check and holds every row against what is signed in it. The logs of AD
	// CS are not replayed: its database is read as it was copied.
	LevelDatabase Level = "database"
)

// Levels lists the levels in ascending order.
var Levels = []Level{LevelInventory, LevelSealed, LevelContent, LevelDatabase}

// ParseLevel reads the name of a level; an empty one is LevelDatabase.
func ParseLevel(s string) (Level, error) {
	if s == "" {
		return LevelDatabase, nil
	}
	if l := Level(strings.ToLower(s)); slices.Contains(Levels, l) {
		return l, nil
	}
	return "", fmt.Errorf("%q is no level of verification: inventory, sealed, content or database", s)
}

// reaches reports whether l includes what level other does.
func (l Level) reaches(other Level) bool {
	return slices.Index(Levels, l) >= slices.Index(Levels, other)
}

// VerifyOptions are the options of [Verify].
type VerifyOptions struct {
	Source
	Level Level // empty: LevelDatabase

	// CACertificate is the certificate that must have signed everything; nil for
	// the one that the manifest names.
	CACertificate *x509.Certificate

	Scratch  string // see RecoverOptions
	Progress func(Progress)
}

// Verify proves a set and those it continues, as deep as asked. It never writes
// to a set or beside it. Damage is in the report; an error means that the job
// could not be done.
func Verify(ctx context.Context, o VerifyOptions) (*VerifyReport, error) {
	p := newPace()
	return verify(ctx, o, p, p.join())
}

// VerifyTogether is Verify for several sets that share much, as full sets of one authority do: their databases are read
// side by side, so that a store that keeps once what they share (package repo) reads and opens it once. Reports and
// errors are in the order of the sets; what happens to one does not end the others.
func VerifyTogether(ctx context.Context, sets []VerifyOptions) ([]*VerifyReport, []error) {
	p := newPace()
	reports, errs := make([]*VerifyReport, len(sets)), make([]error, len(sets))
	walkers := make([]*walker, len(sets))
	for n := range sets {
		walkers[n] = p.join() // all of them before any begins
	}
	var going sync.WaitGroup
	for n, o := range sets {
		going.Go(func() { reports[n], errs[n] = verify(ctx, o, p, walkers[n]) })
	}
	going.Wait()
	return reports, errs
}

// verify is Verify beside others. It is w until its database was read.
func verify(ctx context.Context, o VerifyOptions, p *pace, w *walker) (*VerifyReport, error) {
	defer w.leave()
	if o.Level == "" {
		o.Level = LevelDatabase
	}
	started := time.Now()
	v := &verifier{o: o, pace: p, walker: w, logs: make(map[uint32]cadb.LogInfo), labels: make(map[uint32]string), rep: &VerifyReport{Schema: 1, Level: o.Level, Started: started.UTC()}}
	v.x = fetcher{found: &v.found, progress: o.Progress}
	err := v.run(ctx)
	v.rep.Findings, v.rep.Bytes, v.rep.Duration = v.found.All(), v.x.bytes, time.Since(started)
	v.rep.OK = err == nil && !v.found.Damaged()
	if v.rep.Findings == nil {
		v.rep.Findings = []cadb.Finding{} // JSON: a list, also when empty
	}
	v.rep.judge()
	return v.rep, err
}

type verifier struct {
	o      VerifyOptions
	rep    *VerifyReport
	found  cadb.Findings
	x      fetcher
	pace   *pace
	walker *walker

	// The whole logs of all sets, and what to call them.
	logs   map[uint32]cadb.LogInfo
	labels map[uint32]string

	old int // logs of AD CS whose bodies cannot be checked
}

func (v *verifier) add(sev cadb.Severity, code, file, format string, args ...any) {
	v.found.Add(cadb.Finding{Severity: sev, Code: code, File: file, Message: fmt.Sprintf(format, args...)})
}

func (v *verifier) run(ctx context.Context) error {
	chain, entries, err := v.o.chain(ctx)
	if v.o.ID == "" {
		// The whole place was asked for: what cannot even be listed counts.
		for _, e := range entries {
			if e.Manifest == nil {
				v.add(cadb.Damage, cadb.CodeUnreadable, setLabel(e), "%v", e.Err)
			}
		}
	}
	if err != nil {
		return v.chainError(err)
	}
	var whole []bool
	for _, e := range chain {
		before := len(v.found.List)
		if err := v.set(ctx, e); err != nil {
			return err
		}
		whole = append(whole, !cadb.HasDamage(v.found.List[min(before, len(v.found.List)):]))
	}
	if v.o.Level.reaches(LevelContent) && !slices.Contains(whole, false) {
		v.joints(chain)
	}
	v.statements(chain)
	if !v.o.Level.reaches(LevelDatabase) || slices.Contains(whole, false) {
		if v.o.Level.reaches(LevelDatabase) {
			v.rep.NotProven = append(v.rep.NotProven, Statement{"recovery", "That the database can be recovered: there is damage, and recovery was not tried. A drill tries it."})
		}
		return nil
	}
	return v.database(ctx, chain)
}

// joints checks that the logs of each set continue those of the one before.
func (v *verifier) joints(chain backupset.Chain) {
	var logs []cadb.LogInfo
	for _, g := range slices.Sorted(maps.Keys(v.logs)) {
		logs = append(logs, v.logs[g])
	}
	engine, err := cadb.EngineNamed(chain.Full().Manifest.Engine)
	if err != nil {
		return // said for each set
	}
	v.found.Add(checkLogs(engine, logs, logFiles(engine, v.labels, setLabel(chain.Tip())+"/"+backupset.RoleLog.Dir()))...)
}

// chainError makes a finding of sets that are damaged or missing.
func (v *verifier) chainError(err error) error {
	switch {
	case errors.Is(err, backupset.ErrDamaged), errors.Is(err, backupset.ErrNewer):
		v.add(cadb.Damage, cadb.CodeFormat, v.o.ID, "%v", err)
	case errors.Is(err, backupset.ErrChain):
		v.add(cadb.Damage, cadb.CodeChain, v.o.ID, "%v", err)
	default:
		return err
	}
	return nil
}

// set verifies the files of one set.
func (v *verifier) set(ctx context.Context, e backupset.Entry) error {
	m := e.Manifest
	v.rep.Sets = append(v.rep.Sets, SetReport{
		ID: e.ID, Name: e.Name, Location: e.Location, Type: m.Type, State: e.State(), NoManifest: m.Synthesized, First: m.FirstGeneration,
		Last: m.LastGeneration, Files: len(m.Files), Bytes: m.Size(), Start: m.Start, End: m.End, CA: m.CA.Name, Certificate: m.CA.CertificateSHA256,
	})
	s, err := open(ctx, v.o.Store, e)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v.add(cadb.Damage, cadb.CodeUnreadable, setLabel(e), "%v", err)
		return nil
	}
	switch {
	case m.Synthesized:
		v.add(cadb.Note, cadb.CodeNoManifest, setLabel(e), "there is no manifest: what the files do not say themselves is not checked")
	case e.Err != nil:
		v.add(cadb.Damage, cadb.CodeFormat, setLabel(e), "%v", e.Err)
	case !e.Confirmed:
		v.add(cadb.Warning, cadb.CodeUnconfirmed, setLabel(e), "the set has no good receipt: whether the server ended the session well is not known")
	}
	extra, err := s.Extra(ctx)
	if err != nil {
		return err
	}
	for _, name := range extra {
		v.add(cadb.Note, cadb.CodeUnexpected, setLabel(e)+"/"+name, "does not belong to the set")
	}
	severity := cadb.Warning
	if m.Completeness.DynamicFiles == backupset.NotAttempted { // as the statement says
		severity = cadb.Note
	}
	for _, d := range m.DynamicFiles {
		if d.Error != "" {
			v.add(severity, cadb.CodeNotComplete, setLabel(e), "dynamic file %s is not in the set: %s", d.Source, d.Error)
		}
	}
	if !v.o.Level.reaches(LevelSealed) {
		return v.inventory(ctx, s, e)
	}
	v.x.begin("verifying "+setLabel(e), m.Size())
	c := &contents{v: v, set: s, entry: e}
	if c.engine, err = cadb.EngineNamed(m.Engine); err != nil && v.o.Level.reaches(LevelContent) {
		return fmt.Errorf("set %s: %w", setLabel(e), err)
	}
	if v.o.Level.reaches(LevelContent) && c.ese() {
		c.check = c.beginESE(ctx)
		defer c.check.stop()
	}
	for _, f := range m.Files {
		got, err := v.fetch(ctx, s, e, f)
		if err != nil {
			return err
		}
		// A log says itself what is wrong with it, better than its hash.
		if v.o.Level.reaches(LevelContent) && (!got.bad || f.Role == backupset.RoleLog) {
			if err := c.file(ctx, f); err != nil {
				return err
			}
		}
	}
	if v.o.Level.reaches(LevelContent) {
		return c.finish()
	}
	return nil
}

// fetch reads a file to its end; a database beside those of other sets, and beside who looks at its pages.
func (v *verifier) fetch(ctx context.Context, s backupset.Set, e backupset.Entry, f backupset.File) (fetched, error) {
	if f.Role != backupset.RoleDatabase {
		return v.x.fetch(ctx, s, e, f, "")
	}
	v.x.walker = v.walker
	defer func() {
		v.walker.leave()
		v.x.walker = nil
	}()
	return v.x.fetch(ctx, s, e, f, "")
}

// inventory looks at presence and sizes alone.
func (v *verifier) inventory(ctx context.Context, s backupset.Set, e backupset.Entry) error {
	for _, f := range e.Manifest.Files {
		r, err := s.Open(ctx, f)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			code := cadb.CodeUnreadable
			if errors.Is(err, backupset.ErrNotFound) {
				code = cadb.CodeMissing
			}
			v.add(cadb.Damage, code, fileLabel(e, f), "%v", err)
			continue
		}
		v.x.compare(e, backupset.File{Size: f.Size}, fetched{size: r.Size()}, func(code, format string, args ...any) {
			v.add(cadb.Damage, code, fileLabel(e, f), format, args...)
		})
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}

// statements says what the levels below LevelDatabase prove.
func (v *verifier) statements(chain backupset.Chain) {
	damaged := v.found.Damaged()
	say := func(list *[]Statement, code, format string, args ...any) {
		*list = append(*list, Statement{code, fmt.Sprintf(format, args...)})
	}
	files, synthesized := 0, false
	for _, e := range chain {
		files += len(e.Manifest.Files)
		synthesized = synthesized || e.Manifest.Synthesized
	}
	if !damaged {
		say(&v.rep.Proven, "inventory", "Every file of the chain is there: %s, %s.", count(len(chain), "set"), count(files, "file"))
		if v.o.Level.reaches(LevelSealed) && !synthesized {
			say(&v.rep.Proven, "sealed", "Every byte of every file has the SHA-256 that its manifest records.")
		}
		if v.o.Level.reaches(LevelContent) {
			if v.rep.Verdict == "" {
				say(&v.rep.Proven, "content", "Every log is whole by its own digest, header and frames, and follows the one before it.")
			} else {
				say(&v.rep.Proven, "content", "Every page of the database and %s, header and trailer are whole, the logs follow each other and are this database's.", segments(v.old))
				if !v.o.Level.reaches(LevelDatabase) {
					say(&v.rep.Proven, "verdict", "Verdict: %s.", v.rep.Verdict)
				}
			}
		}
	}
	switch {
	case v.o.Level == LevelInventory:
		say(&v.rep.NotProven, "sealed", "That the files hold what was backed up: their contents were not read.")
	case v.o.Level == LevelSealed && synthesized:
		say(&v.rep.NotProven, "sealed", "That the files hold what was backed up: without a manifest there is nothing to compare them with at this level.")
	}
	if !v.o.Level.reaches(LevelContent) {
		say(&v.rep.NotProven, "content", "That the logs are in order and belong together.")
	}
	if !v.o.Level.reaches(LevelDatabase) {
		say(&v.rep.NotProven, "recovery", "That the database can be recovered, and that its rows are right.")
	}
}

// database is LevelDatabase: recovery in a temporary directory.
func (v *verifier) database(ctx context.Context, chain backupset.Chain) (err error) {
	r, err := RecoverOptions{Source: v.o.Source, Scratch: v.o.Scratch, Progress: v.o.Progress}.recover(ctx, chain)
	if err != nil {
		return v.damage(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	v.x.bytes += r.Materialized.Bytes
	v.found.Add(r.Materialized.Findings...)
	v.addNew(r.checked)
	if r.Checked != nil {
		v.rep.Verdict = r.Checked.String()
	}
	if r.DB == nil {
		f, s := r.unreadable()
		v.found.Add(f)
		v.rep.NotProven = append(v.rep.NotProven, s...)
		return nil
	}
	p, err := r.prove(ctx, v.o.CACertificate)
	if err != nil {
		return v.damage(err)
	}
	v.found.Add(p.report.Findings...)
	v.rep.Database = r.databaseReport(p)
	v.rep.Proven = append(v.rep.Proven, r.proven(p)...)
	v.rep.NotProven = append(v.rep.NotProven, r.notProven(p)...)
	return nil
}

// addNew adds what was not found before: a check of all sets together repeats what was
// said of each.
func (v *verifier) addNew(found []cadb.Finding) {
	for _, f := range found {
		if !slices.Contains(v.found.List, f) {
			v.found.Add(f)
		}
	}
}

// damage moves the findings of a DamageError into the report.
func (v *verifier) damage(err error) error {
	var d *DamageError
	if !errors.As(err, &d) {
		return err
	}
	v.found.Add(d.Findings...)
	v.rep.NotProven = append(v.rep.NotProven, Statement{"recovery", "That the database can be recovered: it was tried, and failed."})
	return nil
}
