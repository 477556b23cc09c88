// Package serve runs an embedded authority with its listeners: EST over HTTPS,
// the CA certificate and CRL over plain HTTP, and MS-CSRA for backups. The verb
// "ca serve" and the demo share it.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/certsrv/est"
	"github.com/certkeep/certkeep/connect"
)

// Options of Start.
type Options struct {
	Dir string

	// Passphrase is asked when the key is encrypted; nil has none.
	Passphrase func(context.Context) ([]byte, error)

	EST   string   // HOST:PORT of EST over HTTPS; "" serves none
	HTTP  string   // HOST:PORT of plain HTTP for CRL and certificate; "" serves none
	Wire  Wire     // the wire protocol
	Hosts []string // other names of this machine: for EST's certificate, and for clients of the wire protocol

	AcceptLoss bool
	Observe    func(phase string)
	Logger     *slog.Logger
}

// Authority is one that is being served.
type Authority struct {
	Server *certsrv.Server
	EST    string   // https://HOST:PORT, "" if not served
	HTTP   string   // http://HOST:PORT, "" if not served
	Wire   net.Addr // of the wire protocol's resolver, nil if not served

	logger   *slog.Logger
	servers  []*http.Server
	stopWire func()     // ends the wire protocol's sessions and connections; may be nil
	failed   chan error // the first failure of a listener
}

// listeners are taken before anything is started; nil ones are not served.
type listeners struct{ est, http, resolver, exporter net.Listener }

// Start starts the authority and its listeners; Stop must follow. Every
// listener's port is taken before the authority starts, so that a port in use
// changes nothing.
func Start(ctx context.Context, o Options) (_ *Authority, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := o.Wire.Check(); err != nil {
		return nil, fmt.Errorf("wire protocol: %w", err)
	}
	a := &Authority{logger: o.Logger, failed: make(chan error, 1)}
	at, err := listen(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, at.close())
		}
	}()
	if err := a.startServer(ctx, o, at); err != nil {
		return nil, err
	}
	if err := a.serve(ctx, o, at); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return nil, errors.Join(err, a.Stop(stop))
	}
	return a, nil
}

// stopTimeout bounds the stop after a start that failed.
const stopTimeout = 10 * time.Second

func listen(ctx context.Context, o Options) (at listeners, err error) {
	var lc net.ListenConfig
	defer func() {
		if err != nil {
			err = errors.Join(err, at.close())
		}
	}()
	for _, l := range []struct {
		what, address string
		to            *net.Listener
	}{{"EST", o.EST, &at.est}, {"HTTP", o.HTTP, &at.http}} {
		if l.address == "" {
			continue
		}
		got, err := lc.Listen(ctx, "tcp", l.address)
		if err != nil {
			return at, fmt.Errorf("%s: %w", l.what, err)
		}
		*l.to = got
	}
	if o.Wire.Listen != "" {
		at.resolver, at.exporter, err = wireListeners(ctx, o.Wire)
	}
	return at, err
}

func (at listeners) close() error {
	var errs []error
	for _, l := range []net.Listener{at.est, at.http, at.resolver, at.exporter} {
		if l != nil {
			errs = append(errs, ignoreClosed(l.Close()))
		}
	}
	return errors.Join(errs...)
}

// startServer starts the authority, asking for the passphrase when there is one.
func (a *Authority) startServer(ctx context.Context, o Options, at listeners) (err error) {
	opts := certsrv.Options{Observe: o.Observe, Logger: o.Logger, AcceptLoss: o.AcceptLoss}
	if at.resolver != nil {
		opts.Address = connect.ServeAddress(at.resolver.Addr())
	}
	for {
		if a.Server, err = certsrv.New(o.Dir, opts); err != nil {
			return err
		}
		err = a.Server.Start(ctx)
		if !errors.Is(err, authority.ErrPassphraseNeeded) || o.Passphrase == nil || opts.Passphrase != nil {
			return err
		}
		if opts.Passphrase, err = o.Passphrase(ctx); err != nil {
			return err
		}
	}
}

func (a *Authority) serve(ctx context.Context, o Options, at listeners) error {
	accounts, err := account.Open(filepath.Join(a.Server.Dir(), "accounts.json"), account.Options{})
	if err != nil {
		return err
	}
	if at.resolver != nil {
		if err := a.serveWire(o, accounts, at.resolver, at.exporter); err != nil {
			return err
		}
	}
	if at.est != nil {
		h, cert, err := a.enrolment(ctx, o, accounts, at.est.Addr().String())
		if err != nil {
			return err
		}
		a.EST = "https://" + at.est.Addr().String()
		a.goServe(est.NewServer(h, cert.Config(), o.Logger), at.est, true)
	}
	if at.http != nil {
		a.HTTP = "http://" + at.http.Addr().String()
		h := est.NewPublishedHandler(a.Server.Config().SanitizedName, a.Server.Published())
		a.goServe(est.NewServer(h, nil, o.Logger), at.http, false)
	}
	return nil
}

// enrolment prepares EST: the handler and the server's own certificate, which
// the authority issues.
func (a *Authority) enrolment(ctx context.Context, o Options, accounts *account.Store, address string) (http.Handler, *est.TLSCertificate, error) {
	hosts, err := est.HostsFor(address)
	if err != nil {
		return nil, nil, err
	}
	cert, err := est.NewTLSCertificate(ctx, est.TLSOptions{
		CA: a.Server.CACertificate(), Hosts: append(hosts, o.Hosts...), Logger: o.Logger,
		Issue: a.Server.IssueTLS, File: filepath.Join(a.Server.Dir(), "private", "est.pem"),
	})
	if err != nil {
		return nil, nil, err
	}
	return est.NewHandler(a.Server.EST(), accounts, est.Options{
		Realm: a.Server.Config().Name, Logger: o.Logger, OnRefused: a.refused,
	}), cert, nil
}

// refused has the audit log tell of a wrong password at EST.
func (a *Authority) refused(name, remote string) {
	a.recordRefusal(certsrv.RefusedLogon{Account: name, Origin: remote, Mechanism: "basic", Reason: account.ErrBadCredentials.Error()})
}

// fail notes the first failure, which ends Wait.
func (a *Authority) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

func (a *Authority) goServe(s *http.Server, l net.Listener, tls bool) {
	a.servers = append(a.servers, s)
	go func() {
		var err error
		if tls {
			err = s.ServeTLS(l, "", "")
		} else {
			err = s.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			a.fail(err)
		}
	}()
}

// Wait returns when ctx ends, when an administrator has shut the service down
// (nil both times), or when a listener has failed.
func (a *Authority) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.Server.Done():
		return nil
	case err := <-a.failed:
		return err
	}
}

// Stop lets the requests in flight finish, as long as ctx lasts, ends the wire
// protocol's backup sessions, and stops the authority, which closes its open log.
func (a *Authority) Stop(ctx context.Context) error {
	var errs []error
	if a.stopWire != nil {
		a.stopWire()
	}
	for _, s := range a.servers {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, ignoreClosed(s.Close()))
		}
	}
	return errors.Join(append(errs, a.Server.Stop(ctx))...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// CheckAddress checks a HOST:PORT before anything is done with it.
func CheckAddress(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || strings.ContainsAny(host, "/ ") {
		return fmt.Errorf("%q is not HOST:PORT", s)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q is not HOST:PORT: %w", s, err)
	}
	return nil
}
