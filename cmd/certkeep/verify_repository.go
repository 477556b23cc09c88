package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/repo"
)

// repositoryReport is the outcome of verifying a repository.
type repositoryReport struct {
	Repository string                 `json:"repository"`
	Level      string                 `json:"level"`
	Sets       int                    `json:"sets"`
	Hidden     int                    `json:"hidden,omitempty"` // sets whose manifests nothing here opens
	Share      string                 `json:"share,omitempty"`
	Objects    int                    `json:"objects"`
	Bytes      int64                  `json:"bytes"`
	Segments   int                    `json:"segments,omitempty"`
	Chunks     int64                  `json:"chunks,omitempty"`
	Findings   []repositoryFinding    `json:"findings"`
	Reports    []*backup.VerifyReport `json:"reports,omitempty"` // of the sets' files and databases
	Recorded   bool                   `json:"recorded"`
	OK         bool                   `json:"ok"`
	Seconds    float64                `json:"seconds"`
}

type repositoryFinding struct {
	Set     string `json:"set,omitempty"`
	Object  string `json:"object,omitempty"`
	Message string `json:"message"`
}

// parseShare reads 1/30.
func parseShare(s string) (parts int, err error) {
	one, n, ok := strings.Cut(s, "/")
	parts, perr := strconv.Atoi(n)
	if !ok || one != "1" || perr != nil || parts < 2 || parts > 10_000 {
		return 0, usagef("--share is written 1/N, for example 1/30, not %q", s)
	}
	return parts, nil
}

func runVerifyRepository(ctx context.Context, c *console, o verifyOptions, sets []string, h *happening) error {
	if err := o.check(); err != nil {
		return err
	}
	level, err := backup.ParseLevel(o.level)
	if err != nil {
		return usagef("--level: %w", err)
	}
	certificate, err := optionalCertificate(o.caCertificate)
	if err != nil {
		return err
	}
	parts := 0
	if o.share != "" {
		if parts, err = parseShare(o.share); err != nil {
			return err
		}
		if level != backup.LevelSealed && level != backup.LevelContent {
			return usagef("--share belongs to --level sealed or content")
		}
	}
	deep := level == backup.LevelContent || level == backup.LevelDatabase
	a := toLook
	if deep {
		a = toRead
	}
	r, err := o.open(ctx, c, a)
	if err != nil {
		return err
	}
	v := &repositoryVerifier{c: c, r: r, o: o, level: level, parts: parts, started: time.Now(), bad: map[string]bool{}}
	v.options = backup.VerifyOptions{Level: level, CACertificate: certificate}
	if err := v.choose(ctx, sets); err != nil {
		return err
	}
	v.meter = c.progress()
	defer v.meter.Close()
	if err := v.objects(ctx); err != nil {
		return err
	}
	if level == backup.LevelDatabase {
		if err := v.files(ctx, r); err != nil {
			return err
		}
	}
	v.meter.Close()
	v.record(ctx)
	v.report.Seconds, v.report.OK = time.Since(v.started).Seconds(), v.failure() == nil
	if len(v.ids) > 0 {
		h.Set = v.ids[len(v.ids)-1]
	}
	if err := c.result(&v.report, v.human); err != nil {
		return err
	}
	return v.failure()
}

type repositoryVerifier struct {
	c       *console
	r       *repo.Repository
	o       verifyOptions
	meter   *meter
	level   backup.Level
	part    int // of parts, to be read now
	parts   int
	options backup.VerifyOptions
	started time.Time

	entries []backupset.Entry // that can be listed
	ids     []string          // of the sets chosen; empty means all
	through []string          // others of their chains, whose files were read through
	begun   int               // sets whose files are being read, or were
	report  repositoryReport
	sound   []string
	bad     map[string]bool
}

// choose finds the sets. With none named they are all of them; but a database is recovered
// from each authority's newest alone.
func (v *repositoryVerifier) choose(ctx context.Context, names []string) error {
	var err error
	if v.entries, err = v.r.List(ctx); err != nil {
		return err
	}
	for _, name := range names {
		e, err := findSet(v.entries, name, v.o.ca)
		if err != nil {
			// Without keys there are only ids.
			if v.r.Readable() || len(v.entries) > 0 {
				return err
			}
			e.ID = name
		}
		v.ids = append(v.ids, e.ID)
	}
	if len(names) > 0 || v.level != backup.LevelDatabase {
		return nil
	}
	newest := map[string]string{}
	var order []string
	for _, e := range v.entries {
		if e.Manifest == nil {
			continue
		}
		key := authorityKey(e.Manifest.CA)
		if newest[key] == "" {
			order = append(order, key)
		}
		newest[key] = e.ID
	}
	for _, key := range order {
		v.ids = append(v.ids, newest[key])
	}
	return nil
}

