package dcom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

// Class is something that clients can activate.
type Class struct {
	CLSID ndr.GUID
	IIDs  []ndr.GUID // the interfaces of its objects; IUnknown goes without saying

	// New makes the object for one activation. ctx ends with the activation,
	// not with the object. An error is sent as its HResult, or as E_FAIL.
	New func(ctx context.Context, a Activation) (Servant, error)
}

// Activation says who activates a class.
type Activation struct {
	Conn  *dcerpc.Conn
	Peer  gss.Peer
	Level dcerpc.Level // always dcerpc.LevelPrivacy
}

// Servant is an activated object.
type Servant interface {
	// Call carries out one method: it reads the parameters from in and appends
	// the results, and the method's HRESULT, to out; both stand behind the
	// headers of ORPC. Calls on one object come one at a time, and only from
	// the principal that activated it. ctx ends with the connection.
	//
	// A returned error is sent as a fault: an HResult with its code, malformed
	// parameters (also when only in.Err says so) as RPC_X_BAD_STUB_DATA, any
	// other without a reason.
	Call(ctx context.Context, c *Call, in *ndr.Decoder, out *ndr.Encoder) error

	// Closed is called once, when the object is gone, and not during a call.
	Closed(why Reason)
}

// Call is a call on a servant.
type Call struct {
	Conn  *dcerpc.Conn
	Peer  gss.Peer
	IID   ndr.GUID // one of the class's
	Opnum uint16   // 3 or above
}

// Reason says why an object is gone.
type Reason int

// Reasons.
const (
	ReasonReleased     Reason = iota + 1 // the client released its last reference
	ReasonPingExpired                    // the client stopped pinging
	ReasonDisconnected                   // the last connection is gone, and the grace after it
	ReasonIdle                           // neither calls nor pings came
	ReasonServerClosed                   // Server.Close
)

func (r Reason) String() string {
	switch r {
	case ReasonReleased:
		return "released"
	case ReasonPingExpired:
		return "pings stopped"
	case ReasonDisconnected:
		return "connection lost"
	case ReasonIdle:
		return "idle"
	case ReasonServerClosed:
		return "server closed"
	}
	return fmt.Sprintf("reason %d", int(r))
}

// ServerConfig describes a Server.
type ServerConfig struct {
	Classes []Class

	// Names are host names and addresses to list in bindings, after the
	// address at which a client reached the server.
	Names []string

	// Security is what the bindings say of authentication. Default: NTLM (10)
	// and SPNEGO (9) without principal names.
	Security []SecurityBinding

	// Principal tells principals apart: an object is for the one that
	// activated it. Default: mechanism, domain and user.
	Principal func(gss.Peer) string

	Limits Limits
	Clock  Clock        // default: the system's
	Logger *slog.Logger // default: discards
}

// Server is an object exporter with its resolver and activator.
type Server struct {
	cfg        ServerConfig
	classes    map[ndr.GUID]*Class
	oxid       uint64
	remUnknown ndr.GUID
	table      *table
	exporter   atomic.Int32 // port, 0 for the one that the client is on
}

