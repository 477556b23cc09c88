package backup

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/certkeep/certkeep/certadm"
)

// Call is one call of the procedure, as it returned.
type Call struct {
	Op       string          // the Certadm.dll function, without its W
	Argument string          // the file name or flag, where the function takes one
	Code     certadm.HRESULT // SOK on success
	Started  time.Time
	Duration time.Duration
	Bytes    int64 // what a read delivered, or the size that an open reported
	Items    int   // entries of a list that was returned
}

// Traced returns svc with every call of it, and of the sessions and files that
// come from it, reported to observe when it has returned. Calls are reported
// in order, from the goroutine that made them.
func Traced(svc certadm.Service, observe func(Call)) certadm.Service {
	if observe == nil {
		return svc
	}
	return &tracedService{svc, tracer{after: observe}}
}

// tracer is told of calls. before can make one fail instead; tests do.
type tracer struct {
	before func(op string) error
	after  func(Call)
}

// call times f and reports it. f may fill in what it learned.
func (t tracer) call(op, arg string, f func(c *Call) error) error {
	c := Call{Op: op, Argument: arg, Started: time.Now()}
	var err error
	if t.before != nil {
		err = t.before(op)
	}
	if err == nil {
		err = f(&c)
	}
	c.Duration = time.Since(c.Started)
	c.Code = certadm.CodeOf(err)
	if t.after != nil {
		t.after(c)
	}
	return err
}

// list is call for the functions that return a list.
func traceList[E any](t tracer, op string, f func() ([]E, error)) (l []E, err error) {
	err = t.call(op, "", func(c *Call) error {
		l, err = f()
		c.Items = len(l)
		return err
	})
	return l, err
}

type tracedService struct {
	certadm.Service
	t tracer
}

func (s *tracedService) IsServerOnline(ctx context.Context) (ok bool, err error) {
	err = s.t.call(certadm.FnIsServerOnline, "", func(*Call) error {
		ok, err = s.Service.IsServerOnline(ctx)
		return err
	})
	return ok, err
}

func (s *tracedService) BackupPrepare(ctx context.Context, bt certadm.BackupType) (b certadm.Backup, err error) {
	arg := "CSBACKUP_TYPE_FULL"
	if bt == certadm.BackupLogsOnly {
		arg = "CSBACKUP_TYPE_LOGS_ONLY"
	}
	err = s.t.call(certadm.FnBackupPrepare, arg, func(*Call) error {
		b, err = s.Service.BackupPrepare(ctx, bt)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &tracedBackup{b, s.t}, nil
}

func (s *tracedService) RestorePrepare(ctx context.Context, rt certadm.RestoreType) (r certadm.Restore, err error) {
	err = s.t.call(certadm.FnRestorePrepare, "CSRESTORE_TYPE_FULL", func(*Call) error {
		r, err = s.Service.RestorePrepare(ctx, rt)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &tracedRestore{r, s.t}, nil
}

func (s *tracedService) ServerControl(ctx context.Context, c certadm.Control) (out []byte, err error) {
	err = s.t.call(certadm.FnServerControl, "", func(*Call) error {
		out, err = s.Service.ServerControl(ctx, c)
		return err
	})
	return out, err
}

// Unwrap gives the Service below, for its optional interfaces.
func (s *tracedService) Unwrap() certadm.Service { return s.Service }

type tracedBackup struct {
	b certadm.Backup
	t tracer
}

func (b *tracedBackup) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	return traceList(b.t, certadm.FnRestoreGetDatabaseLocations, func() ([]certadm.FileEntry, error) {
		return b.b.DatabaseLocations(ctx)
	})
}

func (b *tracedBackup) DatabaseNames(ctx context.Context) (certadm.FileList, error) {
	return traceList(b.t, certadm.FnBackupGetDatabaseNames, func() ([]certadm.FileEntry, error) {
		return b.b.DatabaseNames(ctx)
	})
}

func (b *tracedBackup) Logs(ctx context.Context) (certadm.FileList, error) {
	return traceList(b.t, certadm.FnBackupGetBackupLogs, func() ([]certadm.FileEntry, error) {
		return b.b.Logs(ctx)
	})
}

func (b *tracedBackup) DynamicFiles(ctx context.Context) ([]string, error) {
	return traceList(b.t, certadm.FnBackupGetDynamicFileList, func() ([]string, error) {
		return b.b.DynamicFiles(ctx)
	})
}

func (b *tracedBackup) OpenFile(ctx context.Context, name string, readHint int) (f certadm.BackupFile, err error) {
	err = b.t.call(certadm.FnBackupOpenFile, name, func(c *Call) error {
		if f, err = b.b.OpenFile(ctx, name, readHint); err == nil {
			c.Bytes = f.Size()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &tracedFile{f, name, b.t}, nil
}

func (b *tracedBackup) TruncateLogs(ctx context.Context) error {
	return b.t.call(certadm.FnBackupTruncateLogs, "", func(*Call) error { return b.b.TruncateLogs(ctx) })
}

func (b *tracedBackup) End(ctx context.Context) error {
	return b.t.call(certadm.FnBackupEnd, "", func(*Call) error { return b.b.End(ctx) })
}

type tracedFile struct {
	f    certadm.BackupFile
	name string
	t    tracer
}

func (f *tracedFile) Size() int64 { return f.f.Size() }

func (f *tracedFile) Read(p []byte) (n int, err error) {
	// The end of a file is a successful call that returned nothing.
	end := false
	err = f.t.call(certadm.FnBackupRead, f.name, func(c *Call) error {
		var err error
		n, err = f.f.Read(p)
		c.Bytes = int64(n)
		if end = errors.Is(err, io.EOF); end {
			return nil
		}
		return err
	})
	if err == nil && end {
		err = io.EOF
	}
	return n, err
}

func (f *tracedFile) Close() error {
	return f.t.call(certadm.FnBackupClose, f.name, func(*Call) error { return f.f.Close() })
}

type tracedRestore struct {
	r certadm.Restore
	t tracer
}

func (r *tracedRestore) DatabaseLocations(ctx context.Context) (certadm.FileList, error) {
	return traceList(r.t, certadm.FnRestoreGetDatabaseLocations, func() ([]certadm.FileEntry, error) {
		return r.r.DatabaseLocations(ctx)
	})
}

func (r *tracedRestore) Register(ctx context.Context, reg certadm.Registration) error {
	return r.t.call(certadm.FnRestoreRegister, reg.BackupLogPath, func(*Call) error { return r.r.Register(ctx, reg) })
}

func (r *tracedRestore) RegisterThroughFile(ctx context.Context, reg certadm.Registration) error {
	return r.t.call(certadm.FnRestoreRegisterThroughFile, reg.BackupLogPath, func(*Call) error {
		return r.r.RegisterThroughFile(ctx, reg)
	})
}

func (r *tracedRestore) RegisterComplete(ctx context.Context, state certadm.HRESULT) error {
	return r.t.call(certadm.FnRestoreRegisterComplete, state.String(), func(*Call) error {
		return r.r.RegisterComplete(ctx, state)
	})
}

func (r *tracedRestore) End(ctx context.Context) error {
	return r.t.call(certadm.FnRestoreEnd, "", func(*Call) error { return r.r.End(ctx) })
}
