package csra

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// soon is when a client that is cut off is gone.
func soon(o *ServerOptions) { o.Limits.Grace = time.Nanosecond }

// mustPrepare starts a session and lists everything.
func mustPrepare(t testing.TB, c *Client) certadm.Backup {
	t.Helper()
	b, err := c.BackupPrepare(t.Context(), certadm.BackupFull)
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := b.DatabaseNames(t.Context())
	_, err2 := b.Logs(t.Context())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return b
}

func mustOpen(t testing.TB, b certadm.Backup, ctx context.Context) certadm.BackupFile {
	t.Helper()
	f, err := b.OpenFile(ctx, fakeDB, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A server that takes a full backup for an incremental one, or the other way
// round, or lets nobody know: the session is ended, nothing is truncated, and the
// client can start anew.
func TestWrongType(t *testing.T) {
	list := func(l certadm.FileList, code certadm.HRESULT) func(*ndr.Encoder) error {
		return func(out *ndr.Encoder) error {
			units, err := certadm.EncodeListUnits(l)
			encodeList(out, units)
			out.U32(uint32(code))
			return err
		}
	}
	db, log := certadm.FileEntry{Type: certadm.FileDatabase, Path: fakeDB}, certadm.FileEntry{Type: certadm.FileLog, Path: fakeLog}
	const full, logs = certadm.BackupFull, certadm.BackupLogsOnly
	for name, v := range map[string]struct {
		kind   certadm.BackupType
		answer func(*ndr.Encoder) error
		code   certadm.HRESULT // SOK: the session stands
	}{
		"full, refused":                     {full, list(nil, certadm.HrInvalidBackupSequence), certadm.HrInvalidBackupSequence},
		"full, empty":                       {full, list(nil, 0), certadm.EUnexpected},
		"full, logs alone":                  {full, list(certadm.FileList{log}, 0), certadm.EUnexpected},
		"full, with a database":             {full, list(certadm.FileList{db}, 0), certadm.SOK},
		"incremental, with a database":      {logs, list(certadm.FileList{db}, 0), certadm.EUnexpected},
		"incremental, with a log":           {logs, list(certadm.FileList{log}, 0), certadm.EUnexpected},
		"incremental, empty":                {logs, list(nil, 0), certadm.SOK},
		"incremental, out of sequence":      {logs, list(nil, certadm.HrInvalidBackupSequence), certadm.SOK},
		"incremental, unexpected":           {logs, list(nil, certadm.EUnexpected), certadm.SOK},
		"incremental, some ESE error":       {logs, list(nil, certadm.HrNoBackup), certadm.SOK},
		"incremental, but may not ask":      {logs, list(nil, certadm.EAccessDenied), certadm.EAccessDenied},
		"incremental, but the service ends": {logs, list(nil, certadm.ErrorServiceNotActive), certadm.ErrorServiceNotActive},
		"incremental, malformed": {logs, func(out *ndr.Encoder) error {
			encodeList(out, []uint16{'D', 'x', 0})
			out.U32(0)
			return nil
		}, certadm.ErrorInvalidData},
		"incremental, nonsense": {logs, func(out *ndr.Encoder) error {
			out.U64(7)
			out.U32(0)
			return nil
		}, certadm.RPCBadStubData},
		"incremental, a fault": {logs, func(*ndr.Encoder) error { return &dcerpc.Fault{Status: 0x80010105} }, 0x80010105},
	} {
		t.Run(name, func(t *testing.T) {
			v2 := &odd{answer: func(op uint16, _ *ndr.Decoder, out *ndr.Encoder) (bool, error) {
				if op != opBackupGetAttachments {
					return false, nil
				}
				return true, v.answer(out)
			}, f: newFake()}
			c := v2.dial(t)
			b, err := c.BackupPrepare(t.Context(), v.kind)
			wantCode(t, err, v.code, "BackupPrepare")
			if v.code == certadm.SOK {
				if got := v2.f.calls(); got != "prepare" {
					t.Errorf("the service saw: %s", got)
				}
				if err := b.End(t.Context()); err != nil {
					t.Errorf("End: %v", err)
				}
				return
			}
			if got := v2.f.calls(); got != "prepare end" {
				t.Errorf("the service saw: %s", got)
			}
			if b != nil {
				t.Error("there is a session")
			}
			_, err = c.BackupPrepare(t.Context(), v.kind)
			wantCode(t, err, v.code, "BackupPrepare, again")
		})
	}
}

// A call whose context ends returns at once, while the server is still at it. It
// is let finish there, and the session can be ended in order; it is no whole
// backup if a file was being read.
func TestCallGivenUp(t *testing.T) {
	for _, v := range []struct {
		call string
		do   func(ctx context.Context, b certadm.Backup, f certadm.BackupFile) error
		want string // what the service saw of it
	}{
		{"names", func(ctx context.Context, b certadm.Backup, _ certadm.BackupFile) error {
			_, err := b.DatabaseNames(ctx)
			return err
		}, "names end"},
		{"logs", func(ctx context.Context, b certadm.Backup, _ certadm.BackupFile) error {
			_, err := b.Logs(ctx)
			return err
		}, "logs end"},
		{"truncate", func(ctx context.Context, b certadm.Backup, _ certadm.BackupFile) error { return b.TruncateLogs(ctx) }, "truncate end"},
		{"open", func(ctx context.Context, b certadm.Backup, _ certadm.BackupFile) error {
			_, err := b.OpenFile(ctx, fakeDB, 0)
			return err
		}, "open end"},
		{"read", func(_ context.Context, _ certadm.Backup, f certadm.BackupFile) error {
			_, err := io.ReadAll(f)
			return err
		}, "open read read end"},
	} {
		t.Run(v.call, func(t *testing.T) {
			s, f := serveFake(t, nil)
			c, _ := s.mustDial(t, nil)
			b := mustPrepare(t, c)
			ctx, cancel := context.WithCancel(t.Context())
			var file certadm.BackupFile
			before := len(f.calls())
			if v.call == "read" {
				file = mustOpen(t, b, ctx)
			}
			started, release := f.hold(t, v.call)
			done := make(chan error, 1)
			go func() { done <- v.do(ctx, b, file) }()
			<-started
			cancel()
			err := <-done
			wantCode(t, err, certadm.ErrorCancelled, v.call)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", v.call, err)
			}
			release()
			f.on(nil)
			if err := b.End(ctx); err != nil {
				t.Errorf("End: %v", err)
			}
			if got := strings.TrimSpace(f.calls()[before:]); got != v.want {
				t.Errorf("the service saw: %s, want %s", got, v.want)
			}
			whole(t, c) // the connection is as good as new
		})
	}
}

// slowPrepare is a server whose BackupPrepare takes until the client has gone.
type slowPrepare struct {
	*fake
	started chan struct{}
	once    atomic.Bool
}

func (s *slowPrepare) BackupPrepare(ctx context.Context, t certadm.BackupType) (certadm.Backup, error) {
	if !s.once.Swap(true) {
		close(s.started)
		<-ctx.Done()
	}
	return s.fake.BackupPrepare(context.Background(), t)
}

// A BackupPrepare that is given up takes the connection with it, and leaves no
// session behind that would keep others out.
func TestPrepareGivenUpOverTheWire(t *testing.T) {
	slow := &slowPrepare{fake: newFake(), started: make(chan struct{})}
	s := serveTCP(t, ServerOptions{NTLM: testSecrets.server(), Open: func(context.Context, Caller) (certadm.Service, error) { return slow, nil }})
	c, _ := s.mustDial(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-slow.started
		cancel()
	}()
	_, err := c.BackupPrepare(ctx, certadm.BackupFull)
	wantCode(t, err, certadm.ErrorCancelled, "BackupPrepare")
	_, err = c.IsServerOnline(t.Context())
	wantCode(t, err, certadm.RPCServerUnavailable, "IsServerOnline")
	ended := make(chan struct{})
	slow.on(func(call string) {
		if call == "end" {
			close(ended)
		}
	})
	if slow.calls() != "prepare end" {
		<-ended
	}
	slow.on(nil)
	c2, _ := s.mustDial(t, nil)
	whole(t, c2)
}

// Close while a read waits for the server: the read fails, nothing is truncated,
// and the server has the session no more.
func TestCloseDuringRead(t *testing.T) {
	s, f := serveFake(t, nil)
	c, l := s.mustDial(t, nil)
	b := mustPrepare(t, c)
	file := mustOpen(t, b, t.Context())
	started, release := f.hold(t, "read")
	read := make(chan error, 1)
	go func() { _, err := io.ReadAll(file); read <- err }()
	<-started
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	wantCode(t, <-read, certadm.HrInvalidHandle, "Read")
	release()
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	<-s.gone(l)
	if got := f.calls(); strings.Contains(got, "end") || strings.Contains(got, "truncate") || !strings.HasSuffix(got, "close") {
		t.Errorf("the service saw: %s", got)
	}
	for what, err := range map[string]error{"End": b.End(t.Context()), "TruncateLogs": b.TruncateLogs(t.Context()), "Close of the file": file.Close()} {
		wantCode(t, err, certadm.HrInvalidHandle, what)
	}
}

// A server that does not answer a read at all holds nobody for good: when the
// client's patience is over, it cuts the connection.
func TestServerHangs(t *testing.T) {
	for name, end := range map[string]func(c *Client, b certadm.Backup) error{
		"Close": func(c *Client, _ certadm.Backup) error { return c.Close() },
		"End": func(_ *Client, b certadm.Backup) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return b.End(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := serveFake(t, soon)
			c, l := s.mustDial(t, nil)
			c.patience = time.Millisecond
			b := mustPrepare(t, c)
			file := mustOpen(t, b, t.Context())
			started, release := f.hold(t, "read")
			read := make(chan error, 1)
			go func() { _, err := io.ReadAll(file); read <- err }()
			<-started
			if err := end(c, b); err == nil {
				t.Errorf("%s succeeds", name)
			}
			if err := <-read; err == nil {
				t.Error("the read succeeds")
			}
			release()
			c.Close()
			<-s.gone(l)
			if got := f.calls(); strings.Contains(got, "end") || strings.Contains(got, "truncate") {
				t.Errorf("the service saw: %s", got)
			}
		})
	}
}