// NewServer returns a Server. Its interfaces are to be served by package
// dcerpc.
func NewServer(cfg ServerConfig) *Server {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Clock == nil {
		cfg.Clock = systemClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Security == nil {
		cfg.Security = []SecurityBinding{{Service: uint16(dcerpc.AuthNTLM)}, {Service: uint16(dcerpc.AuthSPNEGO)}}
	}
	if cfg.Principal == nil {
		cfg.Principal = func(p gss.Peer) string { return p.Mechanism + "\x00" + p.Domain + "\x00" + p.User }
	}
	s := &Server{
		cfg: cfg, classes: map[ndr.GUID]*Class{}, oxid: random64(), remUnknown: ndr.NewGUID(),
		table: newTable(cfg.Limits, cfg.Clock),
	}
	for i := range cfg.Classes {
		s.classes[cfg.Classes[i].CLSID] = &cfg.Classes[i]
	}
	return s
}

// SetExporter says on which TCP port ExporterInterfaces are served. Without
// it, or with nil, that is the port of ResolverInterfaces.
func (s *Server) SetExporter(addr net.Addr) {
	port := 0
	if tcp, ok := addr.(*net.TCPAddr); ok {
		port = tcp.Port
	}
	s.exporter.Store(int32(port))
}

// ResolverInterfaces returns the interfaces of the resolver's port, which is
// 135 by convention.
func (s *Server) ResolverInterfaces() []dcerpc.Interface {
	return []dcerpc.Interface{
		{Syntax: dcerpc.Syntax{UUID: IIDObjectExporter}, MinLevel: resolverLevel, Handler: s.resolve},
		{Syntax: dcerpc.Syntax{UUID: IIDRemoteSCMActivator}, MinLevel: privacy, Handler: s.activator},
		{Syntax: dcerpc.Syntax{UUID: IIDActivation}, MinLevel: privacy, Handler: s.oldActivator},
	}
}

// ExporterInterfaces returns the interfaces of the exporter's port: DCOM's own
// and those of the classes.
func (s *Server) ExporterInterfaces() []dcerpc.Interface {
	var faces []dcerpc.Interface
	have := map[ndr.GUID]bool{}
	add := func(iid ndr.GUID, h dcerpc.Handler) {
		if !have[iid] {
			have[iid] = true
			faces = append(faces, dcerpc.Interface{Syntax: dcerpc.Syntax{UUID: iid}, MinLevel: privacy, Handler: h})
		}
	}
	add(IIDRemUnknown, s.remoteUnknown)
	add(IIDRemUnknown2, s.remoteUnknown)
	add(IIDUnknown, s.call)
	for _, c := range s.cfg.Classes {
		for _, iid := range c.IIDs {
			add(iid, s.call)
		}
	}
	return faces
}

// Close frees all objects; one with a call in progress is freed as that ends.
// It is called after the dcerpc servers were closed, and not by a Servant.
func (s *Server) Close() { s.table.close() }

// Objects returns how many objects there are.
func (s *Server) Objects() int {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	return len(s.table.objects)
}

func privacy(uint16) dcerpc.Level { return dcerpc.LevelPrivacy }

// hosts returns the names for bindings to a client that came to this address.
// The address is first: a client that looks for what it dialled finds it.
func (s *Server) hosts(local net.Addr) []string {
	var hosts []string
	if tcp, ok := local.(*net.TCPAddr); ok {
		if ip, ok := netIP(tcp); ok {
			hosts = append(hosts, ip)
		}
	}
	for _, name := range s.cfg.Names {
		if !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
	}
	return hosts
}

func netIP(a *net.TCPAddr) (string, bool) {
	ip := a.AddrPort().Addr().Unmap().WithZone("")
	return ip.String(), ip.IsValid() && !ip.IsUnspecified()
}

// resolverBindings have no ports.
func (s *Server) resolverBindings(local net.Addr) Bindings {
	b := Bindings{Security: s.cfg.Security}
	for _, h := range s.hosts(local) {
		b.Strings = append(b.Strings, StringBinding{TowerTCP, h})
	}
	return b
}

func (s *Server) exporterBindings(local net.Addr) Bindings {
	port := int(s.exporter.Load())
	if tcp, ok := local.(*net.TCPAddr); ok && port == 0 {
		port = tcp.Port
	}
	b := Bindings{Security: s.cfg.Security}
	for _, h := range s.hosts(local) {
		b.Strings = append(b.Strings, StringBinding{TowerTCP, fmt.Sprintf("%s[%d]", h, port)})
	}
	return b
}

func (s *Server) caller(c *dcerpc.Call) caller {
	return caller{s.cfg.Principal(c.Peer), c.Conn, c.Conn.Context()}
}

// fault makes an HResult what package dcerpc sends.
func fault(err error) error {
	var hr HResult
	if errors.As(err, &hr) {
		return &dcerpc.Fault{Status: uint32(hr)}
	}
	return err
}
