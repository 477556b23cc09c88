package peertest

import (
	"context"
	"testing"
	"time"

	"github.com/certkeep/certkeep/csra"
	"github.com/certkeep/certkeep/internal/kerberos/kdctest"
	"github.com/certkeep/certkeep/internal/need"
)

// The realm of the MIT KDC.
const (
	mitHost     = "ca.example.test"
	mitUser     = "backup"
	mitPassword = "correct horse"
)

// mitRealm starts an MIT KDC with a user and the service's host.
func mitRealm(t *testing.T) (k *kdctest.KDC, keytab string) {
	t.Helper()
	need.Program(t, "krb5kdc", "krb5-kdc")
	need.Program(t, "kadmin.local", "krb5-admin-server")
	need.Program(t, "kinit", "krb5-user")
	k = kdctest.Start(t)
	k.AddPrincipal(mitUser, mitPassword)
	k.AddPrincipal("host/"+mitHost, "")
	k.AddPrincipal("RPCSS/"+mitHost, "")
	return k, k.Keytab("host/"+mitHost, "RPCSS/"+mitHost)
}

// TestMITKerberos: backups by our client, with tickets that an MIT KDC issued:
// from a cache that MIT's programs filled, and got by the client itself with a
// keytab that MIT's programs wrote and with a password.
func TestMITKerberos(t *testing.T) {
	t.Parallel()
	k, keytab := mitRealm(t)
	a := serveAuthority(t, serving{host: mitHost, keytab: keytab, database: 5 << 20})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	tgt := k.Kinit(mitUser, mitPassword)
	tickets := k.Kinit(mitUser, mitPassword)
	k.Kvno(tickets, "RPCSS/"+mitHost, "host/"+mitHost)
	for _, v := range []struct {
		name        string
		credentials csra.Credentials
	}{
		{"cache with tickets", csra.KerberosCache(tickets)},
		{"cache with a ticket-granting ticket", csra.KerberosCache(tgt)},
		{"keytab", csra.KerberosKeytab(mitUser+"@"+k.Realm, k.Keytab(mitUser))},
		{"password", csra.KerberosPassword(mitUser+"@"+k.Realm, []byte(mitPassword))},
	} {
		for _, raw := range []bool{false, true} {
			name := v.name + ", SPNEGO"
			if raw {
				name = v.name + ", Kerberos alone"
			}
			t.Run(name, func(t *testing.T) {
				c, err := a.dial(ctx, t, mitHost, csra.Options{Credentials: v.credentials, RawMechanism: raw, Krb5Conf: k.Config})
				if err != nil {
					t.Fatal(err)
				}
				a.fullAndIncremental(ctx, t, c)
				if got, want := a.users(), "kerberos "+k.Realm+`\`+mitUser; got != want {
					t.Errorf("logons: %s, not %s", got, want)
				}
			})
		}
	}
}
