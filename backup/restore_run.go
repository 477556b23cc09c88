package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/durable"
)

// carryOut takes the steps that change the target.
func (j *restoreJob) carryOut(ctx context.Context) (err error) {
	if j.control != nil {
		if err := j.takeOffline(ctx); err != nil {
			return j.failed(j.step(stepOffline), err)
		}
	}
	if err := j.session(ctx); err != nil {
		return err
	}
	if j.control != nil {
		if err := j.start(ctx); err != nil {
			return j.failed(j.step(stepStart), err)
		}
	}
	return nil
}

// session is everything from RestorePrepare to RestoreEnd.
func (j *restoreJob) session(ctx context.Context) (err error) {
	at := j.step(stepPrepare)
	session, err := j.svc.RestorePrepare(ctx, certadm.RestoreFull)
	if err != nil {
		return j.failed(at, err)
	}
	at.State = StepDone
	s := &restoreSteps{restoreJob: j, session: session, at: at}
	// Also after a panic or Ctrl-C: the target must not be left with half an
	// instruction, nor with an open session.
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, s.takeBack(ctx, err))
		}
	}()
	rerr := s.run(ctx)
	done = true
	if rerr != nil {
		terr := s.takeBack(ctx, rerr) // first: the report says whether it was taken back
		return errors.Join(j.failed(s.at, rerr), terr)
	}
	s.at = j.step(stepEnd)
	if err := session.End(ctx); err != nil {
		return j.failed(s.at, err)
	}
	s.at.State = StepDone
	return nil
}

func (j *restoreJob) failed(at *RestoreStep, err error) error {
	at.State = StepFailed
	if j.control != nil {
		j.rep.WayBack = j.wayBack(j.rep.Displaced, j.rep.Withheld)
	}
	return &RestoreError{Step: *at, Displaced: j.rep.Displaced, WayBack: j.rep.WayBack, Registered: j.registered, Err: err}
}

// restoreSteps are the steps inside a session.
type restoreSteps struct {
	*restoreJob
	session certadm.Restore
	at      *RestoreStep
	phase   Progress
}

func (s *restoreSteps) begin(n int) { s.at = s.step(n) }
func (s *restoreSteps) end()        { s.at.State = StepDone }

func (s *restoreSteps) run(ctx context.Context) error {
	// The gap goes first: if everything after this line fails, an authority that
	// remembers a gap too many is better than one that forgot it.
	s.begin(stepSetAside)
	if err := s.o.Target.RecordGap(ctx, *s.rep.Gap); err != nil {
		return fmt.Errorf("recording the gap: %w", err)
	}
	displaced, err := s.o.Target.SetAside(ctx)
	s.rep.Displaced = displaced
	if err != nil {
		return err
	}
	s.end()

	s.begin(stepCopy)
	s.phase = Progress{Phase: "copying", Total: s.rec.DatabaseFile.Size}
	for _, l := range s.rec.Logs {
		s.phase.Total += l.File.Size
	}
	if err := s.copyDatabase(ctx); err != nil {
		return err
	}
	if err := s.copyLogs(ctx, s.runs[0]); err != nil {
		return err
	}
	if err := s.copyNewer(ctx); err != nil {
		return err
	}
	s.end()

	s.begin(stepRegister)
	full := s.registration(s.runs[0])
	full.Map = []certadm.RestoreMapping{{Database: s.saved.Database, NewDatabase: s.places.Database}}
	full.CheckpointPath = s.places.CheckpointDir
	if err := s.register(ctx, full); err != nil {
		return err
	}
	s.end()
	s.begin(stepComplete)
	if err := s.session.RegisterComplete(ctx, certadm.SOK); err != nil {
		return err
	}
	s.end()

	s.begin(stepIncrementals)
	for _, run := range s.runs[1:] {
		if err := s.copyLogs(ctx, run); err != nil {
			return err
		}
		if err := s.register(ctx, s.registration(run)); err != nil {
			return err
		}
		if err := s.session.RegisterComplete(ctx, certadm.SOK); err != nil {
			return err
		}
	}
	s.end()

	s.begin(stepDynamic)
	if err := s.copyDynamic(ctx); err != nil {
		return err
	}
	s.end()
	return nil
}

func (s *restoreSteps) registration(run logRun) certadm.Registration {
	return certadm.Registration{LogPath: s.places.LogDir, LowLog: run.low, HighLog: run.high}
}

