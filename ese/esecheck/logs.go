package esecheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/certkeep/certkeep/ese"
)

// logFile is a log with a good header.
type logFile struct {
	*ese.Log
	file    File
	closed  bool // by its name: the engine writes nothing into it any more
	scan    ese.LogScan
	scanned bool
}

// logHeaders is the fourth step: the header of every log.
func (c *checker) logHeaders(context.Context) error {
	for _, f := range c.in.Logs {
		kind, _, _ := ese.ParseLogName(f.Name)
		switch kind {
		case ese.ReserveLog:
			continue
		case ese.TemporaryLog: // it is prepared before it is needed, and has no contents yet
			continue
		}
		l, err := ese.OpenLog(f.R, f.Size)
		if err != nil {
			x := about(Damage, BadLogHeader, f.Name, LogFileCorrupt, "%v", err)
			if !errors.Is(err, ese.ErrNotLog) && !errors.Is(err, ese.ErrChecksum) && !errors.Is(err, ese.ErrCorrupt) {
				x.Code, x.Error = Unreadable, DiskIO
			}
			x.Offset = 0
			c.find(x)
			continue
		}
		if l.Size != f.Size {
			c.find(Finding{Damage, BadSize, f.Name, 0, l.Generation, -1, LogFileSizeMismatch,
				fmt.Sprintf("%d bytes, its header says %d", f.Size, l.Size)})
		}
		c.logs = append(c.logs, logFile{Log: l, file: f, closed: kind != ese.CurrentLog})
	}
	slices.SortStableFunc(c.logs, func(a, b logFile) int { return cmp.Compare(a.Generation, b.Generation) })
	return nil
}

// chain is the fifth step: names, generations, and that each log follows the one
// before it.
func (c *checker) chain(context.Context) error {
	byGeneration := c.logs
	c.logs = nil
	for _, l := range byGeneration {
		if kind, _, generation := ese.ParseLogName(l.file.Name); kind == ese.LogName && generation != l.Generation {
			c.find(Finding{Damage, BadLogName, l.file.Name, 0, l.Generation, -1, LogGenerationMismatch, fmt.Sprintf("its name says generation %d", generation)})
		}
		if n := len(c.logs); n > 0 && c.logs[n-1].Generation == l.Generation {
			c.find(Finding{Damage, DuplicateLog, l.file.Name, 0, l.Generation, -1, InvalidLogSequence, "the same generation as " + c.logs[n-1].file.Name})
			continue
		}
		c.logs = append(c.logs, l)
	}
	for i, l := range c.logs {
		c.report.Logs = append(c.report.Logs, l.LogHeader)
		if i == 0 {
			continue
		}
		prev := c.logs[i-1]
		if l.Generation != prev.Generation+1 {
			continue // what is missing is looked at once all is known
		}
		err := l.Follows(prev.LogHeader)
		switch {
		case errors.Is(err, ese.ErrSignature):
			if h := c.report.Header; h != nil && h.LogSignature != (ese.Signature{}) {
				break // the database knows which of the two is the foreign one
			}
			c.find(Finding{Damage, ForeignLog, l.file.Name, 0, l.Generation, -1, BadLogSignature,
				fmt.Sprintf("of log stream %v; %s is of %v", l.Signature, prev.file.Name, prev.Signature)})
		case err != nil:
			c.find(Finding{Damage, LogSequence, l.file.Name, 0, l.Generation, -1, InvalidLogSequence,
				fmt.Sprintf("the log before it was made at %s, %s was at %s", stamp(l.Previous), prev.file.Name, stamp(prev.Created))})
		}
		if l.SectorSize != prev.SectorSize || l.Size != prev.Size {
			c.find(Finding{Warning, LogVersion, l.file.Name, 0, l.Generation, -1, LogSectorSizeMismatch,
				fmt.Sprintf("%d bytes in sectors of %d; %s has %d in sectors of %d", l.Size, l.SectorSize, prev.file.Name, prev.Size, prev.SectorSize)})
		}
		if slices.Compare(version(l.LogHeader), version(prev.LogHeader)) < 0 {
			c.find(Finding{Warning, LogVersion, l.file.Name, 0, l.Generation, -1, BadLogVersion,
				fmt.Sprintf("format %v; the log before has %v", version(l.LogHeader), version(prev.LogHeader))})
		}
	}
	return nil
}

