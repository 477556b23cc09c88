package csra

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

var discard = slog.New(slog.DiscardHandler)

// fake is a Service that has two files and notes what is asked of it. It permits
// everything.
type fake struct {
	mu     sync.Mutex
	log    []string
	fail   map[string]error // by method
	kind   certadm.BackupType
	files  map[string][]byte
	closed bool
	during func(call string) // see on
}

// on has fn called during each call from now on; it may be nil.
func (f *fake) on(fn func(call string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.during = fn
}

// hold holds calls of this name in the service until release is called; started
// is closed when the first one is there.
func (f *fake) hold(t testing.TB, call string) (started <-chan struct{}, release func()) {
	begun, resume := make(chan struct{}), make(chan struct{})
	begin, release := sync.OnceFunc(func() { close(begun) }), sync.OnceFunc(func() { close(resume) })
	t.Cleanup(release)
	f.on(func(c string) {
		if c == call {
			begin()
			<-resume
		}
	})
	return begun, release
}

const (
	fakeDB  = `\\CA1\C$\CertLog\Fake.edb`
	fakeLog = `\\CA1\C$\CertLog\edb00001.log`
)

func newFake() *fake {
	return &fake{fail: make(map[string]error), files: map[string][]byte{
		fakeDB: bytes.Repeat([]byte("database"), 1000), fakeLog: []byte("log"),
	}}
}

func (f *fake) note(call string) error {
	f.mu.Lock()
	during := f.during
	f.mu.Unlock()
	if during != nil {
		during(call)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, call)
	return f.fail[call]
}

func (f *fake) calls() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.log, " ")
}

func (f *fake) IsServerOnline(context.Context) (bool, error) { return true, f.note("online") }
func (f *fake) BackupPrepare(_ context.Context, t certadm.BackupType) (certadm.Backup, error) {
	f.kind = t
	if err := f.note("prepare"); err != nil {
		return nil, err
	}
	return f, nil
}
func (f *fake) RestorePrepare(context.Context, certadm.RestoreType) (certadm.Restore, error) {
	return nil, certadm.ENotImpl
}
func (f *fake) ServerControl(context.Context, certadm.Control) ([]byte, error) {
	return nil, f.note("control")
}
func (f *fake) Close() error { f.closed = true; return f.note("close") }
func (f *fake) DatabaseLocations(context.Context) (certadm.FileList, error) {
	return certadm.FileList{{Type: certadm.FileDatabase, Path: fakeDB}}, f.note("locations")
}
func (f *fake) DatabaseNames(context.Context) (certadm.FileList, error) {
	return certadm.FileList{{Type: certadm.FileDatabase, Path: fakeDB}}, f.note("names")
}
func (f *fake) Logs(context.Context) (certadm.FileList, error) {
	return certadm.FileList{{Type: certadm.FileLog, Path: fakeLog}}, f.note("logs")
}
func (f *fake) TruncateLogs(context.Context) error { return f.note("truncate") }
func (f *fake) DynamicFiles(context.Context) ([]string, error) {
	return []string{`\\CA1\CertEnroll\Fake.crl`}, f.note("dynamic")
}
func (f *fake) End(context.Context) error { return f.note("end") }
func (f *fake) OpenFile(ctx context.Context, name string, _ int) (certadm.BackupFile, error) {
	if err := f.note("open"); err != nil {
		return nil, err
	}
	return &fakeFile{f: f, ctx: ctx, Reader: bytes.NewReader(f.files[name])}, nil
}

type fakeFile struct {
	*bytes.Reader
	f   *fake
	ctx context.Context
}

func (f *fakeFile) Read(p []byte) (int, error) {
	if err := errors.Join(f.ctx.Err(), f.f.note("read")); err != nil {
		return 0, err
	}
	return f.Reader.Read(p)
}
func (f *fakeFile) Size() int64  { return f.Reader.Size() }
func (f *fakeFile) Close() error { return f.f.note("closefile") }

func fakeObject(t testing.TB, s *settings) (calls, *fake, *direct) {
	t.Helper()
	if s == nil {
		s = &settings{}
	}
	s.name, s.log = "Fake CA", discard
	f := newFake()
	d := newDirect(newObject(s, Caller{User: "tester"}, f))
	t.Cleanup(d.lose)
	return d.calls(), f, d
}

