package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/internal/hint"
)

// Session is a connection that was made.
type Session interface {
	certadm.Service
	certadm.Inspector
	certadm.Lister
	certadm.Identifier
}

// clock is implemented by a Session whose server told the time.
type clock interface {
	ServerTime() (server, local time.Time, ok bool)
}

// RemoteOptions are the options of Remote.
type RemoteOptions struct {
	Server    string // as the user wrote it
	Host      string
	Port      int
	Authority string // the CA's name, if the user gave it

	User     string // as for the logon; "" for whose ticket it is
	Kerberos bool
	Fix      string // the SERVER to use in commands, without a CA name

	// Dial makes the connection, and tells how each stage ended.
	Dial func(ctx context.Context, stage func(connect.Stage, error)) (Session, error)

	Lookup  func(ctx context.Context, host string) ([]string, error)             // nil: the system's
	Connect func(ctx context.Context, network, address string) (net.Conn, error) // nil: the system's
	Observe func(Check)                                                          // hears of each check; may be nil
}

const (
	lookupTimeout  = 15 * time.Second
	connectTimeout = 10 * time.Second
)

// maxSkew is what Kerberos allows (RFC 4120 section 1.6), and more than
// certificates and CRLs should live with.
const maxSkew = 5 * time.Minute

const mendClock = "set the clocks by NTP (w32tm /resync on the CA, chronyc tracking here)"

// Remote examines an authority across the network. The report is complete also
// when something failed. The error is that of ctx.
func Remote(ctx context.Context, o RemoteOptions) (*Report, error) {
	r := &remote{o: o, examination: newExamination(o.Server, o.Observe, checkName, checkPort, checkResolver, checkAuthentication,
		checkActivation, checkDynamicPort, checkPrivacy, checkRoles, checkSeparation, checkBackup, checkCAName, checkClock)}
	r.rep.LogonBy = "ntlm"
	if o.Kerberos {
		r.rep.LogonBy = "kerberos"
	}
	if !r.reach(ctx) {
		return r.finish("it cannot be reached"), ctx.Err()
	}
	session, ok := r.dial(ctx)
	if !ok {
		return r.finish("there is no connection"), ctx.Err()
	}
	r.inspect(ctx, session)
	session.Close() //nolint:errcheck // there is nothing to lose
	return r.finish("not reached"), ctx.Err()
}

type remote struct {
	*examination
	o      RemoteOptions
	roles  certadm.Roles
	knows  bool   // the roles
	engine string // "ese" is AD CS, "sqlite" this program's own authority; "" where it was not told

	name        string // the authority's, as it says itself
	nameErr     error
	nameRefused bool // the server does not answer to the user's name for it, or to none
	lost        bool // the connection, or the caller's interest
}

// reach resolves the name and connects to the port.
func (r *remote) reach(ctx context.Context) bool {
	lookup, dial := r.o.Lookup, r.o.Connect
	if lookup == nil {
		lookup = net.DefaultResolver.LookupHost
	}
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	lctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if net.ParseIP(r.o.Host) != nil {
		detail := r.o.Host + " is an address"
		if r.o.Kerberos {
			r.warn(checkName, detail, "Kerberos needs the server's name: there are no tickets for addresses as a rule")
		} else {
			r.good(checkName, detail)
		}
	} else {
		addresses, err := lookup(lctx, r.o.Host)
		if err != nil {
			r.fail(checkName, err, "check the spelling, and which DNS server this machine asks",
				Candidate{Cause: "the name is wrong, or known to another DNS server only", Where: "here", Settle: "nslookup " + r.o.Host, Mend: "use the fully qualified name"})
			return false
		}
		r.good(checkName, strings.Join(addresses, ", "))
	}
	cctx, cancel2 := context.WithTimeout(ctx, connectTimeout)
	defer cancel2()
	address := net.JoinHostPort(r.o.Host, strconv.Itoa(r.o.Port))
	begun := time.Now()
	conn, err := dial(cctx, "tcp", address)
	if err != nil {
		mend, cs := portAdvice(err, r.o.Host, r.o.Port, "port "+strconv.Itoa(r.o.Port))
		r.fail(checkPort, err, mend, cs...)
		return false
	}
	conn.Close() //nolint:errcheck // nothing was sent
	r.good(checkPort, fmt.Sprintf("%s answers within %s", address, time.Since(begun).Round(time.Millisecond)))
	return true
}

