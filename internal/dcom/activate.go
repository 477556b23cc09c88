package dcom

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// Stage is a step of an activation.
type Stage string

// The stages, in their order.
const (
	StageResolve      Stage = "resolve name"
	StageConnect      Stage = "connect"      // to the resolver's port
	StageServerAlive  Stage = "ServerAlive2" // without authentication
	StageAuthenticate Stage = "authenticate"
	StageActivate     Stage = "activate"
	StageExporter     Stage = "connect to exporter" // the port that activation named
	StageBind         Stage = "bind"                // to the object's interface there
)

// StageError says how far an activation came.
type StageError struct {
	Stage Stage
	Err   error
}

func (e *StageError) Error() string { return fmt.Sprintf("%s: %v", e.Stage, e.Err) }

// Unwrap returns the reason: an HResult, a *dcerpc.Fault, gss.ErrLogon, a
// net.Error or whatever else there was.
func (e *StageError) Unwrap() error { return e.Err }

// Authenticate makes a security context for one connection: for the service
// class ("RPCSS") on that host.
type Authenticate func(service, host string) (*dcerpc.Security, error)

// ActivateOptions say what to activate, and where. Host, CLSID, IIDs and
// Authenticate are required.
type ActivateOptions struct {
	Host  string     // name or address
	Port  int        // of the resolver; default 135
	CLSID ndr.GUID   // the class
	IIDs  []ndr.GUID // interfaces, most wanted first; one of them is enough

	Authenticate Authenticate
	RPC          dcerpc.ClientOptions

	// PingPeriod is how often the server is told that the object is in use.
	// Default 120 s, which is what servers count on.
	PingPeriod time.Duration

	// OnPing, if set, is told the result of every ping. One that fails is no
	// reason to give up, for calls count as pings. It must not release the
	// object, which waits for it.
	OnPing func(error)

	// Stage, if set, is called after each stage with its error, or nil. All
	// errors end the activation, but for a refused ServerAlive2.
	Stage func(Stage, error)

	ticker func(time.Duration) (tick <-chan time.Time, stop func()) // tests
}

// dcomService is the service class whose principal the resolver is (MS-DCOM
// section 3.2.4.1.2).
const dcomService = "RPCSS"

// activation is an Activate under way.
type activation struct {
	ActivateOptions
	address string // of the host, without port
	version Version
	closers []*dcerpc.Client // connections to close if it fails
}

// Activate makes an object of a class on a host, and connects to it. All of it
// travels with packet privacy, but for ServerAlive2. Errors are *StageError.
//
// Every connection goes to the host as it was dialled, whatever the server says
// of other addresses; with a server of several addresses, to the same one.
func Activate(ctx context.Context, o ActivateOptions) (*Object, error) {
	a := &activation{ActivateOptions: o, address: o.Host, version: Current}
	if a.Port == 0 {
		a.Port = 135
	}
	if a.PingPeriod <= 0 {
		a.PingPeriod = 120 * time.Second
	}
	if a.ticker == nil {
		a.ticker = func(d time.Duration) (<-chan time.Time, func()) {
			t := time.NewTicker(d)
			return t.C, t.Stop
		}
	}
	obj, err := a.run(ctx)
	if err != nil {
		for _, c := range a.closers {
			c.Close()
		}
		return nil, err
	}
	return obj, nil
}

func (a *activation) stage(s Stage, err error) error {
	if a.Stage != nil {
		a.Stage(s, err)
	}
	if err != nil {
		return &StageError{s, err}
	}
	return nil
}

func (a *activation) run(ctx context.Context) (*Object, error) {
	if err := a.stage(StageResolve, a.resolve(ctx)); err != nil {
		return nil, err
	}
	first, err := a.dial(ctx, a.Port)
	if err := a.stage(StageConnect, err); err != nil {
		return nil, err
	}
	if tcp, ok := first.RemoteAddr().(*net.TCPAddr); ok && a.RPC.Dial == nil {
		a.address = tcp.AddrPort().Addr().String() // and stay there
	}
	if err := a.alive(ctx, first); err != nil {
		return nil, err
	}
	first.Close()

	resolver, err := a.authenticate(ctx)
	if err := a.stage(StageAuthenticate, err); err != nil {
		return nil, err
	}
	reply, err := a.create(ctx, resolver.client)
	if err := a.stage(StageActivate, err); err != nil {
		return nil, err
	}
	port, ok := reply.exporter.Port(a.Host)
	var exporter *dcerpc.Client
	if ok {
		exporter, err = a.dial(ctx, port)
	} else {
		err = errors.New("the server names no TCP port")
	}
	if err := a.stage(StageExporter, err); err != nil {
		return nil, err
	}
	obj, err := a.bind(ctx, exporter, resolver, reply)
	if err := a.stage(StageBind, err); err != nil {
		return nil, err
	}
	return obj, nil
}

// resolve looks the name up, for a better error than a failing connection
// has.
func (a *activation) resolve(ctx context.Context) error {
	if a.RPC.Dial != nil || net.ParseIP(a.Host) != nil {
		return nil
	}
	_, err := net.DefaultResolver.LookupHost(ctx, a.Host)
	return err
}

func (a *activation) dial(ctx context.Context, port int) (*dcerpc.Client, error) {
	c, err := dcerpc.Dial(ctx, net.JoinHostPort(a.address, strconv.Itoa(port)), a.RPC)
	if err == nil {
		a.closers = append(a.closers, c)
	}
	return c, err
}

