package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esecheck"
	"github.com/certkeep/certkeep/internal/hint"
)

// CertLog is the directory in which AD CS keeps its database (CertLog, by default in
// System32), as it is found on the disk of a machine that died, or copied from there.
// The DataBase directory of a certutil backup is one, too.
type CertLog struct {
	Dir        string
	Database   string   // paths; the database's name is the authority's
	Logs       []string // the closed ones in order, then the current one
	Checkpoint string   // empty if there is none
}

// TypeCertLog is the type that a report gives a CertLog directory.
const TypeCertLog backupset.Type = "certlog"

// FindCertLog looks for a database of AD CS in a directory, and for its logs there or
// in another one, if logDir names it. Where there is none the error is
// [backupset.ErrNotFound]. Nothing is read but names.
func FindCertLog(dir, logDir string) (*CertLog, error) {
	c := &CertLog{Dir: dir}
	es, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var databases []string
	for _, e := range es {
		if kind, _, _ := ese.ParseLogName(e.Name()); kind == ese.DatabaseName && !strings.EqualFold(e.Name(), "tmp.edb") && regular(dir, e) {
			databases = append(databases, e.Name())
		}
	}
	switch len(databases) {
	case 0:
		return nil, fmt.Errorf("%s: a database of AD CS (.edb): %w", dir, backupset.ErrNotFound)
	case 1:
		c.Database = filepath.Join(dir, databases[0])
	default:
		return nil, hint.With(fmt.Errorf("%s: %w: databases %s", dir, backupset.ErrAmbiguous, strings.Join(databases, ", ")),
			"an authority has one database: move the others elsewhere")
	}
	if logDir == "" {
		logDir = dir
	} else if es, err = os.ReadDir(logDir); err != nil {
		return nil, err
	}
	type log struct {
		path       string
		generation uint32
	}
	var logs []log
	current := ""
	for _, e := range es {
		if !regular(logDir, e) {
			continue
		}
		path := filepath.Join(logDir, e.Name())
		switch kind, base, g := ese.ParseLogName(e.Name()); {
		case kind == ese.LogName && strings.EqualFold(base, "edb"):
			logs = append(logs, log{path, g})
		case kind == ese.CurrentLog && strings.EqualFold(base, "edb"):
			current = path
		case kind == ese.CheckpointName:
			c.Checkpoint = path
		}
	}
	slices.SortFunc(logs, func(a, b log) int { return cmp.Compare(a.generation, b.generation) })
	for _, l := range logs {
		c.Logs = append(c.Logs, l.path)
	}
	if current != "" {
		c.Logs = append(c.Logs, current)
	}
	return c, nil
}

// regular says that a name is that of a file, or of a link to one: logs and database of
// an image that was mounted are often put together with links.
func regular(dir string, e os.DirEntry) bool {
	if e.Type()&os.ModeSymlink == 0 {
		return e.Type().IsRegular()
	}
	fi, err := os.Stat(filepath.Join(dir, e.Name()))
	return err == nil && fi.Mode().IsRegular()
}

// Name is the authority's, as its database is called.
func (c *CertLog) Name() string {
	return strings.TrimSuffix(filepath.Base(c.Database), filepath.Ext(c.Database))
}

// Verify is [Verify] for the directory: there is no manifest, and everything is held
// against what it says of itself. It is read where it is, and not written to; a service
// that runs there keeps its files to itself. Of the options, those for sets are not
// used.
func (c *CertLog) Verify(ctx context.Context, o VerifyOptions) (rep *VerifyReport, err error) {
	if o.Level == "" {
		o.Level = LevelDatabase
	}
	started := time.Now()
	v := &certLogCheck{c: c, o: o, rep: &VerifyReport{Schema: 1, Level: o.Level, Started: started.UTC()}}
	err = v.run(ctx)
	rep = v.rep
	rep.Findings, rep.Duration = v.found.All(), time.Since(started)
	if rep.Findings == nil {
		rep.Findings = []cadb.Finding{}
	}
	rep.OK = err == nil && !v.found.Damaged()
	rep.judge()
	return rep, err
}

type certLogCheck struct {
	c      *CertLog
	o      VerifyOptions
	rep    *VerifyReport
	found  cadb.Findings
	report *esecheck.Report
}

