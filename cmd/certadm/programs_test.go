package main_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	backups "github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/cadb"
	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
	"github.com/certkeep/certkeep/csra/csratest"
	"github.com/certkeep/certkeep/folder"
)

// service is an authority on the network of this machine for the C programs.
type service struct {
	*certsrvtest.Env
	vars []string // of the environment
	log  string   // CERTKEEP_LOG
}

// serve serves an authority to an account that may do everything there. path is
// what a path of this machine is to the program.
func serve(t *testing.T, path func(string) string) *service {
	s := &service{Env: certsrvtest.New(t), log: filepath.Join(t.TempDir(), "failures")}
	wire := csratest.Serve(t, s.Env)
	user, password := wire.Logon(certadmtest.Caller{Name: "root", Rights: certadmtest.Operator | certadmtest.Read})
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	s.vars = []string{servers(wire.Address), "CERTKEEP_USER=" + user, "CERTKEEP_PASSWORD_FILE=" + path(secret), "CERTKEEP_LOG=" + path(s.log)}
	return s
}

func itself(path string) string { return path }

// run runs a program, which has to succeed, and returns its standard output.
func (s *service) run(t *testing.T, cmd *exec.Cmd, vars ...string) string {
	t.Helper()
	out, talk, err := s.try(cmd, vars...)
	if err != nil {
		failures, _ := os.ReadFile(s.log)
		failures = failures[max(0, len(failures)-2000):]
		t.Fatalf("%s: %v\n%s%s\n%s", strings.Join(cmd.Args, " "), err, out, talk, failures)
	}
	if talk != "" {
		t.Errorf("%s says: %s", cmd.Args[0], talk)
	}
	return out
}

func (s *service) try(cmd *exec.Cmd, vars ...string) (out, talk string, err error) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(append(cmd.Env, s.vars...), vars...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return strings.ReplaceAll(o.String(), "\r\n", "\n"), strings.ReplaceAll(e.String(), "\r\n", "\n"), err
}

