package cadb

import (
	"errors"

	"github.com/certkeep/certkeep/ese"
	"github.com/certkeep/certkeep/sqlitelog"
)

// LogFindingCode is the code of the finding that an error of an Engine's
// methods makes, and whether it is damage: an error of the operating system,
// or a canceled context, is not.
func LogFindingCode(err error) (code string, damage bool) {
	for _, k := range []struct {
		err  error
		code string
	}{
		{sqlitelog.ErrLogDamaged, CodeHash},
		{sqlitelog.ErrLogTruncated, CodeSize},
		{sqlitelog.ErrNotLog, CodeFormat},
		{sqlitelog.ErrLogForeign, CodeForeign},
		{sqlitelog.ErrLogMissing, CodeChain},
		{sqlitelog.ErrLogOrder, CodeChain},
		{sqlitelog.ErrTarget, CodeChain},
		{sqlitelog.ErrWALPresent, CodeUnexpected},
		{ese.ErrChecksum, CodeHash},
		{errLogSize, CodeSize},
		{ese.ErrNotLog, CodeFormat},
		{ese.ErrSignature, CodeForeign},
		{ese.ErrSequence, CodeChain},
		{ese.ErrLogSums, CodeChain},
		{ese.ErrCorrupt, CodeFormat},
	} {
		if errors.Is(err, k.err) {
			return k.code, true
		}
	}
	return CodeUnreadable, false
}

// LogErrorPath returns the path of the log that an error of an Engine's methods
// blames, or "".
func LogErrorPath(err error) string {
	var e *sqlitelog.LogError
	if errors.As(err, &e) {
		return e.Path
	}
	return ""
}
