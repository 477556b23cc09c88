package ese

import (
	"errors"
	"fmt"
	"io"
)

// State is the state of a database as its header has it.
type State uint32

// The states.
const (
	JustCreated        State = 1
	DirtyShutdown      State = 2 // logs must be replayed; normal in a streaming backup
	CleanShutdown      State = 3
	BeingConverted     State = 4
	ForceDetach        State = 5
	IncrementalReseed  State = 6
	DirtyAndPatched    State = 7
	RevertInProgress   State = 8
	highestKnownState        = RevertInProgress
	databaseMagic            = 0x89abcdef
	databaseVersion          = 0x620
	minHeader                = 748 // bytes that have a meaning
	largestPage              = 32768
	defaultPageSize          = 4096
	flagShadowDisabled       = 1
)

func (s State) String() string {
	names := [...]string{"unknown", "just created", "dirty shutdown", "clean shutdown", "being converted", "force detached",
		"incremental reseed in progress", "dirty and patched", "revert in progress"}
	if s > highestKnownState {
		return fmt.Sprintf("state %d", uint32(s))
	}
	return names[s]
}

// Incident counts something that happened to a database, for esentutl /mh.
type Incident struct {
	Count uint32
	Last  LogTime
	Old   uint32 // before the last repair or defragmentation
}

// Header is the first page of a database.
type Header struct {
	Version, Revision     uint32 // 0x620, and the "daeUpdateMajor" that esentutl prints after it
	MinorRevision         uint32
	CreateVersion         uint32
	CreateRevision        uint32
	PageSize              int // in bytes
	FileType              FileType
	Attrib                uint32
	State                 State
	Flags                 uint32
	Signature             Signature // of the database
	LogSignature          Signature // of the stream of logs; zero if it never had one
	DBTime                uint64    // count of changes; a page's is never higher
	DBID                  uint32
	LastObjectID          uint32
	OS                    [4]uint32 // version of Windows that last checked indexes: major, minor, build, service pack
	Consistent, Attach    LogPosition
	Detach                LogPosition
	ConsistentTime        LogTime
	AttachTime            LogTime
	DetachTime            LogTime
	LastReAttach          LogPosition
	LastReAttachTime      LogTime
	FullPrev, IncPrev     BackupInfo // last finished backups, in the live database
	FullCur               BackupInfo // in a copy that a backup made
	SnapshotCur           BackupInfo
	CopyPrev, DiffPrev    BackupInfo
	FullPrevType          uint32 // 0 streaming, 1 VSS, 2 snapshot, 3 surrogate; so for the others
	IncPrevType           uint32
	CopyPrevType          uint32
	DiffPrevType          uint32
	MinRequired           uint32 // first generation that recovery needs; 0 if none
	MaxRequired           uint32 // last one
	MaxCommitted          uint32 // last one with changes of this database
	MinConsistent         uint32
	Recovering            uint32
	MaxCommittedTime      LogTime // creation of the log MaxCommitted
	MaxRequiredTime       LogTime
	Repairs               Incident // esentutl /p: nonzero means that data may have been thrown away
	ECCFixed, ECCNotFixed Incident // single bits that the engine corrected, or could not
	BadChecksums          Incident // pages that the engine found damaged
	Reseeds, Patches      Incident
	Extends, Shrinks      Incident
	Trims                 uint32
	LastScrub             LogTime
	LastScan, ScanStart   LogTime
	EngineVersion         uint32 // of the engine that last attached it
	FlushSignature        Signature
	FlushMapSignature     Signature
	Reverts               uint32
	ShadowDisabled        bool
}

// HeaderCopies says which of the two copies of a header were good.
type HeaderCopies struct {
	PrimaryGood, ShadowGood bool
	Differ                  bool // both are good and not the same: the writer was between them
	UsedShadow              bool
}

