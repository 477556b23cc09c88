package certsrv

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/audit"
	"github.com/certkeep/certkeep/sqlitelog"
)

const opRecover = "recovery"

// recoverPending carries out what RestoreRegister left, before anything opens
// the database. Each step can be repeated, and its end is recorded before the
// next one begins, so that a crash anywhere is made good by the next start. A
// failure keeps every file, and the instruction.
func (s *Server) recoverPending(ctx context.Context, log *audit.Log) error {
	p, err := readPending(s.fsys, s.at)
	if err != nil {
		return wrapCode(opRecover, err)
	}
	if p == nil {
		return nil
	}
	if p.State == restoreRegistered {
		return newError(opRecover, certadm.HrRestoreInProgress, errors.New("a restore is registered and not complete"),
			"call RestoreRegisterComplete, with a failure code to take the restore back")
	}
	s.observe(PhaseRecovering)
	s.log.Warn("recovering", slog.String("by", p.By), slog.Int("sets", len(p.Sets)), slog.String("state", string(p.State)))
	rec := audit.Record{Event: audit.RestoreStarted, Who: p.By, What: s.config().Name, Result: "ok"}
	if err := log.Append(rec); err != nil {
		return wrapCode(opRecover, fmt.Errorf("audit log: %w", err))
	}
	if err := s.carryOut(ctx, p); err != nil {
		return recoveryError(err)
	}
	rec.Event = audit.RestoreCompleted
	if err := log.Append(rec); err != nil {
		return wrapCode(opRecover, fmt.Errorf("audit log: %w", err))
	}
	if err := s.step("recorded"); err != nil {
		return err
	}
	if err := removePending(s.fsys, s.at); err != nil {
		return wrapCode(opRecover, err)
	}
	s.observe(PhaseRecovered)
	s.log.Warn("recovered; a full backup is due")
	return nil
}

func recoveryError(err error) error {
	code := codeOf(err)
	if code == certadm.EFail {
		code = certadm.HrDatabaseCorrupted
	}
	if errors.Is(err, errOtherAuthority) {
		code = certadm.HrBadDbSignature
	}
	return newError(opRecover, code, err,
		"every file was kept: mend what is named and start again, or take the restore back with RegisterComplete and a failure code")
}

func (s *Server) carryOut(ctx context.Context, p *pendingRestore) error {
	if p.State == restoreComplete {
		if err := s.replay(ctx, p); err != nil {
			return err
		}
	}
	if p.State == restoreReplayed {
		if err := s.makeLive(ctx, p); err != nil {
			return err
		}
	}
	return s.finishRestore(p)
}

// advance records that a state was reached.
func (s *Server) advance(p *pendingRestore, to pendingState) error {
	if err := s.step("before " + string(to)); err != nil {
		return err
	}
	p.State = to
	if err := writePending(s.fsys, s.at, p); err != nil {
		return err
	}
	return s.step(string(to))
}

// replay brings the copied database up to the target and checks it.
func (s *Server) replay(ctx context.Context, p *pendingRestore) error {
	full := p.full()
	database := s.at.path(full.Database)
	if p.Aside == "" {
		p.Aside = asideName(asideOldDir, s.clock.Now())
		if err := writePending(s.fsys, s.at, p); err != nil {
			return err
		}
	}
	// A WAL beside the copy is that of the database it replaced.
	if _, err := moveAll(s.fsys, []string{walOf(database), shmOf(database)}, s.at.path(p.Aside)); err != nil {
		return err
	}
	if err := s.step("wal moved"); err != nil {
		return err
	}
	logs, err := s.logsOf(p)
	if err != nil {
		return err
	}
	s.observe(PhaseReplaying)
	res, err := sqlitelog.Replay(ctx, database, logs, p.high())
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if err := s.step("after replay"); err != nil {
		return err
	}
	if err := sqlitelog.IntegrityCheck(ctx, database); err != nil {
		return fmt.Errorf("the recovered database: %w", err)
	}
	if err := s.checkAuthority(ctx, database); err != nil {
		return fmt.Errorf("%s: %w", database, err)
	}
	p.Replayed = &replayed{Through: res.Last, Sum: hex.EncodeToString(res.Sum[:]), Time: s.clock.Now().UTC()}
	if old := s.config().Database; old != full.Database {
		p.Replayed.OldDatabase = old
	}
	s.log.Info("replayed", slog.Uint64("through", uint64(res.Last)), slog.Int64("pages", res.Pages))
	return s.advance(p, restoreReplayed)
}

