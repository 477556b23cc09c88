package peertest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

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
