package backup

import (
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// callLog collects the calls of a session for manifest and receipt. The reads
// of one file become one entry.
type callLog struct{ calls []backupset.Call }

// maxCalls bounds what is kept; an authority with this many files is not
// expected, and the manifest's reader has a bound as well.
const maxCalls = 20000

func (l *callLog) add(c Call) {
	if n := len(l.calls); n > 0 && c.Op == certadm.FnBackupRead {
		if p := &l.calls[n-1]; p.Function == c.Op && p.Path == c.Argument && p.Result == 0 {
			p.Duration += c.Duration
			p.Result = c.Code
			return
		}
	}
	if len(l.calls) < maxCalls {
		l.calls = append(l.calls, backupset.Call{
			Function: c.Op, Path: c.Argument, Result: c.Code, Start: c.Started, Duration: c.Duration})
	}
}

// take empties the log.
func (l *callLog) take() []backupset.Call {
	calls := l.calls
	l.calls = nil
	return calls
}
