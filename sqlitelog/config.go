package sqlitelog

import (
	"errors"
	"log/slog"
	"path/filepath"

	"github.com/certkeep/certkeep/internal/durable"
)

// Config says where a database lives and how it is kept.
type Config struct {
	// Database is the path of the database file; SQLite keeps "-wal" and "-shm"
	// beside it.
	Database string
	// LogDir is where closed generations are published, as logNNNNN.log.
	LogDir string
	// StateDir holds the state file and the lock file.
	StateDir string

	// GenerationSize closes a generation when its WAL has grown to this many
	// bytes; 0 means DefaultGenerationSize.
	GenerationSize int64

	// AcceptLoss lets Open go on although the log that the state file knows is gone
	// or foreign. What it held is lost, a foreign WAL is set aside, and the database
	// gets a new signature, so that earlier backups are not continued by mistake.
	AcceptLoss bool

	// FS does this package's own writing; nil is durable.OS. SQLite's files
	// are written by SQLite and outside of it.
	FS durable.FS

	// Observe, if set, is called at each phase of rolling, truncating and recovering,
	// from the goroutine that does the work and often with writers stopped: it
	// must be quick and must not call back into the DB.
	Observe func(Event)

	// Logger, if set, hears of what is unusual but not an error to any caller.
	Logger *slog.Logger

	// MaxReaders is the size of the Reader pool; 0 means 4.
	MaxReaders int

	rules rules // for tests
}

// withDefaults fills in what is zero and makes paths usable from any directory.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.FS == nil {
		cfg.FS = durable.OS
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Event) {}
	}
	if cfg.GenerationSize <= 0 {
		cfg.GenerationSize = DefaultGenerationSize
	}
	if cfg.MaxReaders <= 0 {
		cfg.MaxReaders = 4
	}
	for _, p := range []*string{&cfg.Database, &cfg.LogDir, &cfg.StateDir} {
		if *p == "" {
			return cfg, errors.New("sqlitelog: Config needs Database, LogDir and StateDir")
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return cfg, err
		}
		*p = abs
	}
	return cfg, nil
}

func (cfg Config) wal() string { return cfg.Database + "-wal" }
func (cfg Config) shm() string { return cfg.Database + "-shm" }

// Phase names a step that Config.Observe is told of.
type Phase string

// The phases, in the order in which they happen.
const (
	PhaseRollBegin       Phase = "roll begin"       // nothing done yet, writers go on
	PhaseRollGate        Phase = "roll gate"        // writers are stopped
	PhaseRollCopied      Phase = "roll copied"      // the log is whole but has no name yet
	PhaseRollPublished   Phase = "roll published"   // the log has its name, durably
	PhaseCheckpointBegin Phase = "checkpoint begin" // pages begin to move into the database file
	PhaseCheckpointEnd   Phase = "checkpoint end"   // all of them have, or the checkpoint was busy
	PhaseRollEnd         Phase = "roll end"         // writers go on
	PhaseMark            Phase = "mark"             // the first commit of a generation is in the WAL
	PhaseOpened          Phase = "opened"           // and the state file knows of it
	PhaseRecoverBegin    Phase = "recover begin"    // Open found that the last process did not finish
	PhaseRecoverReplayed Phase = "recover replayed" // published logs are in the database file
	PhaseRecoverEnd      Phase = "recover end"      // and the old WAL is gone
	PhaseLossAccepted    Phase = "loss accepted"    // Config.AcceptLoss took effect
	PhaseTruncateMoved   Phase = "truncate moved"   // one closed generation was moved away
)

// Event is one call of Config.Observe.
type Event struct {
	Phase      Phase
	Generation uint32
	// Busy says at PhaseCheckpointEnd that a reader kept the WAL from being emptied.
	Busy bool
	// Bytes is the size of the log at PhaseRollCopied.
	Bytes int64
}
