package backup

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
)

// DrillOptions are the options of [Drill].
type DrillOptions struct {
	Source
	Until    Until
	MoreLogs []string // see MaterializeOptions
	OpenLog  string

	CACertificate *x509.Certificate // see VerifyOptions

	// Scratch is the directory in which a temporary one is made; empty for the
	// system's. Keep leaves it behind, with the recovered database in it.
	Scratch  string
	Keep     bool
	Progress func(Progress)
}

// DrillReport is what [Drill] showed.
type DrillReport struct {
	Schema int  `json:"schema"` // 1
	OK     bool `json:"ok"`     // recovered, and there is no damage

	CA     backupset.CA `json:"ca"`
	Engine string       `json:"engine"`
	Sets   []string     `json:"sets"`

	// Verdict is as in VerifyReport.
	Verdict  string          `json:"verdict,omitempty"`
	Database *DatabaseReport `json:"database,omitempty"`

	Findings  []cadb.Finding `json:"findings"`
	Proven    []Statement    `json:"proven"`
	NotProven []Statement    `json:"not_proven"`

	// Kept is the path of the recovered database, if it was to be kept.
	Kept string `json:"kept,omitempty"`

	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"duration_nanoseconds"`
	Bytes    int64         `json:"bytes_read"`
}

// Drill does a restore without an authority: it copies the chain into a
// temporary directory, recovers the database, opens it, counts its rows and
// holds every certificate and CRL against its row and the CA certificate. The
// report says what that proves and what it does not. A chain of AD CS, whose logs only
// its own service replays, is checked and read in place of the recovery. Damage is in the report;
// an error means that the drill could not be done. The directory is removed at
// the end, also when ctx is canceled.
func Drill(ctx context.Context, o DrillOptions) (rep *DrillReport, err error) {
	started := time.Now()
	rep = &DrillReport{Schema: 1, Started: started.UTC(), Findings: []cadb.Finding{}}
	defer func() {
		rep.Duration = time.Since(started)
		rep.OK = err == nil && !cadb.HasDamage(rep.Findings)
		judge(rep.Findings, &rep.Verdict, rep.Database, &rep.Proven)
	}()
	chain, _, err := o.chain(ctx)
	if err != nil {
		return rep, err
	}
	rep.CA, rep.Engine = chain.Full().Manifest.CA, chain.Full().Manifest.Engine
	for _, e := range chain {
		rep.Sets = append(rep.Sets, setLabel(e))
	}
	r, err := RecoverOptions{Source: o.Source, Until: o.Until, MoreLogs: o.MoreLogs, OpenLog: o.OpenLog, Scratch: o.Scratch, Progress: o.Progress}.recover(ctx, chain)
	if err != nil {
		return rep, rep.damage(err)
	}
	if o.Keep {
		rep.Kept = r.Materialized.Database
		r.remove = func(*error) {}
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	rep.Bytes = r.Materialized.Bytes
	rep.Findings = append(append(rep.Findings, r.Materialized.Findings...), r.checked...)
	if r.Checked != nil {
		rep.Verdict = r.Checked.String()
	}
	if r.Unreplayed && r.DB == nil {
		f, open := r.unreadable()
		rep.Findings, rep.Proven, rep.NotProven = append(rep.Findings, f), r.wholeStatements(), open
		return rep, nil
	}
	p, err := r.prove(ctx, o.CACertificate)
	if err != nil {
		return rep, rep.damage(err)
	}
	rep.Findings = append(rep.Findings, p.report.Findings...)
	rep.Database = r.databaseReport(p)
	rep.Proven, rep.NotProven = r.proven(p), r.notProven(p)
	return rep, nil
}

// damage moves the findings of a DamageError into the report.
func (rep *DrillReport) damage(err error) error {
	var d *DamageError
	if !errors.As(err, &d) {
		return err
	}
	rep.Findings = append(rep.Findings, d.Findings...)
	rep.NotProven = append(rep.NotProven, Statement{"recovery", "That the database can be recovered: it was tried, and failed."})
	return nil
}
