package eseview

import (
	"context"
	"fmt"

	"github.com/certkeep/certkeep/ese"
)

// AnonymousDatabase is what a database is built like.
type AnonymousDatabase struct {
	Error          string              `json:"error,omitempty"` // a known word; what could not be read is missing then
	Size           int64               `json:"size"`
	PageSize       int                 `json:"page_size"`
	Pages          uint32              `json:"pages"`
	OwnedPages     uint32              `json:"owned_pages"` // that the root has; 0 if that could not be read
	State          string              `json:"state"`
	Streaming      bool                `json:"streaming_backup"`
	Version        string              `json:"version"`
	Revision       uint32              `json:"revision"`
	MinorRevision  uint32              `json:"minor_revision"`
	CreateRevision uint32              `json:"create_revision"`
	EngineVersion  uint32              `json:"engine_version"`
	OS             string              `json:"os"`
	Flags          string              `json:"flags"`
	FileType       uint32              `json:"file_type"`
	Attrib         uint32              `json:"attrib"`
	Primary        string              `json:"primary"`
	Shadow         string              `json:"shadow"`
	Differ         bool                `json:"copies_differ"`
	ShadowDisabled bool                `json:"shadow_disabled"`
	Signature      int                 `json:"signature"` // which, by order of occurrence
	Stream         int                 `json:"stream"`
	CreatedDay     string              `json:"created_day,omitempty"`
	NamesComputer  bool                `json:"signature_names_computer"`
	DBTime         uint64              `json:"dbtime"`
	LastObjectID   uint32              `json:"last_object_id"`
	Required       Range               `json:"log_required"`
	Committed      uint32              `json:"log_committed"`
	MinConsistent  uint32              `json:"log_consistent"`
	Recovering     uint32              `json:"log_recovering"`
	ConsistentDay  string              `json:"last_consistent_day,omitempty"`
	AttachDay      string              `json:"last_attach_day,omitempty"`
	DetachDay      string              `json:"last_detach_day,omitempty"`
	Backups        []AnonymousBackup   `json:"backups"`
	Incidents      []AnonymousIncident `json:"incidents"`
	Trims          uint32              `json:"trims"`
	Reverts        uint32              `json:"reverts"`
	HeaderExtra    []Extent            `json:"header_extra"` // bytes that are not zero where nothing is known to be
	Trailer        *AnonymousTrailer   `json:"trailer,omitempty"`
	PageKinds      []PageKind          `json:"page_kinds"`
	Tables         []AnonymousTable    `json:"tables"`
}

// AnonymousBackup is what a header remembers of a backup.
type AnonymousBackup struct {
	Kind        string `json:"kind"`
	Type        string `json:"type,omitempty"`
	Generations Range  `json:"generations"`
	Day         string `json:"day,omitempty"`
}

// AnonymousIncident counts something that happened to a database.
type AnonymousIncident struct {
	Kind  string `json:"kind"`
	Count uint32 `json:"count"`
	Old   uint32 `json:"old"`
	Day   string `json:"day,omitempty"`
}

// AnonymousTrailer is what the last page of a streaming backup is built like.
type AnonymousTrailer struct {
	Error       string   `json:"error,omitempty"`
	Generations Range    `json:"generations"`
	Day         string   `json:"day,omitempty"`
	Matches     bool     `json:"matches"` // the header
	Signature   int      `json:"signature"`
	Stream      int      `json:"stream"`
	Required    Range    `json:"log_required"`
	Committed   uint32   `json:"log_committed"`
	RequiredDay string   `json:"log_required_day,omitempty"`
	NonZero     []Extent `json:"non_zero"` // where it has bytes that are not zero
	Extra       []Extent `json:"extra"`    // of those, where nothing is known to be
}

// Extent is a place in a page.
type Extent struct {
	Offset int `json:"offset"`
	Length int `json:"length"`
}

// PageKind counts pages that have the same flags and the same number of reserved tags.
type PageKind struct {
	Flags        string `json:"flags"`
	ReservedTags int    `json:"reserved_tags"`
	Pages        uint32 `json:"pages"`
}

// What is known of a header and a trailer, in bytes.
const (
	headerKnown  = 748
	trailerKnown = 148
)

