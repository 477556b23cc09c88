package ese

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

var le = binary.LittleEndian

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

// Created returns when the stream or the database was made.
func (s Signature) Created() time.Time { return LogTime(s[4:12]).Time() }

// String is the random number and the time, enough to tell two apart by eye.
func (s Signature) String() string {
	if s == (Signature{}) {
		return "none"
	}
	if t := s.Created(); !t.IsZero() {
		return fmt.Sprintf("%08x of %s", le.Uint32(s[:]), t.Format(time.RFC3339))
	}
	return hex.EncodeToString(s[:12])
}

// LogPosition is a place in a stream of logs (LGPOS).
type LogPosition struct {
	Generation uint32
	Sector     uint16 // in the log
	Byte       uint16 // in the sector
}

func logPosition(b []byte) LogPosition {
	return LogPosition{Generation: le.Uint32(b[4:]), Sector: le.Uint16(b[2:]), Byte: le.Uint16(b)}
}

// String is generation:sector:byte in hexadecimal, as esentutl prints it.
func (p LogPosition) String() string { return fmt.Sprintf("%x:%x:%x", p.Generation, p.Sector, p.Byte) }

// Compare orders positions: negative if p is before q.
func (p LogPosition) Compare(q LogPosition) int {
	for _, d := range [...]int64{int64(p.Generation) - int64(q.Generation), int64(p.Sector) - int64(q.Sector), int64(p.Byte) - int64(q.Byte)} {
		if d != 0 {
			return int(min(max(d, -1), 1))
		}
	}
	return 0
}

// BackupInfo is the record of one backup in a database's header (BKINFO).
type BackupInfo struct {
	Mark    LogPosition
	Time    LogTime
	GenLow  uint32 // first generation that belongs to it; 0: no backup
	GenHigh uint32 // last one; 0 in the copy that a backup made, until it is restored
}

func backupInfo(b []byte) BackupInfo {
	return BackupInfo{Mark: logPosition(b), Time: LogTime(b[8:16]), GenLow: le.Uint32(b[16:]), GenHigh: le.Uint32(b[20:])}
}

// FileType is the kind of a file, by the field that all headers have.
type FileType uint32

// The kinds. Old versions leave 0.
const (
	FileUnknown    FileType = 0
	FileDatabase   FileType = 1
	FileLog        FileType = 3
	FileCheckpoint FileType = 4
	FileTemporary  FileType = 5
	FileFlushMap   FileType = 7
)

func (t FileType) String() string {
	switch t {
	case FileUnknown:
		return "unknown"
	case FileDatabase:
		return "database"
	case FileLog:
		return "log"
	case FileCheckpoint:
		return "checkpoint"
	case FileTemporary:
		return "temporary database"
	case FileFlushMap:
		return "flush map"
	}
	return fmt.Sprintf("file type %d", uint32(t))
}

// fileTypeAt is the offset of the file type in every header; it is not aligned.
const fileTypeAt = 667