func (s *service) issue(t *testing.T, n int) []string {
	t.Helper()
	serials, err := s.Issue(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return serials
}

// sixteen checks what a program printed that took the sixteen steps.
func sixteen(t *testing.T, out string, full, truncated bool) {
	t.Helper()
	want := []string{" 1 library loaded", " 2 functions found", " 3 online", "10 logs", "12 dynamic files, to be copied by other means (step 13)",
		"14 session ended", "15 lists freed", "16 library unloaded", "complete: "}
	if full {
		want = append(want, " 4 session of a full backup", " 5 restore map: ", " 6 databases")
	} else {
		want = append(want, " 4 session of an incremental backup")
	}
	if truncated {
		want = append(want, "11 logs truncated")
	}
	for _, w := range want {
		if !strings.Contains("\n"+out, "\n"+w) {
			t.Errorf("the program did not print %q:\n%s", w, out)
		}
	}
	if !strings.Contains(out, ".crl\n") {
		t.Errorf("no CRL among the dynamic files:\n%s", out)
	}
}

// verify holds the newest set of a folder, and those it continues, against what is
// signed in them.
func (s *service) verify(t *testing.T, dir string, sets int, certificates int64) {
	t.Helper()
	store, id, err := folder.Resolve(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := backups.Verify(t.Context(), backups.VerifyOptions{
		Source: backups.Source{Store: store, ID: id}, CACertificate: s.Server.CACertificate(), Scratch: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Severity == cadb.Damage {
			t.Errorf("damage: %v", f)
		}
	}
	if !r.OK || len(r.Sets) != sets || r.Database == nil || r.Database.Certificates < certificates {
		t.Errorf("%d sets, OK %v, database %+v; want %d sets with %d certificates", len(r.Sets), r.OK, r.Database, sets, certificates)
	}
}

// The sixteen steps and the restore, by C programs that load the library.
func TestPrograms(t *testing.T) {
	lib := sharedLibrary(t)
	procedure(t, serve(t, itself), itself, lib, func(source string, args ...string) *exec.Cmd {
		return exec.Command(program(t, source), append([]string{lib}, args...)...)
	})
}

// procedure takes a full and an incremental backup of a service, and restores them.
func procedure(t *testing.T, s *service, path func(string) string, lib string, command func(source string, args ...string) *exec.Cmd) {
	root := t.TempDir()
	full, inc := filepath.Join(root, "full"), filepath.Join(root, "inc")
	serials := s.issue(t, 3)
	sixteen(t, s.run(t, command(backupC, netBIOS, path(full))), true, true)
	s.verify(t, full, 1, 3)
	serials = append(serials, s.issue(t, 2)...)
	sixteen(t, s.run(t, command(backupC, dnsName+`\`+certsrvtest.Name, path(inc), "incremental", "keep-log")), false, false)
	s.verify(t, root, 2, 5)
	s.issue(t, 1) // is lost

	// The folder is there already.
	if out, talk, err := s.try(command(backupC, netBIOS, path(full))); err == nil || !strings.Contains(out, "NOT a backup") || !strings.Contains(talk, "DataBase") {
		t.Errorf("into a folder that has a backup: %v\n%s%s", err, out, talk)
	}

	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A service that is stopped cannot be backed up, and says why.
	if out, talk, err := s.try(command(backupC, netBIOS, path(filepath.Join(root, "not")))); err == nil || !strings.Contains(out, "NOT a backup") ||
		!strings.Contains(talk, "CertSrvIsServerOnlineW: 0x80070426") {
		t.Errorf("of a stopped service: %v\n%s%s", err, out, talk)
	}
	if b, err := os.ReadFile(s.log); err != nil || !strings.Contains(string(b), "CertSrvIsServerOnlineW") || !strings.Contains(string(b), "ERROR_SERVICE_NOT_ACTIVE") {
		t.Errorf("CERTKEEP_LOG has %q, %v", b, err)
	}

	m, err := s.Server.Locations().RestoreMap()
	if err != nil {
		t.Fatal(err)
	}
	local := func(unc string) string {
		p, err := s.LocalPath(unc)
		if err != nil {
			t.Fatal(err)
		}
		return path(p)
	}
	args := []string{"ca:" + path(s.Server.Dir()), local(m.Database), local(m.LogDir), path(full), path(inc)}
	out := s.run(t, command(restoreC, args...))
	if !strings.Contains(out, "registered: 2 sets") || strings.Count(out, "registered by CertSrvRestoreRegisterW\n") != 2 || !strings.Contains(out, " 3 offline: 0x80070426") {
		t.Errorf("the restore printed:\n%s", out)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := s.Serials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(serials)
	if !slices.Equal(got, serials) {
		t.Errorf("after the restore there are %v, and not %v", got, serials)
	}
}

// A restore is refused while the service runs, and nothing is touched.
func TestRestoreOnline(t *testing.T) {
	lib, s := sharedLibrary(t), serve(t, itself)
	full := filepath.Join(t.TempDir(), "full")
	s.issue(t, 1)
	s.run(t, exec.Command(program(t, backupC), lib, netBIOS, full))
	m, _ := s.Server.Locations().RestoreMap()
	db, _ := s.LocalPath(m.Database)
	logs, _ := s.LocalPath(m.LogDir)
	out, talk, err := s.try(exec.Command(program(t, restoreC), lib, "ca:"+s.Server.Dir(), db, logs, full))
	if err == nil || !strings.Contains(out, "NOT restored") || !strings.Contains(talk, "CertSrvRestorePrepareW: 0x80070020") {
		t.Errorf("%v\n%s%s", err, out, talk)
	}
	if _, err := os.Stat(db + ".aside"); err == nil {
		t.Error("the database was moved")
	}
	// Across the network there is no restore at all.
	_, talk, err = s.try(exec.Command(program(t, restoreC), lib, "ca1.example.org", db, logs, full))
	if err == nil || !strings.Contains(talk, "the service runs") {
		t.Errorf("%v\n%s", err, talk)
	}
}

// The library is loaded, called and given back, three times.
func TestReload(t *testing.T) {
	lib, s := sharedLibrary(t), serve(t, itself)
	if out := s.run(t, exec.Command(program(t, reloadC), lib, netBIOS)); out != "round 1: online\nround 2: online\nround 3: online\n" {
		t.Errorf("printed:\n%s", out)
	}
}

// What a program sets in its environment counts from then on.
func TestEnvironment(t *testing.T) {
	lib := sharedLibrary(t)
	environment(t, serve(t, itself), exec.Command(program(t, hostC), lib))
}

func environment(t *testing.T, s *service, cmd *exec.Cmd) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "CERTKEEP_SERVERS=CA1=127.0.0.1:1", "CERTKEEP_LOG=")
	h := startHost(t, cmd)
	if code, _, _, err := h.call(false, "online", str(netBIOS)); err != nil || code == certadm.SOK {
		t.Errorf("before: %v, %v", code, err)
	}
	for _, v := range s.vars {
		name, value, _ := strings.Cut(v, "=")
		if code, _, _, err := h.call(false, "setenv", str(name), str(value)); err != nil || code != 0 {
			t.Fatalf("setting %s: %v, %v", name, code, err)
		}
	}
	if code, online, _, err := h.call(false, "online", str(netBIOS)); err != nil || code != certadm.SOK || online != 1 {
		t.Errorf("after: %v, %d, %v", code, online, err)
	}
	if err := h.leave(); err != nil {
		t.Error(err)
	}
}

// What a program must not do is answered with an error.
func TestMisuse(t *testing.T) {
	lib := sharedLibrary(t)
	misuse(t, itself, func(args ...string) *exec.Cmd {
		return exec.Command(program(t, misuseC), append([]string{lib}, args...)...)
	})
}

func misuse(t *testing.T, path func(string) string, command func(args ...string) *exec.Cmd) {
	s := serve(t, path)
	s.issue(t, 5)
	out := s.run(t, command(netBIOS, "ca:"+path(stopped(t).Dir())))
	if !strings.HasSuffix(out, " 0 wrong\n") || strings.Contains(out, "wrong:") {
		t.Errorf("printed:\n%s", out)
	}
	// The session that a thread ended under another's hands is over on the server.
	if st, err := s.Server.Status(t.Context()); err != nil || st.BackupBy != "" {
		t.Errorf("a backup by %q, %v", st.BackupBy, err)
	}
}

// stopped is an authority that nobody serves.
func stopped(t *testing.T) *certsrv.Server {
	t.Helper()
	s := certsrvtest.Start(t, "Stopped CA", certsrv.Options{})
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// AddressSanitizer with LeakSanitizer: nothing is read or written that is not the
// program's, and all lists are freed.
func TestSanitized(t *testing.T) {
	lib := sharedLibrary(t)
	asan := []string{"-fsanitize=address", "-fno-omit-frame-pointer"}
	vars := "ASAN_OPTIONS=detect_leaks=1:halt_on_error=1:exitcode=99"
	t.Run("leak is found", func(t *testing.T) { // what is used here finds what it is for
		s := serve(t, itself)
		out, talk, err := s.try(exec.Command(program(t, "testdata/leak.c", asan...), lib, netBIOS), vars)
		if err == nil || !strings.Contains(talk, "LeakSanitizer") || !strings.Contains(talk, "calloc") {
			t.Errorf("%v\n%s%s", err, out, talk)
		}
	})
	t.Run("procedure", func(t *testing.T) {
		s := serve(t, itself)
		s.vars = append(s.vars, vars)
		procedure(t, s, itself, lib, func(source string, args ...string) *exec.Cmd {
			return exec.Command(program(t, source, asan...), append([]string{lib}, args...)...)
		})
	})
	t.Run("misuse", func(t *testing.T) {
		misuse(t, itself, func(args ...string) *exec.Cmd {
			cmd := exec.Command(program(t, misuseC, asan...), append([]string{lib}, args...)...)
			cmd.Env = append(os.Environ(), vars)
			return cmd
		})
	})
}
