// Package kdctest runs a throwaway MIT Kerberos KDC for tests: a database in a
// temporary directory, and krb5kdc on a port of the loopback address. It needs
// no privileges. Tests are skipped where the programs are missing, which are
// in Debian's packages krb5-kdc, krb5-admin-server and krb5-user.
package kdctest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// DefaultRealm is the realm of a KDC unless [Options] say otherwise.
const DefaultRealm = "EXAMPLE.TEST"

// Options are what tests may want to be different.
type Options struct {
	Realm string // empty: DefaultRealm

	// Etypes lists the encryption types of keys and tickets, as kdc.conf names
	// them. Empty is all four AES types.
	Etypes []string
}

// KDC is a running KDC. It ends with the test.
type KDC struct {
	Realm   string
	Address string // HOST:PORT, TCP and UDP
	Config  string // path of a krb5.conf for it: the value for KRB5_CONFIG
	Dir     string // everything is in here

	t testing.TB
}

// Start creates a realm and runs its KDC until the test ends. It returns when
// the KDC accepts requests.
func Start(t testing.TB, o ...Options) *KDC {
	t.Helper()
	for _, p := range [][2]string{{"krb5kdc", "krb5-kdc"}, {"kdb5_util", "krb5-kdc"}, {"kadmin.local", "krb5-admin-server"}} {
		if lookPath(p[0]) == "" {
			t.Skipf("%s is not installed (Debian package %s)", p[0], p[1])
		}
	}
	opt := Options{}
	if len(o) > 0 {
		opt = o[0]
	}
	if opt.Realm == "" {
		opt.Realm = DefaultRealm
	}
	if len(opt.Etypes) == 0 {
		opt.Etypes = []string{"aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha1-96", "aes256-cts-hmac-sha384-192", "aes128-cts-hmac-sha256-128"}
	}
	k := &KDC{Realm: opt.Realm, Dir: t.TempDir(), t: t}
	k.Config = filepath.Join(k.Dir, "krb5.conf")
	// The port is free now, and may be somebody else's when krb5kdc binds it.
	for try := 0; ; try++ {
		k.Address = freeAddress(t)
		k.configure(opt)
		if try == 0 {
			k.run("kdb5_util", "create", "-s", "-r", k.Realm, "-P", "throwaway")
		}
		err := k.serve()
		if err == nil {
			return k
		}
		if try == 4 {
			t.Fatalf("krb5kdc: %v", err)
		}
	}
}

func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (k *KDC) configure(o Options) {
	k.write("krb5.conf", `[libdefaults]
	default_realm = %[1]s
	dns_lookup_kdc = false
	dns_lookup_realm = false
	dns_canonicalize_hostname = false
	rdns = false
	udp_preference_limit = 1
	default_ccache_name = FILE:%[3]s/ccache
	default_keytab_name = FILE:%[3]s/keytab
[realms]
	%[1]s = {
		kdc = %[2]s
	}
[domain_realm]
	.example.test = %[1]s
	example.test = %[1]s
	localhost = %[1]s
`, k.Realm, k.Address, k.Dir)
	salted := make([]string, len(o.Etypes))
	for i, e := range o.Etypes {
		salted[i] = e + ":normal"
	}
	k.write("kdc.conf", `[kdcdefaults]
	kdc_listen = %[2]s
	kdc_tcp_listen = %[2]s
[realms]
	%[1]s = {
		database_name = %[3]s/principal
		key_stash_file = %[3]s/stash
		acl_file = %[3]s/acl
		supported_enctypes = %[4]s
		master_key_type = aes256-cts-hmac-sha1-96
		max_life = 10h
		max_renewable_life = 7d
	}
[logging]
	kdc = STDERR
	admin_server = STDERR
	default = STDERR
`, k.Realm, k.Address, k.Dir, strings.Join(salted, " "))
}

