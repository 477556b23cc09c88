package certadm

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestSanitizeName(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"", ""},
		{"Example Root CA-1_x.y$@~", "Example Root CA-1_x.y$@~"},
		{`Müller & Söhne "CA"`, `M!00fcller !0026 S!00f6hne !0022CA!0022`},
		{`a/b\c:d*e?f`, `a!002fb!005cc!003ad!002ae!003ff`},
		{"!", "!0021"},
		{"(1)", "!00281!0029"},
		{"tab\there", "tab!0009here"},
		{"\x00\x7f", "!0000!007f"},
		{"日本", "!65e5!672c"},
		{"😀", "!d83d!de00"},
		{"[]{}<>|^`;,+=#%'", "!005b!005d!007b!007d!003c!003e!007c!005e!0060!003b!002c!002b!003d!0023!0025!0027"},
	} {
		if got := SanitizeName(tt.name); got != tt.want {
			t.Errorf("SanitizeName(%q) = %q, want %q", tt.name, got, tt.want)
		}
		if got, err := UnsanitizeName(tt.want); got != tt.name || err != nil {
			t.Errorf("UnsanitizeName(%q) = %q, %v, want %q", tt.want, got, err, tt.name)
		}
	}
	if got := SanitizeName("a\xffb"); got != "a!fffdb" {
		t.Errorf("SanitizeName of what is not UTF-8 = %q", got)
	}
	if got, err := UnsanitizeName("M!00FCller!0041"); got != "MüllerA" || err != nil {
		t.Errorf("upper-case digits, and a needless escape: %q, %v", got, err)
	}
}

func TestUnsanitizeNameRefuses(t *testing.T) {
	for _, s := range []string{"!", "a!12", "!12g4", "a!d83d", "!d83dx", "!de00!d83d", "a/b", "Müller", "a\x00", "a\x7f", "a&b", "!+123"} {
		if got, err := UnsanitizeName(s); err == nil {
			t.Errorf("UnsanitizeName(%q) = %q", s, got)
		}
	}
}

func TestSanitizeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		s := SanitizeName(name)
		if strings.ContainsAny(s, `/\:*?"<>|&`) {
			t.Fatalf("SanitizeName(%q) = %q", name, s)
		}
		for _, c := range []byte(s) {
			if c < ' ' || c > '~' {
				t.Fatalf("SanitizeName(%q) = %q", name, s)
			}
		}
		if back, err := UnsanitizeName(s); back != name || err != nil {
			t.Fatalf("UnsanitizeName(%q) = %q, %v", s, back, err)
		}
	})
}

func FuzzUnsanitizeName(f *testing.F) {
	for _, s := range []string{"", "Test CA", "M!00fcller", "!", "!d83d!de00", "!de00", "a!12"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := UnsanitizeName(s)
		if err != nil {
			return
		}
		if !utf8.ValidString(name) {
			t.Fatalf("%q", name)
		}
		if back, err := UnsanitizeName(SanitizeName(name)); back != name || err != nil {
			t.Fatalf("%q became %q, %v", name, back, err)
		}
	})
}

func TestIsAuthorityName(t *testing.T) {
	const name = "Müller & Söhne CA"
	for _, given := range []string{name, "MÜLLER & SÖHNE ca", SanitizeName(name), strings.ToUpper(SanitizeName(name))} {
		if !IsAuthorityName(given, name) {
			t.Errorf("%q does not name %q", given, name)
		}
	}
	for _, given := range []string{"", "Muller & Sohne CA", name + " ", "Other"} {
		if IsAuthorityName(given, name) {
			t.Errorf("%q names %q", given, name)
		}
	}
}
