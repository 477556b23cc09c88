package cadb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/ese"
)

// eseEngine knows the files of AD CS's engine. Replaying its logs is the service's own.
type eseEngine struct{}

func (eseEngine) Name() string { return EngineESE }

// LogName is as AD CS names its logs: edb00001.log, with digits in capitals, of which
// there are eight from generation 0x100000 on.
func (eseEngine) LogName(g uint32) string {
	return "edb" + strings.ToUpper(certadm.LogDigits(g)) + ".log"
}

func (eseEngine) ParseLogName(name string) (uint32, bool) {
	kind, base, g := ese.ParseLogName(name)
	return g, kind == ese.LogName && g != 0 && strings.EqualFold(base, "edb")
}

// Replays is false: ESE's logs hold operations on pages that only ESE carries out.
func (eseEngine) Replays() bool { return false }

// CheckLog checks the header and every segment. A torn end, which recovery of a live
// database would mend, is damage here: the restore of a backup refuses it.
func (e eseEngine) CheckLog(ctx context.Context, r io.ReaderAt, size int64) (LogInfo, error) {
	l, err := ese.OpenLog(r, size)
	if err != nil {
		return LogInfo{}, err
	}
	info := logInfoESE(l.LogHeader)
	if info.Size != size {
		return info, fmt.Errorf("%w: its header says that it has %d bytes, and it has %d", errLogSize, info.Size, size)
	}
	scan, err := l.Scan(ctx)
	if err != nil {
		return info, err
	}
	info.header = eseLog{l.LogHeader, scan}
	if !scan.Checked {
		info.Notes = append(info.Notes, fmt.Sprintf("a log of version %d: header and place among the logs are checked, its body is not", l.Major))
	}
	for _, f := range scan.Faults {
		if f.Verdict != ese.SegmentCorrectable {
			return info, segmentError(f)
		}
		info.Notes = append(info.Notes, fmt.Sprintf("segment %d at offset %d: %s; its checksum locates it, and the engine would correct it", f.Segment, f.Offset, f.Message))
	}
	return info, nil
}

func segmentError(f ese.SegmentFault) error {
	kind := ese.ErrChecksum
	if f.Verdict == ese.SegmentForeign || f.Verdict == ese.SegmentAfterEnd {
		kind = ese.ErrCorrupt
	}
	return fmt.Errorf("segment %d at offset %d is %v: %s: %w", f.Segment, f.Offset, f.Verdict, f.Message, kind)
}

func (eseEngine) Recover(context.Context, string, []string, uint32) (Recovered, error) {
	return Recovered{}, fmt.Errorf("replaying logs: %w", ErrUnsupported)
}

func (eseEngine) Salvage(context.Context, string, string, string) (SalvageResult, error) {
	return SalvageResult{}, fmt.Errorf("salvaging an open log: %w", ErrUnsupported)
}

// errLogSize says that a log was cut short, or grew.
var errLogSize = errors.New("not the size of this log")

// eseLog is a log's header, and what its segments were like if they were looked at.
type eseLog struct {
	ese.LogHeader
	scan ese.LogScan
}

func logInfoESE(h ese.LogHeader) LogInfo {
	return LogInfo{Generation: h.Generation, Signature: hex.EncodeToString(h.Signature[:]), Opened: h.Created.Time(), Size: h.Size, header: eseLog{LogHeader: h}}
}

// ReadLog reads the header alone. A log of a version to come is ErrUnsupported.
func (eseEngine) ReadLog(r io.Reader) (LogInfo, error) {
	h, err := ese.ReadLogHeader(r)
	if errors.Is(err, ese.ErrNotLog) {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return LogInfo{}, err
	}
	return logInfoESE(h), nil
}

// CheckChain also compares what a log says of the segments of the one before, where
// those were looked at.
func (eseEngine) CheckChain(logs []LogInfo) error {
	for i := 1; i < len(logs); i++ {
		prev, ok1 := logs[i-1].header.(eseLog)
		l, ok2 := logs[i].header.(eseLog)
		if !ok1 || !ok2 {
			return fmt.Errorf("log generation %d did not come from this engine", logs[i].Generation)
		}
		if err := l.Follows(prev.LogHeader); err != nil {
			return err
		}
		if err := l.FollowsSums(prev.scan); err != nil {
			return err
		}
	}
	return nil
}
