package adcs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// asService is the argument that makes the test binary a service; failMark is a
// file that makes it stop as AD CS does on a database that was not shut down.
const (
	asService = "run-as-service"
	failMark  = `C:\fail`
)

// TestServiceMain is the service.
func TestServiceMain(t *testing.T) {
	if !slices.Contains(os.Args, asService) {
		t.Skip("skipped: part of TestWindows")
	}
	if err := svc.Run(serviceName, testService{}); err != nil {
		t.Fatal(err)
	}
}

type testService struct{}

func (testService) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	status <- svc.Status{State: svc.StartPending}
	if _, err := os.Stat(failMark); err == nil {
		return true, 939523546
	}
	status <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop}
	for r := range requests {
		switch r.Cmd {
		case svc.Interrogate:
			status <- r.CurrentStatus
		case svc.Stop, svc.Shutdown:
			status <- svc.Status{State: svc.StopPending}
			return false, 0
		}
	}
	return false, 0
}

// TestWindows is what only a Windows machine can show of this package; TestWine
// runs it. It ends with an authority that is withheld.
func TestWindows(t *testing.T) {
	program := os.Getenv("ADCS_WINDOWS")
	if program == "" {
		t.Skip("skipped: part of TestWine")
	}
	if _, err := Open(Options{}); !errors.Is(err, ErrNoAuthority) {
		t.Errorf("before there is one: %v", err)
	}
	ca := (*issuer)(nil).issue(t, "Wine CA")
	configure(t, ca)
	h, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []struct {
		name string
		test func(t *testing.T, h *Host)
	}{
		{"identity", func(t *testing.T, h *Host) { windowsIdentity(t, h, ca) }},
		{"names", windowsNames}, {"collect", windowsCollect}, {"private", windowsPrivate},
		{"service", func(t *testing.T, h *Host) { windowsService(t, h, program) }},
		{"aside", windowsAside}, {"withhold", windowsWithhold},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, h) })
	}
}

func windowsIdentity(t *testing.T, h *Host, ca *issuer) {
	id, err := h.Target(nil).Identity(t.Context())
	name, nameErr := windows.ComputerName()
	if err != nil || nameErr != nil || string(id.Certificate) != string(ca.cert.Raw) || id.Name != "Wine CA" || !strings.EqualFold(id.Host, name) || id.Engine != engineESE {
		t.Errorf("%+v, %v, on %s, %v", id, err, name, nameErr)
	}
	for _, store := range []string{"CA", "ROOT"} {
		if _, err := h.sys.certificates(store); err != nil {
			t.Errorf("store %s: %v", store, err)
		}
	}
	if list, err := h.sys.certificates("no such store"); err != nil || len(list) != 0 {
		t.Errorf("a store that is not there: %d, %v", len(list), err)
	}
}