func anonymousDatabase(ctx context.Context, files *Files, path string, s *streams, o CheckOptions) (*AnonymousDatabase, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	a := &AnonymousDatabase{Size: f.Size, Backups: []AnonymousBackup{}, Incidents: []AnonymousIncident{}, HeaderExtra: []Extent{},
		PageKinds: []PageKind{}, Tables: []AnonymousTable{}}
	h, copies, err := ese.ReadHeader(f, f.Size)
	if err != nil {
		a.Error = failure(err)
		return a, ctx.Err()
	}
	a.header(h, copies, s)
	place := int64(0)
	if copies.UsedShadow {
		place = int64(h.PageSize)
	}
	if page := readPage(f, place, h.PageSize); len(page) > headerKnown {
		for _, e := range nonZero(page[headerKnown:]) {
			a.HeaderExtra = append(a.HeaderExtra, Extent{headerKnown + e.Offset, e.Length})
		}
	}
	if h.StreamingBackup() {
		a.Trailer = anonymousTrailer(f, h, s)
	}
	db, err := ese.Open(f, f.Size)
	if err != nil {
		a.Error = failure(err)
		return a, ctx.Err()
	}
	a.Pages = db.Pages()
	a.OwnedPages, _ = db.OwnedPages() // 0 says that it could not be read
	if a.PageKinds, err = pageKinds(ctx, f, h.PageSize, db.Pages()); err != nil {
		return nil, err
	}
	for _, t := range db.Tables() {
		x, err := anonymousTable(ctx, t, o.Depth == Depths[len(Depths)-1])
		if err != nil {
			return nil, err
		}
		a.Tables = append(a.Tables, x)
	}
	return a, ctx.Err()
}

func (a *AnonymousDatabase) header(h ese.Header, copies ese.HeaderCopies, s *streams) {
	a.PageSize, a.State, a.Streaming = h.PageSize, kebab(h.State.String()), h.StreamingBackup()
	a.Version, a.Revision, a.MinorRevision, a.CreateRevision = hex32(h.Version), h.Revision, h.MinorRevision, h.CreateRevision
	a.EngineVersion, a.OS = h.EngineVersion, fmt.Sprintf("%d.%d.%d.%d", h.OS[0], h.OS[1], h.OS[2], h.OS[3])
	a.Flags, a.FileType, a.Attrib = hex32(h.Flags), uint32(h.FileType), h.Attrib
	a.Primary, a.Shadow, a.Differ, a.ShadowDisabled = copyState(copies.PrimaryGood), copyState(copies.ShadowGood), copies.Differ, h.ShadowDisabled
	a.Signature, a.Stream, a.NamesComputer = s.number(h.Signature), s.number(h.LogSignature), computer(h.Signature) != ""
	if t := h.Signature.Created(); !t.IsZero() {
		a.CreatedDay = t.UTC().Format("2006-01-02")
	}
	a.DBTime, a.LastObjectID = h.DBTime, h.LastObjectID
	a.Required, a.Committed, a.MinConsistent, a.Recovering = Range{h.MinRequired, h.MaxRequired}, h.MaxCommitted, h.MinConsistent, h.Recovering
	a.ConsistentDay, a.AttachDay, a.DetachDay = day(h.ConsistentTime), day(h.AttachTime), day(h.DetachTime)
	a.Trims, a.Reverts = h.Trims, h.Reverts
	eachBackup(h, func(kind, how string, b ese.BackupInfo) {
		if b != (ese.BackupInfo{}) {
			a.Backups = append(a.Backups, AnonymousBackup{kind, how, Range{b.GenLow, b.GenHigh}, day(b.Time)})
		}
	})
	eachIncident(h, func(kind string, i ese.Incident) {
		a.Incidents = append(a.Incidents, AnonymousIncident{kind, i.Count, i.Old, day(i.Last)})
	})
}

func anonymousTrailer(f *Opened, h ese.Header, s *streams) *AnonymousTrailer {
	n := int64(h.PageSize)
	page := readPage(f, f.Size/n*n-n, h.PageSize)
	a := &AnonymousTrailer{NonZero: nonZero(page)}
	a.Extra = within(a.NonZero, trailerKnown)
	t, err := ese.ReadTrailer(f, f.Size, h)
	if a.Error = failure(err); err != nil {
		return a
	}
	a.Generations, a.Day, a.Matches = Range{t.Backup.GenLow, t.Backup.GenHigh}, day(t.Backup.Time), t.Match(h) == nil
	a.Signature, a.Stream = s.number(t.Signature), s.number(t.LogSignature)
	a.Required, a.Committed, a.RequiredDay = Range{t.MinRequired, t.MaxRequired}, t.MaxCommitted, day(t.MaxRequiredTime)
	return a
}

// readPage is nil if the page cannot be read.
func readPage(f *Opened, at int64, size int) []byte {
	b := make([]byte, size)
	if n, err := f.ReadAt(b, at); n < len(b) && err != nil {
		return nil
	}
	return b
}

// mostExtents bounds a list of places.
const mostExtents = 64

// nonZero lists where a page has bytes that are not zero; what is less than eight
// bytes apart is one place.
func nonZero(page []byte) []Extent {
	const apart = 8
	list := []Extent{}
	for i, b := range page {
		if b == 0 {
			continue
		}
		if n := len(list); n > 0 && i-(list[n-1].Offset+list[n-1].Length) < apart {
			list[n-1].Length = i + 1 - list[n-1].Offset
		} else if n < mostExtents {
			list = append(list, Extent{i, 1})
		}
	}
	return list
}

// within leaves of the places what is behind an offset.
func within(list []Extent, from int) []Extent {
	out := []Extent{}
	for _, e := range list {
		if end := e.Offset + e.Length; end > from {
			start := max(e.Offset, from)
			out = append(out, Extent{start, end - start})
		}
	}
	return out
}
