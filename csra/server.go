package csra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/csrahook"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/dcom"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/kerberos"
	"github.com/certkeep/certkeep/internal/ndr"
	"github.com/certkeep/certkeep/internal/ntlm"
)

// ServerOptions say what a Server publishes, and to whom. Name and Open are
// required, and NTLM or Keytab or both.
type ServerOptions struct {
	// Name is the authority's common name.
	Name string

	// Open returns what a caller gets, one for each object that is activated;
	// it is closed when the object is gone. What the caller may do is decided
	// by the Service alone, but for Flags. An error refuses the caller; its
	// HRESULT is sent. ctx ends with the activation.
	//
	// The Service may implement [certadm.Lister] and [certadm.Inspector].
	Open func(ctx context.Context, c Caller) (certadm.Service, error)

	// Admit, if set, is asked at each call whether its caller may still call; an
	// error refuses the call with E_ACCESSDENIED. It must be quick.
	Admit func(c Caller) error

	NTLM   *NTLMServer // nil refuses NTLM
	Keytab string      // path of the service's keytab; empty refuses Kerberos

	// Account, if set, names the account that a user is. Objects, and the number
	// of them that one may have, belong to accounts; nil takes mechanism, domain
	// and user as the client sent them for one. The user has proven who it is.
	Account func(mechanism, user, domain string) string

	// Realms lists Kerberos realms whose users are accepted beside those of the
	// service's own realm.
	Realms []string

	// Flags, if set, returns the authority's InterfaceFlags. They are asked for
	// at each call.
	Flags func() certadm.InterfaceFlags

	// Names are host names and addresses by which clients may know this
	// machine. They are listed in what activation returns, after the address at
	// which the client reached it.
	Names []string

	// OnLogon, if set, hears how each authentication ended. Observe hears each
	// call, before it is carried out. Both must be quick.
	OnLogon func(Logon)
	Observe func(WireCall)

	Limits Limits
	Logger *slog.Logger // nil discards

	configure func(*dcerpc.ServerConfig) // see package csrahook
}

func init() {
	csrahook.Configure = func(options any, change func(*dcerpc.ServerConfig)) {
		options.(*ServerOptions).configure = change
	}
}

// NTLMServer is what a server tells of itself in NTLM, and whom it knows.
type NTLMServer struct {
	Computer string // NetBIOS name
	Domain   string // NetBIOS name; empty is Computer

	// Lookup returns the NT hash of a user, named as the client sent it. It
	// should cost the same for users that do not exist.
	Lookup func(user, domain string) (hash [16]byte, ok bool)

	// SameMachineOnly offers NTLM to no client on another machine.
	SameMachineOnly bool
}

// Logon is how an authentication ended.
type Logon struct {
	Remote    net.Addr
	Mechanism string // "ntlm", "kerberos" or "spnego", which failed before it came to one of these

	// User and Domain are who it is; if Err is set who it claimed to be, as far
	// as it came to that.
	User, Domain string

	Err error // nil when the user was accepted
}

// Limits bound what clients can take of a server; 0 stands for the default. A
// connection has up to 22 MiB of buffers while it reads with the largest size, 16
// MiB, and about 7 MiB with Certadm.dll's largest, 4 MiB.
type Limits struct {
	Connections int // at a time (256)
	PerHost     int // of one address (64)

	Objects             int // activated at a time (256)
	ObjectsPerPrincipal int // of one user (8)

	// HandshakeTimeout is how long a connection lives unless it authenticates
	// (30 s), IdleTimeout how long an authenticated one waits for the next call
	// (15 min).
	HandshakeTimeout, IdleTimeout time.Duration

	// Unpinged is how long an object, and with it a backup session, lives that
	// is neither called nor pinged (14 min); Grace is how long one that is not
	// pinged outlives its last connection (60 s).
	Unpinged, Grace time.Duration

	// FailedLogons bounds failing authentications of one address: so many at
	// once, and one a second in the long run (20). AllFailedLogons bounds those
	// of everybody: so many at once, and 20 a second (200). Who is beyond is
	// told that the server is busy.
	FailedLogons, AllFailedLogons int
}

