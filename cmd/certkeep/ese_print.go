package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/certkeep/certkeep/cmd/certkeep/internal/eseview"
	"github.com/certkeep/certkeep/ese/esecheck"
)

// indent writes a JSON object for people.
func indent(w io.Writer, object []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, object, "", "  "); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// printESEFile prints a header under esentutl's names, for people who know those.
func printESEFile(c *console, w io.Writer, f *eseview.File) error {
	_, err := fmt.Fprintf(w, "%s: %s, %s\n", c.style.bold(oneLine(f.Path)), strings.ReplaceAll(f.Kind, "-", " "), size(f.Size))
	switch {
	case f.Database != nil:
		err = errors.Join(err, fields(w, databaseFields(f.Database)...))
	case f.Log != nil:
		err = errors.Join(err, fields(w, logFields(f.Log)...))
	case f.Checkpoint != nil:
		err = errors.Join(err, fields(w, checkpointFields(f.Checkpoint)...))
	}
	for _, n := range f.Notes {
		err = errors.Join(err, fields(w, "note", n))
	}
	return err
}

func databaseFields(h *eseview.Header) []string {
	copies := fmt.Sprintf("%s, shadow %s", h.Primary, h.Shadow)
	if h.Differ {
		copies += ", they differ"
	}
	list := []string{
		"  header", copies + "; " + h.Used + " used",
		"  state", h.State,
		"  format", fmt.Sprintf("0x%x,%d,%d (created as 0x%x,%d)", h.Version, h.Revision, h.MinorRevision, h.CreateVersion, h.CreateRevision),
		"  engine version", strconv.FormatUint(uint64(h.EngineVersion), 10),
		"  page size", strconv.Itoa(h.PageSize),
		"  pages", count(h.Pages),
		"  db signature", signatureText(h.Signature),
		"  log signature", signatureText(h.LogSignature),
		"  dbtime", fmt.Sprintf("%d (0x%x)", h.DBTime, h.DBTime),
		"  dbid", fmt.Sprint(h.DBID),
		"  last objid", fmt.Sprint(h.LastObjectID),
		"  os version", h.OS,
		"  log required", h.Required.String(),
		"  log committed", eseview.Range{Last: h.Committed}.String(),
		"  log recovering", zeroNone(h.Recovering),
		"  log consistent", zeroNone(h.MinConsistent),
		"  log max required created", h.RequiredTime,
		"  log max committed created", h.CommittedTime,
		"  last consistent", momentText(h.Consistent),
		"  last attach", momentText(h.Attach),
		"  last detach", momentText(h.Detach),
		"  last reattach", momentText(h.ReAttach),
		"  shadowed", map[bool]string{true: "yes", false: "no"}[h.Shadowed],
		"  last scrub", h.LastScrub,
		"  scan started", h.ScanStart,
		"  last scan", h.LastScan,
	}
	for _, b := range h.Backups {
		how := ""
		if b.Type != "" {
			how = ", " + b.Type
		}
		list = append(list, "  "+strings.ReplaceAll(b.Kind, "-", " ")+" backup",
			fmt.Sprintf("log gen %v, mark %s%s", b.Generations, momentText(b.Mark), how))
	}
	for _, i := range h.Incidents {
		text := fmt.Sprint(i.Count)
		if i.Last != "" {
			text += ", last " + i.Last
		}
		if i.Old != 0 {
			text += fmt.Sprintf(", before the last repair %d", i.Old)
		}
		list = append(list, "  "+strings.ReplaceAll(i.Kind, "-", " ")+" count", text)
	}
	list = append(list, "  trim count", fmt.Sprint(h.Trims), "  revert count", fmt.Sprint(h.Reverts))
	list = append(list, trailerFields(h)...)
	if n := h.NeededForRestore; n != nil {
		list = append(list, "  logs needed to restore", n.String())
	}
	return list
}