func version(h ese.LogHeader) []uint32 { return []uint32{h.Major, h.Minor, h.Update, h.MinorUpdate} }

func stamp(t ese.LogTime) string {
	if t == (ese.LogTime{}) {
		return "no time"
	}
	return t.Time().Format("2006-01-02 15:04:05.000")
}

// segments is the sixth step: every segment of every log, and the sums by which a log
// knows the one before it.
func (c *checker) segments(ctx context.Context) error {
	for i := range c.logs {
		l := &c.logs[i]
		scan, err := l.Scan(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.find(Finding{Damage, Unreadable, l.file.Name, 0, l.Generation, -1, DiskIO, err.Error()})
			continue
		}
		l.scan, l.scanned = scan, true
		c.progress(l.file.Size)
		if !scan.Checked {
			c.find(Finding{Note, NotChecked, l.file.Name, 0, l.Generation, -1, 0, fmt.Sprintf("a log of version %d: header and place in the chain were checked, its body was not", l.Major)})
		}
		for _, f := range scan.Faults {
			c.segment(l, f)
		}
		var next *logFile
		if i+1 < len(c.logs) {
			next = &c.logs[i+1]
		}
		c.logEnd(l, next)
		if i > 0 && l.Generation == c.logs[i-1].Generation+1 && c.logs[i-1].scanned {
			prev := &c.logs[i-1]
			if err := l.FollowsSums(prev.scan); err != nil && !faulty(prev.scan) {
				c.find(Finding{Damage, LogSums, l.file.Name, 0, l.Generation, -1, LogSequenceChecksumMismatch, err.Error()})
			}
		}
	}
	return nil
}

// logEnd looks at how a closed log ends. The engine leaves a second copy of the last
// segment behind it. Where zeros or an older log follow at once, what stood there may have
// been cut off, with right checksums everywhere; only the sums in the next log can tell.
func (c *checker) logEnd(l *logFile, next *logFile) {
	if !l.closed || !l.scan.Checked || faulty(l.scan) || l.scan.End != ese.EndUnused && l.scan.End != ese.EndStale {
		return
	}
	if next != nil && next.Generation == l.Generation+1 && next.MinorUpdate >= 13 && next.PreviousSums != 0 {
		return
	}
	message := "nothing was ever written into it"
	if l.scan.Segments > 0 {
		message = fmt.Sprintf("it ends with segment %d, without the second copy that the engine leaves behind the last one", l.scan.Segments)
	}
	c.find(Finding{Warning, LogEnd, l.file.Name, 0, l.Generation, int64(l.scan.Segments+1) * ese.SegmentSize, 0,
		message + ", and no later log tells whether that is all: its end may be lost"})
}

// faulty says that a log's sums cannot be right anyhow.
func faulty(s ese.LogScan) bool {
	for _, f := range s.Faults {
		if f.Verdict != ese.SegmentCorrectable {
			return true
		}
	}
	return false
}

// segment reports a fault of a segment.
func (c *checker) segment(l *logFile, f ese.SegmentFault) {
	x := Finding{Damage, BadSegment, l.file.Name, 0, l.Generation, f.Offset, LogFileCorrupt, fmt.Sprintf("segment %d: %s", f.Segment, f.Message)}
	switch f.Verdict {
	case ese.SegmentCorrectable:
		x.Severity, x.Code, x.Error = Warning, CorrectSegment, LogReadVerifyFailure
		x.Message += "; the checksum locates it, and the engine would correct it"
	case ese.SegmentTorn:
		// Recovery of a live database mends the end of its current log; a closed one
		// has no business to be torn, and the restore of a backup refuses it.
		x.Code, x.Error = TornSegment, LogTornWriteDuringHardRestore
		if !l.closed && (c.report.Header == nil || !c.report.Header.StreamingBackup()) {
			x.Severity, x.Error = Warning, 0
			x.Message += "; recovery mends that"
		}
	default:
		if c.report.Header != nil && c.report.Header.StreamingBackup() {
			x.Error = LogCorruptDuringHardRestore
		}
	}
	c.find(x)
}
