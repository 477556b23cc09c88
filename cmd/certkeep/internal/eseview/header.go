package eseview

import (
	"fmt"

	"github.com/certkeep/certkeep/ese"
)

// Header is a database's header, as esentutl /mh prints it.
type Header struct {
	State            string     `json:"state"`
	StateNumber      uint32     `json:"state_number"`
	Streaming        bool       `json:"streaming_backup"` // a copy that a backup made, not restored yet
	Version          uint32     `json:"version"`
	Revision         uint32     `json:"revision"`
	MinorRevision    uint32     `json:"minor_revision"`
	KnownRevision    bool       `json:"known_revision"`
	CreateVersion    uint32     `json:"create_version"`
	CreateRevision   uint32     `json:"create_revision"`
	EngineVersion    uint32     `json:"engine_version"`
	PageSize         int        `json:"page_size"`
	Pages            int64      `json:"pages"` // in the file, without headers and trailer
	Primary          string     `json:"primary"`
	Shadow           string     `json:"shadow"`
	Used             string     `json:"used"` // which of the two was read
	Differ           bool       `json:"copies_differ"`
	Shadowed         bool       `json:"shadowed"`
	Signature        *Signature `json:"signature"`
	LogSignature     *Signature `json:"log_signature"`
	DBTime           uint64     `json:"dbtime"`
	DBID             uint32     `json:"dbid"`
	LastObjectID     uint32     `json:"last_object_id"`
	OS               string     `json:"os"`
	Required         Range      `json:"log_required"`
	RequiredTime     string     `json:"log_required_time,omitempty"`
	Committed        uint32     `json:"log_committed"` // last generation with changes of it
	CommittedTime    string     `json:"log_committed_time,omitempty"`
	Recovering       uint32     `json:"log_recovering"`
	MinConsistent    uint32     `json:"log_consistent"`
	Consistent       Moment     `json:"last_consistent"`
	Attach           Moment     `json:"last_attach"`
	Detach           Moment     `json:"last_detach"`
	ReAttach         Moment     `json:"last_reattach"`
	LastScrub        string     `json:"last_scrub,omitempty"`
	ScanStart        string     `json:"scan_start,omitempty"`
	LastScan         string     `json:"last_scan,omitempty"`
	Backups          []Backup   `json:"backups"`
	Incidents        []Incident `json:"incidents"`
	Trims            uint32     `json:"trims"`
	Reverts          uint32     `json:"reverts"`
	FlushSignature   *Signature `json:"flush_signature"`
	FlushMap         *Signature `json:"flush_map_signature"`
	Trailer          *Trailer   `json:"trailer,omitempty"`
	TrailerError     string     `json:"trailer_error,omitempty"`
	NeededForRestore *Range     `json:"needed_for_restore,omitempty"` // generations, with what the trailer says
}

// Trailer is the last page of a copy that a streaming backup made. esentutl has no
// switch for it.
type Trailer struct {
	Generations   Range      `json:"generations"`
	Mark          Moment     `json:"mark"`
	Signature     *Signature `json:"signature"`
	LogSignature  *Signature `json:"log_signature"`
	Required      Range      `json:"log_required"` // zeros before Windows Server 2025, as what follows
	RequiredTime  string     `json:"log_required_time,omitempty"`
	Committed     uint32     `json:"log_committed"`
	CommittedTime string     `json:"log_committed_time,omitempty"`
}

