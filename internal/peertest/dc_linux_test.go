package peertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/certkeep/certkeep/internal/need"
)

// insideEnv holds the scratch directory of the domain controller in the
// process that runs beside it, inside of its namespaces.
const insideEnv = "CERTKEEP_TEST_DC"

// What the domain is made of. The passwords guard a directory that lives for
// some seconds in a network of its own.
const (
	dcRealm    = "CK.TEST"
	dcDomain   = "CK"
	dcHost     = "dc1.ck.test"
	dcUser     = "backup"
	dcPassword = "Secr3t.of-backup"
	dcService  = "ca.ck.test" // a host whose services have their key in ca.keytab
)

// TestSambaDC makes a Samba Active Directory domain controller and runs this
// package's tests named TestDC beside it. Both live in namespaces of their own
// (network, host name, mounts, processes): they take no port of this machine,
// and the kernel ends all of them with the first process.
func TestSambaDC(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		t.Skip("skipped: this is the process inside")
	}
	t.Parallel()
	need.Program(t, "samba", "samba-ad-dc")
	need.Program(t, "samba-tool", "samba-common-bin")
	needModule(t, "samba.provision", "python3-samba")
	needFile(t, "/usr/share/samba/setup/ad-schema", "samba-ad-provision")
	needFile(t, "/usr/lib/*/samba/ldb/samba_dsdb.so", "samba-dsdb-modules")
	needFile(t, "/usr/lib/*/samba/vfs/acl_xattr.so", "samba-vfs-modules")
	need.Program(t, "kvno", "krb5-user")
	needSamba(t)
	if os.Geteuid() != 0 {
		need.Skip(t, "only root may make the namespaces that a domain controller needs")
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pattern := "^TestDC"
	if p := os.Getenv("CERTKEEP_TEST_DC_RUN"); p != "" {
		pattern = p
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.v", "-test.run="+pattern, "-test.timeout=4m")
	cmd.Env = append(os.Environ(), insideEnv+"="+scratch(t))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = cmd.Start()
	if errors.Is(err, syscall.EPERM) {
		need.Skip(t, "this system lets not even root make namespaces (unshare -n -u -m -p)")
	}
	if err == nil {
		err = cmd.Wait()
	}
	t.Logf("inside:\n%s", tail(out.Bytes(), 60000))
	if err != nil {
		t.Fatalf("tests beside the domain controller: %v", err)
	}
	// A pattern that matches nothing must not pass for a proof.
	if !strings.Contains(out.String(), "--- PASS: TestDC") {
		t.Fatal("no test ran beside the domain controller")
	}
}

// needFile requires a file of a Debian package; pattern is as for [filepath.Glob].
func needFile(t *testing.T, pattern, pkg string) {
	t.Helper()
	if m, _ := filepath.Glob(pattern); len(m) == 0 {
		need.Skip(t, "%s is not there: apt-get install %s", pattern, pkg)
	}
}

// TestMain runs the tests; inside of the namespaces it brings the domain
// controller up before and takes it down after.
func TestMain(m *testing.M) {
	dir := os.Getenv(insideEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	stop, err := controller(dir)
	if err != nil {
		fmt.Fprintf(os.Stderr, "domain controller: %v\n", err)
		os.Exit(1)
	}
	code := m.Run()
	stop()
	os.Exit(code)
}

// dc returns the domain controller's scratch directory, and skips outside.
func dc(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(insideEnv)
	if dir == "" {
		t.Skip("skipped here: TestSambaDC runs it beside a domain controller")
	}
	return dir
}

// controller provisions and starts the domain controller; stop ends it.
func controller(dir string) (stop func(), err error) {
	if err := isolate(dir); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "smb.conf")
	for _, d := range []string{"private", "state", "cache", "lock", "ncalrpc", "dns", "sysvol"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	write := func(name, text string) {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "$DIR", dir)), 0o644)
		}
	}
	write("smb.conf", smbConf)
	write("krb5.conf", krb5Conf)
	if err != nil {
		return nil, err
	}
	os.Setenv("KRB5_CONFIG", filepath.Join(dir, "krb5.conf"))
	run := func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w\n%s", name, args[0], err, tail(out, 4096))
		}
		return nil
	}
	steps := [][]string{
		{"samba-tool", "domain", "provision", "-s", conf, "--realm=" + dcRealm, "--domain=" + dcDomain, "--server-role=dc",
			"--host-name=dc1", "--host-ip=127.0.0.1", "--dns-backend=NONE", "--adminpass=" + dcPassword},
		{python, "-B", filepath.Join("testdata", "samba_accounts.py"), conf, dcUser, dcPassword, dcService},
		{"samba-tool", "domain", "exportkeytab", "-s", conf, filepath.Join(dir, "ca.keytab"), "--principal=svc-ca"},
		{"samba-tool", "domain", "exportkeytab", "-s", conf, filepath.Join(dir, "ca.keytab"), "--principal=host/" + dcService},
		{"samba-tool", "domain", "exportkeytab", "-s", conf, filepath.Join(dir, "backup.keytab"), "--principal=" + dcUser},
		{"samba-tool", "domain", "exportkeytab", "-s", conf, filepath.Join(dir, "dc.keytab")},
	}
	for _, s := range steps {
		if err := run(s[0], s[1:]...); err != nil {
			return nil, err
		}
	}

	log, err := os.Create(filepath.Join(dir, "samba.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("samba", "-s", conf, "-i", "-M", "single")
	cmd.Stdout, cmd.Stderr = log, log
	stdin, err := cmd.StdinPipe() // samba ends when its standard input does
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}
	for _, port := range []string{"88", "135", "389"} {
		if err := listening(port); err != nil {
			stop()
			text, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("%w\n%s", err, tail(text, 4096))
		}
	}
	return stop, nil
}

