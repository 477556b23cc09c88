package ese

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// LogHeaderSize is the length of a log's header, in bytes, in all versions.
const LogHeaderSize = 4096

// Errors of a log's header.
var (
	// ErrNotLog says that a file is no log, or of a version that is not known.
	ErrNotLog = errors.New("not an ESE log")

	// ErrChecksum says that something was changed since it was written
	// (JET_errLogReadVerifyFailure, -612).
	ErrChecksum = errors.New("wrong checksum")

	// ErrSignature says that two logs are not of the same log stream
	// (JET_errBadLogSignature, -530).
	ErrSignature = errors.New("another database's log")

	// ErrSequence says that a log does not follow the one before it
	// (JET_errMissingPreviousLogFile, -509).
	ErrSequence = errors.New("log does not follow the one before it")
)

// LogTime is a time as ESE stores it. It is compared as it stands.
type LogTime [8]byte

// Time returns the time; the zero time if it is unset, or none. Times without the
// mark that they are UTC are local to the machine that wrote them, which is not
// known here; they are taken for UTC.
func (t LogTime) Time() time.Time {
	if t == (LogTime{}) || t[4] < 1 || t[4] > 12 || t[3] < 1 || t[3] > 31 || t[2] > 23 || t[1] > 59 || t[0] > 60 {
		return time.Time{}
	}
	ms := int(t[6]>>1) | int(t[7]>>1&7)<<7
	return time.Date(1900+int(t[5]), time.Month(t[4]), int(t[3]), int(t[2]), int(t[1]), int(t[0]), min(ms, 999)*1e6, time.UTC)
}

// Signature identifies a stream of logs, or a database.
type Signature [28]byte

// LogHeader is what a log says of itself.
type LogHeader struct {
	Generation uint32
	Signature  Signature // of the stream of logs
	Created    LogTime
	Previous   LogTime // when the log before was created; zero in the first
	SectorSize int     // in bytes
	Size       int64   // of the file, in bytes

	// Major, Minor and Update are the format's version: 7.3704 up to Windows
	// Server 2008 R2, 8.4000 since.
	Major, Minor, Update uint32
}

// fileTypeLog stands in a log's header; old versions have 0 there.
const fileTypeLog = 3

// ReadLogHeader reads and checks the header at the beginning of a log.
func ReadLogHeader(r io.Reader) (h LogHeader, err error) {
	var b [LogHeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: shorter than a header", ErrNotLog)
		}
		return h, err
	}
	u16, u32 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32
	h = LogHeader{
		Generation: u32(b[4:]), Signature: Signature(b[44:72]), Created: LogTime(b[16:24]), Previous: LogTime(b[24:32]),
		SectorSize: int(u16(b[8:])), Major: u32(b[32:]), Minor: u32(b[36:]), Update: u32(b[40:]),
	}
	h.Size = int64(h.SectorSize) * int64(u16(b[12:]))
	if sum := xorChecksum(b[:]); sum != u32(b[:]) {
		return h, fmt.Errorf("log header: %w: %#08x is stored, %#08x computed", ErrChecksum, u32(b[:]), sum)
	}
	switch fileType := u32(b[667:]); {
	case fileType != fileTypeLog && fileType != 0:
		return h, fmt.Errorf("%w: file type %d", ErrNotLog, fileType)
	case h.Major != 7 && h.Major != 8:
		return h, fmt.Errorf("%w: version %d.%d", ErrNotLog, h.Major, h.Minor)
	case h.Generation == 0 || h.SectorSize == 0 || h.Size < LogHeaderSize:
		return h, fmt.Errorf("%w: generation %d, %d bytes in sectors of %d", ErrNotLog, h.Generation, h.Size, h.SectorSize)
	}
	return h, nil
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

// xorChecksum is the checksum of headers: the exclusive or of all words but the
// first, which holds it.
func xorChecksum(b []byte) uint32 {
	sum := uint32(0x89abcdef)
	for b = b[4:]; len(b) >= 4; b = b[4:] {
		sum ^= binary.LittleEndian.Uint32(b)
	}
	return sum
}
