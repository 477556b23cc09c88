package certdll

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
)

// authority is one whose clients may do everything, and a library for it.
func authority(t testing.TB) (*certsrvtest.Env, *fakeDLL) {
	t.Helper()
	e := certsrvtest.New(t)
	return e, newFake(func(string) (certadm.Service, error) { return e.Server.Service(certsrvtest.Root), nil })
}

func prepare(t testing.TB, c *Client) *backup {
	t.Helper()
	b, err := c.BackupPrepare(t.Context(), certadm.BackupFull)
	if err != nil {
		t.Fatal(err)
	}
	return b.(*backup)
}

// readAll reads all files of a session.
func readAll(t testing.TB, b certadm.Backup) {
	t.Helper()
	dbs, err := b.DatabaseNames(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range dbs {
		readOne(t, b, e.Path)
	}
	logs, err := b.Logs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range logs {
		readOne(t, b, e.Path)
	}
}

func readOne(t testing.TB, b certadm.Backup, name string) {
	t.Helper()
	f, err := b.OpenFile(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, want certadm.HRESULT) {
	t.Helper()
	var e *certadm.Error
	if !errors.As(err, &e) || e.Code != want || e.Op == "" {
		t.Errorf("%v, want an *Error with %v", err, want)
	}
}

// counts tells whether the server knows of a full backup.
func counts(t testing.TB, e *certsrvtest.Env) bool {
	t.Helper()
	h, err := e.History(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return !h.FullBackup.IsZero()
}

func TestOpenElsewhere(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this is Windows")
	}
	for _, server := range []string{"", "ca1"} {
		c, err := Open(server)
		if c != nil || !errors.Is(err, ErrNotWindows) || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Open(%q) = %v, %v", server, c, err)
		}
	}
	if _, err := EnablePrivileges(SeBackupPrivilege); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("EnablePrivileges: %v", err)
	}
}

func TestServerName(t *testing.T) {
	for _, name := range []string{"a\x00b", "\xff", strings.Repeat("x", 200_000)} {
		_, err := open(func() (procs, error) { t.Error("the library was loaded"); return nil, nil }, name)
		wantCode(t, err, certadm.EInvalidArg)
	}
}

// The library returns a handle and something that is not S_OK, or no handle and S_OK.
func TestStrangePrepare(t *testing.T) {
	_, d := authority(t)
	c := d.client(t)
	d.prepared = func(h handle, _ certadm.HRESULT) (handle, certadm.HRESULT) { return h, 1 }
	_, err := c.BackupPrepare(t.Context(), certadm.BackupFull)
	wantCode(t, err, certadm.FromWin32(1))
	if n := d.called(expEnd); n != 1 {
		t.Errorf("a session of an unknown kind was ended %d times", n)
	}

	d.prepared = func(h handle, _ certadm.HRESULT) (handle, certadm.HRESULT) {
		if hr := d.backupEnd(h); hr != certadm.SOK {
			t.Error(hr)
		}
		return 0, certadm.SOK
	}
	_, err = c.BackupPrepare(t.Context(), certadm.BackupFull)
	wantCode(t, err, certadm.ErrorInvalidData)

	d.prepared = nil // the client is as it was
	if err := prepare(t, c).End(t.Context()); err != nil {
		t.Error(err)
	}
}

// Close ends what is open, so that it does not count.
func TestCloseWithSessions(t *testing.T) {
	e, d := authority(t)
	c := d.client(t)
	b := prepare(t, c)
	readAll(t, b)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	wantCode(t, b.End(t.Context()), certadm.HrInvalidHandle)
	_, err := c.Identity(t.Context())
	wantCode(t, err, certadm.HrInvalidHandle)
	if counts(t, e) {
		t.Error("a session that Close ended counts as a full backup")
	}
}

// A call that does not return keeps the library loaded, and Close waits only for
// so long.
func TestCloseDuringACall(t *testing.T) {
	_, d := authority(t)
	c := newClient(d, "ca1", Options{NoPrivileges: true})
	c.patience = time.Millisecond
	started, hang := make(chan struct{}), make(chan struct{})
	d.before = func(string) { close(started); <-hang }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.IsServerOnline(ctx)
		done <- err
	}()
	<-started
	cancel()
	err := <-done
	if !errors.Is(err, context.Canceled) {
		t.Errorf("IsServerOnline: %v", err)
	}
	wantCode(t, err, certadm.ErrorCancelled)
	wantCode(t, c.Close(), certadm.RPCCallFailed)
	d.mu.Lock()
	released := d.released
	d.mu.Unlock()
	if released {
		t.Error("the library was freed during a call")
	}
	close(hang)
	c.wg.Wait()
	for !func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.released }() {
		runtime.Gosched()
	}
	d.check(t)
}

