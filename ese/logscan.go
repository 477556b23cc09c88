package ese

import (
	"context"
	"fmt"
	"math/bits"
)

// SegmentSize is the length of a segment of a log of version 8, in bytes.
const SegmentSize = 4096

// SegmentVerdict is what is wrong with a segment of a log.
type SegmentVerdict uint8

// The verdicts. A segment that is not named has none: it is good, or unused.
const (
	// SegmentCorrectable: one bit is wrong, and the checksum says which.
	SegmentCorrectable SegmentVerdict = iota + 1

	// SegmentTorn: the last segment was being written when the machine stopped; its
	// shadow behind it is good. Recovery of a live database mends it; the restore of
	// a backup refuses it (JET_errLogTornWriteDuringHardRestore).
	SegmentTorn

	// SegmentBad: the checksum is wrong.
	SegmentBad

	// SegmentForeign: the checksum is right, but it is of a later log, or of another
	// place.
	SegmentForeign

	// SegmentAfterEnd: a good segment of this log behind its end: something between
	// was lost.
	SegmentAfterEnd
)

func (v SegmentVerdict) String() string {
	return [...]string{"good", "correctable", "torn", "bad", "foreign", "after the end"}[min(v, SegmentAfterEnd)]
}

// SegmentFault is a segment that is not as it should be.
type SegmentFault struct {
	Segment int
	Offset  int64 // in the file, in bytes
	Verdict SegmentVerdict
	Bit     int // the wrong bit, counted from the segment's beginning
	Shadow  bool
	Message string
}

// LogEnd is how the written part of a log ends.
type LogEnd uint8

// The ends.
const (
	EndFull   LogEnd = iota // at the end of the file
	EndShadow               // with the shadow of the last segment, as the engine leaves it
	EndUnused               // with zeros
	EndStale                // with what is left of the log that the file was before
	EndTorn                 // with a torn segment and its shadow
	EndBad                  // with something damaged, and nothing behind it
)

// LogScan is what the segments of a log are like.
type LogScan struct {
	// Checked is false for logs of version 7, whose records carry their own checksums,
	// which this package does not read.
	Checked bool

	Segments int    // that were written, without the shadow
	Sums     uint64 // exclusive or of their checksums, which the next log repeats
	End      LogEnd
	Faults   []SegmentFault
	dropped  int
}

// maxSegmentFaults bounds what is kept of a log that is all damage.
const maxSegmentFaults = 1000

// Scan checks the segments of the log: each has a checksum of its own, and must
// follow the one before. The last segment that was written is there twice; the second
// one, its shadow, carries the number of the first. Behind it there is nothing, or
// what an older log left in the file.
func (l *Log) Scan(ctx context.Context) (scan LogScan, err error) {
	if l.Major != 8 || l.SectorSize != SegmentSize {
		return scan, nil
	}
	s := scanner{log: l, scan: LogScan{Checked: true}}
	total := int(min(l.Size, l.size) / SegmentSize)
	buf := make([]byte, checkChunk)
	for i := 1; i < total; {
		if err := ctx.Err(); err != nil {
			return s.scan, err
		}
		n := min(total-i, len(buf)/SegmentSize)
		if err := readFull(l.r, buf[:n*SegmentSize], int64(i)*SegmentSize); err != nil {
			return s.scan, fmt.Errorf("read segments %d to %d: %w", i, i+n-1, err)
		}
		for j := range n {
			seg := buf[j*SegmentSize:][:SegmentSize]
			s.segment(i+j, seg)
		}
		i += n
	}
	return s.scan, nil
}

type scanner struct {
	log   *Log
	scan  LogScan
	ended bool
	hurt  bool // the segment before was damaged
}

func (s *scanner) end(how LogEnd) {
	if s.ended {
		return
	}
	if s.hurt && how != EndShadow {
		how = EndBad
	}
	s.ended, s.scan.End = true, how
}

// resume goes on behind an end that was none, so that what was lost is told once.
func (s *scanner) resume(i int, what string) {
	s.fault(i, SegmentAfterEnd, 0, "%s, but the log ended before it", what)
	s.ended, s.scan.End = false, EndFull
}

func (s *scanner) fault(i int, v SegmentVerdict, bit int, format string, args ...any) {
	if len(s.scan.Faults) == maxSegmentFaults {
		s.scan.dropped++
		return
	}
	s.scan.Faults = append(s.scan.Faults, SegmentFault{Segment: i, Offset: int64(i) * SegmentSize, Verdict: v, Bit: bit,
		Message: fmt.Sprintf(format, args...)})
}