// Server publishes a [certadm.Service] to clients of MS-CSRA. Nothing below packet
// privacy is served, but for the question for the protocol's version.
//
// A backup session belongs to the object that its client activated. It ends with
// BackupEnd, or when the client releases the object, is gone or idle too long:
// then it is no backup, and nothing is truncated.
type Server struct {
	o      ServerOptions
	log    *slog.Logger
	common *settings
	keytab *kerberos.Keytab
	replay *kerberos.ReplayCache
	dcom   *dcom.Server
	rpc    *dcerpc.Server
}

// NewServer makes a Server; it reads the keytab.
func NewServer(o ServerOptions) (*Server, error) {
	switch {
	case o.Name == "" || o.Open == nil:
		return nil, errors.New("csra server: it needs the authority's name and a function to open it")
	case o.NTLM == nil && o.Keytab == "":
		return nil, errors.New("csra server: nobody could log on, without NTLM and without a keytab")
	case o.NTLM != nil && (o.NTLM.Computer == "" || o.NTLM.Lookup == nil):
		return nil, errors.New("csra server: NTLM needs the computer's name and a function to look users up")
	}
	s := &Server{o: o, log: o.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.common = &settings{name: o.Name, flags: o.Flags, admit: o.Admit, observe: o.Observe, log: s.log}
	security := []dcom.SecurityBinding{}
	if o.NTLM != nil {
		security = append(security, dcom.SecurityBinding{Service: uint16(dcerpc.AuthNTLM)})
	}
	security = append(security, dcom.SecurityBinding{Service: uint16(dcerpc.AuthSPNEGO)})
	if o.Keytab != "" {
		var err error
		if s.keytab, err = kerberos.LoadKeytab(o.Keytab); err != nil {
			return nil, fmt.Errorf("csra server: %w", err)
		}
		s.replay = kerberos.NewReplayCache(0)
		security = append(security, dcom.SecurityBinding{Service: uint16(dcerpc.AuthKerberos)})
	}
	l := o.Limits
	s.dcom = dcom.NewServer(dcom.ServerConfig{
		Classes:  []dcom.Class{{CLSID: clsidCertAdmin, IIDs: []ndr.GUID{iidICertAdminD, iidICertAdminD2}, New: s.activate}},
		Names:    o.Names,
		Security: security, Principal: principalOf(o.Account),
		Limits: dcom.Limits{Objects: l.Objects, ObjectsPerPrincipal: l.ObjectsPerPrincipal, Unpinged: l.Unpinged, Grace: l.Grace},
		Logger: s.log,
	})
	s.rpc = dcerpc.NewServer(s.rpcConfig())
	return s, nil
}

// principalOf is dcom's idea of whose an object is.
func principalOf(account func(mechanism, user, domain string) string) func(gss.Peer) string {
	if account == nil {
		return nil
	}
	return func(p gss.Peer) string { return account(p.Mechanism, p.User, p.Domain) }
}

func (s *Server) rpcConfig() dcerpc.ServerConfig {
	l := s.o.Limits
	conf := dcerpc.ServerConfig{
		Interfaces: append(s.dcom.ResolverInterfaces(), s.dcom.ExporterInterfaces()...),
		Accept:     s.accept,
		Limits: dcerpc.Limits{
			Connections: l.Connections, PerHost: l.PerHost,
			HandshakeTimeout: l.HandshakeTimeout, IdleTimeout: l.IdleTimeout,
			ResponseBytes: int(maxReadBytes) + readOverhead,
			RequestBytes:  maxRequest,
		},
		OnLogon: s.logon,
		Logger:  s.log,
	}
	if l.FailedLogons > 0 {
		conf.Limits.Logons = dcerpc.TokenBucket{Rate: 1, Burst: l.FailedLogons}
	}
	if l.AllFailedLogons > 0 {
		conf.Limits.AllLogons = dcerpc.TokenBucket{Rate: 20, Burst: l.AllFailedLogons}
	}
	if s.o.configure != nil {
		s.o.configure(&conf)
	}
	return conf
}

// maxRequest is the largest request stub, in bytes. Names are the largest
// parameters of what is served; a longer one is answered as Windows answers
// those beyond its own limit.
const maxRequest = 1 << 20

// Serve serves until ctx ends, which is no error, or a listener fails; then all
// connections are closed and all sessions ended. The exporter's listener may be
// nil: then the calls come to the resolver's port as well. The listeners are
// closed. Serve is called once.
//
// Standard clients find the resolver on port 135 only.
func (s *Server) Serve(ctx context.Context, resolver, exporter net.Listener) error {
	listeners := []net.Listener{resolver}
	if exporter != nil {
		listeners = append(listeners, exporter)
		s.dcom.SetExporter(exporter.Addr())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() {
			err := s.rpc.Serve(ctx, l)
			cancel()
			done <- err
		}()
	}
	var errs []error
	for range listeners {
		errs = append(errs, <-done)
	}
	errs = append(errs, s.rpc.Close())
	s.dcom.Close()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("csra server: %w", err)
	}
	return nil
}

