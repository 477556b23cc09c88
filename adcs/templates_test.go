package adcs

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/backupset"
	"github.com/certkeep/certkeep/certadm"
)

// An authority that stands alone has no templates, and nobody is asked for them.
func TestStandaloneHasNoTemplates(t *testing.T) {
	for kind, want := range map[uint32]backupset.Presence{0: backupset.Present, 1: backupset.Present, 3: backupset.Absent, 4: backupset.Absent} {
		f := newFake(t)
		f.put(configurationKey+`\`+testName, regfile.NewNumber("CAType", kind))
		asked := false
		h := f.open(t, Options{Templates: func(context.Context) ([]byte, error) { asked = true; return []byte("WebServer: Web Server\n"), nil }})
		c, err := h.Collect(t.Context())
		if err != nil || c.Templates != want || asked != (want == backupset.Present) {
			t.Errorf("CAType %d: %q, asked %v, %v", kind, c.Templates, asked, err)
		}
	}
}

func TestCertutilIsOfWindows(t *testing.T) {
	if _, err := CertutilTemplates(t.Context()); runtime.GOOS != "windows" && !errors.Is(err, ErrNotWindows) {
		t.Error(err)
	}
}

func TestBoundedOutput(t *testing.T) {
	var b bounded
	if _, err := b.Write(make([]byte, maxTemplates)); err != nil {
		t.Error(err)
	}
	if _, err := b.Write([]byte{0}); err == nil {
		t.Error("a byte too many was taken")
	}
}

// A mapping says what the set's names stand for; the service goes by the registry.
func TestLocationsLikeMapped(t *testing.T) {
	saved := certadm.RestoreMap{Database: `\\OLD\e$\db\Example CA.edb`, LogDir: `\\OLD\e$\log`, CheckpointDir: `\\OLD\e$\log`}
	good := []Mapping{{`\\OLD\e$\db`, `C:\Windows\system32\CertLog`}, {`\\OLD\e$\log`, `c:\windows\System32\certlog`}}
	l, err := newFake(t).open(t, Options{Map: good}).LocationsLike(t.Context(), saved)
	if err != nil {
		t.Fatal(err)
	}
	const dir = `\\PKI01\C$\Windows\system32\CertLog`
	m, err := l.RestoreMap()
	if err != nil || !strings.EqualFold(m.Database, dir+`\Example CA.edb`) || !strings.EqualFold(m.LogDir, dir) || !strings.EqualFold(m.CheckpointDir, dir) {
		t.Errorf("%+v, %v; want this machine's names", m, err)
	}
	for _, elsewhere := range []Mapping{{`\\OLD\e$\db`, `D:\db`}, {`\\OLD\e$\log`, `C:\Windows`}, {`\\OLD\e$`, `D:\`}} {
		_, err := newFake(t).open(t, Options{Map: []Mapping{elsewhere}}).LocationsLike(t.Context(), saved)
		var h interface{ Hint() string }
		if err == nil || !errors.As(err, &h) || !strings.Contains(h.Hint(), "certutil -setreg DB") {
			t.Errorf("%v: %v", elsewhere, err)
		}
	}
}
