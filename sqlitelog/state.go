package sqlitelog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// stateFile is the name of the state file in Config.StateDir, lockFile that of the lock.
const (
	stateFile     = "state.json"
	lockFile      = "lock"
	maxStateBytes = 64 << 10
)

// state is what must be known before SQLite may see any file. It is written once
// per generation before anything in that generation is acknowledged.
type state struct {
	Schema    int       `json:"schema"`
	Signature Signature `json:"signature"`
	// Open is the generation being written, Previous the Sum of the header before.
	Open     uint32 `json:"open"`
	Previous hexSum `json:"previous"`
	// Checkpointed is the last generation that is wholly in the database file. Logs
	// between it and Open are needed to recover.
	Checkpointed uint32 `json:"checkpointed"`
	PageSize     uint32 `json:"page_size"`
	MarkPage     uint32 `json:"mark_page"`
	// WAL is the one that holds generation Open; nil as long as nothing in it has
	// been acknowledged.
	WAL *walState `json:"wal"`
	// Adopt is set while a database file's mark is being rewritten.
	Adopt *adoptState `json:"adopt,omitempty"`

	LossAccepted *time.Time `json:"loss_accepted,omitempty"`
	LossAside    string     `json:"loss_aside,omitempty"`
	Checksum     hexSum     `json:"checksum"`
}

// walState ties a WAL to a generation: the salts, and the frame that commits the
// generation's mark with the checksum there, which covers all frames up to it.
type walState struct {
	Salt   [2]uint32 `json:"salt"`
	Frame  uint32    `json:"frame"`
	Sum    [2]uint32 `json:"sum"`
	Opened time.Time `json:"opened"`
}

// adoptState is the mark that the database file has before it gets the new one.
type adoptState struct {
	Signature  Signature `json:"signature"`
	Generation uint32    `json:"generation"`
	Previous   hexSum    `json:"previous"`
}

type hexSum [32]byte

func (s hexSum) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s[:])), nil }

func (s *hexSum) UnmarshalText(b []byte) error {
	if len(b) != 64 {
		return errors.New("not a digest")
	}
	_, err := hex.Decode(s[:], b)
	return err
}

func (s state) mark() mark { return mark{s.Signature, s.Open, s.Previous} }

func (s state) encode() ([]byte, error) {
	s.Schema, s.Checksum = 1, hexSum{}
	s.LossAside = strings.ToValidUTF8(s.LossAside, "?") // else it would not decode to the same bytes
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	s.Checksum = sha256.Sum256(b)
	b, err = json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

func decodeState(b []byte) (state, error) {
	var s state
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return state{}, fmt.Errorf("not a state file: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return state{}, errors.New("not a state file: something follows")
	}
	if s.Schema != 1 {
		return state{}, fmt.Errorf("state file of version %d is not known", s.Schema)
	}
	again, err := s.encode()
	if err != nil || !bytes.Equal(again, b) {
		return state{}, errors.New("state file has a wrong checksum")
	}
	if s.Signature.IsZero() || s.Open == 0 || s.Open > MaxGeneration+1 || s.Checkpointed >= s.Open ||
		!validPageSize(s.PageSize) || s.MarkPage < 2 || (s.WAL != nil && s.WAL.Frame == 0) {
		return state{}, errors.New("state file makes no sense")
	}
	return s, nil
}

func (cfg Config) statePath() string { return filepath.Join(cfg.StateDir, stateFile) }

func readState(cfg Config) (state, error) {
	b, err := durable.ReadFile(cfg.FS, cfg.statePath(), maxStateBytes)
	if err != nil {
		return state{}, err
	}
	return decodeState(b)
}

func writeState(cfg Config, s state) error {
	b, err := s.encode()
	if err != nil {
		return err
	}
	return durable.WriteFile(cfg.FS, cfg.statePath(), b, 0o600)
}
