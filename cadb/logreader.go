package cadb

import "io"

// LogReader knows the headers of logs.
type LogReader interface {
	// ReadLog reads and checks the beginning of a log.
	ReadLog(r io.Reader) (LogInfo, error)

	// CheckChain checks that logs follow each other without a gap, by what each
	// says of the one before. The logs must come from the same Engine.
	CheckChain(logs []LogInfo) error
}
