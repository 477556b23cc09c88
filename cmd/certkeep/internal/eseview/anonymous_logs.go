package eseview

import (
	"cmp"
	"context"
	"slices"

	"github.com/certkeep/certkeep/ese"
)

// AnonymousLog is what a log is built like.
type AnonymousLog struct {
	Error         string         `json:"error,omitempty"` // a known word; the rest is missing then
	Name          string         `json:"name"`            // closed, current or other
	NameMatches   bool           `json:"name_matches"`    // the generation
	Digits        int            `json:"digits"`          // of the generation in the name
	Size          int64          `json:"size"`
	Generation    uint32         `json:"generation"`
	Day           string         `json:"day,omitempty"`
	PreviousDay   string         `json:"previous_day,omitempty"`
	Version       string         `json:"version"`
	EngineVersion uint32         `json:"engine_version"`
	SectorSize    int            `json:"sector_size"`
	PageSize      int            `json:"page_size"`
	Flags         []string       `json:"flags"`
	Stream        int            `json:"stream"` // which signature, by order of occurrence
	HasPrevious   bool           `json:"has_previous"`
	HasSums       bool           `json:"has_previous_sums"`
	Follows       string         `json:"follows,omitempty"`      // the log before: yes or no; empty if that is not there
	FollowsSums   string         `json:"follows_sums,omitempty"` // the same by the sums of its segments
	Checkpoint    uint32         `json:"checkpoint_generation"`
	Attached      int            `json:"attached"` // databases
	Databases     []int          `json:"databases"`
	Checked       bool           `json:"segments_checked"`
	Segments      int            `json:"segments"`
	End           string         `json:"end,omitempty"`
	Faults        map[string]int `json:"faults"` // segments of each verdict that is not good
}

// AnonymousCheckpoint is what a checkpoint is built like.
type AnonymousCheckpoint struct {
	Error        string `json:"error,omitempty"`
	Generation   uint32 `json:"generation"`
	Stream       int    `json:"stream"`
	FullBackup   uint32 `json:"full_backup_generation"`
	LastFullDay  string `json:"last_full_day,omitempty"`
	Attached     int    `json:"attached"`
	Databases    []int  `json:"databases"`
	UsedShadow   bool   `json:"used_shadow"`
	ShadowBroken bool   `json:"shadow_damaged"`
	Differ       bool   `json:"copies_differ"`
}

// anonymousLogs reports the logs in the order of their generations.
func anonymousLogs(ctx context.Context, files *Files, paths []string, s *streams) ([]AnonymousLog, error) {
	type scanned struct {
		AnonymousLog
		log  *ese.Log
		scan ese.LogScan
	}
	list := []scanned{}
	for _, path := range paths {
		x := scanned{AnonymousLog: AnonymousLog{Databases: []int{}, Flags: []string{}, Faults: map[string]int{}}}
		kind, _, generation := ese.ParseLogName(path)
		x.Name = map[ese.NameKind]string{ese.LogName: "closed", ese.CurrentLog: "current"}[kind]
		x.Name = cmp.Or(x.Name, "other")
		f, err := files.Open(path)
		if err == nil {
			x.Size = f.Size
			x.log, err = ese.OpenLog(f, f.Size)
		}
		if err == nil {
			x.scan, err = x.log.Scan(ctx)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if x.Error = failure(err); err != nil {
			x.log = nil
			list = append(list, x)
			continue
		}
		x.NameMatches = kind != ese.LogName || generation == x.log.Generation
		if kind == ese.LogName {
			x.Digits = digitsOf(path)
		}
		x.describe(x.log, x.scan, s)
		list = append(list, x)
	}
	slices.SortStableFunc(list, func(a, b scanned) int { return cmp.Compare(a.Generation, b.Generation) })
	out := []AnonymousLog{}
	for i, x := range list {
		if i > 0 && x.log != nil && list[i-1].log != nil && x.Generation == list[i-1].Generation+1 {
			x.Follows = yes(x.log.Follows(list[i-1].log.LogHeader) == nil)
			x.FollowsSums = yes(x.log.FollowsSums(list[i-1].scan) == nil)
		}
		out = append(out, x.AnonymousLog)
	}
	return out, nil
}

func (a *AnonymousLog) describe(l *ese.Log, scan ese.LogScan, s *streams) {
	a.Generation, a.Day, a.PreviousDay = l.Generation, day(l.Created), day(l.Previous)
	a.Version, a.EngineVersion, a.SectorSize, a.PageSize = version(l.LogHeader), l.EngineVersion, l.SectorSize, l.PageSize
	a.Flags, a.Stream = names(uint32(l.Flags), logFlags), s.number(l.Signature)
	a.HasPrevious, a.HasSums = l.Previous != (ese.LogTime{}), l.PreviousSums != 0
	a.Checkpoint, a.Attached, a.Databases = l.LogHeader.Checkpoint.Generation, len(l.Attached), databases(l.Attached, s)
	if a.Checked, a.Segments = scan.Checked, scan.Segments; scan.Checked {
		a.End = logEnd(scan.End)
	}
	for _, f := range scan.Faults {
		a.Faults[kebab(f.Verdict.String())]++
	}
}

func databases(list []ese.Attachment, s *streams) []int {
	out := []int{}
	for _, a := range list {
		out = append(out, s.number(a.Signature))
	}
	return out
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// digitsOf counts the digits in the name of a closed log.
func digitsOf(path string) int {
	_, base, _ := ese.ParseLogName(path)
	name := fileName(path)
	return max(len(name)-len(base)-len(".log"), 0)
}

func anonymousCheckpoint(files *Files, path string, s *streams) *AnonymousCheckpoint {
	a := &AnonymousCheckpoint{Databases: []int{}}
	f, err := files.Open(path)
	if err != nil {
		a.Error = failure(err)
		return a
	}
	c, err := ese.ReadCheckpoint(f, f.Size)
	if a.Error = failure(err); err != nil {
		return a
	}
	a.Generation, a.Stream, a.FullBackup, a.LastFullDay = c.Position.Generation, s.number(c.Signature), c.FullBackup.Generation, day(c.LastFullTime)
	a.Attached, a.Databases = len(c.Attached), databases(c.Attached, s)
	a.UsedShadow, a.ShadowBroken, a.Differ = c.Shadow, c.ShadowIsDamaged, c.Differ
	return a
}
