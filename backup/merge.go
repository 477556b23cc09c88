package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
)

// MergeOptions are the options of [Merge].
type MergeOptions struct {
	Source
	Until    Until
	MoreLogs []string // see MaterializeOptions
	OpenLog  string

	// To takes the merged set, under Name where it names sets. Force replaces a
	// set of that name.
	To    backupset.Store
	Name  string
	Force bool

	PlanOnly bool // verify, and write nothing

	Tool     string // what the manifest names as its maker
	Scratch  string // see RecoverOptions
	Progress func(Progress)
}

// MergeReport is what [Merge] did.
type MergeReport struct {
	Schema    int                 `json:"schema"` // 1
	Plan      bool                `json:"plan"`
	Sets      []string            `json:"sets"`
	Manifest  *backupset.Manifest `json:"manifest"`
	Database  *DatabaseReport     `json:"database"`
	Findings  []cadb.Finding      `json:"findings"`
	Proven    []Statement         `json:"proven"`
	NotProven []Statement         `json:"not_proven"`
	Bytes     int64               `json:"bytes"`
	Duration  time.Duration       `json:"duration_nanoseconds"`
}

// Merge writes a chain as one full set: the database as it was copied, all logs
// up to the target, the restore map and the newest dynamic files. In a plain
// folder that is what certutil -restoreDB takes. The chain is recovered and
// checked in a temporary directory first. The new set is unconfirmed: no server
// ended a session for it, and no incremental set can continue it.
func Merge(ctx context.Context, o MergeOptions) (rep *MergeReport, err error) {
	started := time.Now()
	rep = &MergeReport{Schema: 1, Plan: o.PlanOnly, Findings: []cadb.Finding{}}
	defer func() { rep.Duration = time.Since(started) }()
	chain, _, err := o.chain(ctx)
	if err != nil {
		return rep, err
	}
	for _, e := range chain {
		rep.Sets = append(rep.Sets, setLabel(e))
	}
	r, err := RecoverOptions{Source: o.Source, Until: o.Until, MoreLogs: o.MoreLogs, OpenLog: o.OpenLog, Scratch: o.Scratch, Progress: o.Progress, quick: true}.recover(ctx, chain)
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if r.Target.Generation < r.copyEnd {
		// A folder has no place to say "not as far as the logs go".
		end := r.Logs[slices.IndexFunc(r.Logs, func(l MaterializedLog) bool { return l.Generation == r.copyEnd })]
		return rep, &TargetError{Asked: o.Until, Earliest: r.copyEnd, EarliestClosed: end.Closed, Latest: r.Latest.Generation, LatestClosed: r.Latest.Closed}
	}
	rep.Findings = append(rep.Findings, r.Materialized.Findings...)
	if !r.Engine.Replays() {
		rep.Findings = append(rep.Findings, r.checked...)
		rep.Proven, rep.NotProven = r.unread()
	} else if err := rep.prove(ctx, r); err != nil {
		return rep, err
	}
	rep.Manifest = r.mergedManifest(started, o.Tool)
	if o.PlanOnly {
		return rep, nil
	}
	w, err := o.To.Create(ctx, backupset.CreateOptions{Name: o.Name, Force: o.Force})
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, w.Abort()) }()
	m := &merger{r: r, w: w, rep: rep, progress: o.Progress}
	if err := m.run(ctx); err != nil {
		return rep, err
	}
	rep.Manifest.End = time.Now()
	return rep, w.Commit(ctx, rep.Manifest)
}

// prove looks into a database that could be recovered.
func (rep *MergeReport) prove(ctx context.Context, r *Recovery) error {
	p, err := r.prove(ctx, nil)
	if err != nil {
		return err
	}
	rep.Findings = append(rep.Findings, p.report.Findings...)
	if p.report.Damaged() {
		return &DamageError{p.report.Findings}
	}
	rep.Database = r.databaseReport(p)
	rep.Proven, rep.NotProven = r.proven(p), r.notProven(p)
	return nil
}

// mergedManifest is the manifest of the new set, without its files.
func (r *Recovery) mergedManifest(now time.Time, tool string) *backupset.Manifest {
	full, tip := r.Chain.Full().Manifest, r.Chain.Tip().Manifest
	m := &backupset.Manifest{
		ID: backupset.NewID(now), Tool: tool, CA: full.CA, Engine: full.Engine, Type: backupset.Full, Start: now, End: now,
		Signature: r.Target.Signature, FirstGeneration: r.Logs[0].Generation, LastGeneration: r.Target.Generation,
		EarliestTarget: r.Earliest.Generation, Completeness: tip.Completeness,
	}
	for _, l := range r.Locations {
		m.Locations = append(m.Locations, backupset.Location{Tag: l.Type, Path: l.Path})
	}
	c := &m.Completeness
	c.Database, c.Logs = backupset.Present, backupset.Present
	c.RestoreMap, c.DynamicFiles = backupset.Absent, backupset.Absent
	for _, p := range []*backupset.Presence{&c.CACertificate, &c.PrivateKey, &c.Configuration, &c.CAPolicy, &c.Templates} {
		if *p == "" {
			*p = backupset.NotAttempted
		}
	}
	// Other companions are not taken along.
	for _, p := range []*backupset.Presence{&c.PrivateKey, &c.CAPolicy, &c.Templates} {
		if *p == backupset.Present {
			*p = backupset.Absent
		}
	}
	c.CACertificate, c.Configuration = backupset.Absent, backupset.Absent
	return m
}

