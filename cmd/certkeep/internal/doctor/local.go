package doctor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/certsrv/authority"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/internal/hint"
)

// LocalOptions are the options of Local.
type LocalOptions struct {
	Server string // as the user wrote it
	Dir    string

	// Open starts the authority, or reaches it where it is served.
	Open func(ctx context.Context) (*connect.Connection, error)

	Observe func(Check) // hears of each check; may be nil
}

// soon is how long before its end a certificate is worth a warning.
const soon = 90 * 24 * time.Hour

// Local examines an authority in a directory. One that nobody serves is started
// for the time of the examination. The error is that of ctx.
func Local(ctx context.Context, o LocalOptions) (*Report, error) {
	x := &local{o: o, examination: newExamination(o.Server, o.Observe, checkDirectory, checkAccounts, checkKey, checkCertificate,
		checkServed, checkStart, checkCRL, checkBackup, checkLastBackup)}
	if !x.files() {
		return x.finish("there is no authority"), ctx.Err()
	}
	conn, err := x.open(ctx)
	if err != nil {
		return x.finish("it cannot be reached"), ctx.Err()
	}
	x.ask(ctx, conn)
	if err := conn.Close(); err != nil && x.rep.OK {
		x.fail("stop", err, hint.Of(err))
	}
	return x.finish("not reached"), ctx.Err()
}

type local struct {
	*examination
	o      LocalOptions
	server *certsrv.Server
}

// files looks at what the authority is made of, before it is started.
func (x *local) files() bool {
	config, err := certsrv.ReadConfig(x.o.Dir)
	if err == nil {
		x.server, err = certsrv.New(x.o.Dir, certsrv.Options{})
	}
	if err != nil {
		mend := hint.Of(err)
		if errors.Is(err, certsrv.ErrNoAuthority) {
			mend = or(mend, "certkeep ca init DIR --name NAME makes one")
		}
		x.fail(checkDirectory, err, mend)
		return false
	}
	x.rep.Authority = config.Name
	x.good(checkDirectory, fmt.Sprintf("%q is in %s", config.Name, x.o.Dir))

	store, err := account.Open(filepath.Join(x.o.Dir, "accounts.json"), account.Options{})
	var accounts []account.Account
	if err == nil {
		accounts, err = store.List(context.Background())
	}
	switch {
	case err == nil && len(accounts) == 0:
		x.warn(checkAccounts, "there is no account: only this machine's user can do anything", "certkeep ca user add "+x.o.Dir+" NAME --role ROLE")
	case err != nil:
		x.fail(checkAccounts, err, hint.Of(err))
	default:
		x.good(checkAccounts, "accounts.json is readable by its owner alone")
	}

	_, err = authority.ReadKey(filepath.Join(x.o.Dir, "private", "ca.key"), nil)
	switch {
	case errors.Is(err, authority.ErrPassphraseNeeded):
		x.good(checkKey, "encrypted; keep a copy elsewhere: it is in no backup")
	case err != nil:
		x.fail(checkKey, err, hint.Of(err))
	default:
		x.good(checkKey, "not encrypted, and readable by its owner alone; keep a copy elsewhere: it is in no backup")
	}

	end := x.server.CACertificate().NotAfter
	switch left := time.Until(end); {
	case left <= 0:
		x.fail(checkCertificate, fmt.Errorf("it ended on %s", end.UTC().Format(time.DateOnly)), "")
	case left < soon:
		x.warn(checkCertificate, "it ends on "+end.UTC().Format(time.DateOnly), "")
	default:
		x.good(checkCertificate, "valid until "+end.UTC().Format(time.DateOnly))
	}
	return true
}

// open starts the authority, or finds its server.
func (x *local) open(ctx context.Context) (*connect.Connection, error) {
	conn, err := x.o.Open(ctx)
	var served *certsrv.ServedError
	switch {
	case errors.As(err, &served):
		x.fail(checkServed, err, hint.Of(err))
	case err != nil:
		x.good(checkServed, "by nobody")
		x.fail(checkStart, err, hint.Of(err))
	case conn.ServedAt() != "":
		x.good(checkServed, "at "+conn.ServedAt()+", and reached through that")
		x.good(checkStart, "it runs")
	default:
		x.good(checkServed, "by nobody: started for this examination")
		x.good(checkStart, "it starts")
	}
	return conn, err
}

// ask asks the running authority.
func (x *local) ask(ctx context.Context, conn *connect.Connection) {
	svc := conn.Service()
	if online, err := svc.IsServerOnline(ctx); err != nil || !online {
		if err == nil {
			err = errors.New("the service is suspended")
		}
		x.fail(checkBackup, err, hint.Of(err))
		return
	}
	if in, ok := svc.(certadm.Inspector); ok {
		x.crl(ctx, in)
	}
	if _, err := certadm.Locations(ctx, svc); err != nil {
		x.fail(checkBackup, err, hint.Of(err))
	} else {
		x.good(checkBackup, "backup calls are allowed from this machine")
	}
	x.lastBackup(ctx, conn)
}

func (x *local) crl(ctx context.Context, in certadm.Inspector) {
	der, err := in.CRL(ctx)
	if err != nil {
		x.fail(checkCRL, err, hint.Of(err))
		return
	}
	const mend = "certkeep ca crl DIR publishes one"
	next, err := nextUpdate(der)
	switch {
	case err != nil:
		x.fail(checkCRL, err, mend)
	case time.Now().After(next):
		x.fail(checkCRL, fmt.Errorf("the newest one has ended, on %s", next.UTC().Format(time.RFC3339)), mend)
	default:
		x.good(checkCRL, "the newest one is valid until "+next.UTC().Format(time.RFC3339))
	}
}

// lastBackup looks for the authority's own note of it, which only the process
// that runs it has.
func (x *local) lastBackup(ctx context.Context, conn *connect.Connection) {
	if conn.ServedAt() != "" {
		x.unknown(checkLastBackup, "its server does not tell", "look into the folder of its backups: certkeep verify --folder DIR --level inventory")
		return
	}
	st, err := conn.Server().Status(ctx)
	switch {
	case err != nil:
		x.fail(checkLastBackup, err, hint.Of(err))
	case st.LastFull == nil:
		x.warn(checkLastBackup, "there has been none", "certkeep backup "+x.o.Server+" --folder DIR")
	default:
		last := "full on " + st.LastFull.Time.UTC().Format(time.RFC3339)
		if st.LastIncremental != nil {
			last += ", incremental on " + st.LastIncremental.Time.UTC().Format(time.RFC3339)
		}
		x.good(checkLastBackup, last)
	}
}
