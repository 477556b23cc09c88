package eseview

import (
	"context"
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esecheck"
)

// Anonymous is what a database and its logs are built like, without what is in them:
// to be sent to somebody who has no such database. It has numbers, words of this
// package, and the names that every CA's database has. docs/ese.md lists what is in
// it; whoever adds to it has to add there.
//
// Times are days. Names of files, machines, authorities and people, paths, values,
// page contents and signatures are not in it, nor texts of errors, which quote those.
type Anonymous struct {
	Report     string               `json:"report"` // "certkeep ese anonymous 1"
	Layout     Layout               `json:"layout"`
	Files      map[string]int       `json:"files"` // how many of each kind
	Database   *AnonymousDatabase   `json:"database,omitempty"`
	Logs       []AnonymousLog       `json:"logs"`
	Checkpoint *AnonymousCheckpoint `json:"checkpoint,omitempty"`
	Map        *AnonymousMap        `json:"restore_map,omitempty"`
	Depth      string               `json:"depth"`

	// LogsElsewhere says that no logs were given, nor found beside the database.
	LogsElsewhere bool `json:"logs_elsewhere"`

	Verdict    esecheck.Verdict   `json:"verdict"`
	Generation uint32             `json:"generation,omitempty"`
	Required   *Range             `json:"log_required,omitempty"`
	Committed  uint32             `json:"log_committed,omitempty"`
	Pages      PageCounts         `json:"pages"`
	Findings   []AnonymousFinding `json:"findings"`
	Dropped    int                `json:"dropped,omitempty"`
}

// AnonymousFinding is a finding without its text.
type AnonymousFinding struct {
	Severity   esecheck.Severity `json:"severity"`
	Code       esecheck.Code     `json:"code"`
	File       string            `json:"file,omitempty"` // database, log or checkpoint
	Page       uint32            `json:"page,omitempty"`
	Generation uint32            `json:"generation,omitempty"`
	Offset     int64             `json:"offset"`
	Error      string            `json:"error,omitempty"` // of the engine
}

// AnonymousMap is what certbkxp.dat is built like.
type AnonymousMap struct {
	Size    int64    `json:"size"`
	Decoded bool     `json:"decoded"`
	Tags    []uint16 `json:"tags"`
	Lengths []int    `json:"lengths"` // of the paths, in characters
}

// anonymousName is the format of the report.
const anonymousName = "certkeep ese anonymous 1"

// Anonymize makes the report of a group with one database at most; see [Checks].
func (g *Group) Anonymize(ctx context.Context, files *Files, o CheckOptions) (*Anonymous, error) {
	check, err := g.Check(ctx, files, o)
	if err != nil {
		return nil, err
	}
	a := &Anonymous{
		Report: anonymousName, Layout: g.Layout, Logs: []AnonymousLog{},
		Files: map[string]int{
			"database": len(g.Databases), "log": len(g.Logs), "checkpoint": len(g.Checkpoints), "flush-map": len(g.FlushMaps),
			"temporary": len(g.Temporary), "reserve": len(g.Reserves),
		},
		Depth: check.Depth, LogsElsewhere: check.LogsElsewhere, Verdict: check.Verdict, Generation: check.Generation, Required: check.Required, Committed: check.Committed,
		Pages: check.Pages, Dropped: check.Dropped, Findings: g.anonymousFindings(check.Findings),
	}
	streams := streams{}
	if len(g.Databases) > 0 {
		if a.Database, err = anonymousDatabase(ctx, files, g.Databases[0], &streams, o); err != nil {
			return nil, err
		}
	}
	if a.Logs, err = anonymousLogs(ctx, files, g.Logs, &streams); err != nil {
		return nil, err
	}
	if len(g.Checkpoints) > 0 {
		a.Checkpoint = anonymousCheckpoint(files, g.Checkpoints[0], &streams)
	}
	if g.Map != "" {
		a.Map = anonymousMap(files, g.Map)
	}
	return a, ctx.Err()
}

// anonymousFindings leaves of each finding what is not text. Its file is told by the
// list that it was given in.
func (g *Group) anonymousFindings(list []Finding) []AnonymousFinding {
	kinds := make(map[string]string)
	for kind, paths := range map[string][]string{"database": g.Databases, "log": g.Logs, "checkpoint": g.Checkpoints} {
		for _, p := range paths {
			kinds[p] = kind
		}
	}
	out := []AnonymousFinding{}
	for _, f := range list {
		out = append(out, AnonymousFinding{f.Severity, f.Code, kinds[f.File], f.Page, f.Generation, f.Offset, f.ErrorName})
	}
	return out
}

// streams numbers signatures in the order in which they occur, so that a report says
// which are the same without saying what they are.
type streams []ese.Signature

// number is 0 for no signature.
func (s *streams) number(x ese.Signature) int {
	if x == (ese.Signature{}) {
		return 0
	}
	for i, y := range *s {
		if x == y {
			return i + 1
		}
	}
	*s = append(*s, x)
	return len(*s)
}

// day is the day of a time.
func day(t ese.LogTime) string {
	if x := t.Time(); !x.IsZero() {
		return x.UTC().Format("2006-01-02")
	}
	return ""
}

// failure is a known word for an error, whose text is not for a report.
func failure(err error) string {
	for _, k := range []struct {
		err  error
		word string
	}{
		{ese.ErrNotDatabase, "not-a-database"}, {ese.ErrNotLog, "not-a-log"}, {ese.ErrNotCheckpoint, "not-a-checkpoint"}, {ese.ErrVersion, "version"},
		{ese.ErrTrailer, "trailer"}, {ese.ErrChecksum, "checksum"}, {ese.ErrUnsupported, "unsupported"}, {ese.ErrNoLongValue, "no-long-value"},
		{ese.ErrCorrupt, "structure"},
	} {
		if errors.Is(err, k.err) {
			return k.word
		}
	}
	if err == nil {
		return ""
	}
	return "unreadable"
}

// mostOfMap is how long a restore map can be, in bytes.
const mostOfMap = 1 << 16

func anonymousMap(files *Files, path string) *AnonymousMap {
	m := &AnonymousMap{Tags: []uint16{}, Lengths: []int{}}
	f, err := files.Open(path)
	if err != nil {
		return m
	}
	if m.Size = f.Size; m.Size > mostOfMap {
		return m
	}
	b := make([]byte, f.Size)
	if _, err := f.ReadAt(b, 0); err != nil && len(b) > 0 {
		return m
	}
	list, err := certadm.DecodeLocations(b)
	if err != nil {
		return m
	}
	m.Decoded = true
	for _, e := range list {
		m.Tags = append(m.Tags, uint16(e.Type))
		m.Lengths = append(m.Lengths, len([]rune(e.Path)))
	}
	return m
}

// hex32 is a number of flags or a version.
func hex32(n uint32) string { return fmt.Sprintf("0x%x", n) }
