package dcom

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
	"github.com/certkeep/certkeep/internal/ntlm"
)

// logons makes security contexts of a user, and notes for what.
type logons struct {
	user, password string
	level          dcerpc.Level

	mu    sync.Mutex
	asked []string // service/host
}

func as(user string) *logons { return &logons{user: user, password: user, level: dcerpc.LevelPrivacy} }

func (l *logons) authenticate(service, host string) (*dcerpc.Security, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, service+"/"+host)
	return &dcerpc.Security{
		Type: dcerpc.AuthNTLM, Level: l.level,
		Context: ntlm.NewInitiator(ntlm.Credentials{User: l.user, Hash: ntlm.NTHash(l.password)}, service+"/"+host),
	}, nil
}

// dialer makes connections, notes them, and can cut them.
type dialer struct {
	mu        sync.Mutex
	addresses []string
	conns     []net.Conn
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	d.addresses = append(d.addresses, address)
	d.mu.Unlock()
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		conn = &notedConn{Conn: conn}
		d.mu.Lock()
		d.conns = append(d.conns, conn)
		d.mu.Unlock()
	}
	return conn, err
}

// notedConn knows whether it was closed.
type notedConn struct {
	net.Conn
	closed atomic.Bool
}

func (c *notedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// cut closes the connections to a port, or all with port 0.
func (d *dialer) cut(port int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		if port == 0 || c.RemoteAddr().(*net.TCPAddr).Port == port {
			c.Close()
		}
	}
}

// open returns how many connections are open.
func (d *dialer) open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, c := range d.conns {
		if !c.(*notedConn).closed.Load() {
			n++
		}
	}
	return n
}

// options are those of alice's activation of the test class.
func (w *world) options() ActivateOptions {
	return ActivateOptions{
		Host: w.host, Port: w.port, CLSID: testCLSID, IIDs: []ndr.GUID{iidMore, iidBase},
		Authenticate: as("alice").authenticate,
		// Nobody pings in tests that do not say so.
		ticker: func(time.Duration) (<-chan time.Time, func()) { return nil, func() {} },
	}
}

// activate activates, and releases at the test's end.
func activate(t *testing.T, o ActivateOptions) *Object {
	t.Helper()
	obj, err := Activate(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		obj.Release(ctx)
	})
	return obj
}

// add calls opAdd.
func add(t *testing.T, p *Proxy, n uint32) (sum uint32, iid ndr.GUID) {
	t.Helper()
	d, err := p.Call(t.Context(), opAdd, nil, func(e *ndr.Encoder) { e.U32(n) })
	if err != nil {
		t.Fatal(err)
	}
	sum, iid = d.U32(), d.GUID()
	if err := status(d); err != nil {
		t.Fatal(err)
	}
	return sum, iid
}

// faultOf returns the status of the fault that err is, or 0.
func faultOf(err error) uint32 {
	var f *dcerpc.Fault
	if errors.As(err, &f) {
		return f.Status
	}
	return 0
}

// peer is a client of a test that speaks for itself.
type peer struct {
	t      *testing.T
	client *dcerpc.Client
	faces  map[ndr.GUID]*dcerpc.Binding
	sec    *dcerpc.Security // of the first bind
}

// newPeer connects to a port; l may be nil.
func newPeer(t *testing.T, host string, port int, l *logons) *peer {
	t.Helper()
	c, err := dcerpc.Dial(t.Context(), net.JoinHostPort(host, fmt.Sprint(port)), dcerpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := &peer{t: t, client: c, faces: map[ndr.GUID]*dcerpc.Binding{}}
	if l != nil {
		p.sec, _ = l.authenticate("host", host)
	}
	return p
}

// bind binds to an interface, once.
func (p *peer) bind(iid ndr.GUID) *dcerpc.Binding {
	p.t.Helper()
	face := p.faces[iid]
	if face == nil {
		var err error
		if face, err = p.client.Bind(p.t.Context(), dcerpc.Syntax{UUID: iid}, p.sec); err != nil {
			p.t.Fatal(err)
		}
		p.sec, p.faces[iid] = nil, face
	}
	return face
}

// call makes one call.
func (p *peer) call(iid ndr.GUID, opnum uint16, object *ndr.GUID, stub []byte) ([]byte, error) {
	p.t.Helper()
	return p.bind(iid).Call(p.t.Context(), dcerpc.Request{Opnum: opnum, Object: object, Stub: stub})
}

// orpc calls with ORPCTHIS in front, and returns what stands behind ORPCTHAT.
func (p *peer) orpc(iid ndr.GUID, opnum uint16, ipid ndr.GUID, args func(*ndr.Encoder)) (*ndr.Decoder, error) {
	p.t.Helper()
	var e ndr.Encoder
	orpcThis{version: Current}.encode(&e)
	if args != nil {
		args(&e)
	}
	stub, err := p.call(iid, opnum, &ipid, e.Bytes())
	d := ndr.NewDecoder(stub)
	if err == nil {
		skipThat(d)
	}
	return d, err
}

// create activates as Impacket does: without ServerAlive2, on one connection.
func (p *peer) create(clsid ndr.GUID, iids ...ndr.GUID) (activationReply, error) {
	p.t.Helper()
	var e ndr.Encoder
	orpcThis{version: Current, flags: 1}.encode(&e)
	r := activationRequest{clsid: clsid, iids: iids, version: Current, protseqs: []uint16{TowerTCP}}
	encodeCreateRequest(&e, r.pack())
	stub, err := p.call(IIDRemoteSCMActivator, opRemoteCreateInstance, nil, e.Bytes())
	if err != nil {
		return activationReply{}, err
	}
	d := ndr.NewDecoder(stub)
	skipThat(d)
	return decodeCreateReply(d)
}
