package doctor

import (
	"context"
	"fmt"
	"math/bits"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/hint"
)

// inspect asks what a connection can be asked.
func (r *remote) inspect(ctx context.Context, s Session) {
	if id, err := s.Identity(ctx); err == nil {
		r.engine = id.Engine
		if r.o.Authority == "" { // else it may be what the client was told
			r.rep.Authority = id.Name
		}
	}
	p, err := s.CAProperty(ctx, certadm.PropCAName, 0, certadm.PropertyString)
	r.name, r.nameErr = p.Text, err
	for _, check := range []func(context.Context, Session){r.checkRoles, r.checkSeparation, r.checkBackup, r.checkName, r.checkClock} {
		if r.lost || ended(ctx) {
			return
		}
		check(ctx, s)
	}
}

// broken reports whether there was no answer at all. Then nothing else will be
// answered either.
func (r *remote) broken(ctx context.Context, name string, err error) bool {
	if err == nil || !ended(ctx) && certadm.CodeOf(err) != certadm.RPCServerUnavailable {
		return false
	}
	r.lost = true
	if ended(ctx) {
		r.unknown(name, err.Error(), "")
	} else {
		r.fail(name, err, hint.Of(err))
	}
	return true
}

func (r *remote) checkRoles(ctx context.Context, s Session) {
	roles, err := s.MyRoles(ctx)
	switch code := certadm.CodeOf(err); {
	case r.broken(ctx, checkRoles, err):
		return
	case code == certadm.ENotImpl || code == certadm.RPCNoSuchMethod:
		r.unknown(checkRoles, "the server does not tell", "the next steps show what the account may do")
		return
	case code == certadm.EInvalidArg && certadm.CodeOf(r.nameErr) == certadm.EInvalidArg:
		// Both calls name the authority, and have nothing else in common.
		r.nameRefused = true
		if r.o.Authority == "" {
			r.unknown(checkRoles, "the server wants the authority's name", "give it: "+r.o.Fix+"/CA NAME")
		} else {
			r.unknown(checkRoles, fmt.Sprintf("the server does not answer for an authority %q", r.o.Authority), "")
		}
		return
	case err != nil:
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
	case r.broken(ctx, checkSeparation, err):
	case r.nameRefused:
		r.unknown(checkSeparation, "for the same reason", "")
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
	case r.broken(ctx, checkBackup, err):
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
	case certadm.CodeOf(err) == certadm.EUnexpected, certadm.CodeOf(err) == certadm.HrInvalidHandle:
		r.unknown(checkBackup, "the server tells within a session only", "certkeep backup "+r.o.Fix+" --type full --keep-log --folder DIR")
	default:
		r.fail(checkBackup, err, hint.Of(err))
	}
}

// checkName compares the authority's own name with the user's. What it is called
// goes into no command: it is the server's text.
func (r *remote) checkName(ctx context.Context, _ Session) {
	if r.name != "" {
		r.rep.Authority = r.name
	}
	mend := "leave the name out: " + r.o.Fix
	find := Candidate{Cause: "the authority has another common name", Where: "on the CA", Settle: `certutil -getreg CA\CommonName`, Mend: "write it as it stands there"}
	switch {
	case r.nameRefused && r.o.Authority == "":
		find.Cause = "the server tells nothing to who does not name it, and may take backups all the same"
		r.warn(checkCAName, "the server wants it in the address", "give it: "+r.o.Fix+"/CA NAME", find)
	case r.nameRefused:
		r.fail(checkCAName, fmt.Errorf("there is no authority %q there: %w", r.o.Authority, r.nameErr), mend, find)
	case r.broken(ctx, checkCAName, r.nameErr):
	case r.name == "":
		why := "the server does not tell"
		if r.nameErr != nil {
			why += ": " + r.nameErr.Error()
		}
		r.unknown(checkCAName, why, "")
	case r.o.Authority == "" || certadm.IsAuthorityName(r.o.Authority, r.name):
		r.good(checkCAName, fmt.Sprintf("%q", r.name))
	default:
		r.fail(checkCAName, fmt.Errorf("the authority there is %q, not %q", r.name, r.o.Authority), mend)
	}
}

// checkClock compares the clocks where the server tells the time; where it does
// not, Kerberos has compared them, and a CRL from the future gives one away.
func (r *remote) checkClock(ctx context.Context, s Session) {
	if c, ok := s.(clock); ok {
		if server, local, ok := c.ServerTime(); ok {
			skew := server.Sub(local).Round(time.Second)
			if skew.Abs() > maxSkew {
				r.fail(checkClock, fmt.Errorf("the server's clock is %s off this machine's (%s)", skew, server.UTC().Format(time.RFC3339)), mendClock)
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
	crl, err := s.CRL(ctx)
	if r.broken(ctx, checkClock, err) {
		return
	}
	if ahead := time.Until(thisUpdate(crl)); ahead > maxSkew {
		r.fail(checkClock, fmt.Errorf("the newest CRL was made %s in the future: this machine's clock is slow, or the server's fast", ahead.Round(time.Second)), mendClock)
		return
	}
	r.unknown(checkClock, "the server did not tell the time", "compare date -u here with the CA's clock")
}
