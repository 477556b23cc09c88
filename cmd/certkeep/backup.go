package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/internal/eventlog"
)

type backupOptions struct {
	serverOptions
	destinationOptions
	kind    string
	keepLog bool
	bad     string
	trace   bool
	force   bool
	dryRun  bool
	events  bool
}

func (o *backupOptions) addFlags(f *pflag.FlagSet) {
	o.destinationOptions.addFlags(f)
	f.StringVar(&o.kind, "type", string(backup.Auto), "`TYPE`: full, incremental, or auto: incremental if it can continue the newest set, else full")
	f.BoolVar(&o.keepLog, "keep-log", false, "do not truncate the authority's logs")
	f.StringVar(&o.bad, "bad-pages", string(backup.FailOnBadPages), "if a page of AD CS's database arrives damaged: `WHAT` is fail, or mark: finish the set, name the pages in it, and truncate nothing")
	f.BoolVar(&o.trace, "trace", false, "print each call of the procedure with its result as it happens")
	f.BoolVar(&o.force, "force", false, "replace the set in DIR, once the new one is complete")
	f.BoolVar(&o.dryRun, "dry-run", false, "say which type of set would be taken, and take none")
	addEventLogFlag(f, &o.events)
}

func newBackupCommand(c *console) *cobra.Command {
	var o backupOptions
	cmd := &cobra.Command{
		Use:   "backup SERVER (--folder DIR | -r REPO…) [--type auto|full|incremental] [--keep-log] [--trace]",
		Short: "take a backup set",
		Long: `backup takes a set from an authority while it runs, into a repository or a plain
folder. DIR becomes the set; the directory that DIR is in holds its chain, so that
backups/monday (full) and backups/tuesday (incremental) belong together. With -r given
several times the set goes to all of these repositories at once, and the authority's
logs are truncated only when all of them, or --quorum, have it.

The set appears whole or not at all. Full and incremental backups truncate the
authority's logs, once the set is safe, unless --keep-log is given. The private
key is in no backup of the database: keep a copy of it elsewhere.`,
		Args: c.exactly("SERVER"),
		RunE: c.do(func(ctx context.Context, args []string) error {
			return c.reported(ctx, o.events && !o.dryRun, backupEvents, func(h *happening) error { return runBackup(ctx, c, args[0], o, h) })
		}),
	}
	o.addServerFlags(cmd)
	o.addFlags(cmd.Flags())
	choices(cmd, "bad-pages", string(backup.FailOnBadPages), string(backup.MarkBadPages))
	choices(cmd, "type", string(backup.Auto), string(backup.Full), string(backup.Incremental))
	return describeRepository(cmd, "certkeep backup ca:pki --folder backups/monday\n"+
		"certkeep backup adcs://backup@CORP.EXAMPLE@ca01.corp.example -r s3://pki-backup/ca01?endpoint=https://minio.corp.example", exitPartly, exitLocked)
}

func runBackup(ctx context.Context, c *console, server string, o backupOptions, h *happening) error {
	h.Folder = o.place()
	if err := o.check(); err != nil {
		return err
	}
	kind := backup.TakeType(o.kind)
	switch kind {
	case backup.Auto, backup.Full, backup.Incremental:
	default:
		return usagef("--type is auto, full or incremental, not %q", o.kind)
	}
	bad, err := backup.ParsePagePolicy(o.bad)
	if err != nil {
		return usagef("--bad-pages: %w", err)
	}
	to, err := o.open(ctx, c)
	if err != nil {
		return err
	}
	var res *backup.TakeResult
	var dry *backupResult
	err = withServer(ctx, c, server, o.serverOptions, connect.Options{}, func(conn *connect.Connection) (err error) {
		if o.dryRun {
			dry, err = rehearseBackup(ctx, conn, to, kind, o.force)
			return err
		}
		m := c.progress()
		defer m.Close()
		take := conn.TakeOptions()
		take.Store, take.Name, take.Force, take.Type, take.KeepLog = to.store, to.name, o.force, kind, o.keepLog
		take.BadPages = bad
		take.Tool, take.Observe, take.Progress = backup.ToolName(versionOf().Version), c.tracer(o.trace), m.job
		res, err = backup.Take(ctx, take)
		return err
	})
	switch {
	case dry != nil && err == nil:
		return c.result(dry, dry.human)
	case res == nil:
		return backupFailure(err, o.folder)
	}
	r := newBackupResult(res, to)
	h.Authority, h.Set = r.Authority, r.Set
	if res.Receipt != nil && res.Receipt.Truncation.NotTruncated {
		h.more = append(h.more, eventlog.Event{ID: eventlog.LogsNotTruncated, What: strings.Join(r.Remarks, "; "), Set: r.Set, Authority: r.Authority, Folder: o.place()})
	}
	// The set is there and safe, whatever failed after it was.
	return errors.Join(c.result(r, r.human), withExit(exitPartly, backupFailure(err, o.folder)), r.partly(), to.degraded())
}

