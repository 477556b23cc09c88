package csra

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
	"github.com/certkeep/certkeep/internal/need"
)

const testCA = certsrvtest.Name

// env is an authority whose clients come over a connection of some kind.
type env struct {
	*certsrvtest.Env
	via carrier

	mu    sync.Mutex
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
	certadmtest.Breaker
	certadmtest.Wire
} = (*env)(nil)

func newEnv(t *testing.T, via carrier) *env {
	return &env{Env: certsrvtest.New(t), via: via, conns: make(map[certadm.Service]*link)}
}

// restores is a client of the wire for all but restores, which are done on the
// authority's machine: MS-CSRA has no call for them.
type restores struct {
	*Client
	local certadm.Service
}

func (r restores) RestorePrepare(ctx context.Context, t certadm.RestoreType) (certadm.Restore, error) {
	leave, err := r.Client.enter(ctx, certadm.FnRestorePrepare)
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
		svc = restores{l.client, e.Server.Service(certsrvtest.Principal(c))}
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

// GrowFile has more to move than a test takes that is run every day.
func (e *env) GrowFile(ctx context.Context, atLeast int64) (unc string, size int64, tail []byte, err error) {
	if !need.Heavy() {
		return "", 0, nil, errors.Join(errors.ErrUnsupported, errors.New("moving 4 GiB is for CERTKEEP_TEST_HEAVY"))
	}
	return e.Env.GrowFile(ctx, atLeast)
}

// overDirect is the carrier without a network.
type overDirect struct{}

func (overDirect) connect(_ context.Context, e *env, c certadmtest.Caller) (*link, error) {
	cl, d := directClient(e.settings(), e.Server.Service(certsrvtest.Principal(c)))
	if c.Origin == certadmtest.Remote {
		d.addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 1000}
	}
	return &link{client: cl, cut: func(context.Context) error { d.lose(); return nil }}, nil
}