func trailerFields(h *eseview.Header) []string {
	var list []string
	if t := h.Trailer; t != nil {
		list = append(list, "  trailer", fmt.Sprintf("log gen %v, mark %s", t.Generations, momentText(t.Mark)),
			"  trailer db signature", signatureText(t.Signature), "  trailer log signature", signatureText(t.LogSignature))
		if t.Required != (eseview.Range{}) {
			list = append(list, "  trailer log required", t.Required.String(), "  trailer log committed", eseview.Range{Last: t.Committed}.String())
		}
	}
	return append(list, "  trailer is no good", h.TrailerError)
}

func logFields(l *eseview.Log) []string {
	body := "not checked: a log of version 7"
	if l.Checked {
		body = fmt.Sprintf("%d written, end: %s", l.Segments, l.End)
	}
	list := []string{
		"  generation", fmt.Sprintf("%d (0x%x)", l.Generation, l.Generation),
		"  created", l.Created,
		"  previous created", l.Previous,
		"  log signature", signatureText(l.Signature),
		"  format", l.Version,
		"  engine version", fmt.Sprint(l.EngineVersion),
		"  page size", strconv.Itoa(l.PageSize),
		"  sector size", strconv.Itoa(l.SectorSize),
		"  checkpoint", l.Checkpoint,
		"  previous checksums", fmt.Sprintf("0x%016x", l.PreviousSums),
		"  env systempath", l.SystemPath,
		"  env logfilepath", l.LogPath,
		"  flags", strings.Join(l.Flags, ", "),
		"  segments", body,
	}
	for _, f := range l.Faults {
		list = append(list, "  "+strings.ReplaceAll(f.Verdict, "-", " ")+" segment", fmt.Sprintf("%d at offset %d: %s", f.Segment, f.Offset, f.Message))
	}
	return append(list, attachedFields(l.Attached)...)
}

func checkpointFields(k *eseview.Checkpoint) []string {
	copies := "good"
	switch {
	case k.UsedShadow:
		copies = "damaged; its shadow is good and was used"
	case k.ShadowBroken:
		copies = "good; its shadow is damaged"
	case k.Differ:
		copies = "good; its shadow differs"
	}
	return append([]string{
		"  copy", copies,
		"  checkpoint", k.Position,
		"  log signature", signatureText(k.Signature),
		"  full backup checkpoint", k.FullBackup,
		"  last full backup", momentText(k.LastFull),
		"  last incremental backup", momentText(k.LastInc),
		"  consistency", k.Consistency,
	}, attachedFields(k.Attached)...)
}

func attachedFields(list []eseview.Attached) []string {
	var out []string
	for _, a := range list {
		out = append(out, fmt.Sprintf("  database %d", a.DBID), fmt.Sprintf("%s, signature %s, dbtime %d, attached at %s, consistent at %s",
			a.Path, signatureText(a.Signature), a.DBTime, a.Attach, a.Consistent))
	}
	return out
}

func signatureText(s *eseview.Signature) string {
	if s == nil {
		return "none"
	}
	text := fmt.Sprintf("create time %s, rand %d", dash(s.Created), s.Random)
	if s.Computer != "" {
		text += ", computer " + s.Computer
	}
	return text
}

func momentText(m eseview.Moment) string {
	if m.Position == "0:0:0" && m.Time == "" {
		return "none"
	}
	return "(" + m.Position + ") " + dash(m.Time)
}

func zeroNone(n uint32) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%d (0x%x)", n, n)
}

// printESECatalog prints the tables, one after the other.
func printESECatalog(w io.Writer, k *eseview.Catalog) error {
	_, err := fmt.Fprintf(w, "%s: %s, %s\n", oneLine(k.Path), k.State, plural(len(k.Tables), "table", "tables"))
	for _, t := range k.Tables {
		err = errors.Join(err, printESETable(w, t))
	}
	for _, n := range k.Notes {
		err = errors.Join(err, fields(w, "note", n))
	}
	return err
}