func (v *certLogCheck) run(ctx context.Context) error {
	set := SetReport{Name: filepath.Base(v.c.Dir), Location: v.c.Dir, Type: TypeCertLog, State: "unconfirmed", NoManifest: true, CA: v.c.Name()}
	in := eseInput{what: set.Name, depth: esecheck.Pages}
	if v.o.Level.reaches(LevelDatabase) {
		in.depth = esecheck.Trees
	}
	for _, path := range slices.Concat([]string{v.c.Database}, v.c.Logs, []string{v.c.Checkpoint}) {
		if path == "" {
			continue
		}
		f, err := localESE(filepath.Base(path), path)
		if err != nil {
			return err
		}
		set.Files, set.Bytes = set.Files+1, set.Bytes+f.size
		switch path {
		case v.c.Database:
			in.database = &f
		case v.c.Checkpoint:
			in.checkpoint = &f
		default:
			in.logs = append(in.logs, f)
		}
	}
	v.rep.Sets = []SetReport{set}
	if !v.o.Level.reaches(LevelContent) {
		v.say(&v.rep.NotProven, "content", "That the files are whole: without a manifest there is nothing to hold them against at this level.")
		return nil
	}
	x := fetcher{progress: v.o.Progress, phase: Progress{Phase: "checking", File: filepath.Base(v.c.Database), Total: set.Bytes}}
	in.progress = x.reached
	report, found, err := checkESE(ctx, in)
	if err != nil {
		return err
	}
	v.report, v.rep.Verdict, v.rep.Bytes = report, report.String(), set.Bytes
	v.found.Add(found...)
	if n := len(report.Logs); n > 0 {
		v.rep.Sets[0].First, v.rep.Sets[0].Last = report.Logs[0].Generation, report.Logs[n-1].Generation
	}
	v.proven()
	if !v.o.Level.reaches(LevelDatabase) {
		v.say(&v.rep.NotProven, "rows", "That the rows are right: they were not read.")
		return nil
	}
	return v.rows(ctx)
}

func (v *certLogCheck) say(list *[]Statement, code, format string, args ...any) {
	*list = append(*list, Statement{code, fmt.Sprintf(format, args...)})
}

func (v *certLogCheck) proven() {
	r := v.report
	if v.found.Damaged() || r.Header == nil {
		v.rep.NotProven = append(v.rep.NotProven, Statement{"recovery", "That the database can be recovered: there is damage."})
		return
	}
	v.say(&v.rep.Proven, "files", "The database and %s are whole: each of %s and %s.", count(len(r.Logs), "log"), count(int64(r.Pages.Good+r.Pages.Correctable), "page"), segments(oldLogs(r)))
	switch {
	case r.Low == 0 && r.Header.State != ese.CleanShutdown:
		v.say(&v.rep.NotProven, "chain", "That all logs are there: the database was not shut down (%v), and does not say which it needs.", r.Header.State)
		v.rep.NotProven = append(v.rep.NotProven, recoveryOpen)
	case r.Low == 0:
		v.say(&v.rep.Proven, "clean", "The database was shut down: it needs no logs.")
	default:
		v.say(&v.rep.Proven, "chain", "The logs that recovery needs, %s, are there, follow each other and belong to this database.", generations(r.Low, max(r.High, r.Low)))
		v.rep.NotProven = append(v.rep.NotProven, recoveryOpen)
	}
	v.say(&v.rep.Proven, "verdict", "Verdict: %s.", r)
	v.say(&v.rep.NotProven, "no-manifest", "That nobody changed the files and their checksums with them: what they are held against stands in them.")
}

// rows reads the database as it stands, also a damaged one as far as that goes.
func (v *certLogCheck) rows(ctx context.Context) (err error) {
	label := filepath.Base(v.c.Database)
	db, err := cadb.Open(ctx, v.c.Database)
	if err != nil {
		if ctx.Err() != nil || environmental(err) {
			return err
		}
		v.found.Add(cadb.Finding{Severity: cadb.Warning, Code: cadb.CodeUnchecked, File: label, Message: "it cannot be read: " + inDir(err, v.c.Dir)})
		v.say(&v.rep.NotProven, "rows", "What is in the database: it could not be read.")
		return nil
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	from := "the database itself"
	if v.o.CACertificate != nil {
		from = "the certificate given"
	}
	rep, err := cadb.Check(ctx, db, v.o.CACertificate)
	if errors.Is(err, cadb.ErrNoCACertificate) {
		v.found.Add(cadb.Finding{Severity: cadb.Warning, Code: cadb.CodeMissing, File: label, Message: err.Error() + "; rows were not looked at"})
		return nil
	}
	if err != nil {
		if ctx.Err() != nil || environmental(err) {
			return err
		}
		v.found.Add(cadb.Finding{Severity: cadb.Damage, Code: cadb.CodeUnreadable, File: label, Message: inDir(err, v.c.Dir)})
	}
	for _, f := range rep.Findings {
		f.File = label
		v.found.Add(f)
	}
	damaged := err != nil || rep.Damaged()
	rep.Findings = nil
	info := db.Info()
	d := &DatabaseReport{Report: rep, CAFrom: from, Size: info.Size, Unreplayed: info.Unrecovered, Verdict: v.rep.Verdict, State: info.State, Generation: v.report.Generation}
	v.rep.Database = d
	how := "It holds"
	if info.Unrecovered {
		how = "Read without the logs, it holds"
	}
	v.say(&v.rep.Proven, "rows", "%s %s: %s.", how, count(rep.Requests, "request"), counts(rep.Dispositions))
	if !damaged {
		v.rep.Proven = append(v.rep.Proven, parsed(&rep))
		v.say(&v.rep.Proven, "signatures", "%s issued and revoked certificates in it are signed by %s (certificate from %s).",
			allOf(rep.Signatures, rep.Dispositions[schema.Issued]+rep.Dispositions[schema.Revoked]), rep.Issuer, from)
	}
	return nil
}
