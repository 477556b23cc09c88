package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/certkeep/certkeep/adcs"
	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
)

// Options of Open; the zero value is usable.
type Options struct {
	// Passphrase is called when the authority's key turns out to be encrypted.
	// nil has none to give.
	Passphrase func(context.Context) ([]byte, error)

	// Login says who logs on at adcs://.
	Login Login

	// Stage hears how each stage of connecting to adcs:// ended; may be nil.
	Stage func(Stage, error)

	// Stopped is for a restore: it opens a ca:DIR without starting it, and local:
	// only if this machine has an authority.
	Stopped bool

	// Map says, for local:, where places of a saved restore map are to be now.
	Map []adcs.Mapping

	// InProcess opens a ca:DIR only if it can be started in this process: for
	// what no protocol carries, such as issuing. One that is being served is
	// refused then.
	InProcess bool

	// Observe and Logger are those of [certsrv.Options].
	Observe func(phase string)
	Logger  *slog.Logger
}

// Connection is an open SERVER.
type Connection struct {
	Address Address

	svc     certadm.Service
	server  *certsrv.Server // of a ca:DIR; it runs here if started
	started bool

	servedAt string // of a ca:DIR that another process serves

	host *adcs.Host // of local:, if this machine has an authority

	besides backup.TakeOptions // see TakeOptions
}

// closeTimeout bounds how long Close waits for calls under way.
const closeTimeout = 30 * time.Second

// Open reads a SERVER and opens it; Close must follow.
//
// For ca:DIR the authority is started in this process. One that another process
// serves is reached through that, if it listens for the wire protocol and this
// process may read the directory's private files; otherwise the error is a
// *[certsrv.ServedError].
func Open(ctx context.Context, server string, o Options) (*Connection, error) {
	a, err := Parse(server)
	if err != nil {
		return nil, err
	}
	return a.Open(ctx, o)
}

// Open is the function Open for an address that was read already.
func (a Address) Open(ctx context.Context, o Options) (*Connection, error) {
	switch a.Scheme {
	case CA:
		c, err := openDir(ctx, a, o)
		var served *certsrv.ServedError
		if errors.As(err, &served) && !o.Stopped && !o.InProcess {
			return openServed(ctx, a, o, served)
		}
		return c, err
	case ADCS:
		return openRemote(ctx, a, o)
	case DLL, Local:
		return openLibrary(ctx, a, o)
	}
	return nil, fmt.Errorf("%s: unknown scheme", a)
}

func openDir(ctx context.Context, a Address, o Options) (*Connection, error) {
	opts := certsrv.Options{Observe: o.Observe, Logger: o.Logger}
	server, err := certsrv.New(a.Dir, opts)
	if err != nil {
		return nil, err
	}
	c := &Connection{Address: a, server: server}
	if o.Stopped {
		if err := mustBeFree(ctx, server); err != nil {
			return nil, err
		}
	} else {
		err := server.Start(ctx)
		if errors.Is(err, authority.ErrPassphraseNeeded) && o.Passphrase != nil {
			if opts.Passphrase, err = o.Passphrase(ctx); err != nil {
				return nil, err
			}
			if server, err = certsrv.New(a.Dir, opts); err != nil {
				return nil, err
			}
			err = server.Start(ctx)
			c.server = server
		}
		if err != nil {
			return nil, err
		}
		c.started = true
	}
	c.svc = c.server.Service(account.LocalUser())
	c.besides = c.ofDir()
	return c, nil
}

// mustBeFree fails with *[certsrv.ServedError] if another process serves the
// authority. A restore session needs the same, so that is what is asked for.
func mustBeFree(ctx context.Context, server *certsrv.Server) error {
	session, err := server.Service(account.LocalUser()).RestorePrepare(ctx, certadm.RestoreFull)
	var served *certsrv.ServedError
	if errors.As(err, &served) {
		return served
	}
	if err != nil {
		return err
	}
	return session.End(ctx)
}

// Service is the authority: of a ca:DIR as its local administrator sees it.
func (c *Connection) Service() certadm.Service { return c.svc }

// Server is the embedded authority behind a ca:DIR that this process runs, or
// holds stopped; nil for any other.
func (c *Connection) Server() *certsrv.Server {
	if c.servedAt != "" {
		return nil
	}
	return c.server
}

// Identity says which authority it is.
func (c *Connection) Identity(ctx context.Context) (certadm.Identity, error) {
	id, ok := c.svc.(certadm.Identifier)
	if !ok {
		return certadm.Identity{}, fmt.Errorf("%s: cannot tell which authority it is", c.Address)
	}
	return id.Identity(ctx)
}

// LocalPath is the file on this machine that a UNC name of an embedded authority
// stands for.
func (c *Connection) LocalPath(unc string) (string, error) { return c.server.LocalPath(unc) }

// Close ends the connection, and stops the authority that Open started. It does
// so also after the context of Open has ended.
func (c *Connection) Close() error {
	err := c.svc.Close()
	if c.started {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err = errors.Join(err, c.server.Stop(ctx))
	}
	return err
}

// ServeAddress is the SERVER by which a server that listens on this address for
// the wire protocol is reached from its own machine.
func ServeAddress(listen net.Addr) string {
	a := Address{Scheme: ADCS, Host: "127.0.0.1", Port: DefaultPort}
	if tcp, ok := listen.(*net.TCPAddr); ok {
		if a.Port = tcp.Port; !tcp.IP.IsUnspecified() {
			a.Host = tcp.IP.String()
		}
	}
	return a.String()
}