func printESETable(w io.Writer, t eseview.Table) error {
	head := fmt.Sprintf("\ntable %s: id %d, page %d", oneLine(t.Name), t.ID, t.Root)
	if t.LongValues != 0 {
		head += fmt.Sprintf(", long values from page %d", t.LongValues)
	}
	if t.Template != "" {
		head += ", columns of " + oneLine(t.Template)
	}
	if t.Rows != nil {
		head += ", " + plural(*t.Rows, "row", "rows")
	}
	if t.Unread != 0 {
		head += fmt.Sprintf(", %s could not be read", count(t.Unread))
	}
	_, err := fmt.Fprintln(w, head)
	rows := [][]string{{"  ID", "COLUMN", "TYPE", "STORAGE", "SIZE", "CODE PAGE", "FLAGS"}}
	for _, c := range t.Columns {
		rows = append(rows, []string{fmt.Sprintf("  %d", c.ID), c.Name, c.Type, c.Storage, zeroDash(c.Size), zeroDash(c.CodePage), dash(strings.Join(c.Flags, ","))})
	}
	err = errors.Join(err, eseLines(w, rows))
	if len(t.Indexes) == 0 {
		return err
	}
	rows = [][]string{{"  ID", "INDEX", "PAGE", "FLAGS", "KEY"}}
	for _, x := range t.Indexes {
		rows = append(rows, []string{fmt.Sprintf("  %d", x.ID), x.Name, fmt.Sprint(x.Root), dash(strings.Join(x.Flags, ",")), strings.Join(x.Columns, ", ")})
	}
	return errors.Join(err, eseLines(w, rows))
}

// eseLines is table for rows that are indented, which table would undo.
func eseLines(w io.Writer, rows [][]string) error {
	var b bytes.Buffer
	for _, r := range rows {
		r[0] = strings.TrimSpace(r[0])
	}
	if err := table(&b, rows); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := io.WriteString(w, "  "+line); err != nil {
			return err
		}
	}
	return nil
}

func zeroDash(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// findingText is a finding without its severity.
func findingText(f eseview.Finding) string {
	return strings.TrimPrefix(f.Finding.String(), string(f.Severity)+": ")
}

// printESECheck prints what a check found, the verdict at the end.
func printESECheck(c *console, w io.Writer, r *eseview.Check) error {
	logs := count(r.Logs)
	if r.LogsElsewhere {
		logs = "none were given and none stand beside the database: whether any is missing was not looked at"
	}
	required := ""
	if r.Required != nil {
		required = r.Required.String()
	}
	pages := ""
	if r.Database != "" {
		pages = fmt.Sprintf("%s good, %s unused, %s correctable, %s bad", count(r.Pages.Good), count(r.Pages.Unused), count(r.Pages.Correctable), count(r.Pages.Bad))
	}
	err := fields(w, "database", r.Database, "logs", logs, "checkpoint", r.Checkpoint, "log required", required, "pages", pages, "depth", r.Depth)
	for _, t := range r.Rows {
		err = errors.Join(err, fields(w, "rows of "+oneLine(t.Table), count(t.Rows)))
	}
	if len(r.Findings) > 0 {
		_, e := fmt.Fprintln(w, "\nfindings")
		err = errors.Join(err, e)
	}
	for _, f := range r.Findings {
		severity := fmt.Sprintf("%-7s", f.Severity)
		if f.Severity == esecheck.Damage {
			severity = c.style.red(severity)
		}
		_, e := fmt.Fprintf(w, "  %s  %s\n", severity, oneLine(findingText(f)))
		err = errors.Join(err, e)
	}
	if r.Dropped > 0 {
		_, e := fmt.Fprintf(w, "  and %s more\n", count(r.Dropped))
		err = errors.Join(err, e)
	}
	statement := c.style.green(r.Statement)
	if !r.OK {
		statement = c.style.red(r.Statement)
	}
	_, e := fmt.Fprintf(w, "\n%s (%s)\n", statement, size(r.Bytes))
	return errors.Join(err, e)
}
