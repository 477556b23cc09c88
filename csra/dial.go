package csra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/dcom"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

// DefaultPort is that of the DCOM resolver.
const DefaultPort = 135

// Options say where Certificate Services are, and who connects. Host and
// Credentials are required.
type Options struct {
	// Host is the name or address of the CA's machine. Kerberos needs the name
	// that the machine's account has there, usually the DNS name.
	Host string

	// Port is the resolver's; 0 is DefaultPort. The connection that carries the
	// backup goes to another port of the same host, which the server names.
	Port int

	// Authority is the CA's common name, in any case, sanitized or not. It may
	// be empty where there is only one CA; a server that insists on the name
	// refuses BackupPrepare then.
	Authority string

	Credentials Credentials

	// RawMechanism does without SPNEGO: NTLM or Kerberos is spoken alone.
	RawMechanism bool

	// Krb5Conf is the path of krb5.conf; empty is what KRB5_CONFIG says, else
	// /etc/krb5.conf, which may be absent. KDCs, HOST:PORT, are those of the
	// principal's realm instead of what it and DNS say.
	Krb5Conf string
	KDCs     []string

	// PingPeriod is how often the server is told that the client is there;
	// 0 is 120 s, which servers count on.
	PingPeriod time.Duration

	// Dialer makes all connections; nil is a [net.Dialer]'s DialContext.
	Dialer func(ctx context.Context, network, address string) (net.Conn, error)

	// Stage, if set, is called as each stage of Dial ends: "resolve name",
	// "connect", "ServerAlive2", "authenticate", "activate",
	// "connect to exporter" and "bind". The error is nil when it went well, and
	// otherwise ends Dial, but for a refused ServerAlive2.
	Stage func(stage string, err error)

	Logger *slog.Logger // nil discards
}

// Dial connects to Certificate Services: it activates the class CCertAdminD and
// binds to ICertAdminD2, or to ICertAdminD where there is no other.
//
// Every connection goes to Host, whatever addresses the server names. All but the
// question for the protocol's version is sealed (packet privacy), and Kerberos
// signs headers. The error is a *[certadm.Error] that wraps what went wrong at
// which stage.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if o.Port == 0 {
		o.Port = DefaultPort
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	where := net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
	if o.Host == "" || o.Port < 0 || o.Port > 65535 {
		return nil, local(fnConnect, where, certadm.EInvalidArg, "the host, or its port, is no address")
	}
	l, err := o.Credentials.login(&o)
	if err != nil {
		return nil, &certadm.Error{Op: fnConnect, Path: where, Code: certadm.SecNoCredentials, Err: err, Hint: hintOf(err)}
	}
	obj, err := dcom.Activate(ctx, dcom.ActivateOptions{
		Host: o.Host, Port: o.Port, CLSID: clsidCertAdmin, IIDs: []ndr.GUID{iidICertAdminD2, iidICertAdminD},
		Authenticate: l.authenticate(o.RawMechanism),
		RPC:          dcerpc.ClientOptions{Dial: o.Dialer},
		PingPeriod:   o.PingPeriod,
		OnPing: func(err error) {
			if err != nil {
				o.Logger.Warn("pinging the server", slog.String("server", where), slog.Any("error", err))
			}
		},
		Stage: func(s dcom.Stage, err error) {
			if o.Stage != nil {
				o.Stage(string(s), err)
			}
		},
	})
	if err != nil {
		l.close()
		return nil, connectError(where, err)
	}
	p, d2 := obj.Interface(iidICertAdminD2), true
	if p == nil {
		p, d2 = obj.Interface(iidICertAdminD), false
	}
	release := func(ctx context.Context) error {
		defer l.close()
		return obj.Release(ctx)
	}
	c := newClient(calls{p: p, d2: d2}, o.Authority, o.Host, o.Logger, release)
	c.serverTime = l.serverTime
	return c, nil
}

const fnConnect = "connect"

// connectError is why an activation failed.
func connectError(where string, err error) error {
	e := &certadm.Error{Op: fnConnect, Path: where, Code: certadm.RPCServerUnavailable, Err: err}
	var (
		hr    dcom.HResult
		fault *dcerpc.Fault
		nak   *dcerpc.NakError
		stage *dcom.StageError
		stub  *ndr.Error
	)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		e.Code = certadm.ErrorCancelled
		return e
	case errors.Is(err, gss.ErrLogon):
		e.Code = certadm.ErrorLogonFailure
	case errors.As(err, &hr):
		e.Code = certadm.HRESULT(hr)
	case errors.As(err, &fault):
		e.Code = faultCode(fault.Status)
		if fault.Unconfirmed && e.Code == certadm.EAccessDenied {
			e.Code = certadm.ErrorLogonFailure
		}
	case errors.As(err, &nak) && (nak.Reason == dcerpc.NakLocalLimit || nak.Reason == dcerpc.NakCongestion):
		e.Code = certadm.RPCServerTooBusy
	case errors.As(err, &nak) && nak.Reason == dcerpc.NakAuthType:
		e.Code = certadm.RPCUnknownAuthn
	case errors.Is(err, gss.ErrIntegrity):
		e.Code = certadm.RPCSecurityPackage
	case errors.Is(err, dcerpc.ErrProtocol) || errors.As(err, &stub):
		e.Code = certadm.RPCProtocolError
	}
	if e.Hint = hintOf(err); e.Hint == "" && errors.As(err, &stage) {
		e.Hint = stageHint(stage.Stage, where, e.Code)
	}
	return e
}

// hintOf is the advice that an error has itself.
func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// stageHint is what the user can do about a failed stage.
func stageHint(s dcom.Stage, where string, code certadm.HRESULT) string {
	if code == certadm.RPCServerTooBusy {
		return "the server is at its limit of connections or logons: try again later"
	}
	switch s {
	case dcom.StageResolve:
		return "check the host's name, and that DNS knows it"
	case dcom.StageConnect:
		return fmt.Sprintf("the resolver's port must be open from here: is %s the right address, does the machine run, does a firewall stand between?", where)
	case dcom.StageServerAlive:
		return "what answers there is no DCOM resolver"
	case dcom.StageAuthenticate:
		switch code {
		case certadm.RPCUnknownAuthn:
			return "the server does not take this kind of credentials: it may want Kerberos where NTLM was used, or the other way round"
		case certadm.ErrorLogonFailure, certadm.EAccessDenied:
			return "check user, domain and password (or the ticket: klist), and that the clocks agree within five minutes"
		}
	case dcom.StageActivate:
		switch code {
		case certadm.EAccessDenied:
			return "the account may not activate DCOM classes there: add it to the group Certificate Service DCOM Access of the CA's machine; " +
				"a local account of that machine is cut down over the network unless it is the built-in Administrator"
		case certadm.RegdbClassNotReg:
			return "there are no Certificate Services on that machine, or they do not run (net start CertSvc)"
		}
	case dcom.StageExporter:
		return "the server's dynamic TCP ports must be open from here (49152 to 65535, unless CertSvc was given a fixed one)"
	}
	return ""
}
