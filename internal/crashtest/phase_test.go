//go:build unix

package crashtest

import (
	"fmt"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/sqlitelog"
)

// phase is something that the authority may be in the middle of.
type phase int

const (
	issuing phase = iota
	rolling
	checkpointing
	backingUp
	truncating
	recovering
	phaseCount
)

var phaseNames = [phaseCount]string{"issuing", "rolling", "checkpointing", "backing up", "truncating", "recovering"}

func (p phase) String() string { return phaseNames[p] }

func parsePhase(s string) (phase, error) {
	for i, name := range phaseNames {
		if name == s {
			return phase(i), nil
		}
	}
	return 0, fmt.Errorf("unknown phase %q", s)
}

// edge is the beginning (+1) or the end (-1) of a phase.
type edge struct {
	phase phase
	step  int32
}

// edges says which of the events that certsrv.Options.Observe hears are which.
var edges = map[string][]edge{
	certsrv.PhaseIssuing: {{issuing, +1}},
	certsrv.PhaseIssued:  {{issuing, -1}},

	string(sqlitelog.PhaseRollBegin):       {{rolling, +1}},
	string(sqlitelog.PhaseRollEnd):         {{rolling, -1}},
	string(sqlitelog.PhaseCheckpointBegin): {{checkpointing, +1}},
	string(sqlitelog.PhaseCheckpointEnd):   {{checkpointing, -1}},

	certsrv.PhaseBackup:     {{backingUp, +1}},
	certsrv.PhaseBackupEnd:  {{backingUp, -1}},
	certsrv.PhaseTruncating: {{truncating, +1}},
	certsrv.PhaseTruncated:  {{truncating, -1}},

	string(sqlitelog.PhaseRecoverBegin): {{recovering, +1}},
	string(sqlitelog.PhaseRecoverEnd):   {{recovering, -1}},
	certsrv.PhaseRecovering:             {{recovering, +1}},
	certsrv.PhaseRecovered:              {{recovering, -1}},
}
