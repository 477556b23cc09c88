package certdll

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/internal/winetest"
)

func TestMain(m *testing.M) { os.Exit(winetest.Main(m)) }

// fakeEnv is an authority whose clients come through a library in Go.
type fakeEnv struct {
	*certsrvtest.Env

	mu    sync.Mutex
	conns map[certadm.Service][]certadm.Service // of a client, the library's
}

func (e *fakeEnv) Connect(_ context.Context, c certadmtest.Caller) (certadm.Service, error) {
	var client *Client
	d := newFake(func(string) (certadm.Service, error) {
		svc := e.Server.Service(certsrvtest.Principal(c))
		e.mu.Lock()
		defer e.mu.Unlock()
		e.conns[client] = append(e.conns[client], svc)
		return svc, nil
	})
	client = d.client(e.T)
	return client, nil
}

// Break cuts the library's connections off.
func (e *fakeEnv) Break(_ context.Context, svc certadm.Service) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, conn := range e.conns[svc] {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// The suite with a library that is strict about memory, handles and threads.
func TestConformanceFake(t *testing.T) {
	skip := map[int]string{
		15: "nothing is found by a name here; TestWine does it",
		17: "its part about the wire: the library's affair; the fake refuses another grbitJet than 0",
		18: "its part about the wire", 19: "the server's affair", 25: "its part about the wire",
		26: "its part about the wire", 27: "its part about the wire",
		28: "Certadm.dll lists nothing without a session",
		36: "its part about the wire", 38: "its part about the wire",
		55: "tokens exist on Windows only; TestWine does it",
	}
	if !need.Heavy() {
		skip[35] = "moving 4 GiB is for CERTKEEP_TEST_HEAVY"
	}
	certadmtest.Run(t, func(t *testing.T) certadmtest.Env {
		return &fakeEnv{Env: certsrvtest.New(t), conns: make(map[certadm.Service][]certadm.Service)}
	}, skip)
}

func (e *fakeEnv) GrowFile(ctx context.Context, atLeast int64) (unc string, size int64, tail []byte, err error) {
	if !need.Heavy() {
		return "", 0, nil, errors.ErrUnsupported
	}
	return e.Env.GrowFile(ctx, atLeast)
}
