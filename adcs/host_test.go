package adcs

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/certadm"
)

func TestOpen(t *testing.T) {
	if runtime.GOOS != "windows" {
		if _, err := Open(Options{}); !errors.Is(err, ErrNotWindows) || hintOf(err) == "" {
			t.Errorf("not on Windows: %v, hint %q", err, hintOf(err))
		}
	}
	for name, change := range map[string]func(f *fake){
		"no role":          func(f *fake) { clear(f.keys) },
		"never set up":     func(f *fake) { f.put(configurationKey, regfile.Value{Name: "Active", Delete: true}) },
		"no authority key": func(f *fake) { f.put(configurationKey, regfile.NewString("Active", regfile.String, "Other")) },
	} {
		f := newFake(t)
		change(f)
		if _, err := f.host(Options{}); !errors.Is(err, ErrNoAuthority) || !strings.Contains(hintOf(err), "Install-AdcsCertificationAuthority") {
			t.Errorf("%s: %v, hint %q", name, err, hintOf(err))
		}
	}
	f := newFake(t)
	f.put(configurationKey, regfile.NewString("Active", regfile.String, `..\x`))
	if _, err := f.host(Options{}); err == nil || errors.Is(err, ErrNoAuthority) {
		t.Errorf("a name that is a path: %v", err)
	}
	if _, err := newFake(t).host(Options{Map: []Mapping{{`\\a\c$`, `x`}}}); err == nil {
		t.Error("a mapping to no path was taken")
	}
	h := newFake(t).open(t, Options{})
	if h.SanitizedName() != testName || h.StateDir() != `C:\ProgramData\certkeep` {
		t.Errorf("%q, %q", h.SanitizedName(), h.StateDir())
	}
}

