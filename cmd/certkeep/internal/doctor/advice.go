package doctor

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
	"github.com/certkeep/certkeep/internal/hint"
)

// The causes that E_ACCESSDENIED and its likes have, by where it came. Commands
// are for cmd.exe on the CA's machine unless they say otherwise.

// account is how the account is written in commands.
func (r *remote) account() string {
	if r.o.User == "" {
		return "USER"
	}
	return r.o.User
}

// local reports whether the account may be one of the CA's machine alone: a
// logon by NTLM without a domain, or with one that is the machine's name.
func (r *remote) local() bool {
	if r.o.Kerberos || strings.Contains(r.o.User, "@") {
		return false
	}
	domain, _, found := strings.Cut(r.o.User, `\`)
	host, _, _ := strings.Cut(r.o.Host, ".")
	return !found || domain == "." || strings.EqualFold(domain, host)
}

// diagnose says what a failed stage may come from.
func (r *remote) diagnose(s connect.Stage, err error) (mend string, cs []Candidate) {
	mend = hint.Of(err)
	if code := certadm.CodeOf(err); code == certadm.RPCServerTooBusy || code == certadm.ErrorCancelled {
		return mend, nil // which says nothing of the account
	}
	switch s {
	case connect.StageResolver:
		return or(mend, "what listens there does not answer as a DCOM resolver does"), []Candidate{
			{Cause: "another program listens on that port", Where: "on the CA", Settle: fmt.Sprintf("netstat -abno | findstr :%d", r.o.Port), Mend: "use the port of the DCOM resolver, 135, or that of certkeep ca serve"},
			{Cause: "DCOM is switched off", Where: "on the CA", Settle: `reg query HKLM\SOFTWARE\Microsoft\Ole /v EnableDCOM`, Mend: "set it to Y and restart the machine"}}
	case connect.StageAuthenticate:
		return mend, r.logonCauses(err)
	case connect.StageActivate:
		return r.activation(err, mend)
	case connect.StageExporter:
		advice, more := portAdvice(err, r.o.Host, 49152, "the dynamic port")
		return or(mend, advice), append(more, Candidate{Cause: "the dynamic RPC ports are not open from here", Where: "on the CA",
			Settle: "netsh int ipv4 show dynamicport tcp", Mend: "open that range in the firewall, or narrow it to a few ports and open those"})
	case connect.StageBind:
		if denied(err) {
			return mend, append([]Candidate{r.accessLimits()}, r.filtered()...)
		}
	}
	return mend, nil
}

// or is the first of two texts that is not empty.
func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// logonCauses: the server does not say why it refuses a logon, and must not.
func (r *remote) logonCauses(err error) []Candidate {
	var known kerberosError
	if errors.As(err, &known) && known.Hint() != "" {
		return nil // Kerberos does say why, and the hint is for that
	}
	if r.o.Kerberos {
		spn := "RPCSS/" + r.o.Host
		return []Candidate{
			{Cause: "there is no ticket, or it has ended", Where: "here", Settle: "klist", Mend: "kinit " + r.account()},
			{Cause: "the KDC knows no service of that name", Where: "here", Settle: "kvno " + spn + " host/" + r.o.Host, Mend: "use the server's name as its domain has it; for certkeep ca serve, put that principal into its keytab"},
			{Cause: "a clock is off by more than five minutes", Where: "here", Settle: "chronyc tracking, and w32tm /query /status on the CA", Mend: "set the clocks by NTP"},
			{Cause: "the server takes no Kerberos: it has no keytab", Where: "on the CA, if it is certkeep's", Settle: "how was certkeep ca serve called?", Mend: "certkeep ca serve DIR --keytab FILE"},
		}
	}
	_, user, found := strings.Cut(r.o.User, `\`)
	if !found {
		user = r.o.User
	}
	return []Candidate{
		{Cause: "user or password is wrong", Where: "here", Settle: "try the same elsewhere, once: net use \\\\" + r.o.Host + "\\IPC$ /user:" + r.o.User, Mend: "the server does not say which of them it is"},
		{Cause: "the account is locked, disabled, or its password has expired", Where: "in the domain", Settle: "net user " + user + " /domain", Mend: "unlock it"},
		{Cause: "the account may not log on over the network", Where: "on the CA", Settle: "secedit /export /areas USER_RIGHTS /cfg rights.inf & findstr NetworkLogon rights.inf",
			Mend: `grant "Access this computer from the network", and take it out of "Deny access to this computer from the network"`},
		{Cause: "NTLM is switched off there", Where: "on the CA", Settle: `reg query HKLM\SYSTEM\CurrentControlSet\Control\Lsa\MSV1_0 /v RestrictReceivingNTLMTraffic`, Mend: "use Kerberos: adcs://USER@REALM@HOST"},
		{Cause: "it is certkeep's server, and the account has no secret for NTLM, or the server takes Kerberos only", Where: "on the CA", Settle: "certkeep ca user list DIR",
			Mend: "certkeep ca user add DIR NAME --role operator --ntlm; off loopback also certkeep ca serve --allow-ntlm"},
	}
}

const serverExecFailure certadm.HRESULT = 0x80080005 // CO_E_SERVER_EXEC_FAILURE

// kerberosError is an error of Kerberos: unlike other mechanisms, it says why.
type kerberosError interface {
	error
	Hint() string
	ClockSkew() time.Duration
}

// skewOf is how far the other's clock is ahead, where an error of Kerberos tells.
func skewOf(err error) time.Duration {
	var k kerberosError
	if errors.As(err, &k) {
		return k.ClockSkew()
	}
	return 0
}

// activation: the logon was good, and no object was made.
func (r *remote) activation(err error, mend string) (string, []Candidate) {
	switch code := certadm.CodeOf(err); {
	case code == certadm.RegdbClassNotReg || code == serverExecFailure || errors.Is(err, certadm.RegdbClassNotReg) || errors.Is(err, serverExecFailure):
		return or(mend, "Certificate Services is not installed there, or does not run"), []Candidate{
			{Cause: "the service is stopped", Where: "on the CA", Settle: "sc query certsvc", Mend: "net start certsvc"},
			{Cause: "it is another machine", Where: "here", Settle: "certutil -dump, on any Windows machine of the domain", Mend: "use the Config name that it prints"}}
	case denied(err):
		return or(mend, "the account may log on, and may not start or use Certificate Services through DCOM"), append([]Candidate{
			{Cause: `it is no member of "Certificate Service DCOM Access"`, Where: "on the CA", Settle: `net localgroup "Certificate Service DCOM Access"`,
				Mend: `net localgroup "Certificate Service DCOM Access" ` + r.account() + " /add"},
			{Cause: "the machine's DCOM limits keep remote callers out", Where: "on the CA", Settle: "dcomcnfg: My Computer, COM Security, Launch and Activation Permissions, Edit Limits",
				Mend: `allow Remote Launch and Remote Activation to "Certificate Service DCOM Access"`}}, r.filtered()...)
	}
	return mend, nil
}

// filtered: the token of a local administrator is cut down by UAC when he comes
// over the network.
func (r *remote) filtered() []Candidate {
	if !r.local() {
		return nil
	}
	return []Candidate{{Cause: "it is a local account of the CA's machine, and UAC takes its rights away over the network", Where: "on the CA",
		Settle: `reg query HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System /v LocalAccountTokenFilterPolicy`, Mend: "use a domain account"}}
}

// flags is the candidate of InterfaceFlags.
func flags(name, what string) Candidate {
	return Candidate{Cause: name + " is set: " + what, Where: "on the CA", Settle: `certutil -getreg CA\InterfaceFlags`,
		Mend: `certutil -setreg CA\InterfaceFlags -` + name + `, then net stop certsvc & net start certsvc`}
}

func (r *remote) separation() Candidate {
	return Candidate{Cause: "role separation is enforced, and the account has two roles", Where: "on the CA",
		Settle: `certutil -getreg CA\RoleSeparationEnabled`, Mend: "take the other roles from the account"}
}

// The server's engine tells AD CS from the embedded authority. A server that
// refuses backups does not tell it; then the causes of both are candidates.

// deniedRead: the object exists, and its first call is refused.
func (r *remote) deniedRead(err error) (string, []Candidate) {
	if !denied(err) {
		return hint.Of(err), nil
	}
	if r.engine == "sqlite" {
		return "", r.ownAccounts()
	}
	cs := append([]Candidate{
		{Cause: "the account has no Read on the CA", Where: "on the CA", Settle: `certutil -getreg CA\Security`, Mend: "certsrv.msc, properties of the CA, Security: Read"},
		r.accessLimits(),
		flags("IF_NOREMOTEICERTADMIN", "no call from other machines"),
		r.separation()}, r.filtered()...)
	if r.engine == "" {
		cs = append(cs, r.ownAccounts()...)
	}
	return "", cs
}

// accessLimits: Windows checks them as late as at the first call.
func (r *remote) accessLimits() Candidate {
	return Candidate{Cause: "the machine's DCOM limits let remote callers activate, and not call", Where: "on the CA",
		Settle: "dcomcnfg: My Computer, COM Security, Access Permissions, Edit Limits", Mend: `allow Remote Access to "Certificate Service DCOM Access"`}
}

// noOperator: operator is Read and SeBackupPrivilege (MS-CSRA 3.1.1.7).
func (r *remote) noOperator() (string, []Candidate) {
	if r.engine == "sqlite" {
		return "", r.ownAccounts()
	}
	cs := append([]Candidate{
		{Cause: "the account has no SeBackupPrivilege on the CA's machine", Where: "on the CA", Settle: `net localgroup "Backup Operators"`,
			Mend: `net localgroup "Backup Operators" ` + r.account() + " /add"}}, r.filtered()...)
	if r.roles&certadm.RoleRead == 0 {
		cs = append(cs, Candidate{Cause: "the account has no Read on the CA", Where: "on the CA", Settle: `certutil -getreg CA\Security`,
			Mend: "certsrv.msc, properties of the CA, Security: Read"})
	}
	if r.engine == "" {
		cs = append(cs, r.ownAccounts()...)
	}
	return "an operator is who has Read on the CA and the right to back up files on its machine", cs
}

// deniedBackup: other calls are answered, and the backup calls are not.
func (r *remote) deniedBackup() (string, []Candidate) {
	flag := flags("IF_NOREMOTEICERTADMINBACKUP", "no backup from other machines, as on every stock AD CS")
	own := Candidate{Cause: "it is certkeep's server, and its interface_flags keep backups from other machines out", Where: "on the CA",
		Settle: "interface_flags in DIR/config.json", Mend: "take 64 from interface_flags in DIR/config.json, and start the server again"}
	mend, cs := flag.Mend, []Candidate{flag}
	switch r.engine {
	case "sqlite":
		mend, cs = own.Mend, []Candidate{own}
	case "":
		cs = append(cs, own)
	}
	switch {
	case r.knows && r.roles&certadm.RoleOperator != 0:
		if r.engine != "sqlite" {
			cs = append(cs, r.separation())
		}
		return mend, cs
	case r.knows:
		mend, more := r.noOperator()
		return mend, append(more, cs...)
	}
	_, more := r.noOperator()
	return "", append(append(cs, more...), r.separation())
}

func (r *remote) ownAccounts() []Candidate {
	c := Candidate{Cause: "it is certkeep's server, and the account has not the role operator", Where: "on the CA", Settle: "certkeep ca user list DIR",
		Mend: "certkeep ca user add DIR NAME --role operator"}
	if !r.o.Kerberos {
		c.Mend += " --ntlm"
	}
	return []Candidate{c}
}

// denied reports whether an error is E_ACCESSDENIED, whatever it travelled as.
func denied(err error) bool {
	return certadm.CodeOf(err) == certadm.EAccessDenied || errors.Is(err, certadm.EAccessDenied)
}

// thisUpdate is a CRL's; the zero time if it is none.
func thisUpdate(der []byte) time.Time {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return time.Time{}
	}
	return crl.ThisUpdate
}

func nextUpdate(der []byte) (time.Time, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return time.Time{}, err
	}
	return crl.NextUpdate, nil
}