// listening waits until something listens on a loopback port.
func listening(port string) error {
	var err error
	for range 300 {
		var c net.Conn
		if c, err = net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			return c.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// isolate makes the namespaces that this process was started in usable: a host
// name, a loopback interface, its own /proc, and names of the test domain.
func isolate(dir string) error {
	if err := unix.Sethostname([]byte("dc1")); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	// Nothing mounted here may reach the mounts outside.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	hosts := filepath.Join(dir, "hosts")
	text := "127.0.0.1 " + dcHost + " dc1 " + dcService + " ca localhost\n"
	if err := os.WriteFile(hosts, []byte(text), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /etc/hosts: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

const smbConf = `[global]
	realm = ` + dcRealm + `
	log level = 0 auth_audit:4
	workgroup = ` + dcDomain + `
	netbios name = DC1
	server role = active directory domain controller
	server services = rpc kdc ldap
	interfaces = lo
	bind interfaces only = yes
	private dir = $DIR/private
	state directory = $DIR/state
	cache directory = $DIR/cache
	lock directory = $DIR/lock
	pid directory = $DIR/lock
	ncalrpc dir = $DIR/ncalrpc
	binddns dir = $DIR/dns
	log file = $DIR/log
	# The file system may have no extended attributes.
	posix:eadb = $DIR/eadb.tdb
[sysvol]
	path = $DIR/sysvol
	read only = no
[netlogon]
	path = $DIR/sysvol/scripts
	read only = no
`

const krb5Conf = `[libdefaults]
	default_realm = ` + dcRealm + `
	dns_lookup_kdc = false
	dns_lookup_realm = false
	dns_canonicalize_hostname = false
	rdns = false
	udp_preference_limit = 1
[realms]
	` + dcRealm + ` = {
		kdc = 127.0.0.1:88
		kpasswd_server = 127.0.0.1:464
	}
[domain_realm]
	.ck.test = ` + dcRealm + `
	ck.test = ` + dcRealm + `
`