// logsOf finds the logs of all sets, from the full one's first to the target,
// and makes sure that the target is one the copy can be replayed to.
func (s *Server) logsOf(p *pendingRestore) ([]string, error) {
	full, high := p.full(), p.high()
	dirs := make(map[uint32]string)
	for _, set := range p.Sets {
		for gen := set.Low; gen <= set.High; gen++ {
			if _, ok := dirs[gen]; !ok {
				dirs[gen] = set.LogDir
			}
		}
	}
	headers := make(map[uint32]sqlitelog.Header)
	var names []string
	for gen := full.Low; gen <= high; gen++ {
		dir, ok := dirs[gen]
		if !ok {
			return nil, &sqlitelog.LogError{Kind: sqlitelog.ErrLogMissing, What: fmt.Sprintf("generation %#x is in none of the registered sets", gen)}
		}
		h, err := s.logHeader(dir, gen)
		if err != nil {
			return nil, err
		}
		headers[gen] = h
		names = append(names, filepath.Join(s.at.path(dir), sqlitelog.LogName(gen)))
	}
	mark, err := s.earliestTarget(p, headers)
	if err != nil {
		return nil, err
	}
	if mark.CopyFirst < full.Low {
		return nil, &sqlitelog.LogError{Kind: sqlitelog.ErrLogMissing,
			What: fmt.Sprintf("the full set needs the generations from %#x on, and %#x is the first registered", mark.CopyFirst, full.Low)}
	}
	if high < mark.EarliestTarget {
		return nil, fmt.Errorf("%w: generation %#x is before %#x, the earliest to which this full set can be restored",
			sqlitelog.ErrTarget, high, mark.EarliestTarget)
	}
	return names, nil
}

// makeLive gives the recovered database a new signature. The logs go aside: they
// are not the new signature's.
func (s *Server) makeLive(ctx context.Context, p *pendingRestore) error {
	aside := s.at.path(p.Aside)
	logs, err := s.logFiles(logDir)
	if err != nil {
		return err
	}
	var names []string
	for _, n := range logs {
		names = append(names, filepath.Join(s.at.path(logDir), n))
	}
	if old := p.Replayed.OldDatabase; old != "" {
		old = s.at.path(old)
		names = append(names, walOf(old), shmOf(old), old)
	}
	if _, err := moveAll(s.fsys, names, aside); err != nil {
		return err
	}
	if err := s.step("logs moved"); err != nil {
		return err
	}
	sum, err := hex.DecodeString(p.Replayed.Sum)
	if err != nil || len(sum) != 32 {
		return fmt.Errorf("pending restore: digest %.80q", p.Replayed.Sum)
	}
	s.observe(PhaseAdopting)
	cfg := s.logConfig(p.full().Database)
	if err := sqlitelog.Adopt(ctx, cfg, p.Replayed.Through, [32]byte(sum)); err != nil {
		return fmt.Errorf("make the recovered database live: %w", err)
	}
	return s.advance(p, restoreAdopted)
}

// finishRestore brings configuration and backup record in line. That no
// incremental backup follows until a full one is taken, and that numbers jump
// ahead, comes from the new signature.
func (s *Server) finishRestore(p *pendingRestore) error {
	if c := s.config(); c.Database != p.full().Database {
		c.Database = p.full().Database
		if err := writeConfig(s.fsys, s.at.dir, *c); err != nil {
			return err
		}
	}
	if err := s.step("configured"); err != nil {
		return err
	}
	rec, err := readRecord(s.fsys, s.at)
	if err != nil {
		return err
	}
	rec.LastRecovery = p.Replayed.Time
	if err := writeRecord(s.fsys, s.at, rec); err != nil {
		return err
	}
	return s.step("noted")
}
