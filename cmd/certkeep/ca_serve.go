package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/cmd/certkeep/internal/serve"
	"github.com/certkeep/certkeep/connect"
)

type caServeOptions struct {
	secret     secretOptions
	listen     string
	http       string
	est        string
	hosts      []string
	acceptLoss bool
	verbose    bool
	observe    int
	dryRun     bool
}

// off turns a listener off.
const off = "off"

func (o *caServeOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.listen, "listen", "127.0.0.1:8135", "`ADDRESS` of the wire protocol, which is not in this version: nothing listens there yet, it is only what others are told")
	f.StringVar(&o.http, "http", "127.0.0.1:8136", "`ADDRESS` of plain HTTP, for the CRL and the authority's certificate; off: none")
	f.StringVar(&o.est, "est", "127.0.0.1:8137", "`ADDRESS` of EST (RFC 7030) over HTTPS, for enrolment; off: none")
	f.StringSliceVar(&o.hosts, "host", nil, "another `NAME` or address that clients of EST use, for its certificate; may be repeated")
	f.BoolVar(&o.acceptLoss, "accept-loss", false, "start although the log of the last run is lost, and with it what was issued last; then take a full backup")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say on stderr what the service does")
	o.secret.addFlags(f, "the key's passphrase")
	f.IntVar(&o.observe, "observe-fd", 0, "")
	f.Lookup("observe-fd").Hidden = true // for crash tests: the phases, a line each, to this descriptor
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything and start nothing")
}

func newCAServeCommand(c *console) *cobra.Command {
	var o caServeOptions
	cmd := &cobra.Command{
		Use:   "serve DIR [--est 127.0.0.1:8137] [--http 127.0.0.1:8136] [--listen 127.0.0.1:8135]",
		Short: "serve an authority until SIGTERM or Ctrl-C",
		Long: `serve runs the authority in DIR: enrolment by EST over HTTPS for accounts with
the role enroll, and the CRL and the authority's certificate over plain HTTP, as
/NAME.crl and /NAME.crt. The HTTPS certificate is issued by the authority itself.

SIGTERM and Ctrl-C stop it cleanly: requests in flight are finished, the log is
closed, and the exit code is 0. With --json a line says when it is ready, and one
when it has stopped.`,
		Args: c.exactly("DIR"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runCAServe(ctx, c, args[0], o) }),
	}
	o.addFlags(cmd.Flags())
	return describe(cmd, "certkeep ca serve pki --est 0.0.0.0:8137 --host pki.example.org",
		exitOK, exitFailed, exitUsage, exitLocked, exitSecret)
}

type caServeResult struct {
	Event     string `json:"event"` // "ready", "stopped"
	Authority string `json:"authority"`
	Directory string `json:"directory"`
	EST       string `json:"est,omitempty"`
	HTTP      string `json:"http,omitempty"`
	Address   string `json:"address,omitempty"` // for the wire protocol; nothing listens there yet
	PID       int    `json:"pid"`
	DryRun    bool   `json:"dry_run,omitempty"`
}

// serveStop bounds how long requests in flight may take after a signal.
const serveStop = 15 * time.Second

func runCAServe(ctx context.Context, c *console, dir string, o caServeOptions) error {
	so, closeObserver, err := o.serveOptions(c, dir)
	if err != nil {
		return err
	}
	defer closeObserver()
	if o.dryRun {
		return withStoppedAuthority(ctx, dir, func(s *certsrv.Server) error {
			r := caServeResult{Event: "ready", Authority: s.Config().Name, Directory: dir, EST: so.EST, HTTP: so.HTTP, DryRun: true}
			return c.result(r, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "would serve %q\n", r.Authority)
				return err
			})
		})
	}
	a, err := serve.Start(ctx, so)
	if err != nil {
		return err
	}
	r := caServeResult{Event: "ready", Authority: a.Server.Config().Name, Directory: dir, EST: a.EST, HTTP: a.HTTP, PID: os.Getpid()}
	if o.listen != off {
		r.Address = connect.ServeAddress(o.listen)
	}
	if err := announce(c, r); err != nil {
		a.Server.Stop(context.WithoutCancel(ctx)) //nolint:errcheck // the first error is the one to tell
		return err
	}
	failed := a.Wait(ctx)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), serveStop)
	defer cancel()
	if err := a.Stop(stop); err != nil || failed != nil {
		return errors.Join(failed, err)
	}
	r.Event = "stopped"
	if c.json {
		return c.print(r)
	}
	c.say("%s has stopped", r.Authority)
	return nil
}

// announce says that the authority is ready: addresses are talk, and the JSON
// line is data.
func announce(c *console, r caServeResult) error {
	if c.json {
		return c.line(r)
	}
	c.say("%s is being served (process %d)", r.Authority, r.PID)
	if r.EST != "" {
		c.say("  enrolment  %s/.well-known/est", r.EST)
	}
	if r.HTTP != "" {
		c.say("  published  %s", r.HTTP)
	}
	c.say("  Ctrl-C stops it")
	return nil
}

func (o *caServeOptions) serveOptions(c *console, dir string) (serve.Options, func(), error) {
	so := serve.Options{Dir: dir, Passphrase: o.secret.passphrase(c, dir), Hosts: o.hosts, AcceptLoss: o.acceptLoss}
	for _, a := range []struct {
		flag, value string
		to          *string
	}{{"listen", o.listen, &so.Listen}, {"http", o.http, &so.HTTP}, {"est", o.est, &so.EST}} {
		if a.value == off {
			continue
		}
		if err := serve.CheckAddress(a.value); err != nil {
			return so, nil, usagef("--%s: %w", a.flag, err)
		}
		*a.to = a.value
	}
	if o.verbose && !c.quiet {
		so.Logger = slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if o.observe == 0 {
		return so, func() {}, nil
	}
	f := os.NewFile(uintptr(o.observe), "observer")
	if f == nil {
		return so, nil, usagef("--observe-fd: %d is no descriptor", o.observe)
	}
	var mu sync.Mutex
	so.Observe = func(phase string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(f, phase) // a reader that has gone away is no concern of the service's
	}
	return so, func() { f.Close() }, nil
}