// single is a proxy that knows how many BackupReadFile are under way.
type single struct {
	proxy
	now, most, all atomic.Int32
}

func (s *single) Call(ctx context.Context, op uint16, buffer []byte, args func(*ndr.Encoder)) (*ndr.Decoder, error) {
	if op == opBackupReadFile {
		s.all.Add(1)
		n := s.now.Add(1)
		for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
		}
		defer s.now.Add(-1)
	}
	return s.proxy.Call(ctx, op, buffer, args)
}

// Each BackupReadFile goes on where the last one ended. So there is never more
// than one, nor any that nobody asked for after the file's end, however the file
// is read; and what comes is the file.
func TestOneReadAtATime(t *testing.T) {
	s, f := serveFake(t, nil)
	f.files[fakeDB] = pattern[:1<<20+12345]
	c, _ := s.mustDial(t, nil)
	p := &single{proxy: c.calls.p}
	c.calls.p = p
	for name, read := range map[string]func(certadm.BackupFile) ([]byte, error){
		"at once": func(f certadm.BackupFile) ([]byte, error) { return io.ReadAll(f) },
		"byte by byte": func(f certadm.BackupFile) (b []byte, err error) {
			one := make([]byte, 1)
			for len(b) < 100 {
				if _, err := f.Read(one); err != nil {
					return b, err
				}
				b = append(b, one[0])
			}
			rest, err := io.ReadAll(f)
			return append(b, rest...), err
		},
		"written": func(f certadm.BackupFile) ([]byte, error) {
			var w strings.Builder
			_, err := f.(io.WriterTo).WriteTo(&w)
			return []byte(w.String()), err
		},
	} {
		b := mustPrepare(t, c)
		p.all.Store(0)
		file, err := b.OpenFile(t.Context(), fakeDB, 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(file)
		if err != nil || string(got) != string(f.files[fakeDB]) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if err := errors.Join(file.Close(), b.End(t.Context())); err != nil {
			t.Error(err)
		}
		if n := p.all.Load(); n != 17 { // 64 KiB each, the last one in part
			t.Errorf("%s: %d reads", name, n)
		}
	}
	if p.most.Load() != 1 {
		t.Errorf("%d reads at a time", p.most.Load())
	}
}

// A file that the server could not close may not be held for read there: nothing
// is truncated, although all of it has come.
func TestCloseFails(t *testing.T) {
	s, f := serveFake(t, nil)
	c, _ := s.mustDial(t, nil)
	b := mustPrepare(t, c)
	file := mustOpen(t, b, t.Context())
	f.fail["closefile"] = certadm.HrDiskIO
	if _, err := io.ReadFull(file, make([]byte, file.Size())); err != nil {
		t.Fatal(err)
	}
	wantCode(t, file.Close(), certadm.HrDiskIO, "Close")
	wantCode(t, b.TruncateLogs(t.Context()), certadm.EUnexpected, "TruncateLogs")
	if err := b.End(t.Context()); err != nil {
		t.Errorf("End: %v", err)
	}
	if got := f.calls(); strings.Contains(got, "truncate") {
		t.Errorf("the service saw: %s", got)
	}
}
