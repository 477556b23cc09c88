package eseview

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/ese/esecheck"
)

// Check is the result of a check of one database with its logs, or of logs alone.
type Check struct {
	Database   string `json:"database,omitempty"`
	Logs       int    `json:"logs"`
	Checkpoint string `json:"checkpoint,omitempty"`

	// LogsElsewhere says that none were given, nor found beside the database: whether
	// any are missing was then not looked at.
	LogsElsewhere bool `json:"logs_elsewhere,omitempty"`

	Depth      string           `json:"depth"`
	OK         bool             `json:"ok"` // not damaged
	Verdict    esecheck.Verdict `json:"verdict"`
	Statement  string           `json:"statement"`
	Generation uint32           `json:"generation,omitempty"` // that recovery can come to
	Required   *Range           `json:"log_required,omitempty"`
	Committed  uint32           `json:"log_committed,omitempty"`
	Pages      PageCounts       `json:"pages"`
	Rows       []TableRows      `json:"rows,omitempty"`
	Findings   []Finding        `json:"findings"`
	Dropped    int              `json:"dropped,omitempty"` // findings that were too many
	Bytes      int64            `json:"bytes"`             // of all files

	report *esecheck.Report
}

// PageCounts says how many pages there were of each verdict.
type PageCounts struct {
	Good        uint64 `json:"good"`
	Unused      uint64 `json:"unused"`
	Correctable uint64 `json:"correctable"`
	Bad         uint64 `json:"bad"`
}

// TableRows is how many rows a table has.
type TableRows struct {
	Table string `json:"table"`
	Rows  uint64 `json:"rows"`
}

// Finding is one thing that a check found.
type Finding struct {
	esecheck.Finding
	ErrorName string `json:"error_name,omitempty"` // of the engine's error
}

// Depths are the depths of a check, by what they are called.
var Depths = []string{"pages", "trees", "rows"}

// CheckOptions say how a check is done.
type CheckOptions struct {
	Depth   string // of Depths
	Workers int

	// Progress is called with the bytes that were checked, of all; total is 0 if that
	// is not known. It may be nil.
	Progress func(path string, done, total int64)
}

// Checks are the checks that a group asks for: each database with the logs, or the
// logs alone. A database that was named without any is checked with those beside it.
func Checks(files *Files, g *Group) []*Group {
	if len(g.Databases) == 0 {
		if len(g.Logs) == 0 {
			return nil
		}
		return []*Group{g}
	}
	var list []*Group
	for _, db := range g.Databases {
		one := *g
		one.Databases = []string{db}
		if g.Layout == Named && len(g.Logs) == 0 {
			beside, _ := Beside(files, db)
			if len(g.Checkpoints) > 0 {
				beside.Checkpoints = g.Checkpoints
			}
			one = *beside
		}
		list = append(list, &one)
	}
	return list
}

// Check checks a group with one database at most; see [Checks].
func (g *Group) Check(ctx context.Context, files *Files, o CheckOptions) (*Check, error) {
	depth := slices.Index(Depths, o.Depth)
	if depth < 0 {
		return nil, fmt.Errorf("%q is no depth of a check", o.Depth)
	}
	c := &Check{Depth: o.Depth, Logs: len(g.Logs), Findings: []Finding{}}
	in := esecheck.Input{Depth: esecheck.Depth(depth), Workers: o.Workers}
	name := g.Dir
	for _, path := range g.Databases {
		f, err := files.Open(path)
		if err != nil {
			return nil, err
		}
		in.Database = &esecheck.File{Name: path, R: f, Size: f.Size}
		c.Database, name = path, path
		c.Bytes += f.Size
	}
	for _, path := range g.Logs {
		f, err := files.Open(path)
		if err != nil {
			return nil, err
		}
		in.Logs = append(in.Logs, esecheck.File{Name: path, R: f, Size: f.Size})
		c.Bytes += f.Size
		name = cmp.Or(name, filepath.Dir(path))
	}
	if len(g.Checkpoints) > 0 {
		f, err := files.Open(g.Checkpoints[0])
		if err != nil {
			return nil, err
		}
		in.Checkpoint = &esecheck.File{Name: f.Path, R: f, Size: f.Size}
		c.Checkpoint = f.Path
	}
	// Whoever names one file has perhaps nothing else; a directory has to be whole.
	in.LogsElsewhere = g.Layout == Named && len(g.Logs) == 0
	if o.Progress != nil {
		total := c.Bytes
		if in.Depth != esecheck.Pages {
			total = 0 // trees are read as they lead, which is not counted
		}
		in.Progress = func(done int64) { o.Progress(name, done, total) }
	}
	r, err := esecheck.Check(ctx, in)
	if err != nil {
		return nil, err
	}
	c.take(r)
	c.LogsElsewhere = in.LogsElsewhere && r.Low != 0
	return c, nil
}

func (c *Check) take(r *esecheck.Report) {
	c.report = r
	c.OK, c.Verdict, c.Statement, c.Generation = r.Verdict != esecheck.Damaged, r.Verdict, r.String(), r.Generation
	if r.Low != 0 {
		c.Required = &Range{r.Low, r.High}
	}
	c.Committed, c.Dropped = r.Last, r.Dropped
	c.Pages = pageCounts(r.Pages)
	for _, f := range r.Findings {
		v := Finding{Finding: f}
		if f.Error != 0 {
			v.ErrorName = f.Error.String()
		}
		c.Findings = append(c.Findings, v)
	}
	for table, n := range r.Rows {
		c.Rows = append(c.Rows, TableRows{table, n})
	}
	slices.SortFunc(c.Rows, func(a, b TableRows) int { return cmp.Compare(a.Table, b.Table) })
}

func pageCounts(p ese.PageCounts) PageCounts {
	return PageCounts{p.Good, p.Unused, p.Correctable, p.Bad}
}

// Damage is how many findings are damage, and the first of them.
func (c *Check) Damage() (n uint64, first Finding) {
	for _, f := range c.Findings {
		if f.Severity != esecheck.Damage {
			continue
		}
		if n++; n == 1 {
			first = f
		}
	}
	return n, first
}
