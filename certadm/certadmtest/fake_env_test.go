package certadmtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/need"
)

// The abilities of the fake, which are all there are.
var _ interface {
	Env
	Locator
	Suspender
	Breaker
	CircularLogger
	InterfaceFlagger
	AuditLog
	Historian
	Transitions
	BigFiler
	Namer
	Privileger
	Wire
} = (*fake)(nil)

func (f *fake) Connect(_ context.Context, c Caller) (certadm.Service, error) {
	return &client{c: &conn{f: f, caller: c}}, nil
}

func (f *fake) set(fn func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	return nil
}

func (f *fake) Suspend(context.Context) error { return f.set(func() { f.state = suspended }) }
func (f *fake) Resume(context.Context) error  { return f.set(func() { f.state = running }) }

func (f *fake) Break(_ context.Context, svc certadm.Service) error {
	return f.set(func() {
		c := svc.(*client).c
		f.lose(c, "Break")
		c.lost = true
	})
}

func (f *fake) SetCircularLogging(_ context.Context, on bool) error {
	return f.set(func() { f.circular = on })
}
func (f *fake) SetInterfaceFlags(_ context.Context, flags uint32) error {
	return f.set(func() { f.flags = flags })
}
func (f *fake) SetAuditFilter(_ context.Context, bits uint32) error {
	return f.set(func() { f.audit = bits })
}

func (f *fake) AuditEvents(context.Context) (events []AuditEvent, err error) {
	err = f.set(func() { events = slices.Clone(f.events) })
	return events, err
}

func (f *fake) History(context.Context) (h History, err error) {
	err = f.set(func() {
		h = History{FullBackup: f.full, IncrementalBackup: f.inc, Recovery: f.recovered}
		if f.is("no times of backups") {
			h.FullBackup, h.IncrementalBackup = h.Recovery, h.Recovery
		}
	})
	return h, err
}

func (f *fake) WhileRecovering(ctx context.Context, fn func(context.Context)) error {
	f.whileHeld = func() { fn(ctx) }
	return f.Start(ctx)
}

func (f *fake) WhileStopping(ctx context.Context, fn func(context.Context)) error {
	f.whileHeld = func() { fn(ctx) }
	return f.Stop(ctx)
}

// heavy is the switch for tests that take long.
func (f *fake) GrowFile(_ context.Context, atLeast int64) (string, int64, []byte, error) {
	if !need.Heavy() {
		return "", 0, nil, fmt.Errorf("%w: reading 4 GiB is for CERTKEEP_TEST_HEAVY", errors.ErrUnsupported)
	}
	f.grown = true
	tail := []byte("the end")
	file, err := os.OpenFile(f.path(f.database), os.O_RDWR, 0)
	if err == nil {
		_, err = file.WriteAt(tail, atLeast)
		err = errors.Join(err, file.Close())
	}
	return f.database, atLeast + int64(len(tail)), tail, err
}

func (f *fake) ServerNames() []string { return []string{fakeHost, "fakesrv.example.org"} }
func (f *fake) ConfigString() string  { return fakeHost + `\` + fakeName }

func (f *fake) ConnectTo(ctx context.Context, c Caller, server string) (certadm.Service, error) {
	machine, _, config := strings.Cut(server, `\`)
	if f.is("no DNS names") && strings.Contains(machine, ".") || f.is("no config strings") && config {
		return nil, &certadm.Error{Op: "CertSrvIsServerOnline", Path: server, Code: certadm.RPCServerUnavailable}
	}
	return f.Connect(ctx, c)
}

func (f *fake) EnablePrivilege(_ context.Context, c Caller, right Rights) error {
	const notAllAssigned = 1300
	if c.Rights&right == 0 && !f.is("privileges are hoped for") {
		return certadm.FromWin32(notAllAssigned)
	}
	return nil
}

func (f *fake) Authority() string { return fakeName }

func (f *fake) Calls(context.Context) (calls []WireCall, err error) {
	err = f.set(func() { calls = slices.Clone(f.wireCalls) })
	return calls, err
}

func (f *fake) Dial(_ context.Context, c Caller) (WireClient, error) {
	return wireClient{&conn{f: f, caller: c}}, nil
}

// The whole suite against the fake.
func TestFake(t *testing.T) {
	skip := map[int]string{35: "reading 4 GiB is for CERTKEEP_TEST_HEAVY"}
	if need.Heavy() {
		delete(skip, 35)
	}
	Run(t, func(t *testing.T) Env { return newFake(t) }, skip)
}
