package certadmtest

import (
	"context"
	"io"

	"github.com/certkeep/certkeep/certadm"
)

// client is a certadm.Service over a conn.
type client struct {
	c      *conn
	closed bool
}

func fail(op string, code certadm.HRESULT) error {
	if code == certadm.SOK {
		return nil
	}
	return &certadm.Error{Op: "CertSrv" + op, Code: code}
}

// use locks the server and checks that the client is open.
func (s *client) use(op string, fn func() certadm.HRESULT) error {
	f := s.c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.closed && !f.is("closed clients work") {
		return fail(op, certadm.HrInvalidHandle)
	}
	err := fail(op, fn())
	if e, ok := err.(*certadm.Error); ok {
		switch {
		case f.is("bare codes"):
			return e.Code
		case f.is("failures do not name the function"):
			e.Op = ""
		}
	}
	return err
}

func (s *client) IsServerOnline(context.Context) (on bool, err error) {
	f := s.c.f
	err = s.use("IsServerOnline", func() certadm.HRESULT {
		switch {
		case f.is("dies at a restart") && f.restarted:
			return certadm.RPCServerUnavailable
		case f.is("never online"), f.state == suspended && !f.is("suspended is online"):
			return certadm.SOK
		case f.state == running, f.state == suspended, f.state == recovering && f.is("online during recovery"):
			on = true
			return certadm.SOK
		case f.is("stopped is no error"):
			return certadm.SOK
		}
		return certadm.RPCServerUnavailable
	})
	return on, err
}

func (s *client) BackupPrepare(_ context.Context, t certadm.BackupType) (certadm.Backup, error) {
	f := s.c.f
	b := &backup{s: s}
	err := s.use("BackupPrepare", func() certadm.HRESULT {
		known := t == certadm.BackupFull || t == certadm.BackupLogsOnly
		if !known && !f.is("unknown types are sent") && !f.is("unknown type is full") {
			return certadm.EInvalidArg
		}
		grbit, flags := uint32(0), uint32(t)
		if t == certadm.BackupLogsOnly {
			grbit = 1
		}
		if f.is("the type is in grbit alone") && known {
			flags = 0
		}
		if f.is("a client id is sent") {
			return s.c.prepare(fakeName, grbit, flags, 7)
		}
		code := s.c.prepare(fakeName, grbit, flags, 0)
		if code != certadm.SOK && f.is("End after a failed Prepare") {
			s.c.end()
		}
		return code
	})
	if err != nil && !f.is("a session with an error") {
		return nil, err
	}
	return b, err
}

func (s *client) ServerControl(_ context.Context, c certadm.Control) (out []byte, err error) {
	f := s.c.f
	err = s.use("ServerControl", func() certadm.HRESULT {
		if f.is("control gives output") {
			out = []byte{1}
		}
		switch {
		case c == certadm.ControlShutdown:
			if s.c.caller.Rights&Administrator == 0 && !f.is("anyone shuts down") {
				return certadm.EAccessDenied
			}
			f.event(AuditStartStop, AuditEvent{ID: 4875, Who: s.c.caller.Name})
			if !f.is("shutdown does nothing") {
				f.stop()
			}
		case c == certadm.ControlSuspend && f.is("suspend suspends"):
			f.state = suspended
		case c != certadm.ControlSuspend && c != certadm.ControlRestart && !f.is("any control is fine"):
			return certadm.EInvalidArg
		}
		return certadm.SOK
	})
	return out, err
}

func (s *client) Close() error {
	f := s.c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	s.closed = true
	f.lose(s.c, "Close")
	return nil
}

// lose ends what a client that went away has left.
func (f *fake) lose(c *conn, how string) {
	sess := c.mine()
	if sess == nil || f.is(how+" keeps the session") {
		return
	}
	if f.is("a lost client's logs are truncated") {
		f.remove(sess)
	}
	if f.is("a lost client's backup counts") && sess.whole() {
		c.end()
	}
	f.endSession(sess)
}

func (s *client) DatabaseLocations(context.Context) (l certadm.FileList, err error) {
	err = s.use("RestoreGetDatabaseLocations", func() certadm.HRESULT { return s.c.mayList("RestoreGetDatabaseLocations") })
	if err != nil {
		return nil, err
	}
	return s.c.f.locations(), nil
}

func (s *client) DynamicFiles(context.Context) ([]string, error) {
	err := s.use("BackupGetDynamicFileList", func() certadm.HRESULT { return s.c.mayList("BackupGetDynamicFiles") })
	if err != nil {
		return nil, err
	}
	return s.c.f.dynamicFiles(), nil
}

func (s *client) Identity(context.Context) (certadm.Identity, error) {
	return certadm.Identity{Name: fakeName, SanitizedName: certadm.SanitizeName(fakeName), Host: "fakesrv.example.org", Engine: "ese"}, nil
}

// backup is a certadm.Backup over a client.
type backup struct {
	s     *client
	ended bool
	hint  int // of the first open
	file  *file
}

