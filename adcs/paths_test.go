package adcs

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/certkeep/certkeep/certadm"
)

func TestLocalPath(t *testing.T) {
	f := newFake(t)
	h := f.open(t, Options{Map: []Mapping{
		{`\\OLDCA\e$\CertLog`, `D:\Certificates\Log`},
		{`\\OLDCA\e$\CertLog\deep\`, `E:\`},
		{`\\OLDCA\e$\One.edb`, `D:\Database\Two.edb`},
	}})
	const ours = `C:\Windows\system32\CertLog\Example CA.edb`
	for unc, want := range map[string]string{
		`\\PKI01\C$\Windows\system32\CertLog\Example CA.edb`:              ours,
		`\\pki01\c$\windows\SYSTEM32\certlog\Example CA.edb`:              ours,
		`\\pki01.corp.example\C$\Windows\system32\CertLog\Example CA.edb`: ours,
		`\\PKI01.corp.example.\C$\Windows\system32\CertLog`:               `C:\Windows\system32\CertLog`,
		`\\localhost\C$\Windows\system32\CertLog\`:                        `C:\Windows\system32\CertLog`,
		`\\.\C$\Windows\system32\CertLog\edb.log`:                         `C:\Windows\system32\CertLog\edb.log`,
		`\\pki.example.org\C$\Windows\system32\CertLog\edb.log`:           `C:\Windows\system32\CertLog\edb.log`,
		`\\PKI01\ADMIN$\system32\CertLog\edb00001.log`:                    `C:\Windows\system32\CertLog\edb00001.log`,
		`\\PKI01\admin$\system32\certsrv\CertEnroll\a.crl`:                `C:\Windows\system32\certsrv\CertEnroll\a.crl`,
		`\\PKI01\CertEnroll\a.crl`:                                        `C:\Windows\system32\CertSrv\CertEnroll\a.crl`,
		`\\PKI01\certenroll`:                                              `C:\Windows\system32\CertSrv\CertEnroll`,
		`\\OLDCA\E$\certlog\edb.log`:                                      `D:\Certificates\Log\edb.log`,
		`\\oldca\e$\CertLog`:                                              `D:\Certificates\Log`,
		`\\OLDCA\e$\CertLog\deep\a.log`:                                   `E:\a.log`,
		`\\OLDCA\e$\CertLog\deep`:                                         `E:\`,
		`\\OLDCA\e$\One.edb`:                                              `D:\Database\Two.edb`,
	} {
		got, err := h.LocalPath(unc)
		if err != nil || got != f.native(want) {
			t.Errorf("%s: %q, want %q; %v", unc, got, f.native(want), err)
		}
	}
}

func TestPathsRefused(t *testing.T) {
	h := newFake(t).open(t, Options{Map: []Mapping{{`\\OLDCA\e$\CertLog`, `D:\Log`}}})
	const dir = `\\PKI01\C$\Windows\system32\CertLog`
	resolvable := map[string]bool{}
	for _, unc := range []string{ // they lead outside
		`\\PKI01\C$\Windows\system32\evil.dll`, `\\PKI01\C$`, `\\PKI01\C$\`, `\\PKI01\ADMIN$\system32\drivers\etc\hosts`, dir + `x\a`, dir + `.certkeep-20261125T120000Z\a`,
		`\\PKI01\D$\Windows\system32\CertLog\a`,
	} {
		resolvable[unc] = true
	}
	for _, unc := range []string{
		``, `\`, `\\`, `\\PKI01`, `\\PKI01\`, `\\\C$\a`, `C:\Windows\system32\CertLog\a`, `//PKI01/C$/a`, `\\PKI01/C$\a`, `\\PKI01\C$/a`, dir + `/a`,
		`\\OTHER\C$\Windows\system32\CertLog\a`, `\\pki01.evil.example\C$\Windows\system32\CertLog\a`, `\\PKI\C$\a`, `\\..\C$\a`,
		`\\?\C:\Windows\system32\CertLog\a`, `\\.\C:\a`, `\\.\PhysicalDrive0`, `\\.\pipe\x`, `\\?\UNC\PKI01\C$\a`, `\\.\GLOBALROOT\Device\a`, `\\.\CertEnroll\a`,
		dir + `\..\a`, dir + `\.\a`, dir + `\..`, dir + `\\a`, dir + `\a\\`, dir + `\a:stream`, dir + `\a::$DATA`, dir + `\..:x`,
		dir + `\NUL`, dir + `\con.log`, dir + `\Com1`, dir + `\lpt9.x.y`, dir + `\COM¹`, dir + `\aux .log`, dir + `\conin$`, dir + `\nul\a`,
		dir + `\a.`, dir + `\a `, dir + `\a..`, dir + `\ \a`, dir + "\\a\x00", dir + "\\a\nb", dir + `\a*`, dir + `\a?`, dir + `\a|b`, dir + `\"a"`, dir + `\<a>`,
		`\\PKI01\nowhere\a`, `\\PKI01\printer\a`, `\\PKI01\odd\a`, `\\PKI01\IPC$\a`, `\\PKI01\1$\a`, `\\PKI01\C:\a`, `\\PKI01\..\a`,
		`\\OLDCA\e$\CertLogs\a`, `\\OLDCA\e$\CertLog\..\a`, `\\OLDCA\e$\a`, `\\OLDCA\f$\CertLog\a`,
		dir + strings.Repeat(`\a`, 70), dir + `\` + strings.Repeat("a", 256), dir + strings.Repeat("b", 5000), `\\PKI01 \C$\a`, `\\PKI01:445\C$\a`, `\\user@PKI01\C$\a`,
	} {
		resolvable[unc] = false
	}
	for unc, ok := range resolvable {
		if got, err := h.LocalPath(unc); !errors.Is(err, certadm.HrInvalidPath) || hintOf(err) == "" {
			t.Errorf("%q was taken for %q; %v", unc, got, err)
		} else if len(err.Error()) > 1000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		if got, err := h.Resolve(unc); (err == nil) != ok {
			t.Errorf("%q resolves to %q; %v", unc, got, err)
		}
	}
	for _, path := range []string{`C:\Windows\system32\CertLog`, `c:\WINDOWS\system32\certlog\a\b`, `D:\Log\x`, `C:\Windows\System32\CertSrv\CertEnroll\x.crl`} {
		if err := h.Within(path); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{`C:\Windows\system32`, `C:\Windows\system32\CertLog\..\a`, `D:\Logs`, `\\PKI01\C$\Windows\system32\CertLog`, `D:`, ``} {
		if h.Within(path) == nil {
			t.Errorf("%q is taken to be within", path)
		}
	}
}

// FuzzLocalPath: whatever a restore map says, what comes out is below one of four
// directories, and says nothing but what it looks like.
func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{`\\PKI01\C$\Windows\system32\CertLog\Example CA.edb`, `\\.\ADMIN$\system32\CertLog\..\a`, `\\OLDCA\e$\CertLog\edb.log`, `\\?\C:\x`, `\\PKI01\CertEnroll\a.crl:x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, unc string) {
		m := newFake(t)
		checkPath(t, m, m.open(t, Options{Map: []Mapping{{`\\OLDCA\e$\CertLog`, `D:\Log`}}}), unc)
	})
}

func TestLocalPathProperty(t *testing.T) {
	m := newFake(t)
	h := m.open(t, Options{Map: []Mapping{{`\\OLDCA\e$\CertLog`, `D:\Log`}}})
	part := rapid.OneOf(rapid.SampledFrom([]string{"PKI01", "OLDCA", ".", "..", "C$", "e$", "ADMIN$", "CertLog", "Windows", "system32", "CertEnroll", "NUL", "a:b", "a.", "?", "", "x"}), rapid.StringN(0, 6, -1))
	rapid.Check(t, func(rt *rapid.T) {
		checkPath(rt, m, h, `\\`+strings.Join(rapid.SliceOfN(part, 1, 8).Draw(rt, "parts"), rapid.SampledFrom([]string{`\`, `\`, `\`, `/`}).Draw(rt, "separator")))
	})
}

func checkPath(t rapid.TB, m *fake, h *Host, unc string) {
	got, err := h.LocalPath(unc)
	if err != nil {
		return
	}
	inside := false
	for _, dir := range []string{`C:\Windows\system32\CertLog`, `C:\Windows\system32\CertSrv\CertEnroll`, `D:\Log`} {
		root := m.native(dir)
		inside = inside || got == root || strings.HasPrefix(got, root+string(filepath.Separator))
	}
	if !inside || strings.Contains(got, "..") && strings.Contains(got, "../") || strings.ContainsAny(strings.TrimPrefix(got, m.root), "\\:*?\"<>|\x00") {
		t.Fatalf("%q led to %q", unc, got)
	}
}
