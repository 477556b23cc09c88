package ese

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// LogHeaderSize is the length of a log's header, in bytes, in all versions.
const LogHeaderSize = 4096

// LogHeader is what a log says of itself.
type LogHeader struct {
	Generation uint32
	Signature  Signature // of the stream of logs
	Created    LogTime
	Previous   LogTime // when the log before was created; zero in the first
	SectorSize int     // in bytes
	Size       int64   // of the file, in bytes

	// Major, Minor, Update and MinorUpdate are the format's version: 7.3704 up to
	// Windows Server 2008 R2, 8.4000 since.
	Major, Minor, Update, MinorUpdate uint32

	// PageSize is that of the databases it was made for, in bytes.
	PageSize int

	// Checkpoint is where the checkpoint was when the log was begun.
	Checkpoint LogPosition

	// PreviousSums is the exclusive or of the checksums of all segments of the log
	// before; 0 in old versions and in the first.
	PreviousSums uint64

	// SystemPath and LogPath are where the engine that wrote it kept its checkpoint
	// and its logs.
	SystemPath, LogPath string

	Flags         uint8 // 1: from the reserve, 2: logs are circular, 4: they were before
	EngineVersion uint32
}

// ReadLogHeader reads and checks the header at the beginning of a log.
func ReadLogHeader(r io.Reader) (h LogHeader, err error) {
	var b [LogHeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: shorter than a header", ErrNotLog)
		}
		return h, err
	}
	return parseLogHeader(b[:])
}

func parseLogHeader(b []byte) (h LogHeader, err error) {
	u16, u32 := le.Uint16, le.Uint32
	h = LogHeader{
		Generation: u32(b[4:]), Signature: Signature(b[44:72]), Created: LogTime(b[16:24]), Previous: LogTime(b[24:32]),
		SectorSize: int(u16(b[8:])), Major: u32(b[32:]), Minor: u32(b[36:]), Update: u32(b[40:]), MinorUpdate: u32(b[648:]),
		PageSize: int(u16(b[14:])), Checkpoint: logPosition(b[640:]), PreviousSums: le.Uint64(b[653:]),
		SystemPath: ansiPath(b[72:333]), LogPath: ansiPath(b[333:594]), Flags: b[639], EngineVersion: u32(b[661:]),
	}
	h.Size = int64(h.SectorSize) * int64(u16(b[12:]))
	if h.PageSize == 0 {
		h.PageSize = defaultPageSize
	}
	if sum := xorChecksum(b); sum != u32(b) {
		return h, fmt.Errorf("log header: %w: %#08x is stored, %#08x computed", ErrChecksum, u32(b), sum)
	}
	switch fileType := FileType(u32(b[fileTypeAt:])); {
	case fileType != FileLog && fileType != FileUnknown:
		return h, fmt.Errorf("%w: it is a %v", ErrNotLog, fileType)
	case h.Major != 7 && h.Major != 8:
		return h, fmt.Errorf("%w: version %d.%d", ErrNotLog, h.Major, h.Minor)
	case h.Generation == 0 || h.SectorSize == 0 || h.Size < LogHeaderSize:
		return h, fmt.Errorf("%w: generation %d, %d bytes in sectors of %d", ErrNotLog, h.Generation, h.Size, h.SectorSize)
	}
	return h, nil
}

// ansiPath is a path that ends with a NUL, or at the end.
func ansiPath(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return decode1252(b, false)
}

// Follows reports why h cannot be the log after prev: nil if it can.
func (h LogHeader) Follows(prev LogHeader) error {
	switch {
	case h.Signature != prev.Signature:
		return fmt.Errorf("generation %d: %w", h.Generation, ErrSignature)
	case h.Generation != prev.Generation+1 || !bytes.Equal(h.Previous[:], prev.Created[:]):
		return fmt.Errorf("generation %d after %d: %w", h.Generation, prev.Generation, ErrSequence)
	}
	return nil
}

// FollowsSums reports whether the segments of the log before are still those that h
// was begun after: nil also if h does not say.
func (h LogHeader) FollowsSums(prev LogScan) error {
	if h.MinorUpdate < 13 || h.PreviousSums == 0 || !prev.Checked || h.PreviousSums == prev.Sums {
		return nil
	}
	return fmt.Errorf("generation %d: %w: %016x is stored, %016x computed", h.Generation, ErrLogSums, h.PreviousSums, prev.Sums)
}

// Attachment is a database that a log or a checkpoint names.
type Attachment struct {
	DBID       uint8
	Signature  Signature // of the database
	Path       string
	DBTime     uint64
	LastObject uint32
	MaxPages   uint32
	Attach     LogPosition
	Consistent LogPosition
}

// attachmentHead is the length of an attachment without its path.
const attachmentHead = 64

// parseAttachments decodes the list that ends with a zero, or at the end of b.
func parseAttachments(b []byte) (list []Attachment, err error) {
	for len(b) > 0 && b[0] != 0 {
		if len(b) < attachmentHead || int(le.Uint16(b[2:])) > len(b)-attachmentHead {
			return list, corrupt("databases attached: %d bytes are left for one more", len(b))
		}
		names := b[attachmentHead : attachmentHead+int(le.Uint16(b[2:]))]
		a := Attachment{
			DBID: b[0], DBTime: le.Uint64(b[4:]), LastObject: le.Uint32(b[12:]), MaxPages: le.Uint32(b[16:]),
			Attach: logPosition(b[20:]), Consistent: logPosition(b[28:]), Signature: Signature(b[36:64]),
		}
		if b[1]&0x20 != 0 {
			a.Path = decodeUTF16(names)
		} else {
			a.Path = decode1252(names, false)
		}
		if i := bytes.IndexByte([]byte(a.Path), 0); i >= 0 {
			a.Path = a.Path[:i]
		}
		list = append(list, a)
		b = b[attachmentHead+len(names):]
	}
	return list, nil
}

// Log is an open log.
type Log struct {
	LogHeader
	Attached []Attachment // databases, when it was begun; newer engines leave them to the checkpoint

	r    io.ReaderAt
	size int64
}

// OpenLog reads and checks the header of the log that r holds, which is size bytes
// long.
func OpenLog(r io.ReaderAt, size int64) (*Log, error) {
	b := make([]byte, LogHeaderSize)
	if size < LogHeaderSize {
		return nil, fmt.Errorf("%w: shorter than a header", ErrNotLog)
	}
	if err := readFull(r, b, 0); err != nil {
		return nil, fmt.Errorf("read log header: %w", err)
	}
	h, err := parseLogHeader(b)
	if err != nil {
		return nil, err
	}
	l := &Log{LogHeader: h, r: r, size: size}
	l.Attached, err = parseAttachments(b[671 : 671+2048])
	if err != nil {
		return nil, fmt.Errorf("log header: %w", err)
	}
	return l, nil
}
