package csra

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/audit"
	"github.com/certkeep/certkeep/certsrv/authority"
)

const testCA = "Conformance CA"

// root may do everything, from the authority's own machine.
var root = account.Principal{
	Name: "root", Roles: account.AllRoles, Local: true, LocalAdmin: true, BackupPrivilege: true, RestorePrivilege: true,
}

// env is an authority whose clients come over a connection of some kind.
type env struct {
	t   *testing.T
	s   *certsrv.Server
	csr []byte
	via carrier

	mu    sync.Mutex
	hook  func(phase string)
	wire  []certadmtest.WireCall
	conns map[certadm.Service]*link
}

// carrier connects clients with the authority of an env.
type carrier interface {
	connect(ctx context.Context, e *env, c certadmtest.Caller) (*link, error)
}

// link is one client's connection.
type link struct {
	client *Client
	cut    func(ctx context.Context) error // breaks it, and returns when the server knows
}

// The abilities of the env; the rest does not apply, see TestConformance.
var _ interface {
	certadmtest.Env
	certadmtest.Locator
	certadmtest.Suspender
	certadmtest.Breaker
	certadmtest.CircularLogger
	certadmtest.InterfaceFlagger
	certadmtest.AuditLog
	certadmtest.Historian
	certadmtest.Transitions
	certadmtest.BigFiler
	certadmtest.Wire
} = (*env)(nil)

func newEnv(t *testing.T, via carrier) *env {
	e := &env{t: t, csr: newCSR(t), via: via, conns: make(map[certadm.Service]*link)}
	e.s = newAuthority(t, testCA, certsrv.Options{Observe: e.phase})
	return e
}

// newAuthority starts an authority in memory, where there is such a place: these
// tests are not about what a disk takes.
func newAuthority(t testing.TB, name string, o certsrv.Options) *certsrv.Server {
	t.Helper()
	dir := t.TempDir()
	if runtime.GOOS == "linux" {
		if shm, err := os.MkdirTemp("/dev/shm", "certkeep-test-"); err == nil {
			t.Cleanup(func() { os.RemoveAll(shm) })
			dir = shm
		}
	}
	dir = filepath.Join(dir, "ca")
	if err := certsrv.Init(t.Context(), dir, certsrv.InitOptions{Name: name, Host: "ca1"}); err != nil {
		t.Fatal(err)
	}
	s, err := certsrv.New(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("stopping the authority: %v", err)
		}
	})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func newCSR(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := authority.ParseDN("CN=host")
	if err != nil {
		t.Fatal(err)
	}
	der, err := authority.NewRequest(key, subject, []string{"host.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// principal is who a caller of the suite is to the authority.
func principal(c certadmtest.Caller) account.Principal {
	return account.Principal{
		Name:             c.Name,
		Roles:            account.Roles(c.Rights) & account.AllRoles,
		Local:            c.Origin != certadmtest.Remote,
		LocalAdmin:       c.Rights&certadmtest.LocalAdmin != 0,
		BackupPrivilege:  c.Rights&certadmtest.Operator != 0,
		RestorePrivilege: c.Rights&certadmtest.Restore != 0,
	}
}

// restores is a client of the wire for all but restores, which are done on the
// authority's machine: MS-CSRA has no call for them.
type restores struct {
	*Client
	local certadm.Service
}

func (r restores) RestorePrepare(ctx context.Context, t certadm.RestoreType) (certadm.Restore, error) {
	leave, err := r.Client.enter(ctx, fnRestore)
	if err != nil {
		return nil, err
	}
	leave()
	return r.local.RestorePrepare(ctx, t)
}

func (e *env) Connect(ctx context.Context, c certadmtest.Caller) (certadm.Service, error) {
	l, err := e.via.connect(ctx, e, c)
	if err != nil {
		return nil, err
	}
	var svc certadm.Service = l.client
	if c.Rights&(certadmtest.Restore|certadmtest.LocalAdmin) != 0 || c.Name == "nobody" {
		svc = restores{l.client, e.s.Service(principal(c))}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns[svc] = l
	return svc, nil
}

func (e *env) Break(ctx context.Context, svc certadm.Service) error {
	e.mu.Lock()
	l := e.conns[svc]
	e.mu.Unlock()
	return l.cut(ctx)
}

// settings are those of the env's server.
func (e *env) settings() *settings {
	return &settings{
		name:    testCA,
		flags:   func() certadm.InterfaceFlags { return 0 }, // the authority applies its own
		observe: e.observe,
		log:     slog.New(slog.DiscardHandler),
	}
}

func (e *env) observe(c WireCall) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wire = append(e.wire, certadmtest.WireCall{Method: c.Method, GrbitJet: c.GrbitJet, Flags: c.Flags, ClientID: c.ClientID, Size: c.Size})
}

func (e *env) Authority() string { return testCA }

func (e *env) Calls(context.Context) ([]certadmtest.WireCall, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.wire), nil
}

func (e *env) Dial(ctx context.Context, c certadmtest.Caller) (certadmtest.WireClient, error) {
	l, err := e.via.connect(ctx, e, c)
	if err != nil {
		return nil, err
	}
	return wireClient{l.client}, nil
}

func (e *env) phase(phase string) {
	e.mu.Lock()
	hook := e.hook
	e.mu.Unlock()
	if hook != nil {
		hook(phase)
	}
}

// during calls fn at the first occurrence of a phase while do runs.
func (e *env) during(phase string, fn func(), do func() error) error {
	called := false
	var once sync.Once
	set := func(h func(string)) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.hook = h
	}
	set(func(p string) {
		if p == phase {
			once.Do(func() { called = true; fn() })
		}
	})
	defer set(nil)
	if err := do(); err != nil {
		return err
	}
	if !called {
		return errors.New("no phase " + phase)
	}
	return nil
}

func (e *env) WhileRecovering(ctx context.Context, fn func(context.Context)) error {
	return e.during(certsrv.PhaseReplaying, func() { fn(ctx) }, func() error { return e.s.Start(ctx) })
}

func (e *env) WhileStopping(ctx context.Context, fn func(context.Context)) error {
	return e.during(certsrv.PhaseStopping, func() { fn(ctx) }, func() error { return e.s.Stop(ctx) })
}

func (e *env) Start(ctx context.Context) error { return e.s.Start(ctx) }
func (e *env) Stop(ctx context.Context) error  { return e.s.Stop(ctx) }
func (e *env) Suspend(context.Context) error   { return e.s.Suspend() }
func (e *env) Resume(context.Context) error    { return e.s.Resume() }

func (e *env) AwaitStop(ctx context.Context) error {
	select {
	case <-e.s.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *env) Issue(ctx context.Context, n int) ([]string, error) {
	serials := make([]string, n)
	for i := range serials {
		res, err := e.s.Submit(ctx, root, e.csr, nil)
		if err != nil {
			return nil, err
		}
		serials[i] = res.Serial
	}
	return serials, nil
}

// Serials asks the database itself, as another reader beside the service.
func (e *env) Serials(ctx context.Context) (l []string, err error) {
	unc, _ := e.s.Locations().Find(certadm.FileDatabase)
	path, err := e.s.LocalPath(unc)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx,
		"SELECT SerialNumber FROM Certificates JOIN Requests USING (RequestID) WHERE Disposition = ?", int64(schema.Issued))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		l = append(l, s)
	}
	return l, rows.Err()
}

