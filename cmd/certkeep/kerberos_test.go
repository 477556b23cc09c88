package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/certkeep/certkeep/internal/kerberos/kdctest"
)

// TestKerberos runs the scripts that need a realm, which is a throwaway one of
// MIT's.
func TestKerberos(t *testing.T) {
	kdc := kdctest.Start(t)
	const password = "battery-staple"
	kdc.AddPrincipal("backup", password)
	kdc.AddPrincipal("stranger", password)
	kdc.AddPrincipal("RPCSS/localhost", "")
	kinit := kdc.Command("kinit").Path // or the test is skipped
	service, user := kdc.Keytab("RPCSS/localhost"), kdc.Keytab("backup")
	p := scripts("testdata/kerberos")
	setup := p.Setup
	p.Setup = func(e *testscript.Env) error {
		for name, value := range map[string]string{
			"KRB5_CONFIG": kdc.Config, "REALM": kdc.Realm, "SERVICE_KEYTAB": service, "USER_KEYTAB": user, "KINIT": kinit,
		} {
			e.Setenv(name, value)
		}
		return setup(e)
	}
	testscript.Run(t, p)
}