// backupFailure adds what certutil's users know to what they know it from.
func backupFailure(err error, dir string) error {
	if errors.Is(err, certadm.ErrorDirNotEmpty) && hintOf(err) == "" {
		return withHint(err, "choose another folder than %s, or replace the set in it with --force", dir)
	}
	return err
}

// rehearseBackup decides, without a session, what would be taken.
func rehearseBackup(ctx context.Context, conn *connect.Connection, to *destination, kind backup.TakeType, force bool) (*backupResult, error) {
	online, err := conn.Service().IsServerOnline(ctx)
	if err == nil && !online {
		err = &certadm.Error{Op: certadm.FnIsServerOnline, Code: certadm.ErrorServiceNotActive}
	}
	if err != nil {
		return nil, err
	}
	id, err := conn.Identity(ctx)
	if err != nil {
		return nil, err
	}
	if to.dir != "" {
		if entries, err := os.ReadDir(filepath.Join(to.dir, "DataBase")); err == nil && len(entries) > 0 && !force {
			return nil, backupFailure(&certadm.Error{Op: "backup", Path: to.dir, Code: certadm.ErrorDirNotEmpty}, to.dir)
		}
	}
	r := &backupResult{Authority: id.Name, Folder: to.dir, Repositories: to.repositories(), Type: string(backup.Full), DryRun: true}
	if kind == backup.Full {
		return r, nil
	}
	entries, err := to.store.List(ctx)
	if err != nil {
		return nil, err
	}
	chain, err := backupset.Parent(entries, func(m *backupset.Manifest) bool { return m.CA.SanitizedName == id.SanitizedName })
	switch {
	case err == nil:
		r.Type, r.Parent = string(backup.Incremental), chain.Tip().ID
	case kind == backup.Incremental:
		return nil, withHint(fmt.Errorf("no incremental backup is possible: %w", err), "take a full backup: --type full")
	default:
		r.Reason = err.Error()
	}
	return r, nil
}

type backupResult struct {
	Set             string   `json:"set,omitempty"`
	Folder          string   `json:"folder,omitempty"`
	Repositories    []string `json:"repositories,omitempty"`
	Missed          []string `json:"missed,omitempty"` // repositories that did not get the set, with the reason
	Stored          int64    `json:"stored,omitempty"` // bytes added to the first repository
	Authority       string   `json:"authority"`
	Type            string   `json:"type"`
	Reason          string   `json:"reason,omitempty"` // why this type, when it was auto
	Parent          string   `json:"parent,omitempty"`
	Confirmed       bool     `json:"confirmed"`
	Files           int      `json:"files"`
	Bytes           int64    `json:"bytes"`
	Seconds         float64  `json:"seconds"`
	FirstGeneration uint32   `json:"first_generation,omitempty"`
	LastGeneration  uint32   `json:"last_generation,omitempty"`
	EarliestTarget  uint32   `json:"earliest_target,omitempty"`
	Truncated       []uint32 `json:"truncated"` // generations that are really gone from the server
	DynamicFiles    []string `json:"dynamic_files,omitempty"`
	NotAttempted    []string `json:"not_attempted,omitempty"` // dynamic files that are only named, because the server is across the network
	Companions      []string `json:"companions,omitempty"`
	Skipped         []string `json:"skipped,omitempty"`   // what could not be copied, with the reason
	Unchecked       []string `json:"unchecked,omitempty"` // what was copied and could not be checked, with the reason
	Remarks         []string `json:"remarks,omitempty"`   // of the truncation

	Completeness *backupset.Completeness `json:"completeness,omitempty"`
	DryRun       bool                    `json:"dry_run,omitempty"`

	res *backup.TakeResult
}