func TestLocations(t *testing.T) {
	list := func(db, log, sys string) certadm.FileList {
		return certadm.FileList{{Type: certadm.FileDatabase, Path: db}, {Type: certadm.FileLogDir, Path: log}, {Type: certadm.FileCheckpointDir, Path: sys}}
	}
	for _, c := range []struct {
		name   string
		change func(f *fake)
		saved  certadm.RestoreMap
		want   certadm.FileList
		engine string
	}{
		{"defaults", nil, certadm.RestoreMap{},
			list(`\\PKI01\C$\Windows\system32\CertLog\Example CA.edb`, `\\PKI01\C$\Windows\system32\CertLog`, `\\PKI01\C$\windows\system32\certlog`), engineESE},
		{"saved spelling", nil, certadm.RestoreMap{Database: `\\pki01.corp.example\c$\WINDOWS\system32\certlog\Example CA.edb`,
			LogDir: `\\localhost\ADMIN$\system32\CertLog\`, CheckpointDir: `\\PKI01\C$\elsewhere`},
			list(`\\pki01.corp.example\c$\WINDOWS\system32\certlog\Example CA.edb`, `\\localhost\ADMIN$\system32\CertLog`, `\\PKI01\C$\windows\system32\certlog`), engineESE},
		{"saved elsewhere", nil, certadm.RestoreMap{Database: `\\PKI02\c$\Windows\system32\CertLog\Example CA.edb`, LogDir: `\\PKI01\C$\Windows\system32\CertLog\x`},
			list(`\\PKI01\C$\Windows\system32\CertLog\Example CA.edb`, `\\PKI01\C$\Windows\system32\CertLog`, `\\PKI01\C$\windows\system32\certlog`), engineESE},
		{"a drive's root", func(f *fake) { f.put(configurationKey, regfile.NewString("DBLogDirectory", regfile.String, `d:\`)) }, certadm.RestoreMap{},
			list(`\\PKI01\C$\Windows\system32\CertLog\Example CA.edb`, `\\PKI01\D$`, `\\PKI01\C$\windows\system32\certlog`), engineESE},
		{"embedded, by its file", func(f *fake) {
			f.put(configurationKey, regfile.NewString("DBDirectory", regfile.String, `D:\ca\database\Example CA.db`))
		}, certadm.RestoreMap{},
			list(`\\PKI01\D$\ca\database\Example CA.db`, `\\PKI01\C$\Windows\system32\CertLog`, `\\PKI01\C$\windows\system32\certlog`), engineSQLite},
	} {
		f := newFake(t)
		if c.change != nil {
			c.change(f)
		}
		h := f.open(t, Options{})
		got, err := h.LocationsLike(t.Context(), c.saved)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if id, err := h.Identity(t.Context()); err != nil || id.Engine != c.engine {
			t.Errorf("%s: engine %q, %v", c.name, id.Engine, err)
		}
		// What Locations says, LocalPath takes.
		for _, e := range got {
			if _, err := h.LocalPath(e.Path); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
	f := newFake(t)
	f.write(t, map[string]string{`C:\Windows\system32\CertLog\Example CA.db`: ""})
	if l, err := f.open(t, Options{}).Locations(t.Context()); err != nil || !strings.HasSuffix(l[0].Path, "Example CA.db") {
		t.Errorf("embedded, by what is there: %v, %v", l, err)
	}
	f.write(t, map[string]string{`C:\Windows\system32\CertLog\Example CA.edb`: ""})
	if l, err := f.open(t, Options{}).Locations(t.Context()); err != nil || !strings.HasSuffix(l[0].Path, "Example CA.edb") {
		t.Errorf("both: %v, %v", l, err)
	}
	for name, v := range map[string]regfile.Value{
		"missing":  {Name: "DBLogDirectory", Delete: true},
		"a number": regfile.NewNumber("DBLogDirectory", 1),
		"UNC":      regfile.NewString("DBLogDirectory", regfile.String, `\\x\c$\y`),
		"dots":     regfile.NewString("DBLogDirectory", regfile.String, `C:\a\..\b`),
		"variable": regfile.NewString("DBLogDirectory", regfile.Expand, `%nowhere%\b`),
	} {
		f := newFake(t)
		h := f.open(t, Options{})
		f.put(configurationKey, v)
		if l, err := h.Locations(t.Context()); err == nil || !strings.Contains(err.Error(), "DBLogDirectory") {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	old, newest := (*issuer)(nil).issue(t, "Example CA"), (*issuer)(nil).issue(t, "Example CA")
	for _, c := range []struct {
		name   string
		hashes []string
		store  string
		certs  [][]byte
		want   []byte
	}{
		{"newest last", []string{spaced(old.cert.Raw), spaced(newest.cert.Raw)}, "MY", [][]byte{newest.cert.Raw, old.cert.Raw}, newest.cert.Raw},
		{"without spaces, in capitals", []string{strings.ToUpper(strings.ReplaceAll(spaced(newest.cert.Raw), " ", ""))}, "MY", [][]byte{newest.cert.Raw}, newest.cert.Raw},
		{"placeholders", []string{"-", spaced(newest.cert.Raw), "-"}, "CA", [][]byte{newest.cert.Raw}, newest.cert.Raw},
		{"among the roots", []string{spaced(newest.cert.Raw)}, "ROOT", [][]byte{newest.cert.Raw}, newest.cert.Raw},
		{"only an old one", []string{spaced(old.cert.Raw), spaced(newest.cert.Raw)}, "MY", [][]byte{old.cert.Raw}, nil},
		{"placeholders alone", []string{"-"}, "MY", [][]byte{newest.cert.Raw}, nil},
		{"none named", nil, "MY", [][]byte{newest.cert.Raw}, nil},
	} {
		f := newFake(t)
		if c.hashes != nil {
			f.put(configurationKey+`\`+testName, regfile.NewMulti("CACertHash", c.hashes))
		}
		f.stores[c.store] = c.certs
		h := f.open(t, Options{})
		id, err := h.Identity(t.Context())
		want := certadm.Identity{Name: testCommon, SanitizedName: testName, Host: "PKI01", Engine: engineESE, Certificate: c.want}
		if diff := cmp.Diff(want, id); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", c.name, err, diff)
		}
		_, err = h.Target(nil).Identity(t.Context())
		if c.want == nil && (!errors.Is(err, ErrNoCertificate) || hintOf(err) == "") || c.want != nil && err != nil {
			t.Errorf("%s: as a target: %v", c.name, err)
		}
	}
	f := newFake(t)
	f.put(configurationKey+`\`+testName, regfile.NewMulti("CACertHash", []string{spaced(old.cert.Raw)}))
	f.failed["store CA"] = errInUse
	if _, err := f.open(t, Options{}).Identity(t.Context()); !errors.Is(err, errInUse) || !strings.Contains(err.Error(), "store CA") {
		t.Errorf("a store that cannot be read: %v", err)
	}
}