func (b *backup) use(op string, fn func() certadm.HRESULT) error {
	return b.s.use(op, func() certadm.HRESULT {
		f := b.s.c.f
		if b.ended && !f.is("ended sessions work") {
			if f.is("panics after End") {
				panic("use after End")
			}
			if f.is("after End: wrong code") {
				return certadm.EUnexpected
			}
			return certadm.HrInvalidHandle
		}
		return fn()
	})
}

func (b *backup) DatabaseLocations(ctx context.Context) (l certadm.FileList, err error) {
	err = b.use("RestoreGetDatabaseLocations", func() certadm.HRESULT { return b.s.c.mayList("RestoreGetDatabaseLocations") })
	if err != nil {
		return nil, err
	}
	return b.s.c.f.locations(), nil
}

func (b *backup) DynamicFiles(ctx context.Context) ([]string, error) {
	err := b.use("BackupGetDynamicFileList", func() certadm.HRESULT { return b.s.c.mayList("BackupGetDynamicFiles") })
	if err != nil {
		return nil, err
	}
	return b.s.c.f.dynamicFiles(), nil
}

func (b *backup) DatabaseNames(context.Context) (l certadm.FileList, err error) {
	err = b.use("BackupGetDatabaseNames", func() (code certadm.HRESULT) { l, code = b.s.c.attachments(); return })
	return l, err
}

func (b *backup) Logs(context.Context) (l certadm.FileList, err error) {
	err = b.use("BackupGetBackupLogs", func() (code certadm.HRESULT) { l, code = b.s.c.logs(); return })
	return l, err
}

func (b *backup) TruncateLogs(context.Context) error {
	return b.use("BackupTruncateLogs", b.s.c.truncate)
}

func (b *backup) End(context.Context) error {
	return b.use("BackupEnd", func() certadm.HRESULT {
		code := b.s.c.end()
		// A session that the server has given up already is lost, not out of
		// sequence; either is a failure.
		b.ended = b.s.c.mine() == nil
		return code
	})
}

func (b *backup) OpenFile(ctx context.Context, name string, hint int) (certadm.BackupFile, error) {
	f := b.s.c.f
	fl := &file{b: b, ctx: ctx}
	err := b.use("BackupOpenFile", func() (code certadm.HRESULT) {
		if hint < 0 && f.is("hints are checked") {
			return certadm.EInvalidArg
		}
		if fl.size, code = b.s.c.openFile(name); code != certadm.SOK {
			return code
		}
		if b.hint == 0 || f.is("the last hint counts") {
			b.hint = certadm.ReadBufferSize(hint)
		}
		b.file = fl
		return certadm.SOK
	})
	if err != nil {
		return nil, err
	}
	return fl, nil
}

// file is a certadm.BackupFile. It reads from the server in its own pieces.
type file struct {
	b      *backup
	ctx    context.Context
	size   int64
	buf    []byte
	given  int64
	eof    bool
	closed bool
}

func (fl *file) Size() int64 { return fl.size }

func (fl *file) use(op string, fn func() certadm.HRESULT) error {
	f := fl.b.s.c.f
	if fl.closed && !f.is("closed files work") {
		return fail(op, certadm.EUnexpected)
	}
	return fl.b.use(op, func() certadm.HRESULT {
		if fl.b.file != fl && !f.is("closed files work") {
			return certadm.EUnexpected
		}
		return fn()
	})
}

func (fl *file) Read(p []byte) (n int, err error) {
	f := fl.b.s.c.f
	if err := fl.ctx.Err(); err != nil && !f.is("cancelling is ignored") {
		return 0, &certadm.Error{Op: "CertSrvBackupRead", Code: certadm.ErrorCancelled, Err: err}
	}
	want := p
	if f.is("short reads") && len(p) > 1 {
		want = p[:len(p)/2]
	}
	err = fl.use("BackupRead", func() certadm.HRESULT {
		for n < len(want) {
			if len(fl.buf) == 0 && !fl.eof {
				size := fl.b.hint
				if f.is("odd wire reads") {
					size--
				}
				buf, got, code := fl.b.s.c.readFile(int32(size))
				if code != certadm.SOK {
					return code
				}
				fl.buf, fl.eof = buf[:got], got == 0
			}
			if len(fl.buf) == 0 {
				break
			}
			k := copy(want[n:], fl.buf)
			n, fl.buf = n+k, fl.buf[k:]
			if f.is("loses the rest of its buffer") && n == len(want) {
				fl.buf = nil
			}
		}
		return certadm.SOK
	})
	if f.is("truncates early") && fl.given+int64(n) > fl.size {
		n = int(fl.size - fl.given)
	}
	fl.given += int64(n)
	if err == nil && n < len(want) && n == 0 {
		err = io.EOF
	}
	return n, err
}

func (fl *file) Close() error {
	err := fl.use("BackupClose", fl.b.s.c.closeFile)
	if fl.closed && fl.b.s.c.f.is("closing twice is fine") {
		return nil
	}
	fl.closed = true
	return err
}
