package capi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/connect"
)

func TestResolve(t *testing.T) {
	host := func(name string, port int, ca string) connect.Address {
		return connect.Address{Scheme: connect.ADCS, Host: name, Port: port, Name: ca}
	}
	const some = `CA1=127.0.0.1:8135; ca2.corp.example = adcs://bob@10.0.0.2/Second CA ;CA3\Third CA=ca:/srv/pki;CA3=10.0.0.3;CA4=\\TARGET\Fourth CA;CA1=other`
	for _, tt := range []struct {
		name, servers string
		want          connect.Address
	}{
		{"CA1", "", host("CA1", 135, "")},
		{`\\CA1`, "", host("CA1", 135, "")},
		{"ca1.corp.example", "", host("ca1.corp.example", 135, "")},
		{`ca1.corp.example\Issuing CA 1`, "", host("ca1.corp.example", 135, "Issuing CA 1")},
		{`\\CA1\Issuing/CA`, "", host("CA1", 135, "Issuing/CA")},
		{`CA1\100%25`, "", host("CA1", 135, "100%25")},
		{"CA1:8135", "", host("CA1", 8135, "")},
		{`CA1:8135\Issuing CA`, "", host("CA1", 8135, "Issuing CA")},
		{"[::1]:8135", "", host("::1", 8135, "")},
		{"[fe80::1]", "", host("fe80::1", 135, "")},
		{"adcs://bob@CA1:8135/Issuing CA", "*=other", connect.Address{Scheme: connect.ADCS, User: "bob", Host: "CA1", Port: 8135, Name: "Issuing CA"}},
		{"ca:/srv/pki", "*=other", connect.Address{Scheme: connect.CA, Dir: "/srv/pki"}},
		{`CA:C:\pki`, "", connect.Address{Scheme: connect.CA, Dir: `C:\pki`}},

		{"CA1", some, host("127.0.0.1", 8135, "")}, // the first entry counts
		{"ca1", some, host("127.0.0.1", 8135, "")},
		{`\\CA1\First CA`, some, host("127.0.0.1", 8135, "First CA")},
		{"CA2.corp.example", some, connect.Address{Scheme: connect.ADCS, User: "bob", Host: "10.0.0.2", Port: 135, Name: "Second CA"}},
		{`ca2.corp.example\Another`, some, connect.Address{Scheme: connect.ADCS, User: "bob", Host: "10.0.0.2", Port: 135, Name: "Second CA"}},
		{`CA3\third ca`, some, connect.Address{Scheme: connect.CA, Dir: "/srv/pki", Name: "third ca"}},
		{`CA3\Other`, some, host("10.0.0.3", 135, "Other")},
		{"CA4", some, host("TARGET", 135, "Fourth CA")},
		{`CA4\Mine`, some, host("TARGET", 135, "Fourth CA")},
		{"CA5", some, host("CA5", 135, "")},
		{"CA5", some + ";*=ca:pki", connect.Address{Scheme: connect.CA, Dir: "pki"}},
		{"CA1", "*=ca:pki;" + some, host("127.0.0.1", 8135, "")},
		{"CA1", ";; ;", host("CA1", 135, "")},
		{"CA1:8135", "CA1=other;CA1:8135=this", host("this", 135, "")},
	} {
		got, err := resolve(tt.name, tt.servers)
		if err != nil {
			t.Errorf("%q with %q: %v", tt.name, tt.servers, err)
		} else if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q with %q (-want +got):\n%s", tt.name, tt.servers, diff)
		}
	}
}