func (k *KDC) write(name, format string, args ...any) {
	if err := os.WriteFile(filepath.Join(k.Dir, name), []byte(fmt.Sprintf(format, args...)), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// serve starts krb5kdc and waits until it says that it has begun.
func (k *KDC) serve() error {
	cmd := k.Command("krb5kdc", "-n")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(stderr)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		if !strings.Contains(lines.Text(), "commencing operation") {
			continue
		}
		drained := make(chan struct{})
		go func() {
			io.Copy(io.Discard, stderr) // its log; a full pipe would stop it
			close(drained)
		}()
		k.t.Cleanup(func() {
			cmd.Process.Kill()
			<-drained
			cmd.Wait()
		})
		return nil
	}
	err = cmd.Wait()
	return fmt.Errorf("%v: %s", err, strings.Join(said, "; "))
}

// Env is an environment in which the programs of MIT Kerberos use this KDC.
func (k *KDC) Env() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "KRB5") {
			env = append(env, v)
		}
	}
	return append(env, "KRB5_CONFIG="+k.Config, "KRB5_KDC_PROFILE="+filepath.Join(k.Dir, "kdc.conf"),
		"KRB5RCACHENAME=none:", "LC_ALL=C")
}

// Command is exec.Command in that environment. The test is skipped when the
// program is missing.
func (k *KDC) Command(name string, args ...string) *exec.Cmd {
	k.t.Helper()
	path := lookPath(name)
	if path == "" {
		k.t.Skipf("%s is not installed (Debian's krb5-kdc, krb5-admin-server and krb5-user have such programs)", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = k.Env()
	cmd.WaitDelay = time.Second
	return cmd
}

// lookPath finds a program, also in the directories that are not in the PATH
// of ordinary users.
func lookPath(name string) string {
	for _, p := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	return ""
}

func (k *KDC) run(name string, args ...string) string {
	k.t.Helper()
	out, err := k.Command(name, args...).CombinedOutput()
	if err != nil {
		k.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// Admin runs commands of kadmin.local, each a line.
func (k *KDC) Admin(commands ...string) string {
	k.t.Helper()
	cmd := k.Command("kadmin.local", "-r", k.Realm)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	// It ends well whatever its commands did.
	if err != nil || bytes.Contains(out, []byte("while ")) || bytes.Contains(out, []byte("Usage:")) {
		k.t.Fatalf("kadmin.local: %v\n%s", err, out)
	}
	return string(out)
}

// AddPrincipal adds a principal of the realm, such as "backup" or
// "host/localhost". An empty password stands for a random key. Principals with
// a password need pre-authentication, as in Active Directory.
func (k *KDC) AddPrincipal(name, password string) {
	k.t.Helper()
	if password == "" {
		k.Admin("addprinc -randkey " + quote(name))
		return
	}
	k.Admin("addprinc +requires_preauth -pw " + quote(password) + " " + quote(name))
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// Keytab returns the path of a new keytab with the keys of these principals,
// which keep them: a password goes on working.
func (k *KDC) Keytab(names ...string) string {
	k.t.Helper()
	f, err := os.CreateTemp(k.Dir, "keytab-*")
	if err != nil {
		k.t.Fatal(err)
	}
	f.Close()
	os.Remove(f.Name()) // kadmin.local does not take an empty file
	var commands []string
	for _, n := range names {
		commands = append(commands, "ktadd -norandkey -k "+quote(f.Name())+" "+quote(n))
	}
	k.Admin(commands...)
	return f.Name()
}

// Kinit returns the path of a new ticket cache that kinit has filled.
func (k *KDC) Kinit(principal, password string, args ...string) string {
	k.t.Helper()
	f, err := os.CreateTemp(k.Dir, "ccache-*")
	if err != nil {
		k.t.Fatal(err)
	}
	f.Close()
	cmd := k.Command("kinit", append(append([]string{"-c", "FILE:" + f.Name()}, args...), principal)...)
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		k.t.Fatalf("kinit: %v\n%s", err, out)
	}
	return f.Name()
}

// Kvno has kvno add tickets for services to a cache.
func (k *KDC) Kvno(cache string, services ...string) {
	k.t.Helper()
	k.run("kvno", append([]string{"-c", "FILE:" + cache}, services...)...)
}