type merger struct {
	r        *Recovery
	w        backupset.Writer
	rep      *MergeReport
	progress func(Progress)
	phase    Progress
}

func (m *merger) run(ctx context.Context) (err error) {
	m.phase = Progress{Phase: "writing", Total: m.r.DatabaseFile.Size}
	for _, l := range m.r.Logs {
		m.phase.Total += l.File.Size
	}
	// The copy that was verified has been recovered since; what is wanted is
	// the one in the set.
	src, err := m.r.sets[0].Open(ctx, m.r.DatabaseFile)
	if err != nil {
		return fmt.Errorf("%s: %w", m.r.databaseLabel(), err)
	}
	err = m.file(ctx, backupset.RoleDatabase, m.r.DatabaseFile, src, m.r.databaseLabel())
	if err = errors.Join(err, src.Close()); err != nil {
		return err
	}
	for _, l := range m.r.Logs {
		f := l.File
		f.Name, f.SHA256 = m.r.logName(l), l.SHA256
		if err := m.local(ctx, backupset.RoleLog, f, l.Path, m.r.Label(l.MaterializedFile)); err != nil {
			return err
		}
	}
	raw := m.r.RawLocations
	if raw == nil { // its file was damaged; the manifest has the same
		if raw, err = certadm.EncodeLocations(m.r.Locations); err != nil {
			return err
		}
	}
	f := backupset.File{Name: backupset.LocationsName, Size: int64(len(raw)), SHA256: fingerprint(raw)}
	if err := m.file(ctx, backupset.RoleLocations, f, bytes.NewReader(raw), f.Name); err != nil {
		return err
	}
	m.rep.Manifest.Completeness.RestoreMap = backupset.Present
	return m.dynamic(ctx)
}

// dynamic takes the newest dynamic files along, and the certificates and CRLs
// among the companions.
func (m *merger) dynamic(ctx context.Context) error {
	newest := -1
	for _, f := range m.r.Dynamic {
		newest = max(newest, f.Set)
	}
	c := &m.rep.Manifest.Completeness
	for _, f := range m.r.Dynamic {
		if f.Set != newest {
			continue
		}
		g := f.File
		g.SHA256 = f.SHA256
		if err := m.local(ctx, g.Role, g, f.Path, m.r.Label(f)); err != nil {
			return err
		}
		if g.Role == backupset.RoleDynamic {
			m.rep.Manifest.DynamicFiles = append(m.rep.Manifest.DynamicFiles, backupset.DynamicFile{Source: g.Source, File: g.Name})
			c.DynamicFiles = backupset.Present
		}
		switch strings.ToLower(filepath.Ext(g.Name)) {
		case ".crt":
			c.CACertificate = backupset.Present
		case ".json":
			c.Configuration = backupset.Present
		}
	}
	return nil
}

func (m *merger) local(ctx context.Context, role backupset.Role, f backupset.File, path, label string) (err error) {
	src, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return m.file(ctx, role, f, src, label)
}

// file stores a file, which must be what was verified.
func (m *merger) file(ctx context.Context, role backupset.Role, f backupset.File, src io.Reader, label string) error {
	dst, err := m.w.CreateFile(ctx, role, f.Name, f.Size)
	if err != nil {
		return err
	}
	m.phase.File = f.Name
	n, sum, err := backupset.Copy(ctx, dst, &counting{src, func(n int) {
		m.phase.Done += int64(n)
		if m.progress != nil {
			m.progress(m.phase)
		}
	}})
	if err = errors.Join(err, dst.Close()); err != nil {
		return fmt.Errorf("storing %s: %w", label, err)
	}
	if sum != f.SHA256 {
		return damage(cadb.CodeHash, label, "", "changed since it was verified: SHA-256 %s, it was %s", sum, f.SHA256)
	}
	f.Role, f.Size = role, n
	m.rep.Manifest.Files = append(m.rep.Manifest.Files, f)
	m.rep.Bytes += n
	return nil
}

// counting tells how much is read through it.
type counting struct {
	r    io.Reader
	read func(n int)
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read(n)
	return n, err
}