// segment takes the i-th segment.
func (s *scanner) segment(i int, b []byte) {
	if isZero(b) {
		s.end(EndUnused)
		return
	}
	defer func(before int) { s.hurt = len(s.scan.Faults) > before && s.scan.Faults[before].Verdict >= SegmentBad }(len(s.scan.Faults))
	stored, sum := le.Uint64(b), blockChecksum(b, uint32(i), true)
	asShadow := sum ^ uint64(uint32(i)^uint32(i-1))
	switch stored {
	case sum:
		s.good(i, b, stored)
		return
	case asShadow:
		s.shadow(i, b)
		return
	}
	// One wrong bit, of the segment or of a shadow.
	at := logPosition(b[8:])
	if bit, ok := locate(stored, sum, len(b)); ok && bit >= 64 {
		at = positionWithout(b, bit)
		if at.Generation <= s.log.Generation && int(at.Sector) == i {
			s.fault(i, SegmentCorrectable, bit, "one wrong bit (%d)", bit)
			s.place(i, at, stored)
			return
		}
	}
	if bit, ok := locate(stored, asShadow, len(b)); ok && bit >= 64 {
		at = positionWithout(b, bit)
		if at.Generation <= s.log.Generation && int(at.Sector) == i-1 {
			s.fault(i, SegmentCorrectable, bit, "one wrong bit (%d) in the shadow of segment %d", bit, i-1)
			s.end(EndShadow)
			return
		}
	}
	s.bad(i, stored, sum)
}

// positionWithout is the position in a segment's header after a bit was flipped back.
func positionWithout(b []byte, bit int) LogPosition {
	var head [16]byte
	copy(head[:], b)
	if bit < len(head)*8 {
		head[bit/8] ^= 1 << (bit % 8)
	}
	return logPosition(head[8:])
}

// good takes a segment whose checksum is right.
func (s *scanner) good(i int, b []byte, stored uint64) {
	at := logPosition(b[8:])
	if int(at.Sector) != i {
		s.fault(i, SegmentForeign, 0, "it says that it is segment %d", at.Sector)
		return
	}
	s.place(i, at, stored)
}

func (s *scanner) place(i int, at LogPosition, stored uint64) {
	switch {
	case at.Generation < s.log.Generation:
		s.end(EndStale)
	case at.Generation > s.log.Generation:
		s.fault(i, SegmentForeign, 0, "it is of generation %d", at.Generation)
	default:
		if s.ended {
			s.resume(i, "it was written")
		}
		s.scan.Segments++
		s.scan.Sums ^= stored
	}
}

// shadow takes a segment that is the shadow of the one before.
func (s *scanner) shadow(i int, b []byte) {
	at := logPosition(b[8:])
	switch {
	case at.Generation < s.log.Generation:
		s.end(EndStale)
	case at.Generation > s.log.Generation || int(at.Sector) != i-1:
		s.fault(i, SegmentForeign, 0, "a shadow of segment %d of generation %d", at.Sector, at.Generation)
	case s.ended && s.scan.End != EndTorn:
		s.resume(i, fmt.Sprintf("a shadow of segment %d", i-1))
		s.end(EndShadow)
	default:
		s.end(EndShadow)
	}
}

// bad takes a segment that cannot be explained; it may be slow.
func (s *scanner) bad(i int, stored, sum uint64) {
	next := make([]byte, SegmentSize)
	if !s.ended && int64(i+2)*SegmentSize <= min(s.log.Size, s.log.size) && readFull(s.log.r, next, int64(i+1)*SegmentSize) == nil {
		at := logPosition(next[8:])
		if le.Uint64(next) == blockChecksum(next, uint32(i), true) && at.Generation == s.log.Generation && int(at.Sector) == i {
			s.fault(i, SegmentTorn, 0, "it was not written to its end; its shadow is good")
			s.scan.Segments++
			s.scan.Sums ^= le.Uint64(next)
			s.end(EndTorn)
			return
		}
	}
	if s.ended && s.log.Minor == 4000 && s.log.Update < 2 {
		return // before 8.4000.2 unused space has a pattern
	}
	hint := ""
	if bits.OnesCount64(stored^sum) == 1 {
		hint = ", which differ in one bit"
	}
	s.fault(i, SegmentBad, 0, "%v: %016x is stored, %016x computed%s", ErrChecksum, stored, sum, hint)
}
