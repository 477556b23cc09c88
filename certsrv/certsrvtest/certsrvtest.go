// Package certsrvtest makes the embedded authority an [certadmtest.Env]: all of one
// but the way in which clients connect, which each Service that is tested adds.
package certsrvtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
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

// Name and Host are those of the authority of [New].
const (
	Name = "Conformance CA"
	Host = "ca1"
)

// Root may do everything, from the authority's own machine.
var Root = account.Principal{
	Name: "root", Roles: account.AllRoles, Local: true, LocalAdmin: true, BackupPrivilege: true, RestorePrivilege: true,
}

// Env is an authority without clients: whoever embeds it adds Connect.
type Env struct {
	T      testing.TB
	Server *certsrv.Server

	csr  []byte
	mu   sync.Mutex
	hook func(phase string)
}

// What a test can do with an Env that has a Connect.
var _ interface {
	certadmtest.Locator
	certadmtest.Suspender
	certadmtest.CircularLogger
	certadmtest.InterfaceFlagger
	certadmtest.AuditLog
	certadmtest.Historian
	certadmtest.Transitions
	certadmtest.BigFiler
} = (*Env)(nil)

// New starts an authority, which is stopped when the test ends.
func New(t testing.TB) *Env {
	t.Helper()
	e := &Env{T: t, csr: newCSR(t)}
	e.Server = Start(t, Name, certsrv.Options{Observe: e.phase})
	return e
}

// Start starts an authority in memory, where there is such a place: these
// tests are not about what a disk takes.
func Start(t testing.TB, name string, o certsrv.Options) *certsrv.Server {
	t.Helper()
	dir := t.TempDir()
	if runtime.GOOS == "linux" {
		if shm, err := os.MkdirTemp("/dev/shm", "certkeep-test-"); err == nil {
			t.Cleanup(func() { os.RemoveAll(shm) })
			dir = shm
		}
	}
	dir = filepath.Join(dir, "ca")
	if err := certsrv.Init(t.Context(), dir, certsrv.InitOptions{Name: name, Host: Host}); err != nil {
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

// Principal is who a caller of the suite is to the authority.
func Principal(c certadmtest.Caller) account.Principal {
	return account.Principal{
		Name:             c.Name,
		Roles:            account.Roles(c.Rights) & account.AllRoles,
		Local:            c.Origin != certadmtest.Remote,
		LocalAdmin:       c.Rights&certadmtest.LocalAdmin != 0,
		BackupPrivilege:  c.Rights&certadmtest.Operator != 0,
		RestorePrivilege: c.Rights&certadmtest.Restore != 0,
	}
}

func (e *Env) phase(phase string) {
	e.mu.Lock()
	hook := e.hook
	e.mu.Unlock()
	if hook != nil {
		hook(phase)
	}
}

// during calls fn at the first occurrence of a phase while do runs.
func (e *Env) during(phase string, fn func(), do func() error) error {
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

func (e *Env) WhileRecovering(ctx context.Context, fn func(context.Context)) error {
	return e.during(certsrv.PhaseReplaying, func() { fn(ctx) }, func() error { return e.Server.Start(ctx) })
}

func (e *Env) WhileStopping(ctx context.Context, fn func(context.Context)) error {
	return e.during(certsrv.PhaseStopping, func() { fn(ctx) }, func() error { return e.Server.Stop(ctx) })
}

func (e *Env) Start(ctx context.Context) error { return e.Server.Start(ctx) }
func (e *Env) Stop(ctx context.Context) error  { return e.Server.Stop(ctx) }
func (e *Env) Suspend(context.Context) error   { return e.Server.Suspend() }
func (e *Env) Resume(context.Context) error    { return e.Server.Resume() }

func (e *Env) AwaitStop(ctx context.Context) error {
	select {
	case <-e.Server.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Env) Issue(ctx context.Context, n int) ([]string, error) {
	serials := make([]string, n)
	for i := range serials {
		res, err := e.Server.Submit(ctx, Root, e.csr, nil)
		if err != nil {
			return nil, err
		}
		serials[i] = res.Serial
	}
	return serials, nil
}

// Serials asks the database itself, as another reader beside the service.
func (e *Env) Serials(ctx context.Context) (l []string, err error) {
	unc, _ := e.Server.Locations().Find(certadm.FileDatabase)
	path, err := e.Server.LocalPath(unc)
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

func (e *Env) LocalPath(unc string) (string, error) { return e.Server.LocalPath(unc) }

func (e *Env) SetInterfaceFlags(_ context.Context, flags uint32) error {
	return e.Server.Configure(func(c *certsrv.Config) { c.InterfaceFlags = certadm.InterfaceFlags(flags) })
}

func (e *Env) SetCircularLogging(_ context.Context, on bool) error {
	return e.Server.Configure(func(c *certsrv.Config) { c.CircularLogging = on })
}

func (e *Env) SetAuditFilter(_ context.Context, bits uint32) error {
	return e.Server.Configure(func(c *certsrv.Config) { c.AuditFilter = bits })
}

func (e *Env) AuditEvents(ctx context.Context) (l []certadmtest.AuditEvent, err error) {
	for r, err := range audit.Read(ctx, filepath.Join(e.Server.Dir(), "audit.log")) {
		if err != nil {
			return nil, err
		}
		l = append(l, certadmtest.AuditEvent{ID: int(r.Event), Who: r.Who, Type: r.Type})
	}
	return l, nil
}

func (e *Env) History(ctx context.Context) (certadmtest.History, error) {
	st, err := e.Server.Status(ctx)
	h := certadmtest.History{Recovery: st.LastRecovery}
	if st.LastFull != nil {
		h.FullBackup = st.LastFull.Time
	}
	if st.LastIncremental != nil {
		h.IncrementalBackup = st.LastIncremental.Time
	}
	return h, err
}

// GrowFile makes the database larger by a hole: its header says that the pages
// are there.
func (e *Env) GrowFile(ctx context.Context, atLeast int64) (unc string, size int64, tail []byte, err error) {
	if err := e.Server.Stop(ctx); err != nil {
		return "", 0, nil, err
	}
	unc, _ = e.Server.Locations().Find(certadm.FileDatabase)
	name, err := e.Server.LocalPath(unc)
	if err != nil {
		return "", 0, nil, err
	}
	tail = []byte("the end of a large file")
	if size, err = grow(name, atLeast, tail); err != nil {
		return "", 0, nil, err
	}
	return unc, size, tail, e.Server.Start(ctx)
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
