package esetest

import (
	"time"

	"github.com/certkeep/certkeep/ese"
)

// Fields of a log's header.
const (
	logGeneration  = 4
	logSector      = 8
	logHeaderSects = 10
	logSectors     = 12
	logPageSize    = 14
	logCreated     = 16
	logPrevious    = 24
	logMajor       = 32
	logMinor       = 36
	logUpdate      = 40
	logSignature   = 44
	logParams      = 72
	logFlags       = 639
	logCheckpoint  = 640
	logMinorUpdate = 648
	logSums        = 653
	logEngine      = 661
	logFileType    = 667
	logAttached    = 671
)

const (
	sectorSize = 4096 // of logs of version 8, and the length of all logs' headers
	pathLength = 261
	oldSector  = 512
	oldFill    = 0xda // what unused space of old logs is full of
)

// LogStream is a stream of logs: the generations that follow each other.
type LogStream struct {
	Signature ese.Signature
	Seed      uint64
	Base      time.Time // when generation 1 was created; one follows each hour
	PageSize  int       // of the database
	Sectors   int       // of 4096 bytes in a file

	// Major is 8, or 7 for the logs of Windows Server 2008 R2 and before. Update and
	// MinorUpdate are the rest of the version; since minor 13, logs have the sums of
	// their predecessors.
	Major, Update, MinorUpdate uint32

	// Database and Path name the attached database; an empty path: none is attached.
	Database ese.Signature
	Path     string
	Folder   string // of logs and checkpoint, on the machine that wrote them

	// Segments says how many segments of a generation are written; those that are not
	// named are full.
	Segments map[uint32]int
}

