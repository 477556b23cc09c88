package ese

import (
	"fmt"
	"io"
)

// CheckpointSize is the length of each of the two copies of a checkpoint, in bytes.
const CheckpointSize = 4096

// Checkpoint says from where on logs must be replayed.
type Checkpoint struct {
	Position        LogPosition // the checkpoint: its generation is the first that is needed
	FullBackup      LogPosition // checkpoint of the last full backup
	Signature       Signature   // of the stream of logs
	LastFull        LogPosition // last full backup, and when it was
	LastFullTime    LogTime
	LastInc         LogPosition
	LastIncTime     LogTime
	Consistency     LogPosition
	Attached        []Attachment
	Shadow, Differ  bool // the first copy is damaged, and the second was used; or they are both good and differ
	ShadowIsDamaged bool
}

// ReadCheckpoint reads a checkpoint file (edb.chk) of size bytes.
func ReadCheckpoint(r io.ReaderAt, size int64) (c Checkpoint, err error) {
	if size < CheckpointSize {
		return c, fmt.Errorf("%w: %d bytes", ErrNotCheckpoint, size)
	}
	b := make([]byte, min(size, 2*CheckpointSize)&^(CheckpointSize-1))
	if err := readFull(r, b, 0); err != nil {
		return c, fmt.Errorf("read checkpoint: %w", err)
	}
	first, second := b[:CheckpointSize], b[CheckpointSize:]
	good := func(b []byte) bool { return len(b) == CheckpointSize && le.Uint32(b) == xorChecksum(b) && !isZero(b) }
	firstGood, secondGood := good(first), good(second)
	use := first
	switch {
	case firstGood:
		c.ShadowIsDamaged = !secondGood
		c.Differ = secondGood && string(first) != string(second)
	case secondGood:
		use, c.Shadow = second, true
	default:
		return c, fmt.Errorf("checkpoint: both copies: %w", ErrChecksum)
	}
	if t := FileType(le.Uint32(use[fileTypeAt:])); t != FileCheckpoint && t != FileUnknown {
		return c, fmt.Errorf("%w: it is a %v", ErrNotCheckpoint, t)
	}
	c.FullBackup, c.Position, c.Signature = logPosition(use[4:]), logPosition(use[12:]), Signature(use[20:48])
	c.LastFull, c.LastFullTime = logPosition(use[615:]), LogTime(use[623:631])
	c.LastInc, c.LastIncTime = logPosition(use[631:]), LogTime(use[639:647])
	if use[647]&1 != 0 {
		c.Consistency = logPosition(use[648:])
		if c.Attached, err = parseAttachments(use[679 : 679+2048]); err != nil {
			return c, fmt.Errorf("checkpoint: %w", err)
		}
	}
	return c, nil
}

// flushMapHeader is the length of the header of a flush map, in bytes.
const flushMapHeader = 8192

// Identify tells what a file of ESE is, by its header and that header's checksum;
// FileUnknown if it is none, or its header is damaged. A flush map (.jfm), which the
// engine makes anew if it is missing and which no backup has, is not read any further
// by this package.
func Identify(r io.ReaderAt, size int64) (FileType, error) {
	if h, _, err := ReadHeader(r, size); err == nil {
		if h.FileType == FileTemporary {
			return FileTemporary, nil
		}
		return FileDatabase, nil
	}
	b := make([]byte, min(max(size, 0), flushMapHeader))
	if err := readFull(r, b, 0); err != nil {
		return FileUnknown, fmt.Errorf("read header: %w", err)
	}
	if len(b) < LogHeaderSize {
		return FileUnknown, nil
	}
	t := FileType(le.Uint32(b[fileTypeAt:]))
	switch t {
	case FileFlushMap:
		if le.Uint32(b) == xorChecksum(b) {
			return t, nil
		}
	case FileCheckpoint:
		if _, err := ReadCheckpoint(r, size); err == nil {
			return t, nil
		}
	case FileLog, FileUnknown:
		if _, err := parseLogHeader(b[:LogHeaderSize]); err == nil {
			return FileLog, nil
		}
	}
	return FileUnknown, nil
}
