package certdll

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certadm/certadmtest"
	"github.com/certkeep/certkeep/certsrv/certsrvtest"
	"github.com/certkeep/certkeep/csra/csratest"
)

// The suite through the C functions.
func TestConformanceDLL(t *testing.T) {
	path := libraryPath(t, envLibrary)
	certadmtest.Run(t, func(t *testing.T) certadmtest.Env { return newDLLEnv(t, path) }, map[int]string{
		19: "single calls of the protocol", 26: "single calls of the protocol", 27: "single calls of the protocol", 38: "single calls of the protocol",
		28: "Certadm.dll lists nothing without a session",
		35: "4 GiB with a hole are not for Wine's disk",
		41: "the library's connection is out of reach",
		57: "in a directory the library knows no callers without the restore privilege",
		58: "in a directory the library knows no callers who are not administrators",
	})
}

// Load, call, free, load again; the first library that is loaded stays.
func TestLoadAgain(t *testing.T) {
	path := libraryPath(t, envLibrary)
	e := newDLLEnv(t, path)
	operator := certadmtest.Caller{Name: "operator", Rights: certadmtest.Operator | certadmtest.Read}
	for range 3 {
		svc, err := e.Connect(t.Context(), operator)
		if err != nil {
			t.Fatal(err)
		}
		if on, err := svc.IsServerOnline(t.Context()); !on || err != nil {
			t.Errorf("IsServerOnline = %v, %v", on, err)
		}
		b, err := svc.BackupPrepare(t.Context(), certadm.BackupFull)
		if err != nil {
			t.Fatal(err)
		}
		readAll(t, b)
		if err := b.TruncateLogs(t.Context()); err != nil {
			t.Error(err)
		}
		if err := b.End(t.Context()); err != nil {
			t.Error(err)
		}
		if err := svc.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

// Open finds the library in the system directory, and this machine by its name.
func TestSystemLibrary(t *testing.T) {
	libraryPath(t, envLibrary) // TestWine has put it there
	tb := wineTB{t}
	e := certsrvtest.New(tb)
	served := csratest.Serve(tb, e)
	user, password := served.Logon(certadmtest.Caller{Name: "operator", Rights: certadmtest.Operator | certadmtest.Read})
	secret := tb.TempDir() + `\secret`
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("CERTKEEP_USER", user)
	t.Setenv("CERTKEEP_PASSWORD_FILE", secret)
	t.Setenv("CERTKEEP_SERVERS", c.Server()+"="+served.Address)
	if on, err := c.IsServerOnline(t.Context()); !on || err != nil {
		t.Errorf("IsServerOnline of %q = %v, %v", c.Server(), on, err)
	}
	if id, err := c.Identity(t.Context()); err != nil || id.Name != certsrvtest.Name || id.Engine != "sqlite" {
		t.Errorf("Identity = %+v, %v", id, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Functions that a library has not, and what passes between Go and C.
func TestMissingFunctions(t *testing.T) {
	other := libraryPath(t, envOther)
	_, err := openFile("kernel32.dll", "srv")
	wantCode(t, err, certadm.ErrorProcNotFound)
	if err == nil || !strings.Contains(err.Error(), expOnline) {
		t.Errorf("%v does not name %s", err, expOnline)
	}
	_, err = openFile(other+".missing.dll", "srv")
	wantCode(t, err, certadm.ErrorModNotFound)

	c, err := openFile(other, "on")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.RestorePrepare(t.Context(), certadm.RestoreFull)
	wantCode(t, err, certadm.ErrorProcNotFound)
	if err == nil || !strings.Contains(err.Error(), expRestorePrepare) {
		t.Errorf("%v does not name %s", err, expRestorePrepare)
	}
	if on, err := c.IsServerOnline(t.Context()); !on || err != nil {
		t.Errorf("IsServerOnline = %v, %v", on, err)
	}
	if out, err := c.ServerControl(t.Context(), certadm.ControlSuspend); len(out) != 0 || err != nil {
		t.Errorf("ServerControl = %v, %v", out, err)
	}
	_, err = c.ServerControl(t.Context(), certadm.ControlRestart)
	wantCode(t, err, certadm.EInvalidArg)
	b := prepare(t, c)
	l, err := b.DatabaseLocations(t.Context())
	if err != nil || len(l) != 1 || l[0] != (certadm.FileEntry{Type: certadm.FileDatabase, Path: `\\SRV\C$\!00dc.edb`}) {
		t.Errorf("DatabaseLocations = %v, %v", l, err)
	}
	if id, err := c.Identity(t.Context()); err != nil || id.Name != "Ü" || id.Host != "SRV" || id.Engine != "ese" {
		t.Errorf("Identity = %+v, %v", id, err)
	}
	_, err = b.Logs(t.Context())
	wantCode(t, err, certadm.ErrorInvalidData)
	if names, err := b.DynamicFiles(t.Context()); len(names) != 0 || err != nil {
		t.Errorf("DynamicFiles = %v, %v", names, err)
	}
	f, err := b.OpenFile(t.Context(), "€", 0x12345)
	if err != nil {
		t.Fatal(err)
	}
	if f.Size() != 0x123456789a {
		t.Errorf("Size = %#x", f.Size())
	}
	p := make([]byte, 300_000)
	if n, err := f.Read(p); n != len(p) || err != nil || !bytes.Equal(p, bytes.Repeat([]byte{0x5a}, len(p))) {
		t.Errorf("Read = %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := b.End(t.Context()); err != nil { // fails if a list was not freed, or twice
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// The token of this process, before, during and after.
func TestToken(t *testing.T) {
	libraryPath(t, envLibrary)
	enabled := func() bool {
		t.Helper()
		// Asking for nothing new tells how it is.
		var tok windows.Token
		if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &tok); err != nil {
			t.Fatal(err)
		}
		defer tok.Close()
		was, err := token{tok}.adjust(SeBackupPrivilege, false)
		if err != nil {
			t.Fatal(err)
		}
		if was {
			if _, err := (token{tok}).adjust(SeBackupPrivilege, true); err != nil {
				t.Fatal(err)
			}
		}
		return was
	}
	if _, err := (processToken{}).adjust(SeBackupPrivilege, false); err != nil {
		t.Fatal(err)
	}
	first, err := EnablePrivileges(SeBackupPrivilege)
	if err != nil {
		t.Fatal(err)
	}
	second, err := EnablePrivileges(SeBackupPrivilege, SeRestorePrivilege)
	if err != nil {
		t.Fatal(err)
	}
	if !enabled() {
		t.Error("the privilege is not enabled")
	}
	if err := first(); err != nil || !enabled() {
		t.Errorf("after the first of two was done: %v, enabled %v", err, enabled())
	}
	if err := second(); err != nil || enabled() {
		t.Errorf("after both: %v, enabled %v", err, enabled())
	}
	if _, err := EnablePrivileges("SeNoSuchPrivilege"); err == nil {
		t.Error("a privilege that does not exist was enabled")
	} else if e := (*certadm.Error)(nil); !errors.As(err, &e) {
		t.Errorf("%v is no *Error", err)
	}
	// Once it is removed, it is not held.
	var tok windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &tok); err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	if _, err := (token{tok}).set(SeBackupPrivilege, windows.SE_PRIVILEGE_REMOVED); err != nil {
		t.Fatal(err)
	}
	_, err = EnablePrivileges(SeBackupPrivilege)
	wantCode(t, err, certadm.ErrorNotAllAssigned)
}
