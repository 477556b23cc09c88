package cadb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/ese"
)

// eseEngine knows the files of AD CS's engine as far as a set is put together
// from them: names, and the headers of logs. Replaying is the service's own.
type eseEngine struct{ eseLogs }

func (eseEngine) Name() string { return EngineESE }

// LogName is as AD CS names its logs: edb00001.log, with digits in capitals.
func (eseEngine) LogName(g uint32) string { return fmt.Sprintf("edb%05X.log", g) }

func (eseEngine) ParseLogName(name string) (uint32, bool) { return certadm.ParseLogGeneration(name) }

// Replays is false: ESE's logs hold operations on pages that only ESE carries out.
func (eseEngine) Replays() bool { return false }

func (e eseEngine) CheckLog(_ context.Context, r io.ReaderAt, size int64) (LogInfo, error) {
	info, err := e.ReadLog(io.NewSectionReader(r, 0, size))
	if err == nil && info.Size != size {
		return info, fmt.Errorf("%w: its header says that it has %d bytes, and it has %d", errLogSize, info.Size, size)
	}
	return info, err
}

func (eseEngine) Recover(context.Context, string, []string, uint32) (Recovered, error) {
	return Recovered{}, fmt.Errorf("replaying logs: %w", ErrUnsupported)
}

func (eseEngine) Salvage(context.Context, string, string, string) (SalvageResult, error) {
	return SalvageResult{}, fmt.Errorf("salvaging an open log: %w", ErrUnsupported)
}

// errLogSize says that a log was cut short, or grew.
var errLogSize = errors.New("not the size of this log")

// FilesNamed is [EngineNamed] for whoever only puts the files of a set together:
// it has an engine for AD CS's, too, whose Replays is false.
func FilesNamed(name string) (Engine, error) {
	if name == EngineESE {
		return eseEngine{}, nil
	}
	return EngineNamed(name)
}

// eseLogs reads the headers of ESE's logs.
type eseLogs struct{}

func (eseLogs) ReadLog(r io.Reader) (LogInfo, error) {
	h, err := ese.ReadLogHeader(r)
	if errors.Is(err, ese.ErrNotLog) { // or of a version to come
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return LogInfo{}, err
	}
	return LogInfo{Generation: h.Generation, Signature: hex.EncodeToString(h.Signature[:]), Opened: h.Created.Time(), Size: h.Size, header: h}, nil
}

func (eseLogs) CheckChain(logs []LogInfo) error {
	for i := 1; i < len(logs); i++ {
		prev, ok1 := logs[i-1].header.(ese.LogHeader)
		h, ok2 := logs[i].header.(ese.LogHeader)
		if !ok1 || !ok2 {
			return fmt.Errorf("log generation %d did not come from this engine", logs[i].Generation)
		}
		if err := h.Follows(prev); err != nil {
			return err
		}
	}
	return nil
}
