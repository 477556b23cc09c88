package cadb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/certkeep/certkeep/ese"
)

// Engine knows the files of a database engine: its logs, and how a copied
// database is recovered with them. How the contents are read is [Open]'s
// matter.
type Engine interface {
	// The logs that CheckChain takes may come from CheckLog as well.
	LogReader

	// Name is "sqlite" or "ese".
	Name() string

	// LogName is the file name of a log generation, ParseLogName its reverse.
	LogName(generation uint32) string
	ParseLogName(name string) (generation uint32, ok bool)

	// Replays reports whether Recover and Salvage can do their work, rather than
	// leave it to the service and answer ErrUnsupported. Logs of an engine for which
	// they can also say what the copy of a database needs, see LogInfo.
	Replays() bool

	// CheckLog reads a whole log and checks everything in it.
	CheckLog(ctx context.Context, r io.ReaderAt, size int64) (LogInfo, error)

	// Recover brings the copy of a database, in place, to what it was at the
	// end of a generation (0: of the last log). Logs are given in ascending
	// order. Before anything is changed the logs are checked, and that they
	// belong to the database.
	Recover(ctx context.Context, database string, logs []string, through uint32) (Recovered, error)

	// Salvage turns the log that was still open when an authority died into one
	// that Recover takes after the log last. It writes out, which must be named
	// as LogName(SalvageResult.Generation) to be taken for one. ErrNothingNew
	// means that the open log has nothing that the closed ones do not have.
	Salvage(ctx context.Context, openLog, last, out string) (SalvageResult, error)
}

// LogInfo is what a log says of itself.
type LogInfo struct {
	Generation uint32 `json:"generation"`

	// Signature identifies the database that the log belongs to, in lower-case
	// hexadecimal, as a set's manifest has it.
	Signature string `json:"signature"`

	Opened time.Time `json:"opened"`
	Closed time.Time `json:"closed"`
	Size   int64     `json:"size"` // in bytes

	// CopyFirst and EarliestTarget are set in the log that ends a full copy: the
	// copy needs the logs from CopyFirst on, and cannot be recovered to less
	// than EarliestTarget.
	CopyFirst      uint32 `json:"copy_first,omitempty"`
	EarliestTarget uint32 `json:"earliest_target,omitempty"`

	// Salvaged says that the log was made of an open one.
	Salvaged bool `json:"salvaged,omitempty"`

	// Notes is what CheckLog found and is no damage: bits that the engine would
	// correct, and what cannot be checked.
	Notes []string `json:"notes,omitempty"`

	header any // the engine's own
}

// Recovered is what Recover did.
type Recovered struct {
	Signature string    `json:"signature"`
	First     uint32    `json:"first"` // generations replayed
	Last      uint32    `json:"last"`
	Closed    time.Time `json:"closed"` // when the last of them was closed
	Size      int64     `json:"size"`   // of the database, in bytes
}

// ErrNothingNew is returned by Salvage for a log that adds nothing.
var ErrNothingNew = errors.New("the open log has nothing that the closed ones do not have")

// SalvageResult is what Salvage found.
type SalvageResult struct {
	Generation uint32 `json:"generation"` // of the log it made
	// Through is the generation that was open; larger than Generation when the
	// open log repeats what earlier ones hold.
	Through uint32 `json:"through"`
	// TornFrames counts the page images after the last commit, of something that
	// was never acknowledged to anyone.
	TornFrames uint32 `json:"torn_frames"`
	// DamagedAt is the number of the first bad page image if something that was
	// acknowledged came after it, and is lost; 0 if nothing is.
	DamagedAt uint32 `json:"damaged_at,omitempty"`
}

// EngineNamed returns the engine that a manifest names.
func EngineNamed(name string) (Engine, error) {
	switch name {
	case EngineSQLite:
		return sqliteEngine{}, nil
	case EngineESE:
		return eseEngine{}, nil
	}
	return nil, fmt.Errorf("%w: engine %.40q", ErrNotDatabase, name)
}

// EngineFor tells the engine of a database or log from its first bytes (4,096
// are enough), or from its name alone when head is nil. Files of no known engine are
// answered with ErrNotDatabase.
func EngineFor(name string, head []byte) (Engine, error) {
	if head != nil {
		engine, err := databaseEngine(head)
		switch {
		case err == nil:
			e, err := EngineNamed(engine)
			return e, wrapName(name, err)
		case (sqliteEngine{}).isLog(head):
			return sqliteEngine{}, nil
		case isESELog(name, head):
			return eseEngine{}, nil
		}
		return nil, wrapName(name, err)
	}
	base := name[strings.LastIndexAny(name, `/\`)+1:]
	lower := strings.ToLower(base)
	if _, ok := (sqliteEngine{}).ParseLogName(base); ok || strings.HasSuffix(lower, ".db") {
		return sqliteEngine{}, nil
	}
	if strings.HasSuffix(lower, ".edb") || isESELogName(base) {
		return eseEngine{}, nil
	}
	return nil, wrapName(name, ErrNotDatabase)
}

func wrapName(name string, err error) error {
	if err == nil || name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// isESELogName recognizes edb.log, edbXXXXX.log and edbXXXXXXXX.log.
func isESELogName(name string) bool {
	kind, base, _ := ese.ParseLogName(name)
	return (kind == ese.LogName || kind == ese.CurrentLog) && strings.EqualFold(base, "edb")
}

// isESELog believes the name: the first sector of an ESE log begins with a
// checksum, and has no mark that is the same in all versions.
func isESELog(name string, head []byte) bool {
	return isESELogName(name[strings.LastIndexAny(name, `/\`)+1:]) && len(head) >= 512
}
