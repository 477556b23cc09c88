package connect

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Address
	}{
		{"ca:pki", Address{Scheme: CA, Dir: "pki"}},
		{"ca:/srv/my pki", Address{Scheme: CA, Dir: "/srv/my pki"}},
		{`ca:C:\pki`, Address{Scheme: CA, Dir: `C:\pki`}},
		{"CA:pki", Address{Scheme: CA, Dir: "pki"}},
		{"local:", Address{Scheme: Local}},
		{"dll://srv01", Address{Scheme: DLL, Host: "srv01"}},
		{"adcs://srv01", Address{Scheme: ADCS, Host: "srv01", Port: 135}},
		{"adcs://bob@srv01:8135/Test CA 1", Address{Scheme: ADCS, User: "bob", Host: "srv01", Port: 8135, Name: "Test CA 1"}},
		{"adcs://srv01/Test%20CA%201", Address{Scheme: ADCS, Host: "srv01", Port: 135, Name: "Test CA 1"}},
		{"adcs://srv01/100% safe", Address{Scheme: ADCS, Host: "srv01", Port: 135, Name: "100% safe"}},
		{"adcs://srv01/a/b@c", Address{Scheme: ADCS, Host: "srv01", Port: 135, Name: "a/b@c"}},
		{`adcs://CORP\bob@srv01`, Address{Scheme: ADCS, User: `CORP\bob`, Host: "srv01", Port: 135}},
		{"adcs://bob@corp.example@srv01", Address{Scheme: ADCS, User: "bob@corp.example", Host: "srv01", Port: 135}},
		{"adcs://[::1]:8135", Address{Scheme: ADCS, Host: "::1", Port: 8135}},
		{"adcs://[fe80::1]", Address{Scheme: ADCS, Host: "fe80::1", Port: 135}},
	} {
		got, err := Parse(tt.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.in, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Parse(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "none of the forms",
		"pki":                      "none of the forms",
		"ca:":                      "directory is missing",
		"local:x":                  "nothing may follow",
		"dll:srv":                  "dll://HOST",
		"dll://":                   "dll://HOST",
		"dll://a b":                "no host name",
		"http://x":                 `no scheme "http"`,
		"adcs:srv":                 "the form is adcs://",
		"adcs://":                  "host is missing",
		"adcs://@srv":              "user's name",
		"adcs://bob:pw@srv":        "password has no place",
		"adcs://srv:0":             "no port",
		"adcs://srv:65536":         "no port",
		"adcs://srv:":              "port after : is missing",
		"adcs://::1":               "brackets",
		"adcs://[::1":              "not closed",
		"adcs://[::1]x":            "follows the IPv6",
		"adcs://s\\x":              "no host name",
		"ca:a\nb":                  "control character",
		strings.Repeat("a", 5000):  "longer than",
		"adcs://[::1]:":            "follows the IPv6",
		"adcs://srv/a%0Ab":         "escaped control",
		"adcs://srv:-1":            "no port",
		"adcs://srv:+135":          "no port",
		"adcs://srv name/Test CA1": "no host name",
	} {
		if a, err := Parse(in); err == nil {
			t.Errorf("Parse(%.40q) = %+v, want an error", in, a)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%.40q): %v; want it to say %q", in, err, want)
		}
	}
}

// No error of Parse has a password in it, however the address was mistaken.
func TestParseHidesPasswords(t *testing.T) {
	const secret = "hunter2"
	for in, want := range map[string]string{
		"adcs://bob:hunter2@srv":          `"adcs://…@srv"`,
		"adcs://bob:p@hunter2@srv:135/CA": `"adcs://…@srv:135/CA"`,
		"adcs://bob:x/hunter2@srv":        `"adcs://…@srv"`, // the authority ends at the slash
		"adcs://bob:hunter2/x@srv":        `"adcs://…@srv"`,
		"adcs://[::1]hunter2:/x@srv":      `"adcs://…@srv"`,
		"adcs://bob:hunter2@srv\n":        `"adcs://…@srv\n"`,
		"adcs:bob:hunter2@srv":            `"…@srv"`,
		"dll://bob:hunter2@srv":           `"dll://…@srv"`,
		"dll://bob:x/hunter2@srv":         `"dll://…@srv"`,
		"http://bob:hunter2@srv/":         `"http://…@srv/"`,
		"bob:hunter2@srv":                 `"…@srv"`,
		`CORP\bob:hunter2@srv`:            `"…@srv"`,
	} {
		_, err := Parse(in)
		if err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v; want it to have %s", in, err, want)
		}
	}
}

// What can be no password stays.
func TestShown(t *testing.T) {
	for _, s := range []string{"", "CA1", `\\CA1\Certs @ Home`, "adcs://srv/CA @ Home", "ca:/srv/a:b@c", "CA:/srv//a@b", "local:", "[::1]:8135", "adcs://srv:135/CA"} {
		if got := Shown(s); got != s {
			t.Errorf("%q is shown as %q", s, got)
		}
	}
}

// FuzzParse: what Parse accepts, String writes so that Parse reads the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"ca:pki", "local:", "dll://h", "adcs://u@h:1/CA %41", "adcs://[::1]:135/x", "adcs://h/100%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		b, err := Parse(a.String())
		if len(a.String()) > maxAddress {
			return // escapes that outgrow the bound
		}
		if err != nil || a != b {
			t.Fatalf("%q → %+v → %q → %+v, %v", s, a, a.String(), b, err)
		}
	})
}