func parseHeader(b []byte) Header {
	u32 := func(at int) uint32 { return le.Uint32(b[at:]) }
	time := func(at int) LogTime { return LogTime(b[at : at+8]) }
	pos := func(at int) LogPosition { return logPosition(b[at:]) }
	sig := func(at int) Signature { return Signature(b[at : at+28]) }
	incident := func(at int) Incident { return Incident{u32(at), time(at + 4), u32(at + 12)} }
	h := Header{
		Version: u32(8), Revision: u32(232), MinorRevision: u32(644), CreateVersion: u32(340), CreateRevision: u32(344),
		PageSize: int(u32(236)), FileType: FileType(u32(fileTypeAt)), Attrib: u32(12), State: State(u32(52)), Flags: u32(208),
		Signature: sig(24), LogSignature: sig(108), DBTime: le.Uint64(b[16:]), DBID: u32(104), LastObjectID: u32(212),
		OS:         [4]uint32{u32(216), u32(220), u32(224), u32(228)},
		Consistent: pos(56), Attach: pos(80), Detach: pos(96), ConsistentTime: time(64), AttachTime: time(72), DetachTime: time(88),
		LastReAttachTime: time(564), LastReAttach: pos(572),
		FullPrev: backupInfo(b[136:]), IncPrev: backupInfo(b[160:]), FullCur: backupInfo(b[184:]), SnapshotCur: backupInfo(b[316:]),
		CopyPrev: backupInfo(b[420:]), DiffPrev: backupInfo(b[444:]),
		FullPrevType: u32(356), IncPrevType: u32(360), CopyPrevType: u32(468), DiffPrevType: u32(472),
		MinRequired: u32(296), MaxRequired: u32(300), MaxCommitted: u32(416), MinConsistent: u32(640), Recovering: u32(536),
		MaxCommittedTime: time(348), MaxRequiredTime: time(672),
		Repairs:  Incident{u32(240), time(244), u32(364)},
		ECCFixed: incident(368), ECCNotFixed: incident(384), BadChecksums: incident(400), Reseeds: incident(476), Patches: incident(492),
		Extends: Incident{Count: u32(540), Last: time(544)}, Shrinks: Incident{Count: u32(552), Last: time(556)},
		Trims: u32(580), LastScrub: time(288), LastScan: time(516), ScanStart: time(524), EngineVersion: u32(648),
		FlushSignature: sig(584), FlushMapSignature: sig(612), Reverts: u32(716), ShadowDisabled: u32(208)&flagShadowDisabled != 0,
	}
	if h.PageSize == 0 {
		h.PageSize = defaultPageSize
	}
	return h
}

// StreamingBackup says that a backup of a running engine made this copy and nobody
// has begun to restore it: its last page is the backup's trailer, no page of the
// database, and logs from FullCur.GenLow on belong to it.
func (h Header) StreamingBackup() bool { return h.FullCur.GenLow != 0 && h.FullCur.GenHigh == 0 }

// headerIn returns the header page of that size at off, if it is one.
func headerIn(b []byte, off, size int) ([]byte, bool) {
	if off+size > len(b) {
		return nil, false
	}
	b = b[off : off+size]
	stored := int(le.Uint32(b[236:]))
	if stored == 0 {
		stored = defaultPageSize
	}
	return b, le.Uint32(b[4:]) == databaseMagic && stored == size && le.Uint32(b) == xorChecksum(b)
}

// ReadHeader finds and checks the header of a database of that size, or its shadow,
// without reading anything else. The page size is not known before: each one is
// tried, as the engine does. An error is [ErrNotDatabase], or [ErrChecksum] if it
// was a database.
func ReadHeader(r io.ReaderAt, size int64) (h Header, copies HeaderCopies, err error) {
	b := make([]byte, min(max(size, 0), 2*largestPage))
	if n, err := r.ReadAt(b, 0); n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return h, copies, fmt.Errorf("read header: %w", err)
	}
	if len(b) < 2048 {
		return h, copies, fmt.Errorf("%w: %d bytes are less than a header", ErrNotDatabase, len(b))
	}
	var primary, shadow []byte
	for n := 2048; n <= largestPage; n *= 2 {
		if p, ok := headerIn(b, 0, n); ok {
			primary = p
		}
		if p, ok := headerIn(b, n, n); ok && shadow == nil {
			shadow = p
		}
	}
	// A page size that both copies could have is the primary's.
	if primary != nil {
		p, ok := headerIn(b, len(primary), len(primary))
		if shadow = p; !ok {
			shadow = nil
		}
	}
	copies = HeaderCopies{PrimaryGood: primary != nil, ShadowGood: shadow != nil}
	switch {
	case primary != nil:
		copies.Differ = shadow != nil && string(primary) != string(shadow)
	case shadow != nil:
		primary, copies.UsedShadow = shadow, true
	case le.Uint32(b[4:]) == databaseMagic:
		return h, copies, fmt.Errorf("database header and its shadow: %w", ErrChecksum)
	default:
		return h, copies, fmt.Errorf("%w: no header with a right checksum", ErrNotDatabase)
	}
	h = parseHeader(primary)
	switch {
	case h.Version != databaseVersion:
		return h, copies, fmt.Errorf("%w: %#x", ErrVersion, h.Version)
	case h.FileType != FileDatabase && h.FileType != FileUnknown && h.FileType != FileTemporary:
		return h, copies, fmt.Errorf("%w: it is a %v", ErrNotDatabase, h.FileType)
	}
	return h, copies, nil
}
