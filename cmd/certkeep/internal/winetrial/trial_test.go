package winetrial

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/internal/winetest"
)

func TestMain(m *testing.M) { os.Exit(winetest.Main(m)) }

// machine is the Windows machine.
type machine struct {
	t        *testing.T
	p        *winetest.Prefix
	certkeep string
}

// run runs certkeep.exe, and returns its outputs and exit code.
func (m *machine) run(args ...string) (stdout, stderr string, exit int) {
	m.t.Helper()
	cmd := m.p.Command(m.t.Context(), m.certkeep, args...)
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	plain := func(b bytes.Buffer) string { return strings.ReplaceAll(b.String(), "\r\n", "\n") }
	return plain(out), plain(talk), cmd.ProcessState.ExitCode()
}

// want runs certkeep.exe, which must end with this exit code and print all of the
// texts.
func (m *machine) want(exit int, args []string, texts ...string) string {
	m.t.Helper()
	out, talk, got := m.run(args...)
	m.t.Logf("certkeep %s\n%s%s", strings.Join(args, " "), out, talk)
	if got != exit {
		m.t.Fatalf("exit code %d, want %d", got, exit)
	}
	for _, s := range texts {
		if !strings.Contains(out+talk, s) {
			m.t.Errorf("it does not say %q", s)
		}
	}
	return out
}

