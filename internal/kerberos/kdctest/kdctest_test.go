package kdctest

import (
	"os"
	"strings"
	"testing"
)

func TestKDC(t *testing.T) {
	k := Start(t)
	k.AddPrincipal("backup", "a password")
	k.AddPrincipal("host/ca.example.test", "")
	cache := k.Kinit("backup", "a password")
	k.Kvno(cache, "host/ca.example.test")
	out, err := k.Command("klist", "-c", cache).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "host/ca.example.test@"+k.Realm) {
		t.Errorf("klist: %v\n%s", err, out)
	}
	kt := k.Keytab("host/ca.example.test", "backup")
	if s, err := os.Stat(kt); err != nil || s.Size() == 0 {
		t.Errorf("keytab: %v", err)
	}
	// the password goes on working
	k.Kinit("backup", "a password")
}
