package certdll

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/certkeep/certkeep/certadm"
)

// A call that is canceled while the library is busy with it: the method returns, the
// session is given up, and ended when the library is done.
func TestCanceledCalls(t *testing.T) {
	for export, call := range map[string]func(ctx context.Context, b certadm.Backup, log string, f *certadm.BackupFile) error{
		expLocations: func(ctx context.Context, b certadm.Backup, _ string, _ *certadm.BackupFile) error {
			_, err := b.DatabaseLocations(ctx)
			return err
		},
		expNames: func(ctx context.Context, b certadm.Backup, _ string, _ *certadm.BackupFile) error {
			_, err := b.DatabaseNames(ctx)
			return err
		},
		expLogs: func(ctx context.Context, b certadm.Backup, _ string, _ *certadm.BackupFile) error {
			_, err := b.Logs(ctx)
			return err
		},
		expDynamic: func(ctx context.Context, b certadm.Backup, _ string, _ *certadm.BackupFile) error {
			_, err := b.DynamicFiles(ctx)
			return err
		},
		expOpen: func(ctx context.Context, b certadm.Backup, log string, _ *certadm.BackupFile) error {
			_, err := b.OpenFile(ctx, log, 0)
			return err
		},
		expRead: func(ctx context.Context, b certadm.Backup, log string, pf *certadm.BackupFile) error {
			f, err := b.OpenFile(ctx, log, 0)
			if err != nil {
				return err
			}
			*pf = f
			_, err = f.Read(make([]byte, 100))
			return err
		},
		expClose: func(ctx context.Context, b certadm.Backup, log string, pf *certadm.BackupFile) error {
			f, err := b.OpenFile(ctx, log, 0)
			if err != nil {
				return err
			}
			*pf = f
			return f.Close()
		},
		expTruncate: func(ctx context.Context, b certadm.Backup, _ string, _ *certadm.BackupFile) error {
			return b.TruncateLogs(ctx)
		},
	} {
		t.Run(export, func(t *testing.T) {
			e, d := authority(t)
			c := d.client(t)
			b := prepare(t, c)
			readAll(t, b)
			logs, err := b.Logs(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			hang := make(chan struct{})
			d.before = func(name string) {
				if name == export {
					cancel()
					<-hang
				}
			}
			ends := d.called(expEnd)
			var f certadm.BackupFile
			err = call(ctx, b, logs[0].Path, &f)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's error", err)
			}
			wantCode(t, err, certadm.ErrorCancelled)
			_, err = b.Logs(t.Context())
			wantCode(t, err, certadm.HrInvalidHandle)
			if f != nil {
				if _, err := f.Read(make([]byte, 1)); err == nil {
					t.Error("the file can be read although the session was given up")
				}
			}
			// End can be given up, too, and the next session waits for the end.
			gone, stop := context.WithCancel(t.Context())
			stop()
			c.patience = 0
			if err := b.End(gone); err == nil {
				t.Error("End of a session that was given up succeeds")
			}
			if _, err := c.BackupPrepare(gone, certadm.BackupFull); err == nil {
				t.Error("BackupPrepare with a canceled context succeeds")
			}
			if n := d.called(expEnd); n != ends {
				t.Error("CertSrvBackupEnd was called while another call ran")
			}
			c.patience = patience
			d.before = func(string) {}
			opens := d.called(expOpen)
			close(hang)
			next := prepare(t, c)
			if n := d.called(expEnd); n != ends+1 {
				t.Errorf("CertSrvBackupEnd was called %d times", n-ends)
			}
			// With no file open, one is opened so that the session does not count.
			want := 0
			if export != expOpen && export != expRead && export != expTruncate {
				want = 1
			}
			if n := d.called(expOpen) - opens; n != want {
				t.Errorf("%d files were opened before the end, want %d", n, want)
			}
			wantCode(t, b.End(t.Context()), certadm.HrInvalidHandle)
			if err := next.End(t.Context()); err != nil {
				t.Error(err)
			}
			if counts(t, e) != (export == expTruncate) { // what was truncated, the consumer had
				t.Errorf("counts as a full backup: %v", counts(t, e))
			}
		})
	}
}

