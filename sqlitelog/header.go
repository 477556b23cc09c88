package sqlitelog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// HeaderSize is the length of a log's header; the WAL's bytes follow.
const HeaderSize = 4096

// Header is the first 4096 bytes of a closed log.
type Header struct {
	// Signature of the line of logs that this one belongs to.
	Signature Signature
	// Generation is the log's number, from 1.
	Generation uint32
	// Previous is Sum of the header before; zero in the first log of a new database.
	// In the first log after a restore it is the Sum of the last log replayed, whose
	// Signature is another.
	Previous [32]byte
	// Digest is SHA-256 of all bytes after the header.
	Digest [32]byte
	// PageSize of the database, in bytes.
	PageSize uint32
	// Frames is how many WAL frames follow, the last being a commit.
	Frames uint32
	// DatabasePages is the size of the database after that commit.
	DatabasePages uint32
	// MarkPage is the page of the one-row table that names the generation.
	MarkPage uint32
	// MarkFrame is the frame, from 1, whose commit wrote this generation's row. Frames
	// before it repeat earlier generations, when a checkpoint was busy.
	MarkFrame uint32
	// Opened and Closed are when the generation was begun and closed.
	Opened, Closed time.Time
	// CopyFirst and EarliestTarget are not zero in the last log of a full copy: its logs
	// start at CopyFirst, and it must not be replayed to less than EarliestTarget.
	CopyFirst, EarliestTarget uint32
	// Salvaged: made by Salvage from a bare WAL, not closed by its database.
	Salvaged bool
}

// The encoding, big-endian as SQLite's files are:
//
//	  0  magic "certlog\x01" (the last byte is the version)
//	  8  signature: 16 random bytes, int64 nanoseconds
//	 32  generation, page size, frames, database pages
//	 48  mark page, mark frame
//	 56  opened, closed: int64 nanoseconds since 1970, 0 unknown
//	 72  copy first, earliest target
//	 80  flags: 1 salvaged
//	 84  previous: 32 bytes
//	116  digest: 32 bytes
//	148  zeros
//	4064 SHA-256 of the 4064 bytes before
const (
	headerMagic    = "certlog\x01"
	headerUsed     = 148
	headerSum      = HeaderSize - sha256.Size
	headerSalvaged = 1
)

func timeToNanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func nanosToTime(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n)).UTC()
}

func (h Header) encode() []byte {
	b := make([]byte, 0, HeaderSize)
	b = append(b, headerMagic...)
	b = append(b, h.Signature.Random[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Signature.Created))
	for _, v := range []uint32{h.Generation, h.PageSize, h.Frames, h.DatabasePages, h.MarkPage, h.MarkFrame} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = binary.BigEndian.AppendUint64(b, timeToNanos(h.Opened))
	b = binary.BigEndian.AppendUint64(b, timeToNanos(h.Closed))
	b = binary.BigEndian.AppendUint32(b, h.CopyFirst)
	b = binary.BigEndian.AppendUint32(b, h.EarliestTarget)
	var flags uint32
	if h.Salvaged {
		flags |= headerSalvaged
	}
	b = binary.BigEndian.AppendUint32(b, flags)
	b = append(b, h.Previous[:]...)
	b = append(b, h.Digest[:]...)
	b = append(b, make([]byte, headerSum-len(b))...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// Sum is SHA-256 of the encoded header. Since the header holds the digest of what
// follows, it stands for the whole file. It is what the next log's Previous holds.
func (h Header) Sum() [32]byte { return sha256.Sum256(h.encode()) }

// FileSize is the length of the whole log file.
func (h Header) FileSize() int64 {
	return HeaderSize + walHeader{pageSize: h.PageSize}.size(h.Frames)
}

// ReadHeader reads and checks a log's first HeaderSize bytes, and only these.
// Errors are *LogError without a path, or the reader's own.
func ReadHeader(r io.Reader) (Header, error) {
	b := make([]byte, HeaderSize)
	n, err := io.ReadFull(r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return Header{}, &LogError{Kind: ErrLogTruncated, What: fmt.Sprintf("%d bytes are less than a header", n)}
	}
	if err != nil {
		return Header{}, err
	}
	return decodeHeader(b)
}

func decodeHeader(b []byte) (Header, error) {
	var h Header
	if string(b[:7]) != headerMagic[:7] {
		return h, &LogError{Kind: ErrNotLog, What: "the magic bytes are missing"}
	}
	if sum := sha256.Sum256(b[:headerSum]); !bytes.Equal(sum[:], b[headerSum:]) {
		return h, &LogError{Kind: ErrLogDamaged, What: "the header has a wrong checksum"}
	}
	if b[7] != headerMagic[7] {
		return h, &LogError{Kind: ErrNotLog, What: fmt.Sprintf("format version %d is not known", b[7])}
	}
	copy(h.Signature.Random[:], b[8:])
	h.Signature.Created = int64(binary.BigEndian.Uint64(b[24:]))
	for i, p := range []*uint32{&h.Generation, &h.PageSize, &h.Frames, &h.DatabasePages, &h.MarkPage, &h.MarkFrame} {
		*p = binary.BigEndian.Uint32(b[32+4*i:])
	}
	h.Opened = nanosToTime(binary.BigEndian.Uint64(b[56:]))
	h.Closed = nanosToTime(binary.BigEndian.Uint64(b[64:]))
	h.CopyFirst = binary.BigEndian.Uint32(b[72:])
	h.EarliestTarget = binary.BigEndian.Uint32(b[76:])
	flags := binary.BigEndian.Uint32(b[80:])
	h.Salvaged = flags&headerSalvaged != 0
	copy(h.Previous[:], b[84:])
	copy(h.Digest[:], b[116:])
	return h, h.check(flags, b[headerUsed:headerSum])
}

// check refuses what no writer of this package would write; it is behind a checksum, so it
// is about other versions and about lies, not about damage.
func (h Header) check(flags uint32, reserved []byte) error {
	bad := func(what string) error { return &LogError{Kind: ErrNotLog, What: "header: " + what} }
	switch {
	case flags&^headerSalvaged != 0:
		return bad("flags that are not known")
	case bytes.Count(reserved, []byte{0}) != len(reserved):
		return bad("reserved bytes are not zero")
	case h.Signature.IsZero():
		return bad("no signature")
	case h.Generation == 0 || h.Generation > MaxGeneration:
		return bad(fmt.Sprintf("generation %d", h.Generation))
	case !validPageSize(h.PageSize):
		return bad(fmt.Sprintf("page size %d", h.PageSize))
	case h.Frames == 0 || h.DatabasePages == 0:
		return bad("no frames, or no pages")
	case h.MarkPage < 2 || h.MarkPage > h.DatabasePages || h.MarkFrame == 0 || h.MarkFrame > h.Frames:
		return bad("no place for the mark")
	case (h.CopyFirst == 0) != (h.EarliestTarget == 0),
		h.CopyFirst > h.EarliestTarget, h.EarliestTarget > h.Generation:
		return bad("copy bounds out of order")
	}
	return nil
}