func newBackupResult(res *backup.TakeResult, to *destination) *backupResult {
	m := res.Manifest
	r := &backupResult{
		Set: m.ID, Folder: to.dir, Repositories: to.repositories(), Missed: to.missed(), Stored: to.added(m.ID), Authority: m.CA.Name, Type: string(m.Type), Reason: res.Reason, Parent: m.Parent,
		Files: len(m.Files), Bytes: m.Size(), Seconds: res.Duration.Seconds(),
		FirstGeneration: m.FirstGeneration, LastGeneration: m.LastGeneration, EarliestTarget: m.EarliestTarget,
		Truncated: []uint32{}, Completeness: &m.Completeness, res: res,
	}
	if res.Receipt != nil {
		r.Confirmed = res.Receipt.Confirmed
		r.Truncated = append(r.Truncated, res.Receipt.Truncation.Removed...)
	}
	for _, d := range m.DynamicFiles {
		switch {
		case d.Error == "":
			r.DynamicFiles = append(r.DynamicFiles, d.File)
		case m.Completeness.DynamicFiles == backupset.NotAttempted:
			r.NotAttempted = append(r.NotAttempted, d.Source)
		default:
			r.Skipped = append(r.Skipped, d.Source+": "+d.Error)
		}
	}
	for _, f := range m.ByRole(backupset.RoleCompanion) {
		r.Companions = append(r.Companions, f.Name)
	}
	r.Skipped = append(r.Skipped, res.Skipped...)
	r.Unchecked, r.Remarks = res.Unchecked, res.Remarks
	return r
}

// partly is the error of a backup that had to leave something out.
func (r *backupResult) partly() error {
	var parts []string
	if len(r.Skipped) > 0 {
		parts = append(parts, "not copied: "+strings.Join(r.Skipped, "; "))
	}
	if len(r.Unchecked) > 0 {
		parts = append(parts, "copied, and not checked: "+strings.Join(r.Unchecked, "; "))
	}
	if parts == nil {
		return nil
	}
	return withExit(exitPartly, errors.New(strings.Join(parts, "; ")))
}

func (r *backupResult) human(w io.Writer) error {
	if r.DryRun {
		why := ""
		switch {
		case r.Parent != "":
			why = " that continues " + r.Parent
		case r.Reason != "":
			why = ": " + r.Reason
		}
		_, err := fmt.Fprintln(w, oneLine(fmt.Sprintf("would take %s set of %s%s", article(r.Type), r.Authority, why)))
		return err
	}
	m := r.res.Manifest
	kind := r.Type
	if r.Reason != "" {
		kind += " (" + r.Reason + ")"
	}
	if !r.Confirmed {
		kind += ", unconfirmed"
	}
	database := ""
	if f, ok := m.Find(backupset.RoleDatabase); ok {
		database = size(f.Size)
	}
	var missing []string
	for _, p := range m.Completeness.Parts() {
		if p.Presence == backupset.NotAttempted || p.Presence == backupset.InHSM {
			missing = append(missing, p.Name+" ("+string(p.Presence)+")")
		}
	}
	stored := size(r.Bytes) + " in " + took(r.res.Duration)
	if r.Repositories != nil {
		stored += ", " + size(r.Stored) + " added to the repository"
	}
	return fields(w, "authority", r.Authority, "type", kind, "set", r.Set, "folder", r.Folder, "repository", strings.Join(r.Repositories, ", "),
		"database", database, "logs", logsText(m), "dynamic files", strings.Join(r.DynamicFiles, ", "), "companions", strings.Join(r.Companions, ", "),
		"truncated", truncatedText(r.res.Receipt), "remarks", strings.Join(r.Remarks, "; "), "stored", stored,
		"not in it", strings.Join(missing, ", "))
}

func article(kind string) string {
	if kind == string(backup.Incremental) {
		return "an " + kind
	}
	return "a " + kind
}

func logsText(m *backupset.Manifest) string {
	logs := m.ByRole(backupset.RoleLog)
	if len(logs) == 0 {
		return "none"
	}
	var n int64
	for _, f := range logs {
		n += f.Size
	}
	return fmt.Sprintf("%s, %s (%s)", plural(len(logs), "log", "logs"), size(n), generations(m.FirstGeneration, m.LastGeneration))
}

func truncatedText(r *backupset.Receipt) string {
	switch {
	case r == nil || !r.Truncation.Requested:
		return "no"
	case len(r.Truncation.Removed) == 0:
		return "no log was removed"
	}
	g := r.Truncation.Removed
	return fmt.Sprintf("%s (%s)", plural(len(g), "log", "logs"), generations(g[0], g[len(g)-1]))
}

// generations writes a range as the digits of log names.
func generations(first, last uint32) string {
	if first == last {
		return certadm.LogDigits(first)
	}
	return certadm.LogDigits(first) + " to " + certadm.LogDigits(last)
}