// alive calls ServerAlive2, which tells the server's version. A server that
// refuses to answer strangers may still answer those it knows.
func (a *activation) alive(ctx context.Context, c *dcerpc.Client) error {
	r, err := serverAlive(ctx, c, nil)
	var fault *dcerpc.Fault
	var reject *dcerpc.RejectError
	var nak *dcerpc.NakError
	if errors.As(err, &fault) || errors.As(err, &reject) || errors.As(err, &nak) {
		a.stage(StageServerAlive, err)
		return nil
	}
	if err == nil {
		err = a.negotiate(r.version)
	}
	return a.stage(StageServerAlive, err)
}

func serverAlive(ctx context.Context, c *dcerpc.Client, sec *dcerpc.Security) (aliveReply, error) {
	i, err := c.Bind(ctx, dcerpc.Syntax{UUID: IIDObjectExporter}, sec)
	if err != nil {
		return aliveReply{}, err
	}
	stub, err := i.Call(ctx, dcerpc.Request{Opnum: opServerAlive2})
	if err != nil {
		return aliveReply{}, err
	}
	return decodeAlive(stub)
}

// negotiate agrees on the lower version (MS-DCOM section 3.2.4.1.1.1).
func (a *activation) negotiate(server Version) error {
	if server.Major != Current.Major {
		return fmt.Errorf("server speaks dcom %v, this is %v", server, Current)
	}
	a.version.Minor = min(a.version.Minor, server.Minor)
	return nil
}

// resolverConn is an authenticated connection to the resolver.
type resolverConn struct {
	client   *dcerpc.Client
	exporter *dcerpc.Binding // IObjectExporter
}

// authenticate connects to the resolver for good. Its answer to ServerAlive,
// for which everybody has permission, proves that the credentials were
// accepted: with some mechanisms nothing else tells bad ones and a refused
// activation apart.
func (a *activation) authenticate(ctx context.Context) (*resolverConn, error) {
	sec, err := a.Authenticate(dcomService, a.Host)
	if err != nil {
		return nil, err
	}
	c, err := a.dial(ctx, a.Port)
	if err != nil {
		return nil, err
	}
	i, err := c.Bind(ctx, dcerpc.Syntax{UUID: IIDObjectExporter}, sec)
	if err == nil {
		_, err = i.Call(ctx, dcerpc.Request{Opnum: opServerAlive})
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return &resolverConn{c, i}, nil
}

// create calls RemoteCreateInstance.
func (a *activation) create(ctx context.Context, c *dcerpc.Client) (activationReply, error) {
	i, err := c.Bind(ctx, dcerpc.Syntax{UUID: IIDRemoteSCMActivator}, nil)
	if err != nil {
		return activationReply{}, err
	}
	request := activationRequest{
		clsid: a.CLSID, iids: a.IIDs, version: a.version, protseqs: []uint16{TowerTCP},
	}
	var e ndr.Encoder
	orpcThis{version: a.version, cid: ndr.NewGUID()}.encode(&e)
	encodeCreateRequest(&e, request.pack())
	stub, err := i.Call(ctx, dcerpc.Request{Opnum: opRemoteCreateInstance, Stub: e.Bytes()})
	if err != nil {
		return activationReply{}, err
	}
	d := ndr.NewDecoder(stub)
	skipThat(d)
	reply, err := decodeCreateReply(d)
	if err != nil {
		return reply, err
	}
	if err := a.check(&reply); err != nil {
		return reply, err
	}
	return reply, a.negotiate(reply.version)
}

// check drops interfaces that are not to be had, and refuses a reply that is
// not about what was asked for.
func (a *activation) check(reply *activationReply) error {
	if len(reply.results) != len(a.IIDs) {
		return fmt.Errorf("server answers for %d interfaces instead of %d", len(reply.results), len(a.IIDs))
	}
	failure := error(ENoInterface)
	var had []ifaceResult
	for i, r := range reply.results {
		switch {
		case r.iid != a.IIDs[i]:
			return fmt.Errorf("server answers for interface %v instead of %v", r.iid, a.IIDs[i])
		case r.hr != OK:
			failure = r.hr
			continue
		case r.ref.kind == refCustom || r.ref.iid != r.iid:
			return fmt.Errorf("interface %v: object reference of another kind", r.iid)
		case r.ref.std.OXID != reply.oxid || len(had) > 0 && r.ref.std.OID != had[0].ref.std.OID:
			return fmt.Errorf("interface %v: belongs to another object", r.iid)
		}
		had = append(had, r)
	}
	if len(had) == 0 {
		return failure
	}
	reply.results = slices.Clip(had)
	return nil
}

// bind binds to the interface wanted most of those that are there.
func (a *activation) bind(ctx context.Context, c *dcerpc.Client, r *resolverConn, reply activationReply) (*Object, error) {
	service := reply.exporter.Service(a.Host, dcomService)
	sec, err := a.Authenticate(service, a.Host)
	if err != nil {
		return nil, err
	}
	i, err := c.Bind(ctx, dcerpc.Syntax{UUID: reply.results[0].iid}, sec)
	if err != nil {
		return nil, err
	}
	return newObject(a, c, i, r, reply), nil
}
