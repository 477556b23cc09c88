package certdll

import (
	"context"
	"log/slog"

	"github.com/certkeep/certkeep/certadm"
)

// restore is a restore session.
type restore struct{ *session }

// RestorePrepare starts a restore session. The service has to be stopped.
func (c *Client) RestorePrepare(ctx context.Context, t certadm.RestoreType) (certadm.Restore, error) {
	if t != certadm.RestoreFull {
		return nil, local(certadm.FnRestorePrepare, "", certadm.EInvalidArg, "restore type %#x is not documented, and refused: 1 is a full restore", uint32(t))
	}
	if err := ctx.Err(); err != nil {
		return nil, fail(certadm.FnRestorePrepare, "", err)
	}
	r := &restore{c.newSession()}
	r.abort = r.breakOff
	r.turn <- struct{}{}
	if err := c.begin(certadm.FnRestorePrepare, r.session); err != nil {
		close(r.jobs)
		return nil, err
	}
	err := r.complete()
	if err == nil {
		err = r.privilege(SeRestorePrivilege, certadm.FnRestorePrepare)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	err, over := r.run(ctx, certadm.FnRestorePrepare, "", func() error {
		h, hr := c.procs.restorePrepare(c.server, uint32(t))
		return r.begun(h, hr, c.procs.restoreEnd)
	}, r.breakOff)
	switch {
	case over:
		return nil, err
	case err != nil:
		r.close()
		return nil, err
	}
	<-r.turn
	return r, nil
}

// complete looks that the library has what a restore needs. Registering through a
// file is not among it, nor is registering: one of the two will do.
func (r *restore) complete() error {
	for _, name := range []string{expRestorePrepare, expRegisterComplete, expRestoreEnd} {
		if !r.c.procs.has(name) {
			return lacks(certadm.FnRestorePrepare, name)
		}
	}
	if !r.c.procs.has(expRegister) && !r.c.procs.has(expRegisterFile) {
		return lacks(certadm.FnRestorePrepare, expRegister)
	}
	return nil
}

func lacks(op, export string) error {
	return local(op, "", certadm.ErrorProcNotFound, "%s has no function %s", libraryName, export)
}

func (r *restore) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	return r.locations(ctx)
}

func (r *restore) Register(ctx context.Context, reg certadm.Registration) error {
	return r.register(ctx, certadm.FnRestoreRegister, expRegister, reg, r.c.procs.restoreRegister)
}

func (r *restore) RegisterThroughFile(ctx context.Context, reg certadm.Registration) error {
	return r.register(ctx, certadm.FnRestoreRegisterThroughFile, expRegisterFile, reg, r.c.procs.restoreRegisterThroughFile)
}

func (r *restore) register(ctx context.Context, op, export string, reg certadm.Registration, fn func(handle, certadm.Registration) certadm.HRESULT) error {
	return r.call(ctx, op, "", func() error {
		if !r.c.procs.has(export) {
			return lacks(op, export)
		}
		if err := validRegistration(op, reg); err != nil {
			return err
		}
		return result(fn(r.h, reg))
	})
}

// validRegistration refuses arguments that are not documented, so that the library
// never sees them.
func validRegistration(op string, reg certadm.Registration) error {
	invalid := func(format string, args ...any) error {
		return local(op, "", certadm.EInvalidArg, format, args...)
	}
	if len(reg.Map) > 1 {
		return invalid("%d map entries: a full set has one, an incremental set none", len(reg.Map))
	}
	names := []string{reg.CheckpointPath, reg.LogPath, reg.BackupLogPath}
	for _, m := range reg.Map {
		if m.Database == "" || m.NewDatabase == "" {
			return invalid("a map entry has the database's place in the backup, and where it is now: one of them is missing")
		}
		names = append(names, m.Database, m.NewDatabase)
	}
	for _, name := range names {
		if err := validString(name); err != nil {
			return invalid("the path %q %w", shorten(name), err)
		}
	}
	if reg.LowLog > reg.HighLog || reg.HighLog > certadm.MaxLogGeneration {
		return invalid("log generations %#x to %#x: the lowest comes first, and the highest is at most %#x", reg.LowLog, reg.HighLog, certadm.MaxLogGeneration)
	}
	return nil
}

func (r *restore) RegisterComplete(ctx context.Context, state certadm.HRESULT) error {
	return r.call(ctx, certadm.FnRestoreRegisterComplete, "", func() error {
		return result(r.c.procs.restoreRegisterComplete(r.h, state))
	})
}

// End ends the session, whatever comes of it; also when ctx has ended.
func (r *restore) End(ctx context.Context) error {
	return r.end(ctx, certadm.FnRestoreEnd, func() error { return result(r.c.procs.restoreEnd(r.h)) })
}

// breakOff leaves what was registered as it is: completing it as failed is the
// caller's decision, who may be another process.
func (r *restore) breakOff() {
	if r.h == 0 {
		return
	}
	if err := result(r.c.procs.restoreEnd(r.h)); err != nil {
		r.c.log.Debug("ending a restore session early", slog.Any("error", err))
	}
}
