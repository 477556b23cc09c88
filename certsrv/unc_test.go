package certsrv

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/certkeep/certkeep/certadm"
)

func testConfig() Config {
	return Config{
		Schema: 1, Name: "Example CA", SanitizedName: "Example CA", Host: "CA1",
		Database: "database/Example CA.db", CertificateValidity: 1, CRLValidity: 2, CRLOverlap: 1,
	}
}

func TestUNCNames(t *testing.T) {
	c := testConfig()
	for unc, want := range map[string]string{
		`\\CA1\Example CA$\database\Example CA.db`: "database/Example CA.db",
		`\\ca1\EXAMPLE ca$\log\log0001a.log`:       "log/log0001a.log",
		`\\ca1.example.org\Example CA$\system`:     "system",
	} {
		got, err := c.relativeName(unc)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", unc, got, err, want)
		}
	}
	if got := c.uncName("log/log00001.log"); got != `\\CA1\Example CA$\log\log00001.log` {
		t.Errorf("uncName: %s", got)
	}
	share := `\\CA1\Example CA$\`
	for _, unc := range []string{
		"", `\`, `\\`, `\\CA1`, `\\CA1\Example CA$`, share, share + `.`, share + `..\x`, share + `a\..\..\x`, share + `a\\b`,
		share + `a/b`, share + `a:b`, share + "a\x00b", share + `a*`, share + `a `, share + `a.`,
		`\\CA2\Example CA$\log`, `\\CA1\C$\log`, `\\CA1\Example CA\log`, `C:\log`, `/log`, `\\\Example CA$\log`,
		share + strings.Repeat(`a\`, 40) + "a", share + strings.Repeat("a", 256), share + strings.Repeat("a", 5000),
	} {
		if got, err := c.relativeName(unc); err == nil {
			t.Errorf("%.60s is taken for %s", unc, got)
		} else if code := certadm.CodeOf(err); code != certadm.HrInvalidPath {
			t.Errorf("%.60s: code %v", unc, code)
		}
	}
	c.Host = "ca1.example.org"
	for host, want := range map[string]bool{
		"ca1": true, "CA1.EXAMPLE.ORG": true, "ca1.example.com": false, "ca": false, "": false, ".example.org": false,
	} {
		if got := sameHost(host, c.Host); got != want {
			t.Errorf("host %q is %q: %v", host, c.Host, got)
		}
	}
}

func FuzzUNC(f *testing.F) {
	f.Add(`\\CA1\Example CA$\database\Example CA.db`)
	f.Add(`\\CA1\Example CA$\..\x`)
	c := testConfig()
	f.Fuzz(func(t *testing.T, unc string) {
		name, err := c.relativeName(unc)
		if err != nil {
			return
		}
		if !filepath.IsLocal(filepath.FromSlash(name)) || strings.Contains(name, `\`) {
			t.Fatalf("%q became %q", unc, name)
		}
		if again, err := c.relativeName(c.uncName(name)); err != nil || again != name {
			t.Fatalf("%q became %q, and that %q, %v", unc, name, again, err)
		}
	})
}

func TestDatabasePlaces(t *testing.T) {
	for _, ok := range []string{"database/a.db", "other/deep/b.DB"} {
		if err := checkDatabaseName(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	// Whoever may register a restore must not reach keys, accounts or records.
	for _, bad := range []string{
		"a.db", "private/ca.db", "PRIVATE/ca.db", "system/x.db", "published/x.db", "log/x.db", "aside/x.db", "database/.db",
		"database/ca.key", "database", "", "../x.db", "database/../private/x.db", "/etc/x.db", "accounts.json/x.db", "audit.log/x.db",
	} {
		if err := checkDatabaseName(bad); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
