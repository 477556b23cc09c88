package peertest

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/csra"
)

// TestDCBackup: backups of an authority whose machine's account is in the
// domain, with tickets that the domain controller issued, which carry the
// domain's authorization data: by our client with a ticket cache, a keytab and a
// password, and by Samba's.
func TestDCBackup(t *testing.T) {
	dir := dc(t)
	a := serveAuthority(t, serving{
		host: dcService, keytab: filepath.Join(dir, "ca.keytab"), database: 4<<20 + 4096, configure: underMgmt,
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	who, keytab := dcUser+"@"+dcRealm, filepath.Join(dir, "backup.keytab")
	cache := kinit(t, keytab, who, "RPCSS/"+dcService, "host/"+dcService)
	accepted := func(t *testing.T) {
		t.Helper()
		if got, want := a.users(), "kerberos "+dcRealm+`\`+dcUser; got != want {
			t.Errorf("logons: %s, not %s", got, want)
		}
	}
	for _, v := range []struct {
		name        string
		credentials csra.Credentials
	}{
		{"cache", csra.KerberosCache(cache)},
		{"keytab", csra.KerberosKeytab(who, keytab)},
		{"password", csra.KerberosPassword(who, []byte(dcPassword))},
	} {
		for _, raw := range []bool{false, true} {
			name := v.name + ", SPNEGO"
			if raw {
				name = v.name + ", Kerberos alone"
			}
			t.Run(name, func(t *testing.T) {
				c, err := a.dial(ctx, t, dcService, csra.Options{Credentials: v.credentials, RawMechanism: raw})
				if err != nil {
					t.Fatal(err)
				}
				a.fullAndIncremental(ctx, t, c)
				accepted(t)
			})
		}
	}
	t.Run("Samba", func(t *testing.T) {
		j := a.job(t)
		j.Host, j.Alive, j.Options, j.Truncate = dcService, false, "seal,krb5", true
		j.Kerberos, j.Realm, j.CCache, j.Domain, j.Password = true, dcRealm, "FILE:"+cache, dcDomain, ""
		samba(t, j).check(t, a, j, true)
		accepted(t)
	})
}

// TestDCMachineAccount: the domain controller gives the owner of the machine
// account GHOST$ tickets in the name of "ghost", which no user has. Our server
// takes them for nobody's.
func TestDCMachineAccount(t *testing.T) {
	dir := dc(t)
	a := serveAuthority(t, serving{host: dcService, keytab: filepath.Join(dir, "ca.keytab")})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, logons := range map[string]string{"ghost": "spnego refused", "GHOST$": "kerberos " + dcRealm + `\GHOST$`} {
		c, err := a.dial(ctx, t, dcService, csra.Options{Credentials: csra.KerberosPassword(name+"@"+dcRealm, []byte(dcPassword+"-ghost"))})
		if err == nil {
			c.Close()
		}
		refused := errors.Is(err, certadm.ErrorLogonFailure)
		if got := a.users(); got != logons || refused != (name == "ghost") {
			t.Errorf("%s: %v; logons: %q, want %q", name, err, got, logons)
		}
	}
}