func TestResolveRefuses(t *testing.T) {
	for _, tt := range []struct{ name, servers, want string }{
		{"", "", "name is missing"},
		{`\\`, "", "name is missing"},
		{`\Issuing CA`, "", "name is missing"},
		{"", "*=ca:pki", "name is missing"},
		{"local:", "", "call itself"},
		{"dll://CA1", "", "call itself"},
		{"LOCAL:", "", "call itself"},
		{"CA1", "CA1=local:", "call itself"},
		{"CA1", "*=dll://CA2", "call itself"},
		{"CA1", "CA1", "not NAME=SERVER"},
		{"CA1", "CA2", "not NAME=SERVER"}, // another's entry, too
		{"CA1", "CA1=", "not NAME=SERVER"},
		{"CA1", "=x", "not NAME=SERVER"},
		{"CA1", "CA1=a b", "no host name"},
		{"CA1", "CA1=adcs://", "host is missing"},
		{"bob@CA1", "", "no machine's name"},
		{"CA1/x", "", "no machine's name"},
		{"CA1:0", "", "no port"},
		{"CA1:", "", "port after : is missing"},
		{"::1", "", "brackets"},
		{"http://CA1", "", "no scheme"},
		{"ca:", "", "directory is missing"},
		{"CA\n1", "", "control character"},
		{"CA1\\a\x07b", "", "control character"},
		{strings.Repeat("A", 5000), "", "longer than"},
	} {
		if a, err := resolve(tt.name, tt.servers); err == nil {
			t.Errorf("%.40q with %q: %+v", tt.name, tt.servers, a)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.40q with %q: %v; want it to say %q", tt.name, tt.servers, err, tt.want)
		}
	}
}

// Neither an error nor the log has a password that somebody put into a name.
func TestPasswordsHidden(t *testing.T) {
	const secret = "hunter2"
	long := strings.Repeat("b", 2*maxServerNameText)
	for _, tt := range []struct{ name, servers string }{
		{"adcs://bob:hunter2@srv", ""},
		{"dll://bob:hunter2@srv", ""},
		{"bob:hunter2@srv", ""},
		{`\\bob:hunter2@srv\CA`, ""},
		{"adcs://b:hunter2" + long + "@srv", ""}, // also where the name is cut off
		{"CA1", "CA1=adcs://bob:hunter2@srv"},
		{"CA1", "CA1=bob:hunter2@srv"},
		{"CA1", "CA1=http://bob:hunter2@srv"},
		{"CA1", "CA1=adcs://bob:hun;hunter2:x@srv"}, // the ; ends the entry
		{"CA1", "adcs://bob:hunter2@srv"},
		{"CA1", "=bob:hunter2@srv"},
	} {
		env := map[string]string{EnvServers: tt.servers, EnvLog: filepath.Join(t.TempDir(), "failures")}
		l := New(func(name string) string { return env[name] })
		_, err := l.resolve(fnOnline, tt.name)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%.40q with %q: %v", tt.name, tt.servers, err)
		}
		l.IsServerOnline(tt.name)
		l.ServerControl(tt.name, 0)
		l.BackupPrepare(tt.name, 1)
		l.RestorePrepare(tt.name, 1)
		b, err := os.ReadFile(env[EnvLog])
		if err != nil || strings.Contains(string(b), secret) || strings.Count(string(b), "\n") != 4 {
			t.Errorf("%.40q with %q: the log has %s, %v", tt.name, tt.servers, b, err)
		}
	}
}

// FuzzResolve: whatever a program and its environment say, what comes of it is an
// address to which a connection can be tried, and never one that leads back here.
func FuzzResolve(f *testing.F) {
	for _, s := range [][2]string{{"CA1", ""}, {`\\CA1\Name`, "*=ca:x"}, {"[::1]:1", "a=b;c"}, {"ca:x", ""}, {"local:", ""}, {"CA1", "CA1=dll://x"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, name, servers string) {
		a, err := resolve(name, servers)
		if err != nil {
			return
		}
		switch {
		case a.Scheme == connect.ADCS && a.Host != "" && a.Port > 0 && a.Dir == "":
		case a.Scheme == connect.CA && a.Dir != "":
		default:
			t.Errorf("%q with %q: %+v", name, servers, a)
		}
	})
}
