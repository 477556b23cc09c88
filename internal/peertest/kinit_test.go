package peertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/certkeep/certkeep/internal/need"
)

// kinit makes a ticket cache with MIT's own programs: a ticket-granting ticket
// from a keytab's key, and tickets for these services. KRB5_CONFIG in the
// environment says where the realm is.
func kinit(t *testing.T, keytab, principal string, services ...string) (cache string) {
	t.Helper()
	cache = filepath.Join(scratch(t), "cc")
	env := append(os.Environ(), "KRB5CCNAME=FILE:"+cache)
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(need.Program(t, name, "krb5-user"), args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run("kinit", "-k", "-t", keytab, principal)
	if len(services) > 0 {
		run("kvno", services...)
	}
	return cache
}
