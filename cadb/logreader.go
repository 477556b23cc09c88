package cadb

import (
	"errors"
	"io"
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