func (m *machine) reg(key, name string) string {
	m.t.Helper()
	return m.p.Run(m.t, "reg", "query", `HKLM\SYSTEM\CurrentControlSet\Services\CertSvc\Configuration\`+key, "/v", name)
}

func words(s string) []string { return strings.Fields(s) }

func TestWine(t *testing.T) {
	winetest.Seldom(t)
	p := winetest.New(t)
	p.StayUp(t)
	m := &machine{t, p, filepath.Join(p.Drive(), "certkeep.exe")}
	place(t, winetest.Build(t, "../.."), m.certkeep)
	place(t, winetest.Self(t), filepath.Join(p.Drive(), "certsvc.exe"))
	winetest.Library(t, filepath.Join(p.System32(), "certadm.dll"))

	host := strings.ToLower(strings.TrimSpace(p.Run(t, "cmd", "/c", "echo %COMPUTERNAME%")))
	m.want(0, []string{"ca", "init", `C:\pki`, "--name", "Example CA", "--host", host})
	m.want(0, words(`ca issue C:\pki --subject CN=one.example`))
	t.Setenv("WINETRIAL_SERVICE", `C:\certsvc.exe`)
	if out := p.Run(t, filepath.Join(p.Drive(), "certsvc.exe"), "-test.run=^TestSetUp$", "-test.v"); !strings.Contains(out, "--- PASS: TestSetUp") {
		t.Fatal(out)
	}
	t.Setenv("CERTKEEP_SERVERS", `*=ca:C:\pki`)

	t.Cleanup(func() {
		if b, err := os.ReadFile(filepath.Join(p.Drive(), "certsvc.log")); err == nil && t.Failed() {
			t.Logf("the service said:\n%s", b)
		}
	})
	// A stopped service, then a running one.
	m.want(13, words("backup local: --folder C:\\b\\none"))
	p.Run(t, "net", "start", "CertSvc")
	m.want(0, words("ping local:"))
	m.want(0, words("doctor local:"), "Certadm.dll is there", "SeBackupPrivilege", "Example CA", "Software Key Storage Provider")
	m.want(0, words("locations local:"), `\database\Example CA.db`)
	out := m.want(0, words(`backup local: --folder C:\b\full --json --event-log`))
	var set struct {
		Authority, Type string
		Confirmed       bool
		Companions      []string
		Completeness    map[string]string
		Last            uint32 `json:"last_generation"`
	}
	if err := json.Unmarshal([]byte(out), &set); err != nil {
		t.Fatal(err)
	}
	have := strings.Join(set.Companions, " ")
	if set.Authority != "Example CA" || set.Type != "full" || !set.Confirmed || !strings.Contains(have, "CertSvc-Configuration.reg") || !strings.Contains(have, "CAPolicy.inf") {
		t.Errorf("the full set: %+v", set)
	}
	for part, want := range map[string]string{"database": "present", "configuration": "present", "ca_policy": "present", "ca_certificate": "present", "private_key": "not attempted", "dynamic_files": "present"} {
		if set.Completeness[part] != want {
			t.Errorf("completeness: %s is %s, want %s", part, set.Completeness[part], want)
		}
	}

	// More is issued, and an incremental set goes on.
	p.Run(t, "net", "stop", "CertSvc")
	m.want(0, words(`ca issue C:\pki --subject CN=two.example`))
	p.Run(t, "net", "start", "CertSvc")
	m.want(0, words(`backup local: --folder C:\b\inc --trace`), "CertSrvBackupTruncateLogs", "incremental")
	m.want(0, words(`verify --folder C:\b`), "no damage")
	m.want(0, words(`drill --folder C:\b`))

	// The plan does nothing.
	m.want(0, words(`restore --folder C:\b --service --plan`), "stop the service", "planned, nothing was changed", "the way back")
	if got := m.reg("Example CA", "InterfaceFlags"); !strings.Contains(got, "0x641") {
		t.Errorf("the plan withheld: %s", got)
	}

	// What was issued after the sets is lost, and noticed.
	p.Run(t, "net", "stop", "CertSvc")
	_, talk, _ := m.run(words(`ca issue C:\pki --subject CN=lost.example`)...)
	_, serial, _ := strings.Cut(strings.TrimSpace(talk), "serial number ")
	m.want(0, words(`ca revoke C:\pki `+serial+` --reason keyCompromise`))
	m.want(0, words(`ca crl C:\pki`))
	p.Run(t, "net", "start", "CertSvc")
	m.want(3, words(`restore --folder C:\b --service --event-log`), "lost.example", "revoked elsewhere", "certutil -revoke", "withheld", "full backup", "reg import")
	if got := m.reg("Example CA", "InterfaceFlags"); !strings.Contains(got, "0x64f") {
		t.Errorf("not withheld: %s", got)
	}
	m.want(0, words("ping local:"))
	out = m.want(0, words(`certs --folder C:\b --csv`))
	if strings.Contains(out, "lost.example") || !strings.Contains(out, "two.example") {
		t.Errorf("the sets hold %s", out)
	}
	m.want(0, words(`backup local: --folder C:\b2\full`), "full")
	out = m.want(0, words(`certs --folder C:\b2 --csv`))
	if strings.Contains(out, "lost.example") || !strings.Contains(out, "two.example") {
		t.Errorf("after the restore it has %s", out)
	}
	// Undone by the command that was printed.
	p.Run(t, "reg", "import", `C:\ProgramData\certkeep\publish-again.reg`)
	if got := m.reg("Example CA", "InterfaceFlags"); !strings.Contains(got, "0x641") {
		t.Errorf("still withheld: %s", got)
	}

	// Who has decided to let the gap be has the authority publish at once.
	m.want(0, words(`restore --folder C:\b2 --service --accept-gap`), "restored")
	if got := m.reg("Example CA", "InterfaceFlags"); !strings.Contains(got, "0x641") {
		t.Errorf("withheld for nothing: %s", got)
	}

	// Damage is noticed before anything is touched.
	flip(t, filepath.Join(p.Drive(), "b2", "full", "DataBase", "Example CA.db"))
	m.want(4, words(`restore --folder C:\b2 --service`), "Example CA.db")
	m.want(0, words("ping local:"))
	m.wayBack()
}

// wayBack has a restore fail as the service starts, and follows the way back that it
// prints.
func (m *machine) wayBack() {
	t, p := m.t, m.p
	fail := filepath.Join(p.Drive(), "fail")
	p.Run(t, "net", "stop", "CertSvc")
	_, talk, _ := m.run(words(`ca issue C:\pki --subject CN=kept.example`)...)
	_, kept, _ := strings.Cut(strings.TrimSpace(talk), "serial number ")
	p.Run(t, "net", "start", "CertSvc")
	if err := os.WriteFile(fail, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out := m.want(1, words(`restore --folder C:\b --service --accept-gap --trace --json`), "CertSrvRestoreRegister")
	var rep struct {
		WayBack   []string `json:"way_back"`
		Displaced struct {
			Dir   string
			Files []string
		}
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &rep); err != nil {
		t.Fatal(err)
	}
	back := strings.Join(rep.WayBack, "\n")
	if !strings.Contains(back, "--take-back") || !strings.Contains(back, rep.Displaced.Dir) || rep.Displaced.Dir == "" {
		t.Fatalf("the way back:\n%s", back)
	}
	if err := os.Remove(fail); err != nil {
		t.Fatal(err)
	}
	// As printed: stopped it is; taken back; what is there elsewhere; what was there
	// back; started.
	m.want(0, words("restore --service --take-back"))
	local := func(windows string) string {
		return filepath.Join(p.Drive(), filepath.FromSlash(strings.ReplaceAll(strings.TrimPrefix(windows, `C:\`), `\`, "/")))
	}
	for _, dir := range []string{"database", "log"} {
		from := filepath.Join(p.Drive(), "pki", dir)
		if err := os.Rename(from, from+".failed"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(from, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range rep.Displaced.Files {
		if !strings.Contains(f, `\`) {
			f = rep.Displaced.Dir + `\` + f
		}
		// C:\pki\log.certkeep-TIME\log00001.log was in C:\pki\log
		dir, _, _ := strings.Cut(f[:strings.LastIndexByte(f, '\\')], ".certkeep-")
		if err := os.Rename(local(f), filepath.Join(local(dir), f[strings.LastIndexByte(f, '\\')+1:])); err != nil {
			t.Fatal(err)
		}
	}
	p.Run(t, "net", "start", "CertSvc")
	m.want(0, words(`backup local: --folder C:\b3\full --type full`))
	if out := m.want(0, words(`certs --folder C:\b3 --csv`)); kept == "" || !strings.Contains(out, kept) {
		t.Errorf("after the way back %s is missing in\n%s", kept, out)
	}
	p.Run(t, "net", "stop", "CertSvc")
}

// place copies a program.
func place(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(name, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
