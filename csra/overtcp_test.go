package csra

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
)

// overTCP is the carrier over the loopback address: sealed, with every caller of
// the suite under an account of its own.
type overTCP struct {
	realm *realm // nil: NTLM
	raw   bool   // without SPNEGO

	mu       sync.Mutex
	server   *served
	accounts []certadmtest.Caller // account u3 is the fourth
}

func (v *overTCP) connect(ctx context.Context, e *env, c certadmtest.Caller) (*link, error) {
	s, n := v.account(e, c)
	l := &lifeline{}
	if c.Origin == certadmtest.Remote {
		l.from = net.IPv4(127, 0, 0, 2)
	}
	o := Options{Host: "localhost", Port: s.resolver, Dialer: l.dial, RawMechanism: v.raw}
	if v.realm != nil {
		v.realm.as(n)(&o)
	} else {
		o.Credentials = NTLM(fmt.Sprintf("u%d", n), "", []byte("secret of "+strconv.Itoa(n)))
	}
	client, err := Dial(ctx, o)
	if err != nil {
		return nil, err
	}
	e.T.Cleanup(func() { client.Close() })
	return &link{client: client, cut: func(ctx context.Context) error {
		l.cut()
		select {
		case <-s.gone(l):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}, nil
}

// account starts the server, if that was not done yet, and returns the number of
// the caller's account.
func (v *overTCP) account(e *env, c certadmtest.Caller) (*served, int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.server == nil {
		v.server = v.serve(e)
	}
	for i, known := range v.accounts {
		if known == c {
			return v.server, i
		}
	}
	if v.accounts = append(v.accounts, c); len(v.accounts) > realmUsers {
		e.T.Fatalf("more than %d callers", realmUsers)
	}
	return v.server, len(v.accounts) - 1
}

func (v *overTCP) serve(e *env) *served {
	o := ServerOptions{
		Name: testCA,
		Open: func(_ context.Context, who Caller) (certadm.Service, error) {
			c, ok := v.caller(who.User)
			if !ok {
				return nil, certadm.EAccessDenied
			}
			p := certsrvtest.Principal(c)
			p.Local = who.SameMachine() // as the connection proves
			return e.Server.Service(p), nil
		},
		Observe: e.observe,
		// A client that is cut off is gone at once.
		Limits: Limits{Grace: time.Nanosecond, ObjectsPerPrincipal: 64, PerHost: 256},
	}
	if v.realm != nil {
		o.Keytab = v.realm.service
	} else {
		o.NTLM = &NTLMServer{Computer: "CA1", Lookup: func(user, _ string) ([16]byte, bool) {
			_, ok := v.caller(user)
			return secrets{user: "secret of " + strings.TrimPrefix(user, "u")}.hash(user), ok
		}}
	}
	return serveTCP(e.T, o)
}

// caller returns who has the account of this name.
func (v *overTCP) caller(user string) (certadmtest.Caller, bool) {
	n, err := strconv.Atoi(strings.TrimPrefix(user, "u"))
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil || n < 0 || n >= len(v.accounts) {
		return certadmtest.Caller{}, false
	}
	return v.accounts[n], true
}
