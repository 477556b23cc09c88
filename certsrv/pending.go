package certsrv

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// pendingState is how far a restore has come.
type pendingState string

const (
	// restoreRegistered: a Register waits for its RegisterComplete. The service
	// does not start.
	restoreRegistered pendingState = "registered"
	// restoreComplete: the next start recovers.
	restoreComplete pendingState = "complete"
	// restoreReplayed: the database at its new place is recovered and checked;
	// the logs are no longer needed, and what is left is to make it live.
	restoreReplayed pendingState = "replayed"
	// restoreAdopted: the database is live under a new signature.
	restoreAdopted pendingState = "adopted"
)

// pendingRestore is system/restore.json, the instruction that RestoreRegister
// leaves for the next start (AD CS: the registry key RestoreInProgress). Paths
// are relative to the authority's directory and use slashes.
type pendingRestore struct {
	Schema int          `json:"schema"`
	State  pendingState `json:"state"`
	By     string       `json:"by"`
	Time   time.Time    `json:"time"`
	Sets   []pendingSet `json:"sets"`

	// Aside is where recovery puts what it displaces; chosen once, so that a
	// recovery that is repeated uses the same place.
	Aside string `json:"aside,omitempty"`

	// What the replay found, from state replayed on.
	Replayed *replayed `json:"replayed,omitempty"`
}

// pendingSet is one RestoreRegister.
type pendingSet struct {
	Database string `json:"database,omitempty"` // where the database is now; full sets only
	Saved    string `json:"saved,omitempty"`    // where it was, as registered
	LogDir   string `json:"log_dir"`
	Low      uint32 `json:"low"`
	High     uint32 `json:"high"`
	Complete bool   `json:"complete"`
}

// replayed is what has to be known about the recovered database once the logs
// are out of the way.
type replayed struct {
	Through     uint32    `json:"through"`
	Sum         string    `json:"sum"`                    // of the last log's header, hexadecimal
	OldDatabase string    `json:"old_database,omitempty"` // the configured place, if another one
	Time        time.Time `json:"time"`
}

func (s pendingSet) full() bool { return s.Database != "" }

// full is the full set, which stands first.
func (p *pendingRestore) full() pendingSet { return p.Sets[0] }

// high is the generation up to which the sets reach: the target of the
// recovery.
func (p *pendingRestore) high() uint32 {
	var h uint32
	for _, s := range p.Sets {
		h = max(h, s.High)
	}
	return h
}

func (p *pendingRestore) check() error {
	if p.Schema != 1 {
		return fmt.Errorf("schema %d is not known here", p.Schema)
	}
	states := []pendingState{restoreRegistered, restoreComplete, restoreReplayed, restoreAdopted}
	if !slices.Contains(states, p.State) {
		return fmt.Errorf("unknown state %.20q", p.State)
	}
	if len(p.Sets) == 0 || len(p.Sets) > maxRestoreSets {
		return fmt.Errorf("%d sets (1 to %d are possible)", len(p.Sets), maxRestoreSets)
	}
	for i, s := range p.Sets {
		if s.full() != (i == 0) {
			return errors.New("the full set, and only it, must stand first")
		}
		if s.full() {
			if err := checkDatabaseName(s.Database); err != nil {
				return err
			}
		}
		if _, err := splitRelative(s.LogDir, "/"); err != nil {
			return fmt.Errorf("log directory: %w", err)
		}
		if err := checkRange(s.Low, s.High); err != nil {
			return err
		}
	}
	late := p.State == restoreReplayed || p.State == restoreAdopted
	if late && (p.Replayed == nil || p.Aside == "") {
		return fmt.Errorf("state %s without its particulars", p.State)
	}
	if p.Aside != "" {
		if _, err := splitRelative(p.Aside, "/"); err != nil {
			return fmt.Errorf("aside directory: %w", err)
		}
	}
	return nil
}

// maxRestoreSets bounds the sets of one restore.
const maxRestoreSets = 10_000

// readPending returns nil if no restore is pending.
func readPending(fsys durable.FS, at layout) (*pendingRestore, error) {
	var p pendingRestore
	name := at.path(pendingName)
	ok, err := readJSON(fsys, name, &p)
	if err != nil {
		return nil, fmt.Errorf("pending restore: %w", err)
	}
	if !ok {
		return nil, nil
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("pending restore %s: %w", name, err)
	}
	return &p, nil
}

func writePending(fsys durable.FS, at layout, p *pendingRestore) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("pending restore: %w", err)
	}
	if err := writeJSON(fsys, at.path(pendingName), p, fileMode); err != nil {
		return fmt.Errorf("pending restore: %w", err)
	}
	return nil
}

func removePending(fsys durable.FS, at layout) error {
	if err := removeDurably(fsys, at.path(systemDir), at.path(pendingName)); err != nil {
		return fmt.Errorf("pending restore: %w", err)
	}
	return nil
}
