package eseview

import (
	"context"
	"fmt"

	"github.com/certkeep/certkeep/ese"
)

// File is a file and what is to be known of it without reading all of it. Of
// database, log and checkpoint one is set at most.
type File struct {
	Path       string      `json:"path"`
	Size       int64       `json:"size"`
	Kind       string      `json:"kind"`
	Database   *Header     `json:"database,omitempty"`
	Log        *Log        `json:"log,omitempty"`
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
	Notes      []string    `json:"notes"`
}

// Log is a log's header and how its written part ends, as esentutl /ml prints it.
type Log struct {
	Generation    uint32     `json:"generation"`
	Created       string     `json:"created,omitempty"`
	Previous      string     `json:"previous_created,omitempty"`
	Signature     *Signature `json:"signature"`
	Version       string     `json:"version"`
	EngineVersion uint32     `json:"engine_version"`
	PageSize      int        `json:"page_size"`
	SectorSize    int        `json:"sector_size"`
	Checkpoint    string     `json:"checkpoint"`
	PreviousSums  uint64     `json:"previous_sums"`
	SystemPath    string     `json:"system_path"`
	LogPath       string     `json:"log_path"`
	Flags         []string   `json:"flags"`
	Attached      []Attached `json:"attached"`
	Checked       bool       `json:"segments_checked"` // false for logs of version 7
	Segments      int        `json:"segments"`
	Sums          uint64     `json:"sums"`
	End           string     `json:"end"`
	Faults        []Fault    `json:"faults"`
}

// Fault is a segment of a log that is not as it should be.
type Fault struct {
	Segment int    `json:"segment"`
	Offset  int64  `json:"offset"`
	Verdict string `json:"verdict"`
	Message string `json:"message"`
}

// Attached is a database that a log or a checkpoint names.
type Attached struct {
	DBID       uint8      `json:"dbid"`
	Path       string     `json:"path"`
	Signature  *Signature `json:"signature"`
	DBTime     uint64     `json:"dbtime"`
	Attach     string     `json:"attach"`
	Consistent string     `json:"consistent"`
}

// Checkpoint is a checkpoint, as esentutl /mk prints it.
type Checkpoint struct {
	Position     string     `json:"position"`
	Signature    *Signature `json:"signature"`
	FullBackup   string     `json:"full_backup_checkpoint"`
	LastFull     Moment     `json:"last_full_backup"`
	LastInc      Moment     `json:"last_incremental_backup"`
	Consistency  string     `json:"consistency"`
	Attached     []Attached `json:"attached"`
	UsedShadow   bool       `json:"used_shadow"`
	ShadowBroken bool       `json:"shadow_damaged"`
	Differ       bool       `json:"copies_differ"`
}

// Describe reads what a file says of itself. If its kind is known and it is damaged,
// that is the error.
func Describe(ctx context.Context, files *Files, path string) (*File, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	kind, err := ese.Identify(f, f.Size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	v := &File{Path: path, Size: f.Size, Kind: kebab(kind.String()), Notes: []string{}}
	name, _, _ := ese.ParseLogName(path)
	if kind == ese.FileUnknown {
		if kind = byName[name]; kind != ese.FileUnknown {
			v.Kind = kebab(kind.String())
		}
	}
	switch kind {
	case ese.FileDatabase, ese.FileTemporary:
		v.Database, err = headerOf(f)
		if err == nil && kind == ese.FileDatabase {
			v.Notes = append(v.Notes, databaseNotes(v.Database)...)
		}
	case ese.FileLog:
		v.Log, err = logOf(ctx, f)
	case ese.FileCheckpoint:
		v.Checkpoint, err = checkpointOf(f)
	case ese.FileFlushMap:
		v.Notes = append(v.Notes, "the engine makes a flush map anew if it is missing; no backup has one, and nothing else is read of it")
	default:
		switch name {
		case ese.TemporaryLog:
			v.Kind = "log-being-prepared"
		case ese.ReserveLog:
			v.Kind = "reserve"
			v.Notes = append(v.Notes, "space for when the disk is full; it has no contents")
		default:
			err = ese.ErrNotDatabase
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// byName is what a file with a damaged header was.
var byName = map[ese.NameKind]ese.FileType{
	ese.LogName: ese.FileLog, ese.CurrentLog: ese.FileLog, ese.CheckpointName: ese.FileCheckpoint, ese.DatabaseName: ese.FileDatabase,
}

func databaseNotes(h *Header) []string {
	var notes []string
	if h.Streaming {
		notes = append(notes, "a copy that a backup made while the engine ran: dirty is its normal state, and its last page is the backup's trailer")
	}
	if !h.KnownRevision {
		notes = append(notes, "the format's revision is newer than those that certkeep was tried on; it is read as if it were the same")
	}
	return notes
}

func logOf(ctx context.Context, f *Opened) (*Log, error) {
	l, err := ese.OpenLog(f, f.Size)
	if err != nil {
		return nil, err
	}
	scan, err := l.Scan(ctx)
	if err != nil {
		return nil, err
	}
	v := &Log{
		Generation: l.Generation, Created: stamp(l.Created), Previous: stamp(l.Previous), Signature: signature(l.Signature),
		Version: version(l.LogHeader), EngineVersion: l.EngineVersion, PageSize: l.PageSize, SectorSize: l.SectorSize,
		Checkpoint: l.Checkpoint.String(), PreviousSums: l.PreviousSums, SystemPath: l.SystemPath, LogPath: l.LogPath,
		Flags: names(uint32(l.Flags), logFlags), Attached: attached(l.Attached), Checked: scan.Checked, Segments: scan.Segments, Sums: scan.Sums,
		Faults: []Fault{},
	}
	if scan.Checked {
		v.End = logEnd(scan.End)
	}
	for _, x := range scan.Faults {
		v.Faults = append(v.Faults, Fault{x.Segment, x.Offset, kebab(x.Verdict.String()), x.Message})
	}
	return v, nil
}

// version is a log's: major.minor, and the updates after it.
func version(h ese.LogHeader) string {
	return fmt.Sprintf("%d.%d.%d.%d", h.Major, h.Minor, h.Update, h.MinorUpdate)
}

func logEnd(e ese.LogEnd) string {
	words := []string{"full", "shadow", "unused", "stale", "torn", "bad"}
	if int(e) < len(words) {
		return words[e]
	}
	return fmt.Sprint(uint8(e))
}

func attached(list []ese.Attachment) []Attached {
	out := []Attached{}
	for _, a := range list {
		out = append(out, Attached{a.DBID, a.Path, signature(a.Signature), a.DBTime, a.Attach.String(), a.Consistent.String()})
	}
	return out
}

func checkpointOf(f *Opened) (*Checkpoint, error) {
	c, err := ese.ReadCheckpoint(f, f.Size)
	if err != nil {
		return nil, err
	}
	return &Checkpoint{
		Position: c.Position.String(), Signature: signature(c.Signature), FullBackup: c.FullBackup.String(),
		LastFull: moment(c.LastFull, c.LastFullTime), LastInc: moment(c.LastInc, c.LastIncTime), Consistency: c.Consistency.String(),
		Attached: attached(c.Attached), UsedShadow: c.Shadow, ShadowBroken: c.ShadowIsDamaged, Differ: c.Differ,
	}, nil
}
