package peertest

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/kerberos"
	"github.com/certkeep/certkeep/internal/need"
	"github.com/certkeep/certkeep/internal/ntlm"
	"github.com/certkeep/certkeep/internal/spnego"
)

// TestDCTickets: the domain controller issues tickets of AES for the user and
// for the services of the other tests.
func TestDCTickets(t *testing.T) {
	dir := dc(t)
	cache := kinit(t, filepath.Join(dir, "backup.keytab"), dcUser+"@"+dcRealm, "host/"+dcService, "RPCSS/"+dcService, "host/"+dcHost)
	out, err := exec.Command(need.Program(t, "klist", "krb5-user"), "-e", "-c", cache).CombinedOutput()
	if err != nil || strings.Count(string(out), "aes256-cts-hmac-sha1-96") < 4 {
		t.Fatalf("klist: %v\n%s", err, out)
	}
}

// login makes security contexts of our client for the domain's user.
type login struct {
	name string
	typ  dcerpc.AuthType
	make func() gss.Context
}

func ntlmLogin(user, domain, password string) func() gss.Context {
	return func() gss.Context {
		c := ntlm.Credentials{User: user, Domain: domain, Workstation: "PEER", Hash: ntlm.NTHash(password)}
		return ntlm.NewInitiator(c, "host/"+dcHost)
	}
}

func within(m func() gss.Context, oids ...func(func() gss.Context) spnego.Mech) func() gss.Context {
	return func() gss.Context {
		var mechs []spnego.Mech
		for _, o := range oids {
			mechs = append(mechs, o(m))
		}
		return spnego.NewInitiator(mechs...)
	}
}

func asNTLM(m func() gss.Context) spnego.Mech {
	return spnego.Mech{OID: spnego.NTLM, New: func() (gss.Context, error) { return m(), nil }}
}
func asKRB5(m func() gss.Context) spnego.Mech {
	return spnego.Mech{OID: spnego.KRB5, New: func() (gss.Context, error) { return m(), nil }}
}
func asMSKRB5(m func() gss.Context) spnego.Mech {
	return spnego.Mech{OID: spnego.MSKRB5, New: func() (gss.Context, error) { return m(), nil }}
}