// NewLogStream is the stream of an authority on Windows Server 2022: files of 1 MiB,
// with the sums of their predecessors. The options that Create takes have Logs set to
// it; seed and time are theirs.
func NewLogStream(o Options, path string) *LogStream {
	if d, err := o.withoutLogs(); err == nil {
		o = d
	}
	s := &LogStream{Seed: o.Seed, Base: o.Time, PageSize: o.PageSize, Sectors: 256, Major: 8, Update: 5, MinorUpdate: 16,
		Database: NewSignature(o.Seed, o.Time), Path: path, Folder: `C:\Windows\system32\CertLog\`, Segments: make(map[uint32]int)}
	s.Signature = NewSignature(o.Seed^0x9e3779b97f4a7c15, o.Time)
	return s
}

func (o Options) withoutLogs() (Options, error) {
	o.Logs, o.State, o.Backup = nil, 0, nil
	return o.withDefaults()
}

// Created is when a generation was created.
func (s *LogStream) Created(generation uint32) ese.LogTime {
	// Not on the full second, so that whoever leaves out the milliseconds is found.
	return LogTime(s.Base.Add(time.Duration(generation)*time.Hour + 137*time.Millisecond))
}

// within is a time while a generation was the current one.
func (s *LogStream) within(generation uint32) ese.LogTime {
	return LogTime(s.Base.Add(time.Duration(generation)*time.Hour + 20*time.Minute))
}

// written is how many segments of a generation there are.
func (s *LogStream) written(generation uint32) int {
	if n, ok := s.Segments[generation]; ok {
		return n
	}
	return s.Sectors - 2 // header, and the last one, which only a shadow can be in
}

// body is a generation's segments without their place in the file.
func (s *LogStream) segment(b []byte, generation uint32, i int) {
	clear(b)
	le.PutUint16(b[10:], uint16(i))
	le.PutUint32(b[12:], generation)
	made := s.Created(generation)
	copy(b[16:], made[:])
	r := random(s.Seed^uint64(generation)<<32^uint64(i), seedBody)
	for at := 40; at < len(b); at += 8 {
		le.PutUint64(b[at:], r.Uint64())
	}
}

// Sums is the exclusive or of the checksums of a generation's segments.
func (s *LogStream) Sums(generation uint32) (sum uint64) {
	b := make([]byte, sectorSize)
	for i := 1; i <= s.written(generation); i++ {
		s.segment(b, generation, i)
		SealSegment(b, uint32(i))
		sum ^= le.Uint64(b)
	}
	return sum
}

// Log is the file of a generation.
func (s *LogStream) Log(generation uint32) []byte {
	b := make([]byte, s.Sectors*sectorSize)
	s.header(b[:sectorSize], generation)
	if s.Major != 8 {
		for i := sectorSize; i < len(b); i++ {
			b[i] = oldFill
		}
		return b
	}
	n := s.written(generation)
	for i := 1; i <= n; i++ {
		seg := b[i*sectorSize:][:sectorSize]
		s.segment(seg, generation, i)
		SealSegment(seg, uint32(i))
	}
	if n > 0 && n+1 < s.Sectors {
		// The shadow is the last segment once more; it keeps the number and so the
		// checksum of the place before.
		copy(b[(n+1)*sectorSize:], b[n*sectorSize:][:sectorSize])
	}
	return b
}

func (s *LogStream) header(b []byte, generation uint32) {
	u16 := func(at, v int) { le.PutUint16(b[at:], uint16(v)) }
	u32 := func(at int, v uint32) { le.PutUint32(b[at:], v) }
	sector, minor := sectorSize, uint32(4000)
	if s.Major != 8 {
		sector, minor = oldSector, 3704
	}
	u32(logGeneration, generation)
	u16(logSector, sector)
	u16(logHeaderSects, sectorSize/sector)
	u16(logSectors, s.Sectors*(sectorSize/sector))
	u16(logPageSize, s.PageSize)
	made := s.Created(generation)
	copy(b[logCreated:], made[:])
	if generation > 1 {
		made = s.Created(generation - 1)
		copy(b[logPrevious:], made[:])
	}
	u32(logMajor, s.Major)
	u32(logMinor, minor)
	u32(logUpdate, s.Update)
	copy(b[logSignature:], s.Signature[:])
	s.params(b[logParams:])
	putPosition(b[logCheckpoint:], ese.LogPosition{Generation: max(generation, 2) - 1, Sector: 1})
	if s.Major == 8 {
		u32(logMinorUpdate, s.MinorUpdate)
		if s.MinorUpdate >= 13 && generation > 1 {
			le.PutUint64(b[logSums:], s.Sums(generation-1))
		}
		u32(logEngine, 9180)
	}
	u32(logFileType, uint32(ese.FileLog))
	if generation > 1 {
		s.attach(b[logAttached:])
	}
	SealHeader(b)
}

// params writes the engine's parameters (DBMS_PARAM).
func (s *LogStream) params(b []byte) {
	copy(b[:pathLength-1], s.Folder)
	copy(b[pathLength:2*pathLength-1], s.Folder)
	at := 2*pathLength + 1
	for _, v := range []uint32{100, 300, 1024, 1200, 126, uint32(s.Sectors), 512} {
		le.PutUint32(b[at:], v)
		at += 4
	}
}

// attach writes the attached database.
func (s *LogStream) attach(b []byte) {
	if s.Path == "" {
		return
	}
	const unicodeNames = 0x20
	var name []byte
	for _, c := range s.Path {
		name = le.AppendUint16(name, uint16(c))
	}
	name = append(name, 0, 0)
	b[0], b[1] = 1, unicodeNames
	le.PutUint16(b[2:], uint16(len(name)))
	le.PutUint64(b[4:], 0x40)
	le.PutUint32(b[12:], 0x20)
	le.PutUint32(b[16:], 1<<31-1)
	putPosition(b[20:], ese.LogPosition{Generation: 1, Sector: 2, Byte: 0x268})
	putPosition(b[28:], ese.LogPosition{Generation: 1, Sector: 2, Byte: 0x268})
	copy(b[36:64], s.Database[:])
	copy(b[64:], name)
}

// Checkpoint is a checkpoint file whose checkpoint is in that generation.
func (s *LogStream) Checkpoint(generation uint32) []byte {
	const (
		full        = 4
		position    = 12
		signature   = 20
		params      = 48
		hasAttached = 647
		consistency = 648
		fileType    = 667
		attached    = 679
	)
	b := make([]byte, sectorSize)
	at := ese.LogPosition{Generation: generation, Sector: 1}
	putPosition(b[full:], at)
	putPosition(b[position:], at)
	copy(b[signature:], s.Signature[:])
	s.params(b[params:])
	b[hasAttached] = 1
	putPosition(b[consistency:], at)
	le.PutUint32(b[fileType:], uint32(ese.FileCheckpoint))
	s.attach(b[attached:])
	SealHeader(b)
	return append(b, b...)
}
