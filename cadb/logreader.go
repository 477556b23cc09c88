package cadb

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/certkeep/certkeep/ese"
)

// LogReader knows the headers of logs, which is less than an [Engine] does: there
// is one for ESE, too.
type LogReader interface {
	// ReadLog reads and checks the beginning of a log.
	ReadLog(r io.Reader) (LogInfo, error)

	// CheckChain checks that logs follow each other without a gap, by what each
	// says of the one before. The logs must come from ReadLog of this reader.
	CheckChain(logs []LogInfo) error
}

// LogReaderFor returns the reader for a log with this name and these first bytes
// (4,096 are enough).
func LogReaderFor(name string, head []byte) (LogReader, error) {
	e, err := EngineFor(name, head)
	if errors.Is(err, ErrUnsupported) && isESELog(name, head) {
		return eseLogs{}, nil
	}
	return e, err
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