// register uses the function for local administrators, and for others the one
// for which the restore privilege is enough.
func (s *restoreSteps) register(ctx context.Context, reg certadm.Registration) error {
	err := s.registerAs(ctx, reg)
	if len(reg.Map) > 0 && (errors.Is(err, certadm.HrRestoreMapExists) || errors.Is(err, certadm.HrRestoreInProgress)) {
		// An earlier restore was registered and never carried out. Its files have
		// been set aside, so that it could not be any more.
		if err := s.session.RegisterComplete(ctx, certadm.EAbort); err != nil {
			return fmt.Errorf("taking back what an earlier restore had registered: %w", err)
		}
		err = s.registerAs(ctx, reg)
	}
	s.registered = s.registered || err == nil
	return err
}

func (s *restoreSteps) registerAs(ctx context.Context, reg certadm.Registration) error {
	err := s.session.Register(ctx, reg)
	if errors.Is(err, certadm.EAccessDenied) {
		err = s.session.RegisterThroughFile(ctx, reg)
	}
	return err
}

// takeBack ends a session that failed: what was registered is not to be carried
// out at the next start.
func (s *restoreSteps) takeBack(ctx context.Context, cause error) (err error) {
	code := certadm.CodeOf(cause)
	if code == certadm.SOK || ctx.Err() != nil {
		code = certadm.EAbort
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if s.registered {
		if err = s.session.RegisterComplete(ctx, code); err != nil {
			err = fmt.Errorf("taking the registration back: %w", err)
		} else {
			s.registered = false
		}
	}
	return errors.Join(err, s.session.End(ctx))
}

// copyDatabase reads the database from the set once more: the copy that was
// verified has been recovered since, and the service wants to do that itself.
func (s *restoreSteps) copyDatabase(ctx context.Context) (err error) {
	dst, err := s.o.Target.LocalPath(s.places.Database)
	if err != nil {
		return err
	}
	src, err := s.rec.sets[0].Open(ctx, s.rec.DatabaseFile)
	if err != nil {
		return fmt.Errorf("%s: %w", s.rec.databaseLabel(), err)
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	return s.put(ctx, src, src.Size(), dst, s.rec.DatabaseFile.SHA256, s.rec.databaseLabel())
}

func (s *restoreSteps) copyLogs(ctx context.Context, run logRun) error {
	for _, l := range run.logs {
		dst, err := s.o.Target.LocalPath(strings.TrimSuffix(s.places.LogDir, `\`) + `\` + s.rec.logName(l))
		if err != nil {
			return err
		}
		if err := s.putFile(ctx, l.MaterializedFile, dst); err != nil {
			return err
		}
	}
	return nil
}

func (s *restoreSteps) putFile(ctx context.Context, f MaterializedFile, dst string) (err error) {
	src, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	return s.put(ctx, src, info.Size(), dst, f.SHA256, s.rec.Label(f))
}

// put writes a file aside and gives it its name when it is whole and what was
// verified, if it was (sum is not empty). It replaces nothing.
func (s *restoreSteps) put(ctx context.Context, src io.Reader, size int64, dst, sum, label string) (err error) {
	if _, err := os.Lstat(dst); err == nil {
		return fmt.Errorf("%s is in the way: it was not set aside", dst)
	}
	fsys := durable.OS
	if err := fsys.MkdirAll(filepath.Dir(dst), 0o700); err != nil {
		return err
	}
	a, err := durable.Create(fsys, dst, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Abort()) }()
	if err := durable.Reserve(a.File, size); err != nil {
		return fmt.Errorf("%s: %d bytes: %w", dst, size, err)
	}
	s.phase.File = filepath.Base(dst)
	n, got, err := backupset.Copy(ctx, a, &counting{src, func(n int) {
		s.phase.Done += int64(n)
		if s.o.Progress != nil {
			s.o.Progress(s.phase)
		}
	}})
	if err != nil {
		return fmt.Errorf("copying %s: %w", label, err)
	}
	if sum != "" && got != sum {
		return damage(cadb.CodeHash, label, "", "changed since it was verified: SHA-256 %s, it was %s", got, sum)
	}
	s.rep.Bytes += n
	return a.Commit()
}

// copyDynamic is step 12. Published files are for everybody to read.
func (s *restoreSteps) copyDynamic(ctx context.Context) error {
	for _, c := range s.dyn {
		if c.dst == "" {
			continue
		}
		raw, err := os.ReadFile(c.src.Path)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := durable.OS.MkdirAll(filepath.Dir(c.dst), 0o700); err != nil {
			return err
		}
		if err := durable.WriteFile(durable.OS, c.dst, raw, 0o644); err != nil {
			return err
		}
	}
	return nil
}
