package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/csra"
)

// Wire says who may log on to the wire protocol, MS-CSRA.
//
// Processes of the same machine that may read the authority's private files
// reach it in any case, as its local account.
type Wire struct {
	Listen   string // HOST:PORT of the DCOM resolver; "" serves none
	Exporter string // HOST:PORT of the calls; "" is the resolver's, but any free one beside port 135

	Keytab string   // Kerberos keys of the service; "" refuses Kerberos
	Realms []string // whose users are accepted beside those of the keytab's realm

	// AllowNTLM lets accounts log on by NTLM from other machines. On loopback
	// they always may.
	AllowNTLM bool
}

// ErrNobody says that nobody could log on.
var ErrNobody = errors.New("nobody could log on from other machines: it takes Kerberos, which needs a keytab, or NTLM, which has to be allowed")

// Check refuses a combination that cannot be meant. It opens nothing.
func (w Wire) Check() error {
	if w.Listen == "" {
		return nil
	}
	if !w.Loopback() && w.Keytab == "" && !w.AllowNTLM {
		return ErrNobody
	}
	return nil
}

// Loopback reports whether only this machine can reach the listeners: logging on,
// and all else, works at either of them.
func (w Wire) Loopback() bool {
	return isLoopback(w.Listen) && (w.Exporter == "" || isLoopback(w.Exporter))
}

// isLoopback takes no name for loopback but localhost: what another stands for may
// change.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// resolverPort is the port that standard clients look for. Beside it the calls
// have a port of their own, as with every other DCOM server.
const resolverPort = 135

// Rehearse reads what serving would read, and takes no port.
func (w Wire) Rehearse() error {
	if w.Listen == "" || w.Keytab == "" {
		return nil
	}
	_, err := csra.NewServer(csra.ServerOptions{
		Name: "rehearsal", Keytab: w.Keytab,
		Open: func(context.Context, csra.Caller) (certadm.Service, error) { return nil, account.ErrDenied },
	})
	return err
}

// wireListeners are the resolver's and, if the calls come elsewhere, the exporter's.
func wireListeners(ctx context.Context, w Wire) (resolver, exporter net.Listener, err error) {
	var lc net.ListenConfig
	if resolver, err = lc.Listen(ctx, "tcp", w.Listen); err != nil {
		return nil, nil, fmt.Errorf("wire protocol: %w", err)
	}
	at := w.Exporter
	if tcp, ok := resolver.Addr().(*net.TCPAddr); at == "" && ok && tcp.Port == resolverPort {
		host, _, _ := net.SplitHostPort(w.Listen)
		at = net.JoinHostPort(host, "0")
	}
	if at == "" {
		return resolver, nil, nil
	}
	if exporter, err = lc.Listen(ctx, "tcp", at); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("wire protocol's calls: %w", err), resolver.Close())
	}
	return resolver, exporter, nil
}

// serveWire publishes the authority; the listeners are its from now on.
func (a *Authority) serveWire(o Options, accounts *account.Store, resolver, exporter net.Listener) error {
	w := o.Wire
	config := a.Server.Config()
	s, err := csra.NewServer(csra.ServerOptions{
		Name:    config.Name,
		Open:    func(_ context.Context, c csra.Caller) (certadm.Service, error) { return a.open(accounts, c) },
		NTLM:    a.ntlm(accounts, w),
		Account: a.Server.AccountOf,
		Admit:   func(c csra.Caller) error { return a.admit(accounts, c) },
		Observe: a.observe,
		Keytab:  w.Keytab, Realms: w.Realms,
		Names:   append([]string{config.Host}, o.Hosts...),
		OnLogon: a.wireLogon,
		Logger:  o.Logger,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(ctx, resolver, exporter); err != nil {
			a.fail(err)
		}
	}()
	a.stopWire = func() {
		cancel()
		<-done
	}
	a.Wire = resolver.Addr()
	return nil
}

// ntlm serves accounts that have an NT hash and, from this machine, the local
// account. Where accounts may not use NTLM across the network, nobody is even
// asked for it there.
func (a *Authority) ntlm(accounts *account.Store, w Wire) *csra.NTLMServer {
	return &csra.NTLMServer{
		Computer:        computerName(a.Server.Config().Host),
		SameMachineOnly: !w.AllowNTLM && !w.Loopback(),
		Lookup: func(user, _ string) ([16]byte, bool) {
			return a.Server.NTHash(accounts, user)
		},
	}
}

// computerName is a NetBIOS name: at most 15 characters.
func computerName(host string) string {
	if host == "" {
		host, _ = os.Hostname()
	}
	name, _, _ := strings.Cut(strings.ToUpper(host), ".")
	if len(name) > 15 {
		name = name[:15]
	}
	if name == "" {
		name = "CERTKEEP"
	}
	return name
}

// observe has the log tell of calls, for whoever wants to know what a client does.
func (a *Authority) observe(c csra.WireCall) {
	attrs := []any{slog.String("method", c.Method), slog.String("user", c.Caller.User), slog.Any("remote", c.Caller.Remote)}
	switch c.Method {
	case "BackupPrepare":
		attrs = append(attrs, slog.Any("grbitJet", c.GrbitJet), slog.Any("dwBackupFlags", c.Flags), slog.Any("dwClientIdentifier", c.ClientID))
	case "BackupReadFile":
		attrs = append(attrs, slog.Any("cbBuffer", c.Size))
	}
	a.logger.Debug("call", attrs...)
}

// admit refuses a caller whose account is gone since it came.
func (a *Authority) admit(accounts *account.Store, c csra.Caller) error {
	_, err := a.Server.Principal(accounts, c.Mechanism, c.User, c.SameMachine())
	return err
}

// open is what a caller gets who has proven who it is.
func (a *Authority) open(accounts *account.Store, c csra.Caller) (certadm.Service, error) {
	p, err := a.Server.Principal(accounts, c.Mechanism, c.User, c.SameMachine())
	if err != nil {
		a.recordRefusal(certsrv.RefusedLogon{Account: c.User, Origin: c.Remote.String(), Mechanism: c.Mechanism, Reason: err.Error()})
		return nil, &certadm.Error{Op: "activation", Code: certadm.EAccessDenied, Err: err}
	}
	return a.Server.ServiceFrom(p, c.Remote.String()), nil
}

// wireLogon has the audit log tell of refused logons. The server's own text of
// why is not for it: the reason may quote the peer.
func (a *Authority) wireLogon(l csra.Logon) {
	if l.Err != nil {
		a.recordRefusal(certsrv.RefusedLogon{Account: l.User, Origin: l.Remote.String(), Mechanism: l.Mechanism, Reason: account.ErrBadCredentials.Error()})
	}
}

func (a *Authority) recordRefusal(l certsrv.RefusedLogon) {
	if err := a.Server.LogonRefused(l); err != nil && !errors.Is(err, certsrv.ErrStopped) {
		a.logger.Error("a refused logon is not recorded", slog.Any("error", err))
	}
}