// wsaConnRefused is what Windows says for ECONNREFUSED (winsock2.h).
const wsaConnRefused syscall.Errno = 10061

// portAdvice tells a closed port from a filtered one.
func portAdvice(err error, host string, port int, what string) (string, []Candidate) {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, wsaConnRefused):
		return "the machine is there, and nothing listens on " + what, []Candidate{
			{Cause: "Certificate Services or the RPC service is not running", Where: "on the CA", Settle: "sc query certsvc & sc query rpcss", Mend: "net start certsvc"},
			{Cause: "an embedded authority listens elsewhere", Where: "on the CA", Settle: "certkeep ca serve says its address when it starts", Mend: "give that port: adcs://HOST:PORT"}}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		cs := []Candidate{{Cause: "a firewall drops it", Where: "here", Settle: fmt.Sprintf("tracepath -p %d %s, or nmap -Pn -p %d %s", port, host, port, host),
			Mend: "let this machine, and no other, reach TCP 135 and the dynamic RPC ports (49152 to 65535 unless narrowed)"}}
		return what + " gives no answer", cs
	}
	return "", nil
}

// stages belong to checks.
var stageCheck = map[connect.Stage]string{
	connect.StageResolver: checkResolver, connect.StageAuthenticate: checkAuthentication, connect.StageActivate: checkActivation,
	connect.StageExporter: checkDynamicPort, connect.StageBind: checkPrivacy,
}

// stagesInOrder are the stages as they come.
var stagesInOrder = []connect.Stage{connect.StageResolver, connect.StageAuthenticate, connect.StageActivate, connect.StageExporter, connect.StageBind}

// dial makes the connection; each stage is a check. A stage that failed is one
// once Dial has returned: its error says more than that of the stage, and only
// then it is known whether it went on.
func (r *remote) dial(ctx context.Context) (Session, bool) {
	seen := map[connect.Stage]bool{}
	var failed connect.Stage
	var refused error
	session, err := r.o.Dial(ctx, func(s connect.Stage, err error) {
		if _, ok := stageCheck[s]; !ok || seen[s] {
			return
		}
		seen[s] = true
		r.resolverRefused(&refused)
		failed = ""
		switch {
		case err == nil:
			r.good(stageCheck[s], r.stageDetail(s))
		case s == connect.StageResolver:
			failed, refused = s, err
		default:
			failed = s
		}
	})
	if err == nil {
		r.resolverRefused(&refused)
		return session, true
	}
	if failed == "" {
		failed = r.stoppedAt(seen, err)
	}
	if failed == "" {
		r.fail(checkRoles, err, hint.Of(err)) // it is there, and cannot be asked
	} else {
		r.failStage(failed, err)
	}
	return nil, false
}

// resolverRefused: a resolver need not answer strangers. Where the connection
// goes on nevertheless, this is no more than something to know.
func (r *remote) resolverRefused(refused *error) {
	if *refused != nil {
		r.warn(checkResolver, fmt.Sprintf("it does not answer strangers (%v); going on with a logon", *refused), "")
		*refused = nil
	}
}

// failStage is the check of the stage at which Dial ended.
func (r *remote) failStage(s connect.Stage, err error) {
	mend, cs := r.diagnose(s, err)
	r.fail(stageCheck[s], err, mend, cs...)
	if skew := skewOf(err); skew.Abs() > maxSkew {
		r.fail(checkClock, fmt.Errorf("the other side's clock is %s off this machine's", skew), mendClock)
	}
}

// stoppedAt is the stage to which an error belongs that came outside of any; ""
// after the last.
func (r *remote) stoppedAt(seen map[connect.Stage]bool, err error) connect.Stage {
	if len(seen) == 0 && certadm.CodeOf(err) != certadm.RPCServerUnavailable {
		return connect.StageAuthenticate // as for want of a ticket: nothing was sent
	}
	for _, s := range stagesInOrder {
		if !seen[s] {
			return s
		}
	}
	return ""
}

func (r *remote) stageDetail(s connect.Stage) string {
	switch s {
	case connect.StageResolver:
		return "the object resolver answers"
	case connect.StageAuthenticate:
		who := r.o.User
		if who == "" {
			who = "whom the ticket cache names"
		}
		return "logged on as " + who + " by " + r.rep.LogonBy
	case connect.StageActivate:
		return "the server has made an object of Certificate Services"
	case connect.StageExporter:
		return "the port that the server named can be reached"
	}
	return "every message is signed, numbered and encrypted"
}
