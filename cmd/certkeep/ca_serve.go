package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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
	wire       serve.Wire
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
	f.StringVar(&o.wire.Listen, "listen", "127.0.0.1:8135", "`ADDRESS` of the wire protocol (MS-CSRA), by which backups are taken: adcs://ADDRESS; off: none")
	f.StringVar(&o.wire.Exporter, "exporter", "", "`ADDRESS` for its calls (default the same as --listen, or any free port beside port 135)")
	f.StringVar(&o.wire.Keytab, "keytab", "", "let accounts log on by Kerberos, with the keys for RPCSS/HOST or host/HOST in `FILE`")
	f.StringSliceVar(&o.wire.Realms, "realm", nil, "take NAME@`REALM` for the account NAME, too, beside the keytab's realm; may be repeated")
	f.BoolVar(&o.wire.AllowNTLM, "allow-ntlm", false, "let accounts log on by NTLM from other machines; from this one they may")
	f.StringVar(&o.http, "http", "127.0.0.1:8136", "`ADDRESS` of plain HTTP, for the CRL and the authority's certificate; off: none")
	f.StringVar(&o.est, "est", "127.0.0.1:8137", "`ADDRESS` of EST (RFC 7030) over HTTPS, for enrolment; off: none")
	f.StringSliceVar(&o.hosts, "host", nil, "another `NAME` or address by which clients know this machine, for EST's certificate too; may be repeated")
	f.BoolVar(&o.acceptLoss, "accept-loss", false, "start although the log of the last run is lost, and with it what was issued last; then take a full backup")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say on stderr what the service does")
	o.secret.addFlags(f, "the key's passphrase")
	f.IntVar(&o.observe, "observe-fd", 0, "")
	f.Lookup("observe-fd").Hidden = true // for crash tests: the phases, a line each, to this descriptor
	f.BoolVar(&o.dryRun, "dry-run", false, "check the flags, the keytab and the authority, and start nothing")
}

func newCAServeCommand(c *console) *cobra.Command {
	var o caServeOptions
	cmd := &cobra.Command{
		Use:   "serve DIR [--listen 127.0.0.1:8135] [--http 127.0.0.1:8136] [--est 127.0.0.1:8137]",
		Short: "serve an authority until SIGTERM or Ctrl-C",
		Long: `serve runs the authority in DIR: enrolment by EST over HTTPS for accounts with
the role enroll, and the CRL and the authority's certificate over plain HTTP, as
/NAME.crl and /NAME.crt. The HTTPS certificate is issued by the authority itself.

Backups are taken through the wire protocol of AD CS, MS-CSRA: as adcs://HOST:PORT by
accounts with the role operator, and as ca:DIR by whoever may read DIR/private. On
loopback it takes NTLM (accounts added with --ntlm) and, with --keytab, Kerberos; on
any other address Kerberos alone, unless --allow-ntlm is given. Everything is sealed.

SIGTERM and Ctrl-C stop it cleanly: requests in flight are finished, the log is
closed, and the exit code is 0. With --json a line says when it is ready, and one
when it has stopped.`,
		Args: c.exactly("DIR"),
		RunE: c.do(func(ctx context.Context, args []string) error { return runCAServe(ctx, c, args[0], o) }),
	}
	o.addFlags(cmd.Flags())
	return describe(cmd, "certkeep ca serve pki --est 0.0.0.0:8137 --host pki.example.org\n"+
		"certkeep ca serve pki --listen 0.0.0.0:8135 --keytab /etc/pki.keytab --host pki.corp.example",
		exitOK, exitFailed, exitUsage, exitLocked, exitSecret)
}

type caServeResult struct {
	Event     string `json:"event"` // "ready", "stopped"
	Authority string `json:"authority"`
	Directory string `json:"directory"`
	EST       string `json:"est,omitempty"`
	HTTP      string `json:"http,omitempty"`
	Address   string `json:"address,omitempty"` // of the wire protocol: the SERVER, from this machine
	Listen    string `json:"listen,omitempty"`  // where it listens
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
		if err := so.Wire.Rehearse(); err != nil {
			return err
		}
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
	if a.Wire != nil {
		r.Address, r.Listen = connect.ServeAddress(a.Wire), a.Wire.String()
		o.warn(c, a.Wire)
	}
	if err := announce(c, r); err != nil {
		a.Stop(context.WithoutCancel(ctx)) //nolint:errcheck // the first error is the one to tell
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

// warn says what it means that others can reach the wire protocol.
func (o *caServeOptions) warn(c *console, at net.Addr) {
	if o.wire.Loopback() {
		return
	}
	how := "Kerberos alone"
	switch {
	case o.wire.AllowNTLM && o.wire.Keytab != "":
		how = "Kerberos and NTLM"
	case o.wire.AllowNTLM:
		how = "NTLM alone"
	}
	c.warn("other machines can reach the wire protocol at %s (%s): who may back this authority up may copy its whole database; see docs/security.md", at, how)
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
	if r.Address != "" {
		c.say("  backups    %s", r.Address)
	}
	c.say("  Ctrl-C stops it")
	return nil
}

func (o *caServeOptions) serveOptions(c *console, dir string) (serve.Options, func(), error) {
	so := serve.Options{Dir: dir, Passphrase: o.secret.passphrase(c, dir), Wire: o.wire, Hosts: o.hosts, AcceptLoss: o.acceptLoss}
	for _, a := range []struct {
		flag, value string
		to          *string
	}{{"listen", o.wire.Listen, &so.Wire.Listen}, {"exporter", o.wire.Exporter, &so.Wire.Exporter}, {"http", o.http, &so.HTTP}, {"est", o.est, &so.EST}} {
		*a.to = ""
		if a.value == off || a.value == "" && a.flag == "exporter" {
			continue
		}
		if err := serve.CheckAddress(a.value); err != nil {
			return so, nil, usagef("--%s: %w", a.flag, err)
		}
		*a.to = a.value
	}
	if err := so.Wire.Check(); err != nil {
		return so, nil, withHint(usagef("--listen %s %s: %w", o.wire.Listen, o.wire.Exporter, err), "--keytab FILE, or --allow-ntlm; or --listen 127.0.0.1:8135 and a tunnel (docs/security.md)")
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
