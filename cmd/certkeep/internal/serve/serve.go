// Package serve runs an embedded authority with its listeners: EST over HTTPS,
// and the CA certificate and CRL over plain HTTP. The verb "ca serve" and the
// demo share it.
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

	EST    string   // HOST:PORT of EST over HTTPS; "" serves none
	HTTP   string   // HOST:PORT of plain HTTP for CRL and certificate; "" serves none
	Listen string   // HOST:PORT that other processes are told; nothing listens there yet
	Hosts  []string // in the certificate of EST's HTTPS, besides EST's own

	AcceptLoss bool
	Observe    func(phase string)
	Logger     *slog.Logger
}

// Authority is one that is being served.
type Authority struct {
	Server *certsrv.Server
	EST    string // https://HOST:PORT, "" if not served
	HTTP   string // http://HOST:PORT, "" if not served

	logger  *slog.Logger
	servers []*http.Server
	failed  chan error // the first failure of a listener
}

// Start starts the authority and its listeners; Stop must follow. Every
// listener's port is taken before the authority starts, so that a port in use
// changes nothing.
func Start(ctx context.Context, o Options) (_ *Authority, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Authority{logger: o.Logger, failed: make(chan error, 2)}
	estAt, httpAt, err := a.listen(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, l := range []net.Listener{estAt, httpAt} {
				if l != nil {
					err = errors.Join(err, ignoreClosed(l.Close()))
				}
			}
		}
	}()
	if err := a.startServer(ctx, o); err != nil {
		return nil, err
	}
	if err := a.serve(ctx, o, estAt, httpAt); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		return nil, errors.Join(err, a.Stop(stop))
	}
	return a, nil
}

// stopTimeout bounds the stop after a start that failed.
const stopTimeout = 10 * time.Second

func (a *Authority) listen(ctx context.Context, o Options) (estAt, httpAt net.Listener, err error) {
	var lc net.ListenConfig
	if o.EST != "" {
		if estAt, err = lc.Listen(ctx, "tcp", o.EST); err != nil {
			return nil, nil, fmt.Errorf("EST: %w", err)
		}
	}
	if o.HTTP != "" {
		if httpAt, err = lc.Listen(ctx, "tcp", o.HTTP); err != nil {
			if estAt != nil {
				err = errors.Join(err, estAt.Close())
			}
			return nil, nil, fmt.Errorf("HTTP: %w", err)
		}
	}
	return estAt, httpAt, nil
}

// startServer starts the authority, asking for the passphrase when there is one.
func (a *Authority) startServer(ctx context.Context, o Options) (err error) {
	opts := certsrv.Options{Observe: o.Observe, Logger: o.Logger, AcceptLoss: o.AcceptLoss}
	if o.Listen != "" {
		opts.Address = connect.ServeAddress(o.Listen)
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

func (a *Authority) serve(ctx context.Context, o Options, estAt, httpAt net.Listener) error {
	if estAt != nil {
		h, cert, err := a.enrolment(ctx, o, estAt.Addr().String())
		if err != nil {
			return errors.Join(err, closeListeners(estAt, httpAt))
		}
		a.EST = "https://" + estAt.Addr().String()
		a.goServe(est.NewServer(h, cert.Config(), o.Logger), estAt, true)
	}
	if httpAt != nil {
		a.HTTP = "http://" + httpAt.Addr().String()
		h := est.NewPublishedHandler(a.Server.Config().SanitizedName, a.Server.Published())
		a.goServe(est.NewServer(h, nil, o.Logger), httpAt, false)
	}
	return nil
}

// enrolment prepares EST: accounts, handler and the server's own certificate,
// which the authority issues.
func (a *Authority) enrolment(ctx context.Context, o Options, address string) (http.Handler, *est.TLSCertificate, error) {
	accounts, err := account.Open(filepath.Join(a.Server.Dir(), "accounts.json"), account.Options{})
	if err != nil {
		return nil, nil, err
	}
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

// refused has the audit log tell of a wrong password.
func (a *Authority) refused(name, remote string) {
	l := certsrv.RefusedLogon{Account: name, Origin: remote, Mechanism: "basic", Reason: account.ErrBadCredentials.Error()}
	if err := a.Server.LogonRefused(l); err != nil {
		a.logger.Error("a refused logon is not recorded", slog.Any("error", err))
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
			a.failed <- err
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

// Stop lets the requests in flight finish, as long as ctx lasts, and stops the
// authority, which closes its open log.
func (a *Authority) Stop(ctx context.Context) error {
	var errs []error
	for _, s := range a.servers {
		if err := s.Shutdown(ctx); err != nil {
			errs = append(errs, ignoreClosed(s.Close()))
		}
	}
	return errors.Join(append(errs, a.Server.Stop(ctx))...)
}

func closeListeners(ls ...net.Listener) error {
	var errs []error
	for _, l := range ls {
		if l != nil {
			errs = append(errs, ignoreClosed(l.Close()))
		}
	}
	return errors.Join(errs...)
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
