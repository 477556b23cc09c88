package connect

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certdll"
)

func TestLibraryIsOfWindows(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it is Windows")
	}
	for _, server := range []string{"local:", "dll://srv01"} {
		if _, err := Open(t.Context(), server, Options{}); !errors.Is(err, certdll.ErrNotWindows) {
			t.Errorf("%s: %v", server, err)
		}
	}
}

// What another machine's authority names is opened there or not at all: a name that
// leads elsewhere would have Windows log on there.
func TestOpenThere(t *testing.T) {
	for _, tt := range []struct {
		host, name string
		there      bool
	}{
		{"ca01", `\\CA01\CertEnroll\a.crl`, true},
		{"ca01.corp.example", `\\CA01\CertEnroll\a.crl`, true},
		{"CA01", `\\ca01.corp.example\CertEnroll\a.crl`, true},
		{"ca01.corp.example", `\\ca01.evil.example\CertEnroll\a.crl`, false},
		{"ca01", `\\evil\CertEnroll\a.crl`, false},
		{"ca01", `\\CA01`, false},
		{"ca01", `C:\a.crl`, false},
		{"ca01", `\\.\C:\a.crl`, false},
		{"ca01", `\\?\UNC\ca01\x`, false},
		{"ca01", ``, false},
	} {
		c := &Connection{Address: Address{Scheme: DLL, Host: tt.host}}
		f, err := c.openThere(t.Context(), tt.name)
		if err == nil {
			f.Close()
			t.Errorf("%s: there is such a file?", tt.name)
			continue
		}
		if refused := strings.Contains(err.Error(), "is not on "); refused == tt.there {
			t.Errorf("%s of %s: %v", tt.name, tt.host, err)
		}
	}
}