// headerOf reads header and trailer of a database, and nothing else.
func headerOf(f *Opened) (*Header, error) {
	h, copies, err := ese.ReadHeader(f, f.Size)
	if err != nil {
		return nil, err
	}
	v := &Header{
		State: h.State.String(), StateNumber: uint32(h.State), Streaming: h.StreamingBackup(),
		Version: h.Version, Revision: h.Revision, MinorRevision: h.MinorRevision, KnownRevision: h.KnownRevision(),
		CreateVersion: h.CreateVersion, CreateRevision: h.CreateRevision, EngineVersion: h.EngineVersion,
		PageSize: h.PageSize, Pages: max(f.Size/int64(h.PageSize)-2, 0),
		Primary: copyState(copies.PrimaryGood), Shadow: copyState(copies.ShadowGood), Used: "primary", Differ: copies.Differ, Shadowed: !h.ShadowDisabled,
		Signature: signature(h.Signature), LogSignature: signature(h.LogSignature), DBTime: h.DBTime, DBID: h.DBID, LastObjectID: h.LastObjectID,
		OS:       fmt.Sprintf("%d.%d.%d SP %d", h.OS[0], h.OS[1], h.OS[2], h.OS[3]),
		Required: Range{h.MinRequired, h.MaxRequired}, RequiredTime: stamp(h.MaxRequiredTime),
		Committed: h.MaxCommitted, CommittedTime: stamp(h.MaxCommittedTime),
		Recovering: h.Recovering, MinConsistent: h.MinConsistent,
		Consistent: moment(h.Consistent, h.ConsistentTime), Attach: moment(h.Attach, h.AttachTime),
		Detach: moment(h.Detach, h.DetachTime), ReAttach: moment(h.LastReAttach, h.LastReAttachTime),
		LastScrub: stamp(h.LastScrub), ScanStart: stamp(h.ScanStart), LastScan: stamp(h.LastScan),
		Backups: backups(h), Incidents: incidents(h), Trims: h.Trims, Reverts: h.Reverts,
		FlushSignature: signature(h.FlushSignature), FlushMap: signature(h.FlushMapSignature),
	}
	if copies.UsedShadow {
		v.Used = "shadow"
	}
	var trailer *ese.Trailer
	if v.Streaming {
		v.Pages = max(v.Pages-1, 0)
		t, err := ese.ReadTrailer(f, f.Size, h)
		if err == nil {
			trailer, v.Trailer = &t, trailerOf(t)
			err = t.Match(h)
		}
		if err != nil {
			v.TrailerError = err.Error()
		}
	}
	if low, high, committed := h.RequiredLogs(trailer); low != 0 {
		v.NeededForRestore = &Range{low, max(high, committed)}
	}
	return v, nil
}

func copyState(good bool) string {
	if good {
		return "good"
	}
	return "damaged"
}

func trailerOf(t ese.Trailer) *Trailer {
	return &Trailer{
		Generations: Range{t.Backup.GenLow, t.Backup.GenHigh}, Mark: moment(t.Backup.Mark, t.Backup.Time),
		Signature: signature(t.Signature), LogSignature: signature(t.LogSignature),
		Required: Range{t.MinRequired, t.MaxRequired}, RequiredTime: stamp(t.MaxRequiredTime),
		Committed: t.MaxCommitted, CommittedTime: stamp(t.MaxCommittedTime),
	}
}

// eachBackup goes through what the header remembers of backups, also of those that
// never were.
func eachBackup(h ese.Header, yield func(kind, how string, b ese.BackupInfo)) {
	yield("previous-full", backupType(h.FullPrevType), h.FullPrev)
	yield("previous-incremental", backupType(h.IncPrevType), h.IncPrev)
	yield("previous-copy", backupType(h.CopyPrevType), h.CopyPrev)
	yield("previous-differential", backupType(h.DiffPrevType), h.DiffPrev)
	yield("current-full", "", h.FullCur)
	yield("current-snapshot", "", h.SnapshotCur)
}

func backups(h ese.Header) []Backup {
	list := []Backup{}
	eachBackup(h, func(kind, how string, b ese.BackupInfo) {
		if b != (ese.BackupInfo{}) {
			list = append(list, Backup{kind, how, Range{b.GenLow, b.GenHigh}, moment(b.Mark, b.Time)})
		}
	})
	return list
}

// eachIncident goes through what the header counts, also what never happened.
func eachIncident(h ese.Header, yield func(kind string, i ese.Incident)) {
	yield("repair", h.Repairs)
	yield("ecc-fixed", h.ECCFixed)
	yield("ecc-not-fixed", h.ECCNotFixed)
	yield("bad-checksum", h.BadChecksums)
	yield("reseed", h.Reseeds)
	yield("page-patch", h.Patches)
	yield("extend", h.Extends)
	yield("shrink", h.Shrinks)
}

func incidents(h ese.Header) []Incident {
	list := []Incident{}
	eachIncident(h, func(kind string, i ese.Incident) {
		list = append(list, Incident{kind, i.Count, stamp(i.Last), i.Old})
	})
	return list
}
