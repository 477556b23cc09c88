package doctor

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
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
	o        RemoteOptions
	roles    certadm.Roles
	knows    bool // the roles
	embedded bool // it is no AD CS, but this program's own
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
		mend, cs := portAdvice(err, r.o.Port, "port "+strconv.Itoa(r.o.Port))
		r.fail(checkPort, err, mend, cs...)
		return false
	}
	conn.Close() //nolint:errcheck // nothing was sent
	r.good(checkPort, fmt.Sprintf("%s answers within %s", address, time.Since(begun).Round(time.Millisecond)))
	return true
}

// portAdvice tells a closed port from a filtered one.
func portAdvice(err error, port int, what string) (string, []Candidate) {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the machine is there, and nothing listens on " + what, []Candidate{
			{Cause: "Certificate Services or the RPC service is not running", Where: "on the CA", Settle: "sc query certsvc & sc query rpcss", Mend: "net start certsvc"},
			{Cause: "an embedded authority listens elsewhere", Where: "on the CA", Settle: "certkeep ca serve says its address when it starts", Mend: "give that port: adcs://HOST:PORT"}}
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		cs := []Candidate{{Cause: "a firewall drops it", Where: "here", Settle: fmt.Sprintf("tracepath -p %d HOST, or nmap -Pn -p %d HOST", port, port),
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

// dial makes the connection; each stage is a check.
func (r *remote) dial(ctx context.Context) (Session, bool) {
	seen := map[connect.Stage]bool{}
	session, err := r.o.Dial(ctx, func(s connect.Stage, err error) {
		name, ok := stageCheck[s]
		if !ok || seen[s] {
			return
		}
		seen[s] = true
		if err != nil {
			mend, cs := r.diagnose(s, err)
			r.fail(name, err, mend, cs...)
			return
		}
		r.good(name, r.stageDetail(s))
	})
	if err != nil {
		if r.rep.Err == nil { // it failed before the first stage, as for want of a ticket
			next := connect.Stage("")
			for _, s := range []connect.Stage{connect.StageResolver, connect.StageAuthenticate, connect.StageActivate, connect.StageExporter, connect.StageBind} {
				if !seen[s] {
					next = s
					break
				}
			}
			if len(seen) == 0 {
				next = connect.StageAuthenticate
			}
			mend, cs := r.diagnose(next, err)
			name := stageCheck[next]
			if name == "" {
				name = checkPrivacy
			}
			r.fail(name, err, mend, cs...)
		}
		return nil, false
	}
	return session, true
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

// inspect asks what a connection can be asked.
func (r *remote) inspect(ctx context.Context, s Session) {
	if id, err := s.Identity(ctx); err == nil {
		r.rep.Authority, r.embedded = id.Name, id.Engine == "sqlite"
	}
	r.checkRoles(ctx, s)
	r.checkSeparation(ctx, s)
	r.checkBackup(ctx, s)
	r.checkName(ctx, s)
	r.checkClock(ctx, s)
}

func (r *remote) checkRoles(ctx context.Context, s Session) {
	roles, err := s.MyRoles(ctx)
	if errors.Is(err, certadm.ENotImpl) {
		r.unknown(checkRoles, "the server does not tell", "the next steps show what the account may do")
		return
	}
	if err != nil {
		mend, cs := r.deniedRead(err)
		r.fail(checkRoles, err, mend, cs...)
		return
	}
	r.roles, r.knows, r.rep.Roles = roles, true, roles.String()
	if roles&certadm.RoleOperator == 0 {
		mend, cs := r.noOperator()
		r.fail(checkRoles, &certadm.Error{Op: "ICertAdminD2::GetMyRoles", Code: certadm.EAccessDenied,
			Err: fmt.Errorf("the account has %s, and a backup needs operator", roles)}, mend, cs...)
		return
	}
	if more := roles & (certadm.RoleAdministrator | certadm.RoleOfficer | certadm.RoleAuditor); more != 0 {
		r.warn(checkRoles, fmt.Sprintf("%s: more than a backup needs", roles), "use an account of its own for backups, with operator and read alone")
		return
	}
	r.good(checkRoles, roles.String())
}

// checkSeparation: with role separation, an account with two roles has none.
func (r *remote) checkSeparation(ctx context.Context, s Session) {
	p, err := s.CAProperty(ctx, certadm.PropRoleSeparation, 0, certadm.PropertyLong)
	several := bits.OnesCount32(uint32(r.roles&(certadm.RoleAdministrator|certadm.RoleOfficer|certadm.RoleAuditor|certadm.RoleOperator))) > 1
	settle := Candidate{Cause: "role separation is enforced", Where: "on the CA", Settle: `certutil -getreg CA\RoleSeparationEnabled`,
		Mend: "take the other roles from the account (certsrv.msc, properties of the CA, Security)"}
	switch {
	case err == nil && p.Long == 0:
		r.good(checkSeparation, "not enforced")
	case err == nil && several:
		r.fail(checkSeparation, &certadm.Error{Op: "ICertAdminD2::GetCAProperty", Code: certadm.EAccessDenied,
			Err: fmt.Errorf("role separation is enforced, and the account has %s: the CA refuses it everything", r.roles)}, settle.Mend)
	case err == nil:
		r.good(checkSeparation, "enforced, and the account has one role")
	case several:
		r.warn(checkSeparation, fmt.Sprintf("the server does not tell whether it is enforced, and the account has more than one role (%s)", r.roles), "", settle)
	case r.knows:
		r.good(checkSeparation, "whether or not it is enforced: the account has no second role")
	default:
		r.unknown(checkSeparation, "the server does not tell", "on the CA: "+settle.Settle)
	}
}

// checkBackup makes the one backup call that needs no session, and that every
// switch which refuses backups refuses as well (MS-CSRA 3.1.4.1.28).
func (r *remote) checkBackup(ctx context.Context, s Session) {
	list, err := s.DatabaseLocations(ctx)
	switch {
	case err == nil:
		database := ""
		for _, e := range list {
			if e.Type == certadm.FileDatabase {
				database = ": " + e.Path
			}
		}
		r.good(checkBackup, "backup calls are allowed"+database)
	case certadm.CodeOf(err) == certadm.EAccessDenied:
		mend, cs := r.deniedBackup()
		r.fail(checkBackup, err, mend, cs...)
	case ended(ctx):
		r.unknown(checkBackup, err.Error(), "")
	case certadm.CodeOf(err) == certadm.EUnexpected, certadm.CodeOf(err) == certadm.HrInvalidHandle:
		r.unknown(checkBackup, "the server tells within a session only", "certkeep backup "+r.o.Fix+" --type full --keep-log --folder DIR")
	default:
		r.fail(checkBackup, err, hintOf(err))
	}
}

func (r *remote) checkName(ctx context.Context, s Session) {
	p, err := s.CAProperty(ctx, certadm.PropCAName, 0, certadm.PropertyString)
	name := p.Text
	if err != nil || name == "" {
		name = r.rep.Authority
	}
	switch {
	case name == "" && err != nil:
		r.unknown(checkCAName, err.Error(), "")
	case r.o.Authority == "" || strings.EqualFold(r.o.Authority, name) || strings.EqualFold(r.o.Authority, certadm.SanitizeName(name)):
		r.rep.Authority = name
		r.good(checkCAName, fmt.Sprintf("%q", name))
	default:
		r.rep.Authority = name
		r.fail(checkCAName, fmt.Errorf("the authority there is %q, not %q", name, r.o.Authority), "use "+r.o.Fix+"/"+name)
	}
}

// checkClock compares the clocks where the server tells the time; where it does
// not, Kerberos has compared them, and a CRL from the future gives one away.
func (r *remote) checkClock(ctx context.Context, s Session) {
	const mend = "set the clocks by NTP (w32tm /resync on the CA, chronyc tracking here)"
	if c, ok := s.(clock); ok {
		if server, local, ok := c.ServerTime(); ok {
			skew := server.Sub(local).Round(time.Second)
			if skew.Abs() > maxSkew {
				r.fail(checkClock, fmt.Errorf("the server's clock is %s off this machine's (%s)", skew, server.UTC().Format(time.RFC3339)), mend)
				return
			}
			r.good(checkClock, fmt.Sprintf("within %s of the server's", max(skew.Abs(), time.Second)))
			return
		}
	}
	if r.o.Kerberos {
		r.good(checkClock, "within the five minutes that Kerberos allows")
		return
	}
	if crl, err := s.CRL(ctx); err == nil {
		if ahead := thisUpdate(crl).Sub(time.Now()); ahead > 0 {
			r.fail(checkClock, fmt.Errorf("the newest CRL was made %s in the future: this machine's clock is slow, or the server's fast", ahead.Round(time.Second)), mend)
			return
		}
	}
	r.unknown(checkClock, "the server did not tell the time", "compare date -u here with the CA's clock")
}