func windowsNames(t *testing.T, h *Host) {
	if h.StateDir() != `C:\ProgramData\certkeep` {
		t.Errorf("state directory %s", h.StateDir())
	}
	l, err := h.Locations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, err := l.RestoreMap()
	if err != nil {
		t.Fatal(err)
	}
	for unc, want := range map[string]string{
		m.Database:                     `C:\windows\system32\CertLog\Wine CA.edb`,
		m.LogDir:                       `C:\windows\system32\CertLog`,
		m.CheckpointDir:                `C:\CertSystem`,
		`\\localhost\certenroll\a.crl`: `C:\windows\system32\CertSrv\CertEnroll\a.crl`,
		`\\` + h.names.qualified + `\ADMIN$\system32\CertLog`: `C:\windows\system32\CertLog`,
	} {
		if got, err := h.LocalPath(unc); err != nil || !strings.EqualFold(got, want) {
			t.Errorf("%s: %s, %v", unc, got, err)
		}
	}
	// Whoever starts this, and with what environment: it is the same machine.
	t.Setenv("SystemRoot", `D:\elsewhere`)
	t.Setenv("ProgramData", `D:\elsewhere`)
	for text, want := range map[string]string{`%SystemRoot%\x`: `C:\windows\x`, `%windir%`: `C:\windows`, `%programdata%\x`: `C:\ProgramData\x`, `%ALLUSERSPROFILE%`: `C:\ProgramData`} {
		if got, err := h.sys.expand(text); err != nil || !strings.EqualFold(got, want) {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	if _, err := h.sys.expand("%no such variable%"); err == nil {
		t.Error("a variable that is not there was expanded")
	}
	for _, path := range []string{`C:\`, `C:\CertSystem`} {
		if v, err := volumeOf(path); err != nil || !strings.EqualFold(v, `C:\`) {
			t.Errorf("volume of %s: %s, %v", path, v, err)
		}
	}
}

func windowsCollect(t *testing.T, h *Host) {
	c, err := h.Collect(t.Context())
	if err != nil || len(c.Skipped) > 0 || c.Configuration != backupset.Present || c.CAPolicy != backupset.Present || len(c.Companions) != 4 {
		t.Fatalf("%q, %d companions, skipped %q, %v", c.Configuration, len(c.Companions), c.Skipped, err)
	}
	keys, err := regfile.Decode(companion(c, ConfigurationFile))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]regfile.Value)
	for _, k := range keys {
		for _, v := range k.Values {
			got[strings.TrimPrefix(k.Path, `HKEY_LOCAL_MACHINE\`+configurationKey)+`\`+v.Name] = v
		}
	}
	for name, want := range map[string]regfile.Value{
		`\Active`:                 regfile.NewString("", regfile.String, "Wine CA"),
		`\DBLogDirectory`:         regfile.NewString("", regfile.Expand, `%SystemRoot%\system32\CertLog`),
		`\DBLastFullBackup`:       {Type: regfile.Binary, Data: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		`\Wine CA\Größe`:          regfile.NewString("", regfile.String, "ü"),
		`\Wine CA\wide`:           {Type: regfile.QWord, Data: []byte{0, 0, 0, 0, 0, 1, 0, 0}},
		`\Wine CA\InterfaceFlags`: regfile.NewNumber("", 0x641),
	} {
		if v := got[name]; v.Type != want.Type || string(v.Data) != string(want.Data) {
			t.Errorf("%s: %v %x", name, v.Type, v.Data)
		}
	}
}

func windowsPrivate(t *testing.T, h *Host) {
	dir := `C:\ProgramData\private test`
	for range 2 { // it is made, and then found
		if err := h.sys.private(dir); err != nil {
			t.Fatal(err)
		}
	}
	// TestWine has made it so.
	if err := h.sys.private(`C:\open test`); err == nil || hintOf(err) == "" || !strings.Contains(err.Error(), "may be written to by S-1-1-0") {
		t.Errorf("a directory for everybody: %v", err)
	}
	file := `C:\ProgramData\file test`
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.sys.private(file); err == nil {
		t.Error("a file was taken for a directory")
	}
}

func windowsService(t *testing.T, h *Host, program string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := h.StopService(ctx); !errors.Is(err, ErrNoAuthority) {
		t.Errorf("without the service: %v", err)
	}
	m, err := mgr.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Disconnect()
	s, err := m.CreateService(serviceName, program, mgr.Config{StartType: mgr.StartManual}, "-test.run=^TestServiceMain$", asService)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := h.StopService(ctx); err != nil {
		t.Errorf("stopped already: %v", err)
	}
	asked := 0
	h.o.Online = func(context.Context) (bool, error) { asked++; return asked > 2, nil }
	for range 2 {
		if err := h.StartService(ctx); err != nil {
			t.Fatal(err)
		}
		if st, err := h.query(serviceName); err != nil || st.state != running {
			t.Errorf("state %d, %v", st.state, err)
		}
	}
	if asked < 3 {
		t.Errorf("asked %d times", asked)
	}
	if _, err := h.SetAside(ctx); !errors.Is(err, certadm.ErrorSharingViolation) {
		t.Errorf("set aside while it runs: %v", err)
	}
	if list, err := h.sys.dependents(serviceName); err != nil || len(list) > 0 {
		t.Errorf("dependents %q, %v", list, err)
	}
	if err := h.StopService(ctx); err != nil {
		t.Fatal(err)
	}
	if st, err := h.query(serviceName); err != nil || st.state != stopped {
		t.Errorf("state %d, %v", st.state, err)
	}
	if err := os.WriteFile(failMark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.StartService(ctx); !errors.Is(err, certadm.ESE(-550)) {
		t.Errorf("a dirty database: %v", err)
	}
}

func windowsAside(t *testing.T, h *Host) {
	const dir = `C:\windows\system32\CertLog`
	for name, text := range map[string]string{dir + `\Wine CA.edb`: "database", dir + `\edb.log`: "log", dir + `\notes.txt`: "note", `C:\CertSystem\edb.chk`: "checkpoint"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// As a program has a file that does not share it.
	p, err := windows.UTF16PtrFromString(dir + `\edb.log`)
	if err != nil {
		t.Fatal(err)
	}
	held, err := windows.CreateFile(p, windows.GENERIC_READ, windows.FILE_SHARE_READ, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.SetAside(t.Context()); !errors.Is(err, certadm.ErrorSharingViolation) || !strings.Contains(hintOf(err), "has the file open") {
		t.Errorf("a file that is held: %v", err)
	}
	if err := windows.CloseHandle(held); err != nil {
		t.Fatal(err)
	}
	d, err := h.SetAside(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.Dir, dir+asideMark) || len(d.Files) != 3 || d.Files[0] != "Wine CA.edb" {
		t.Errorf("%+v", d)
	}
	if b, err := os.ReadFile(filepath.Join(d.Dir, "Wine CA.edb")); err != nil || string(b) != "database" {
		t.Errorf("%q, %v", b, err)
	}
	for name, want := range map[string]error{dir + `\Wine CA.edb`: fs.ErrNotExist, `C:\CertSystem\edb.chk`: fs.ErrNotExist, dir + `\notes.txt`: nil} {
		if _, err := os.Stat(name); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.RecordGap(t.Context(), testGap(1)); err != nil {
		t.Fatal(err)
	}
	if path, err := h.GapFile(); err != nil || !strings.HasPrefix(path, `C:\ProgramData\certkeep\gap-`) {
		t.Errorf("%s, %v", path, err)
	}
}

func windowsWithhold(t *testing.T, h *Host) {
	before, err := h.sys.values(h.key())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Withhold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	after, err := h.sys.values(h.key())
	if err != nil || len(after) != len(before) {
		t.Fatalf("%d values, %d before, %v", len(after), len(before), err)
	}
	for i, v := range before {
		if a := after[i]; a.Name != v.Name || a.Type != v.Type || string(a.Data) != string(v.Data) {
			t.Errorf("%s: %v %x, before %v %x", v.Name, a.Type, a.Data, v.Type, v.Data)
		}
	}
	if err := h.sys.set(h.key(), regfile.NewNumber("new", 1)); err != nil {
		t.Fatal(err)
	}
	if err := h.sys.remove(h.key(), "new"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.sys.value(h.key(), "new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a value that is gone: %v", err)
	}
	w, err := h.Withhold(t.Context()) // TestWine undoes it
	if err != nil || len(w.What) != 2 {
		t.Fatalf("%+v, %v", w, err)
	}
}