// activate makes the object of one client.
func (s *Server) activate(ctx context.Context, a dcom.Activation) (dcom.Servant, error) {
	who := Caller{
		Mechanism: a.Peer.Mechanism, User: a.Peer.User, Domain: a.Peer.Domain,
		Remote: a.Conn.RemoteAddr(), Local: a.Conn.LocalAddr(),
	}
	svc, err := s.o.Open(ctx, who)
	if err != nil {
		s.log.Warn("activation refused", slog.String("peer", a.Peer.String()), slog.Any("remote", who.Remote), slog.Any("error", err))
		return nil, dcom.HResult(certadm.CodeOf(err))
	}
	return servant{newObject(s.common, who, svc)}, nil
}

// servant is an object as DCOM sees it.
type servant struct{ *object }

func (s servant) Call(ctx context.Context, c *dcom.Call, in *ndr.Decoder, out *ndr.Encoder) error {
	a := arrival{iid: c.IID, opnum: c.Opnum, conn: c.Conn.Context(), remote: c.Conn.RemoteAddr(), local: c.Conn.LocalAddr()}
	err := s.serve(ctx, a, in, out)
	if f := faultError(0); errors.As(err, &f) {
		return &dcerpc.Fault{Status: uint32(f)}
	}
	return err
}

func (s servant) Closed(why dcom.Reason) { s.close(why.String()) }

func (s *Server) logon(e dcerpc.LogonEvent) {
	l := Logon{Remote: e.Remote, Mechanism: e.Peer.Mechanism, User: e.Peer.User, Domain: e.Peer.Domain, Err: e.Err}
	if refused := (*gss.RefusedError)(nil); errors.As(e.Err, &refused) {
		l.Mechanism, l.User, l.Domain = refused.Claimed.Mechanism, refused.Claimed.User, refused.Claimed.Domain
	}
	if l.Mechanism == "" {
		l.Mechanism = e.AuthType.String()
	}
	if e.Err != nil {
		s.log.Warn("logon refused", slog.Any("remote", e.Remote), slog.String("mechanism", l.Mechanism), slog.Any("error", e.Err))
	}
	if s.o.OnLogon != nil {
		s.o.OnLogon(l)
	}
}

func (s *Server) ntlmConfig() ntlm.AcceptorConfig {
	n := s.o.NTLM
	c := ntlm.AcceptorConfig{Computer: n.Computer, Domain: n.Domain, Lookup: n.Lookup}
	if c.Domain == "" {
		c.Domain = n.Computer
	}
	return c
}