// End waits for a session that was given up, and fails.
func TestEndAfterGivingUp(t *testing.T) {
	_, d := authority(t)
	c := d.client(t)
	b := prepare(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	hang := make(chan struct{})
	d.before = func(name string) {
		if name == expLogs {
			cancel()
			<-hang
		}
	}
	if _, err := b.Logs(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Logs: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- b.End(t.Context()) }()
	close(hang)
	wantCode(t, <-done, certadm.ErrorCancelled)
	if n := d.called(expEnd); n != 1 {
		t.Errorf("CertSrvBackupEnd was called %d times before End returned", n)
	}
	wantCode(t, b.End(t.Context()), certadm.HrInvalidHandle)
}

// It fails in the same way when the session has ended meanwhile.
func TestEndAfterGivingUpAndEnding(t *testing.T) {
	for range 20 { // a select that is free to choose would choose right now and then
		_, d := authority(t)
		c := d.client(t)
		b := prepare(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		d.before = func(name string) {
			if name == expLogs {
				cancel()
			}
		}
		b.Logs(ctx)
		if ctx.Err() == nil {
			t.Fatal("nothing was canceled")
		}
		s := b.session
		select {
		case <-s.gone:
			<-s.ended
			wantCode(t, b.End(t.Context()), certadm.ErrorCancelled)
		default: // the call was faster
			if err := b.End(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// A BackupPrepare or an End that is canceled goes on, and leaves nothing behind.
func TestCanceledPrepareAndEnd(t *testing.T) {
	for _, export := range []string{expPrepare, expEnd} {
		t.Run(export, func(t *testing.T) {
			_, d := authority(t)
			c := d.client(t)
			ctx, cancel := context.WithCancel(t.Context())
			hang := make(chan struct{})
			d.before = func(name string) {
				if name == export && ctx.Err() == nil {
					cancel()
					<-hang
				}
			}
			b, err := c.BackupPrepare(ctx, certadm.BackupFull)
			if export == expEnd {
				if err != nil {
					t.Fatal(err)
				}
				err = b.End(ctx)
			} else if b != nil {
				t.Error("a session came with the error")
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's error", err)
			}
			close(hang)
			next := prepare(t, c) // waits for the end
			if n := d.called(expEnd); n != 1 {
				t.Errorf("CertSrvBackupEnd was called %d times", n)
			}
			if err := next.End(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A call that waits for another goroutine's does not give the session up, and an
// End that cannot be made can be made again.
func TestWaitingForATurn(t *testing.T) {
	_, d := authority(t)
	c := d.client(t)
	b := prepare(t, c)
	started, hang := make(chan struct{}), make(chan struct{})
	d.before = func(name string) {
		if name == expLogs {
			close(started)
			<-hang
		}
	}
	done := make(chan error, 1)
	go func() {
		_, err := b.Logs(t.Context())
		done <- err
	}()
	<-started
	c.patience = 0
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 2)
	go func() {
		_, err := b.DynamicFiles(ctx)
		waiting <- err
	}()
	cancel()
	wantCode(t, <-waiting, certadm.ErrorCancelled)
	wantCode(t, b.End(ctx), certadm.ErrorCancelled)
	close(hang)
	if err := <-done; err != nil {
		t.Errorf("the call that was waited for: %v", err)
	}
	c.patience = patience
	if err := b.End(t.Context()); err != nil {
		t.Errorf("End: %v", err)
	}
}

// A read that was given up writes nothing into the caller's memory.
func TestCanceledReadWritesNothing(t *testing.T) {
	_, d := authority(t)
	c := d.client(t)
	b := prepare(t, c)
	logs, err := b.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f, err := b.OpenFile(ctx, logs[0].Path, 0)
	if err != nil {
		t.Fatal(err)
	}
	hang := make(chan struct{})
	d.before = func(name string) {
		if name == expRead {
			cancel()
			<-hang
		}
	}
	p := make([]byte, 4096)
	if n, err := f.Read(p); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("Read = %d, %v", n, err)
	}
	close(hang)
	b.End(t.Context()) // the read is over
	if !bytes.Equal(p, make([]byte, len(p))) {
		t.Error("the library wrote into the caller's buffer")
	}
}

// A context that ended before a call costs nothing.
func TestCanceledBefore(t *testing.T) {
	_, d := authority(t)
	c := d.client(t)
	b := prepare(t, c)
	readAll(t, b)
	logs, err := b.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	f, err := b.OpenFile(gone, logs[0].Path, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	calls := len(d.calls)
	_, err = b.Logs(gone)
	wantCode(t, err, certadm.ErrorCancelled)
	_, err = io.Copy(io.Discard, f)
	wantCode(t, err, certadm.ErrorCancelled)
	_, err = c.IsServerOnline(gone)
	wantCode(t, err, certadm.ErrorCancelled)
	_, err = c.RestorePrepare(gone, certadm.RestoreFull)
	wantCode(t, err, certadm.ErrorCancelled)
	if len(d.calls) != calls {
		t.Errorf("the library was called: %v", d.calls[calls:])
	}
	if err := f.Close(); err != nil { // nevertheless
		t.Errorf("Close: %v", err)
	}
	readOne(t, b, logs[0].Path)
	if err := b.TruncateLogs(t.Context()); err != nil {
		t.Errorf("TruncateLogs: %v", err)
	}
	if err := b.End(gone); err != nil {
		t.Errorf("End: %v", err)
	}
}