func (e *env) LocalPath(unc string) (string, error) { return e.s.LocalPath(unc) }

func (e *env) SetInterfaceFlags(_ context.Context, flags uint32) error {
	return e.s.Configure(func(c *certsrv.Config) { c.InterfaceFlags = certadm.InterfaceFlags(flags) })
}

func (e *env) SetCircularLogging(_ context.Context, on bool) error {
	return e.s.Configure(func(c *certsrv.Config) { c.CircularLogging = on })
}

func (e *env) SetAuditFilter(_ context.Context, bits uint32) error {
	return e.s.Configure(func(c *certsrv.Config) { c.AuditFilter = bits })
}

func (e *env) AuditEvents(ctx context.Context) (l []certadmtest.AuditEvent, err error) {
	for r, err := range audit.Read(ctx, filepath.Join(e.s.Dir(), "audit.log")) {
		if err != nil {
			return nil, err
		}
		l = append(l, certadmtest.AuditEvent{ID: int(r.Event), Who: r.Who, Type: r.Type})
	}
	return l, nil
}

func (e *env) History(ctx context.Context) (certadmtest.History, error) {
	st, err := e.s.Status(ctx)
	h := certadmtest.History{Recovery: st.LastRecovery}
	if st.LastFull != nil {
		h.FullBackup = st.LastFull.Time
	}
	if st.LastIncremental != nil {
		h.IncrementalBackup = st.LastIncremental.Time
	}
	return h, err
}

func heavy() bool { return os.Getenv("CERTKEEP_TEST_HEAVY") != "" }

// GrowFile makes the database larger by a hole: its header says that the pages
// are there.
func (e *env) GrowFile(ctx context.Context, atLeast int64) (unc string, size int64, tail []byte, err error) {
	if !heavy() {
		return "", 0, nil, errors.Join(errors.ErrUnsupported, errors.New("moving 4 GiB is for CERTKEEP_TEST_HEAVY"))
	}
	if err := e.s.Stop(ctx); err != nil {
		return "", 0, nil, err
	}
	unc, _ = e.s.Locations().Find(certadm.FileDatabase)
	name, err := e.s.LocalPath(unc)
	if err != nil {
		return "", 0, nil, err
	}
	tail = []byte("the end of a large file")
	if size, err = grow(name, atLeast, tail); err != nil {
		return "", 0, nil, err
	}
	return unc, size, tail, e.s.Start(ctx)
}

// grow makes a SQLite database larger than atLeast.
func grow(name string, atLeast int64, tail []byte) (size int64, err error) {
	const page = 4096
	pages := atLeast/page + 1
	size = pages * page
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	_, err1 := f.WriteAt(binary.BigEndian.AppendUint32(nil, uint32(pages)), 28)
	_, err2 := f.WriteAt(tail, size-int64(len(tail)))
	return size, errors.Join(err1, err2, f.Close())
}

// overDirect is the carrier without a network.
type overDirect struct{}

func (overDirect) connect(_ context.Context, e *env, c certadmtest.Caller) (*link, error) {
	cl, d := directClient(e.settings(), e.s.Service(principal(c)))
	if c.Origin == certadmtest.Remote {
		d.addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 1000}
	}
	return &link{client: cl, cut: func(context.Context) error { d.lose(); return nil }}, nil
}