func wantCode(t testing.TB, err error, want certadm.HRESULT, what string) {
	t.Helper()
	if got := certadm.CodeOf(err); got != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// openAll brings an object into the state with a file open.
func openAll(t testing.TB, o *object) {
	c := newDirect(o).calls()
	if o.session == nil {
		if err := c.prepare(t.Context(), prepareArgs{flags: 1}); err != nil {
			t.Fatal(err)
		}
	}
	c.list(t.Context(), opBackupGetAttachments)
	c.openFile(t.Context(), fakeDB)
	if o.session.file == nil {
		t.Fatal("no file is open")
	}
}

// wellFormed checks that an answer has every parameter of its method and an
// HRESULT, and nothing else.
func wellFormed(t testing.TB, m method, b []byte) certadm.HRESULT {
	t.Helper()
	d := ndr.NewDecoder(b)
	for _, o := range m.outs {
		var err error
		switch out(o) {
		case outU32:
			d.U32()
		case outU64:
			d.U64()
		case outBlob:
			_, err = decodeBlob(d)
		case outList:
			_, err = decodeList(d)
		case outRead:
			decodeRead(d)
		case outVariant:
			if d.Pointer() {
				d.Align(8)
				d.Bytes(20)
			}
		default:
			t.Fatalf("%s: parameter %q", m.name, o)
		}
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	code := certadm.HRESULT(d.U32())
	if d.Err() != nil || len(d.Rest()) != 0 {
		t.Errorf("%s: answer %x: %v, %d bytes left", m.name, b, d.Err(), len(d.Rest()))
	}
	return code
}

// Every method of both interfaces is answered, in order and out of order.
func TestEveryMethod(t *testing.T) {
	served := map[uint16]bool{}
	for op, h := range handlers {
		served[uint16(op)] = h != nil
	}
	served[opBackupReadFile] = true
	for op := range uint16(60) {
		for _, iid := range []ndr.GUID{iidICertAdminD, iidICertAdminD2} {
			o := newObject(&settings{name: "Fake CA", log: discard}, Caller{}, newFake())
			out := ndr.NewEncoder(nil)
			// enough zeros for any method's parameters: NULL names, and numbers
			err := o.serve(t.Context(), arrivalOf(t.Context(), iid, op), ndr.NewDecoder(make([]byte, 64)), out)
			m, ok := methodOf(iid, op)
			last := uint16(48)
			if iid == iidICertAdminD {
				last = 30
			}
			if want := op >= 3 && op <= last; ok != want {
				t.Fatalf("method %d of %v: %v", op, iid, ok)
			}
			var fault faultError
			if !ok {
				if !errors.As(err, &fault) || fault != faultOpRange {
					t.Errorf("method %d of %v: %v, want a fault", op, iid, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", m.name, err)
				continue
			}
			code := wellFormed(t, m, out.Bytes())
			if (code == certadm.ENotImpl) == served[op] && op != opPing && op != opPing2 && op != opGetMyRoles && op != opGetCRL && op != opGetCAProperty {
				t.Errorf("%s: %v", m.name, code) // the five are of Inspector, which the fake is not
			}
		}
	}
}

func TestTypeOfBackup(t *testing.T) {
	for _, v := range []struct {
		grbit, flags uint32
		want         certadm.BackupType
	}{
		{0, 0, 1}, {1, 0, 2}, {0, 1, 1}, {1, 1, 1}, {0, 2, 2}, {1, 2, 2}, {2, 0, 0}, {0, 3, 1}, {1, 0xFFFFFFFF, 2}, {7, 3, 0},
	} {
		c, f, _ := fakeObject(t, nil)
		err := c.prepare(t.Context(), prepareArgs{grbitJet: v.grbit, flags: v.flags})
		if v.want == 0 {
			wantCode(t, err, certadm.EInvalidArg, "a type that does not exist")
		} else if err != nil || f.kind != v.want {
			t.Errorf("grbitJet %d, flags %d: type %d, %v, want %d", v.grbit, v.flags, f.kind, err, v.want)
		}
	}
}

func TestFlagsRefuse(t *testing.T) {
	var flags certadm.InterfaceFlags
	away := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	for _, v := range []struct {
		flags         certadm.InterfaceFlags
		from          net.Addr
		backup, other certadm.HRESULT
	}{
		{0, away, certadm.SOK, certadm.SOK},
		{certadm.IfNoRemoteAdminBackup, away, certadm.EAccessDenied, certadm.SOK},
		{certadm.IfNoRemoteAdminBackup, loopback, certadm.SOK, certadm.SOK},
		{certadm.IfNoLocalAdminBackup, loopback, certadm.EAccessDenied, certadm.SOK},
		{certadm.IfNoLocalAdminBackup, away, certadm.SOK, certadm.SOK},
		{certadm.IfNoRemoteAdmin, away, certadm.EAccessDenied, certadm.EAccessDenied},
		{certadm.IfNoLocalAdmin, loopback, certadm.EAccessDenied, certadm.EAccessDenied},
		{certadm.IfNoLocalAdmin, away, certadm.SOK, certadm.SOK},
	} {
		c, f, d := fakeObject(t, &settings{flags: func() certadm.InterfaceFlags { return flags }})
		d.addr, flags = v.from, 0
		openAll(t, d.o)
		flags = v.flags
		before := f.calls()
		_, err := c.number(t.Context(), opGetServerState, nil)
		wantCode(t, err, v.other, "GetServerState")
		for name, call := range map[string]func() error{
			"open":      func() error { _, err := c.openFile(t.Context(), fakeLog); return err },
			"read":      func() error { _, _, err := c.read(t.Context(), 16, nil); return err },
			"attach":    func() error { _, err := c.list(t.Context(), opBackupGetAttachments); return err },
			"locations": func() error { _, err := c.list(t.Context(), opGetLocations); return err },
			"dynamic":   func() error { _, err := c.list(t.Context(), opBackupGetDynamic); return err },
			"prepare":   func() error { return c.prepare(t.Context(), prepareArgs{flags: 1}) },
			"truncate":  func() error { return c.simple(t.Context(), opBackupTruncateLogs) },
			"end":       func() error { return c.simple(t.Context(), opBackupEnd) },
		} {
			if err := call(); (v.backup == certadm.EAccessDenied) != errors.Is(err, certadm.EAccessDenied) {
				t.Errorf("flags %v from %v: %s: %v", v.flags, v.from, name, err)
			}
		}
		if after := f.calls(); v.backup == certadm.EAccessDenied && strings.TrimSuffix(after, " online") != before {
			t.Errorf("a refused call reached the service: %s, then %s", before, after)
		}
	}
}

// Whatever the Service would open, the names are those that the session listed.
func TestOnlyListedNames(t *testing.T) {
	c, f, _ := fakeObject(t, nil)
	if err := c.prepare(t.Context(), prepareArgs{flags: 1}); err != nil {
		t.Fatal(err)
	}
	try := func(name string, want bool) {
		t.Helper()
		_, err := c.openFile(t.Context(), name)
		if (err == nil) != want {
			t.Errorf("BackupOpenFile(%.60q): %v", name, err)
		}
		if err == nil {
			if err := c.simple(t.Context(), opBackupCloseFile); err != nil {
				t.Fatal(err)
			}
		}
	}
	try(fakeDB, false) // not listed yet
	try(fakeLog, false)
	c.list(t.Context(), opBackupGetAttachments)
	c.list(t.Context(), opBackupGetDynamic)
	c.list(t.Context(), opGetLocations)
	try(fakeDB, true)
	try(strings.ToUpper(fakeDB), true)
	try(fakeLog, false)
	c.list(t.Context(), opBackupGetLogs)
	try(fakeLog, true)
	for _, name := range []string{
		"", "D" + fakeDB, fakeDB + " ", fakeDB + ".", fakeDB + "::$DATA", fakeDB + `\..\x`, `\\CA1\C$\CertLog\..\CertLog\Fake.edb`, `\\CA1\CertEnroll\Fake.crl`,
		`//CA1/C$/CertLog/Fake.edb`, `C:\Windows\System32\config\SAM`, "/etc/passwd", strings.Repeat("A", certadm.MaxNameUnits),
	} {
		try(name, false)
	}
	if n := strings.Count(f.calls(), "open"); n != 3 {
		t.Errorf("the service was asked to open %d files, want 3", n)
	}
	// A session does not inherit what another one listed.
	if err := c.simple(t.Context(), opBackupEnd); err != nil {
		t.Fatal(err)
	}
	if err := c.prepare(t.Context(), prepareArgs{flags: 2}); err != nil {
		t.Fatal(err)
	}
	try(fakeDB, false)
}

func TestReadAnswers(t *testing.T) {
	c, f, d := fakeObject(t, nil)
	openAll(t, d.o)
	// A failure is answered with the whole array while that is small.
	f.fail["read"] = certadm.HrDiskIO
	raw := func(cb int32) ([]byte, error) {
		dec, err := d.Call(t.Context(), opBackupReadFile, nil, func(e *ndr.Encoder) { e.I32(cb) })
		if err != nil {
			return nil, err
		}
		return dec.Rest(), nil
	}
	b, err := raw(4096)
	if err != nil || len(b) != 4+4096+4+4 || wellFormed(t, methods[opBackupReadFile], b) != certadm.HrDiskIO || !bytes.Equal(b[4:4+4096], make([]byte, 4096)) {
		t.Errorf("a failed read of 4096 bytes: %d bytes, %v", len(b), err)
	}
	if b, err := raw(2 << 20); err == nil || certadm.CodeOf(fromFault(err)) != certadm.HrDiskIO {
		t.Errorf("a failed read of 2 MiB: %d bytes, %v, want a fault", len(b), err)
	}
	for _, cb := range []int32{-1, -1 << 31, 16<<20 + 1, 1<<31 - 1} {
		if b, err := raw(cb); err == nil || certadm.CodeOf(fromFault(err)) != certadm.EInvalidArg {
			t.Errorf("a read of %d bytes: %d bytes, %v, want a fault", cb, len(b), err)
		}
	}
	if b, err := raw(0); err != nil || wellFormed(t, methods[opBackupReadFile], b) != certadm.EInvalidArg {
		t.Errorf("a read of no bytes: %x, %v", b, err)
	}
	// What the array holds beyond what was read is zeros, also when the buffer
	// held something else before.
	delete(f.fail, "read")
	size := int32(len(f.files[fakeDB]))
	dirty := bytes.Repeat([]byte{0xEE}, 1<<20)
	buf, n, err := c.read(t.Context(), size+5000, dirty)
	if err != nil || n != size || !bytes.Equal(buf[:n], f.files[fakeDB]) || !bytes.Equal(buf[n:], make([]byte, 5000)) {
		t.Errorf("read %d of %d, %v, or the rest is not zeros", n, size, err)
	}
	// At the end of the file it is whole as well.
	buf, n, err = c.read(t.Context(), 8192, dirty)
	if err != nil || n != 0 || !bytes.Equal(buf, make([]byte, 8192)) {
		t.Errorf("at the end: %d bytes of %d, %v", n, len(buf), err)
	}
}

// An object that is gone serves nothing, and leaves the session without End.
func TestObjectGone(t *testing.T) {
	c, f, d := fakeObject(t, nil)
	openAll(t, d.o)
	d.o.close("test")
	d.o.close("again")
	for op := opBackupPrepare; op <= opBackupTruncateLogs; op++ {
		if op == opBackupReadFile {
			_, _, err := c.read(t.Context(), 16, nil)
			wantCode(t, err, certadm.EHandle, "BackupReadFile")
			continue
		}
		if op == opBackupPrepare {
			wantCode(t, c.prepare(t.Context(), prepareArgs{flags: 1}), certadm.EHandle, "BackupPrepare")
			continue
		}
		if op == opBackupOpenFile {
			_, err := c.openFile(t.Context(), fakeDB)
			wantCode(t, err, certadm.EHandle, "BackupOpenFile")
			continue
		}
		_, err := d.Call(t.Context(), op, nil, func(*ndr.Encoder) {})
		if err != nil {
			t.Errorf("method %d: %v", op, err)
		}
	}
	if got := f.calls(); strings.Contains(got, "end") || strings.Contains(got, "truncate") || strings.Count(got, "close") != 1 {
		t.Errorf("the service saw: %s", got)
	}
}