// objects verifies the repository's objects, as deep as the level goes: at the level of contents with the sets' files, so
// that little is read twice.
func (v *repositoryVerifier) objects(ctx context.Context) error {
	level := map[backup.Level]string{backup.LevelInventory: repo.LevelInventory, backup.LevelSealed: repo.LevelSealed,
		backup.LevelContent: repo.LevelContent, backup.LevelDatabase: repo.LevelInventory}[v.level]
	ro := repo.VerifyOptions{Sets: v.ids, Level: level, Files: v.files, Progress: func(done, total int64) { v.meter.Set("packs", done, total) }}
	if v.parts > 0 {
		v.part = v.r.NextShare(level, v.parts)
		ro.Part, ro.Parts = v.part, v.parts
		v.report.Share = fmt.Sprintf("%d/%d", v.part, v.parts)
	}
	res, err := v.r.Verify(ctx, ro)
	if err != nil {
		return err
	}
	v.report.Repository, v.report.Level = v.r.Location(), string(v.level)
	v.report.Sets, v.report.Hidden, v.report.Objects, v.report.Bytes = res.Sets, res.Hidden, res.Objects, res.Bytes
	v.report.Segments, v.report.Chunks = res.Segments, res.Chunks
	found := []repositoryFinding{}
	for _, f := range res.Findings {
		found = append(found, repositoryFinding{f.Set, f.Object, f.Err.Error()})
		if f.Set != "" {
			v.bad[f.Set] = true
		}
	}
	v.report.Findings = append(found, v.report.Findings...)
	v.sound = res.Sound
	return nil
}

// record keeps the outcome in the repository.
func (v *repositoryVerifier) record(ctx context.Context) {
	if v.o.noRecord {
		return
	}
	sound, bad := slices.Compact(slices.Sorted(slices.Values(v.sound))), slices.Sorted(maps.Keys(v.bad))
	sound = slices.DeleteFunc(sound, func(id string) bool { return v.bad[id] })
	err := v.r.Record(ctx, string(v.level), v.part, v.parts, sound, bad)
	if err == nil && len(v.through) > 0 {
		err = v.r.Record(ctx, repo.LevelContent, 0, 0, v.through, nil)
	}
	switch {
	case errors.Is(err, repo.ErrNoHost):
		v.c.warn("the outcome was not recorded in the repository: that takes a host's key or a restore identity")
	case err != nil:
		v.c.warn("the outcome could not be recorded in the repository: %v", err)
	default:
		v.report.Recorded = len(sound)+len(bad) > 0
	}
}

func (v *repositoryVerifier) failure() error {
	if n := len(v.report.Findings); n > 0 {
		f := v.report.Findings[0]
		return withExit(exitDamage, fmt.Errorf("%s of damage, the first: %s", plural(n, "finding", "findings"), f.Message))
	}
	var findings []cadb.Finding
	for _, r := range v.report.Reports {
		findings = append(findings, r.Findings...)
	}
	return damageError(findings)
}

func (v *repositoryVerifier) human(w io.Writer) error {
	r := &v.report
	hidden := ""
	if r.Hidden > 0 {
		hidden = plural(r.Hidden, "set", "sets") + " of authorities whose keys are not here: their objects were verified, not their manifests"
	}
	err := fields(w, "repository", r.Repository, "sets", count(r.Sets), "share", r.Share, "objects", count(r.Objects),
		"read", size(r.Bytes), "segments opened", positive(r.Segments), "chunks", positive(int(r.Chunks)), "hidden", hidden)
	for _, f := range r.Findings {
		_, e := fmt.Fprintf(w, "  %s  %s\n", v.c.style.red("damage "), oneLine(f.Message))
		err = errors.Join(err, e)
	}
	for _, report := range r.Reports {
		_, e := fmt.Fprintln(w)
		err = errors.Join(err, e, printVerify(v.c, w, report))
	}
	if len(r.Reports) == 0 {
		err = errors.Join(err, verdict(v.c, w, r.OK, fmt.Sprintf("level %s, %s", r.Level, took(time.Since(v.started)))))
	}
	return err
}

func positive(n int) string {
	if n == 0 {
		return ""
	}
	return count(n)
}