// Restore functions may be absent.
func TestWithoutRestore(t *testing.T) {
	e, d := authority(t)
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := d.client(t)
	for _, name := range []string{expRestorePrepare, expRegister, expRegisterComplete, expRestoreEnd} {
		d.absent = []string{name, expRegisterFile}
		_, err := c.RestorePrepare(t.Context(), certadm.RestoreFull)
		wantCode(t, err, certadm.ErrorProcNotFound)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
	d.absent = []string{expRegisterFile}
	r, err := c.RestorePrepare(t.Context(), certadm.RestoreFull)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.RegisterThroughFile(t.Context(), certadm.Registration{}), certadm.ErrorProcNotFound)
	if err := r.End(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRegistrations(t *testing.T) {
	e, d := authority(t)
	if err := e.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := d.client(t).RestorePrepare(t.Context(), certadm.RestoreFull)
	if err != nil {
		t.Fatal(err)
	}
	one := []certadm.RestoreMapping{{Database: "a", NewDatabase: "b"}}
	for what, reg := range map[string]certadm.Registration{
		"two entries":    {Map: slices.Concat(one, one)},
		"no new name":    {Map: []certadm.RestoreMapping{{Database: "a"}}},
		"NUL in a map":   {Map: []certadm.RestoreMapping{{Database: "a\x00", NewDatabase: "b"}}},
		"NUL in a path":  {LogPath: "a\x00"},
		"not UTF-8":      {CheckpointPath: "\xff"},
		"a long path":    {BackupLogPath: strings.Repeat("x", 1<<20)},
		"reversed range": {LowLog: 2, HighLog: 1},
		"six digits":     {HighLog: certadm.MaxLogGeneration + 1},
	} {
		if err := r.Register(t.Context(), reg); certadm.CodeOf(err) != certadm.EInvalidArg {
			t.Errorf("%s: %v", what, err)
		}
		if err := r.RegisterThroughFile(t.Context(), reg); certadm.CodeOf(err) != certadm.EInvalidArg {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := d.called(expRegister) + d.called(expRegisterFile); n != 0 {
		t.Errorf("the library saw %d of them", n)
	}
	if err := r.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// Calls of one session by several goroutines follow each other; the fake would see
// two at a time, and so would the race detector.
func TestManyGoroutines(t *testing.T) {
	_, d := authority(t)
	c := d.client(t)
	b := prepare(t, c)
	dbs, err := b.DatabaseNames(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			switch i % 4 {
			case 0:
				b.Logs(t.Context())
			case 1:
				if f, err := b.OpenFile(t.Context(), dbs[0].Path, 0); err == nil {
					io.Copy(io.Discard, f)
					f.Close()
				}
			case 2:
				c.IsServerOnline(t.Context())
			case 3:
				if i == 15 {
					b.End(t.Context())
				}
				b.DynamicFiles(t.Context())
			}
		})
	}
	wg.Wait()
	wantCode(t, b.End(t.Context()), certadm.HrInvalidHandle)
}

func TestHints(t *testing.T) {
	for _, op := range []string{certadm.FnBackupPrepare, certadm.FnServerControl, certadm.FnRestorePrepare, certadm.FnRestoreRegister, certadm.FnRestoreRegisterThroughFile} {
		for _, code := range []certadm.HRESULT{certadm.EAccessDenied, certadm.ErrorPrivilegeNotHeld} {
			if hint(op, code) == "" {
				t.Errorf("no hint for %v of %s", code, op)
			}
		}
	}
	for _, code := range []certadm.HRESULT{certadm.HrMissingFullBackup, certadm.HrBackupInProgress, certadm.HrInvalidBackup,
		certadm.ErrorServiceNotActive, certadm.RPCServerUnavailable, certadm.HrRestoreMapExists} {
		var e *certadm.Error
		if err := fail(certadm.FnBackupPrepare, "", result(code)); !errors.As(err, &e) || e.Hint == "" || !errors.Is(err, code) {
			t.Errorf("%v: %v", code, err)
		}
	}
	if h := hint(certadm.FnRestorePrepare, certadm.ErrorSharingViolation); !strings.Contains(h, "net stop") {
		t.Errorf("%q", h)
	}
	// A Win32 error without the failure bit is one all the same.
	if err := fail(certadm.FnIsServerOnline, "", result(1722)); !errors.Is(err, certadm.RPCServerUnavailable) {
		t.Errorf("1722: %v", err)
	}
}
