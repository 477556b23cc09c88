package peertest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDCTickets: the domain controller issues tickets of AES for the user and
// for the services of the other tests.
func TestDCTickets(t *testing.T) {
	dir := dc(t)
	cache := kinit(t, filepath.Join(dir, "backup.keytab"), dcUser+"@"+dcRealm, "host/"+dcService, "RPCSS/"+dcService, "host/"+dcHost)
	out, err := exec.Command(needProgram(t, "klist", "krb5-user"), "-e", "-c", cache).CombinedOutput()
	if err != nil || strings.Count(string(out), "aes256-cts-hmac-sha1-96") < 4 {
		t.Fatalf("klist: %v\n%s", err, out)
	}
}
