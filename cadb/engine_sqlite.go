package cadb

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/certkeep/certkeep/sqlitelog"
)

// sqliteEngine is the embedded authority's: SQLite with log generations.
type sqliteEngine struct{}

func (sqliteEngine) Name() string { return EngineSQLite }

func (sqliteEngine) LogName(generation uint32) string { return sqlitelog.LogName(generation) }

func (sqliteEngine) ParseLogName(name string) (uint32, bool) { return sqlitelog.ParseLogName(name) }

// signatureText is the form that manifests have: hexadecimal and nothing else.
func signatureText(s sqlitelog.Signature) string {
	if s.IsZero() {
		return ""
	}
	return hex.EncodeToString(binary.BigEndian.AppendUint64(bytes.Clone(s.Random[:]), uint64(s.Created)))
}

func logInfo(h sqlitelog.Header) LogInfo {
	return LogInfo{Generation: h.Generation, Signature: signatureText(h.Signature), Opened: h.Opened, Closed: h.Closed, Size: h.FileSize(),
		CopyFirst: h.CopyFirst, EarliestTarget: h.EarliestTarget, Salvaged: h.Salvaged, header: h}
}

// isLog reports whether head begins a log, also a damaged one.
func (sqliteEngine) isLog(head []byte) bool {
	_, err := sqlitelog.ReadHeader(bytes.NewReader(head))
	return !errors.Is(err, sqlitelog.ErrNotLog)
}

func (sqliteEngine) ReadLog(r io.Reader) (LogInfo, error) {
	h, err := sqlitelog.ReadHeader(r)
	if err != nil {
		return LogInfo{}, err
	}
	return logInfo(h), nil
}

func (sqliteEngine) CheckLog(ctx context.Context, r io.ReaderAt, size int64) (LogInfo, error) {
	h, err := sqlitelog.CheckLog(ctx, r, size)
	if err != nil {
		return LogInfo{}, err
	}
	return logInfo(h), nil
}

func (sqliteEngine) CheckChain(logs []LogInfo) error {
	headers := make([]sqlitelog.Header, len(logs))
	for i, l := range logs {
		h, ok := l.header.(sqlitelog.Header)
		if !ok {
			return fmt.Errorf("log generation %d did not come from this engine", l.Generation)
		}
		headers[i] = h
	}
	return sqlitelog.CheckChain(headers)
}

func (sqliteEngine) Replays() bool { return true }

func (sqliteEngine) Recover(ctx context.Context, database string, logs []string, through uint32) (Recovered, error) {
	r, err := sqlitelog.Replay(ctx, database, logs, through)
	if err != nil {
		return Recovered{}, err
	}
	return Recovered{Signature: signatureText(r.Signature), First: r.First, Last: r.Last, Closed: r.Closed, Size: r.DatabaseSize}, nil
}

func (sqliteEngine) Salvage(ctx context.Context, openLog, last, out string) (SalvageResult, error) {
	f, err := os.Open(last)
	if err != nil {
		return SalvageResult{}, err
	}
	h, err := sqlitelog.ReadHeader(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return SalvageResult{}, fmt.Errorf("%s: %w", last, err)
	}
	s, err := sqlitelog.Salvage(ctx, openLog, h, out)
	if errors.Is(err, sqlitelog.ErrNotFound) && s.DamagedAt == 0 {
		return SalvageResult{}, fmt.Errorf("%w: %v", ErrNothingNew, err)
	}
	if err != nil {
		return SalvageResult{}, err
	}
	return SalvageResult{Generation: s.Header.Generation, Through: s.Through, TornFrames: s.TornFrames, DamagedAt: s.DamagedAt}, nil
}