// logins are all the ways in which our client can log on: NTLM with domain and
// with user@realm, Kerberos with password, keytab and ticket cache, each bare
// and negotiated.
func logins(t *testing.T, dir string) []login {
	n := ntlmLogin(dcUser, dcDomain, dcPassword)
	krb := func(c kerberos.ClientConfig) func() gss.Context {
		client, err := kerberos.NewClient(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return func() gss.Context { return client.Initiator("host/" + dcHost) }
	}
	who := dcUser + "@" + dcRealm
	cache := kinit(t, filepath.Join(dir, "backup.keytab"), who, "host/"+dcHost)
	password := krb(kerberos.ClientConfig{Principal: who, Password: []byte(dcPassword)})
	return []login{
		{"NTLM", dcerpc.AuthNTLM, n},
		{"SPNEGO NTLM", dcerpc.AuthSPNEGO, within(n, asNTLM)},
		{"SPNEGO NTLM DNS domain", dcerpc.AuthSPNEGO, within(ntlmLogin(dcUser, "ck.test", dcPassword), asNTLM)},
		{"Kerberos password", dcerpc.AuthKerberos, password},
		{"SPNEGO Kerberos password", dcerpc.AuthSPNEGO, within(password, asKRB5)},
		{"SPNEGO Kerberos of MS", dcerpc.AuthSPNEGO, within(password, asMSKRB5, asKRB5)},
		{"Kerberos keytab", dcerpc.AuthKerberos, krb(kerberos.ClientConfig{Principal: who, Keytab: filepath.Join(dir, "backup.keytab")})},
		{"SPNEGO Kerberos cache", dcerpc.AuthSPNEGO, within(krb(kerberos.ClientConfig{Cache: cache}), asKRB5)},
		{"SPNEGO Kerberos, NTLM offered too", dcerpc.AuthSPNEGO, func() gss.Context {
			return spnego.NewInitiator(asKRB5(password), asNTLM(n))
		}},
	}
}

// secure is what all binds ask for.
func (l login) secure(level dcerpc.Level) *dcerpc.Security {
	return &dcerpc.Security{Type: l.typ, Level: level, Context: l.make(), RequireHeaderSigning: true}
}

// TestDCClient: our client calls a domain controller that others wrote, with
// every mechanism, signed and sealed, header signing required, in requests and
// responses of many fragments. The controller's own log says who called.
//
// With Kerberos our client always asks for confidentiality, and Samba cannot
// answer one that did and then only signs: there is no signing to be tested.
func TestDCClient(t *testing.T) {
	dir := dc(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	address := endpoint(ctx, t, dcHost, samr)
	for _, l := range logins(t, dir) {
		for _, level := range []dcerpc.Level{dcerpc.LevelPrivacy, dcerpc.LevelIntegrity} {
			if level == dcerpc.LevelIntegrity && strings.Contains(l.name, "Kerberos") {
				continue
			}
			t.Run(l.name+"/"+level.String(), func(t *testing.T) {
				log := openAudit(t, dir)
				c, err := dcerpc.Dial(ctx, address, dcerpc.ClientOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				b, err := c.Bind(ctx, samr, l.secure(level))
				if err != nil {
					t.Fatalf("bind: %v", err)
				}
				a := openAccounts(ctx, t, b)
				for _, n := range []int{1, 100, maxLookup} {
					a.lookup(ctx, t, n)
				}
				log.accepted(t, l)

				// A fault leaves connection and security as they are.
				var fault *dcerpc.Fault
				if _, err := b.Call(ctx, dcerpc.Request{Opnum: 999}); !errors.As(err, &fault) || fault.Status != dcerpc.StatusOpRange {
					t.Errorf("opnum 999: %v", err)
				}
				a.lookup(ctx, t, 1)
			})
		}
	}
}

// TestDCAlterContext: more interfaces on one connection, under the security
// context that there is.
func TestDCAlterContext(t *testing.T) {
	dir := dc(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address := endpoint(ctx, t, dcHost, samr)
	if other := endpoint(ctx, t, dcHost, wkssvc); other != address {
		t.Fatalf("wkssvc is at %s and samr at %s", other, address)
	}
	for _, l := range logins(t, dir) {
		t.Run(l.name, func(t *testing.T) {
			c, err := dcerpc.Dial(ctx, address, dcerpc.ClientOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			b, err := c.Bind(ctx, samr, l.secure(dcerpc.LevelPrivacy))
			if err != nil {
				t.Fatal(err)
			}
			a := openAccounts(ctx, t, b)
			a.lookup(ctx, t, 10)
			w, err := c.Bind(ctx, wkssvc, nil)
			if err != nil {
				t.Fatalf("alter_context: %v", err)
			}
			workstation(ctx, t, w)
			a.lookup(ctx, t, maxLookup)
			workstation(ctx, t, w)

			// An interface that is not there is refused, and nothing else is lost.
			var reject *dcerpc.RejectError
			if _, err := c.Bind(ctx, nowhere, nil); !errors.As(err, &reject) {
				t.Fatalf("bind to an interface that does not exist: %v", err)
			}
			a.lookup(ctx, t, 1)
			workstation(ctx, t, w)
		})
	}
}

// TestDCRefusals: wrong credentials are a failed logon, and nothing else is.
func TestDCRefusals(t *testing.T) {
	dir := dc(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address := endpoint(ctx, t, dcHost, samr)
	wrong := ntlmLogin(dcUser, dcDomain, "not "+dcPassword)
	nobody := ntlmLogin("nobody-there", dcDomain, dcPassword)
	krb := func(user, password string) func() gss.Context {
		return func() gss.Context {
			client, err := kerberos.NewClient(kerberos.ClientConfig{Principal: user + "@" + dcRealm, Password: []byte(password)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			return client.Initiator("host/" + dcHost)
		}
	}
	for _, v := range []struct {
		login
		audit string
	}{
		{login{"NTLM wrong password", dcerpc.AuthNTLM, wrong}, "NT_STATUS_WRONG_PASSWORD"},
		{login{"NTLM unknown user", dcerpc.AuthNTLM, nobody}, "NT_STATUS_NO_SUCH_USER"},
		{login{"SPNEGO NTLM wrong password", dcerpc.AuthSPNEGO, within(wrong, asNTLM)}, "NT_STATUS_WRONG_PASSWORD"},
		{login{"SPNEGO NTLM unknown user", dcerpc.AuthSPNEGO, within(nobody, asNTLM)}, "NT_STATUS_NO_SUCH_USER"},
		{login{"SPNEGO Kerberos wrong password", dcerpc.AuthSPNEGO, within(krb(dcUser, "not it"), asKRB5)}, "NT_STATUS_WRONG_PASSWORD"},
		{login{"Kerberos wrong password", dcerpc.AuthKerberos, krb(dcUser, "not it")}, "NT_STATUS_WRONG_PASSWORD"},
		{login{"Kerberos unknown user", dcerpc.AuthKerberos, krb("nobody-there", dcPassword)}, "NT_STATUS_NO_SUCH_USER"},
	} {
		t.Run(v.name, func(t *testing.T) {
			log := openAudit(t, dir)
			c, err := dcerpc.Dial(ctx, address, dcerpc.ClientOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			b, err := c.Bind(ctx, samr, v.secure(dcerpc.LevelPrivacy))
			if err == nil && v.typ == dcerpc.AuthNTLM {
				// The last message goes unanswered: the first call fails. Windows
				// says "access denied" then, Samba "protocol error".
				_, err = b.Call(ctx, dcerpc.Request{Opnum: 64, Stub: make([]byte, 16)})
				var fault *dcerpc.Fault
				if !errors.As(err, &fault) || !fault.Unconfirmed || fault.Status != dcerpc.StatusProtocol {
					t.Errorf("first call: %v", err)
				}
			} else if !errors.Is(err, gss.ErrLogon) {
				t.Errorf("bind: %v, not a failed logon", err)
			}
			log.refused(t, v.audit)
		})
	}
}
