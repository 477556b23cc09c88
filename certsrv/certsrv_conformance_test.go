package certsrv

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/audit"
)

func TestConformance(t *testing.T) {
	certadmtest.Run(t, newEnv, map[int]string{
		15: "a Service in the same process is not reached by a server's name",
		17: "there is no wire in one process, so its fields cannot be looked at",
		18: "there is no wire in one process on which a call could be missed",
		19: "there is no wire in one process that carries the type twice and the authority's name",
		25: "there is no wire in one process on which a call could be missed",
		26: "calls without a session cannot be made by the Go interface, where they are methods of one",
		27: "calls without a session cannot be made by the Go interface, where they are methods of one",
		36: "there is no wire in one process whose reads have a size",
		38: "there is no wire in one process whose reads have a size",
		41: "there is no connection in one process that could break without the client's doing",
		55: "the rights of a caller are given by the account, no token's privilege is enabled",
	})
}

// env is an authority in this process.
type env struct {
	t *testing.T
	s *Server

	mu   sync.Mutex
	hook func(phase string)
	csr  []byte
}

func newEnv(t *testing.T) certadmtest.Env {
	e := &env{t: t, csr: newCSR(t, "host")}
	e.s = startServer(t, InitOptions{Name: "Conformance CA"}, Options{Observe: e.observe})
	return e
}

func (e *env) observe(phase string) {
	e.mu.Lock()
	hook := e.hook
	e.mu.Unlock()
	if hook != nil {
		hook(phase)
	}
}

// during calls fn at the first occurrence of a phase while do runs.
func (e *env) during(phase string, fn func(), do func() error) error {
	var once sync.Once
	set := func(h func(string)) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.hook = h
	}
	set(func(p string) {
		if p == phase {
			once.Do(fn)
		}
	})
	defer set(nil)
	return do()
}

func (e *env) Connect(_ context.Context, c certadmtest.Caller) (certadm.Service, error) {
	return e.s.Service(account.Principal{
		Name:             c.Name,
		Roles:            account.Roles(c.Rights) & account.AllRoles,
		Local:            c.Origin != certadmtest.Remote,
		LocalAdmin:       c.Rights&certadmtest.LocalAdmin != 0,
		BackupPrivilege:  c.Rights&certadmtest.Operator != 0,
		RestorePrivilege: c.Rights&certadmtest.Restore != 0,
	}), nil
}

func (e *env) Start(ctx context.Context) error { return e.s.Start(ctx) }
func (e *env) Stop(ctx context.Context) error  { return e.s.Stop(ctx) }

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

func (e *env) Serials(ctx context.Context) ([]string, error) {
	r, leave, err := e.s.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	rows, err := r.db.Reader().QueryContext(ctx,
		"SELECT SerialNumber FROM Certificates JOIN Requests USING (RequestID) WHERE Disposition = ?", int64(schema.Issued))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var l []string
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
func (e *env) Suspend(context.Context) error        { return e.s.Suspend() }
func (e *env) Resume(context.Context) error         { return e.s.Resume() }
func (e *env) SetInterfaceFlags(_ context.Context, flags uint32) error {
	return e.s.Configure(func(c *Config) { c.InterfaceFlags = certadm.InterfaceFlags(flags) })
}

func (e *env) SetCircularLogging(_ context.Context, on bool) error {
	return e.s.Configure(func(c *Config) { c.CircularLogging = on })
}

func (e *env) SetAuditFilter(_ context.Context, bits uint32) error {
	return e.s.Configure(func(c *Config) { c.AuditFilter = bits })
}

func (e *env) AuditEvents(ctx context.Context) ([]certadmtest.AuditEvent, error) {
	var l []certadmtest.AuditEvent
	for r, err := range audit.Read(ctx, e.s.at.path(auditName)) {
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

func (e *env) WhileRecovering(ctx context.Context, fn func(context.Context)) error {
	return e.held(PhaseReplaying, func(called *bool) error {
		return e.during(PhaseReplaying, func() { *called = true; fn(ctx) }, func() error { return e.s.Start(ctx) })
	})
}

func (e *env) WhileStopping(ctx context.Context, fn func(context.Context)) error {
	return e.held(PhaseStopping, func(called *bool) error {
		return e.during(PhaseStopping, func() { *called = true; fn(ctx) }, func() error { return e.s.Stop(ctx) })
	})
}

func (e *env) held(phase string, do func(*bool) error) error {
	var called bool
	if err := do(&called); err != nil {
		return err
	}
	if !called {
		return errors.New("no phase " + phase)
	}
	return nil
}

// GrowFile makes the database larger by a hole: its header says that the pages
// are there.
func (e *env) GrowFile(ctx context.Context, atLeast int64) (unc string, size int64, tail []byte, err error) {
	if err := e.s.Stop(ctx); err != nil {
		return "", 0, nil, err
	}
	unc, _ = e.s.Locations().Find(certadm.FileDatabase)
	name, err := e.s.LocalPath(unc)
	if err != nil {
		return "", 0, nil, err
	}
	const page = 4096
	pages := atLeast/page + 1
	size, tail = pages*page, []byte("the end of a large file")
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return "", 0, nil, err
	}
	_, err1 := f.WriteAt(binary.BigEndian.AppendUint32(nil, uint32(pages)), 28)
	_, err2 := f.WriteAt(tail, size-int64(len(tail)))
	if err := errors.Join(err1, err2, f.Close()); err != nil {
		return "", 0, nil, err
	}
	return unc, size, tail, e.s.Start(ctx)
}
