package kerberos

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestConfigIncludes: what a krb5.conf includes counts as if it stood there.
func TestConfigIncludes(t *testing.T) {
	dir, parts := t.TempDir(), t.TempDir()
	one := writeFile(t, dir, "one", "[libdefaults]\n default_realm = ONE.TEST\n")
	writeFile(t, parts, "two.conf", "[realms]\n TWO.TEST = {\n  kdc = kdc.two.test:88\n }\n")
	writeFile(t, parts, "three", "[realms]\n THREE.TEST = {\n  kdc = tcp/kdc.three.test:750\n  kdc = https://proxy.three.test/KdcProxy\n }\n")
	writeFile(t, parts, ".hidden.conf", "[realms]\n HIDDEN.TEST = {\n  kdc = hidden.test:88\n }\n")
	writeFile(t, parts, "backup.conf~", "[realms]\n OLD.TEST = {\n  kdc = old.test:88\n }\n")
	c, err := loadConfig(writeFile(t, dir, "krb5.conf", "include "+one+"\nincludedir "+parts+"\nincludedir "+filepath.Join(dir, "absent")+
		"\n[domain_realm]\n .two.test = TWO.TEST\n Host.Three.test = THREE.TEST\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.defaultRealm != "ONE.TEST" || len(c.kdcs) != 2 {
		t.Errorf("realm %q, KDCs %v", c.defaultRealm, c.kdcs)
	}
	if t.Failed() {
		return // no questions to DNS
	}
	for realm, want := range map[string]string{"TWO.TEST": "kdc.two.test:88", "THREE.TEST": "kdc.three.test:750"} {
		if got, err := c.addresses(t.Context(), realm); err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %v, %v", realm, got, err)
		}
	}
	for host, want := range map[string]string{"CA.Two.TEST": "TWO.TEST", "two.test": "", "elsewhere": ""} {
		if got := c.realmOf(host); got != want {
			t.Errorf("%s is in %q", host, got)
		}
	}
	if !slices.Equal(c.etypes, defaultEtypes) {
		t.Errorf("types %v", c.etypes)
	}
}

// TestBrokenConfigs: each is an error of the file's, and none a panic.
func TestBrokenConfigs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"includes itself":    "include " + filepath.Join(dir, "includes itself") + "\n",
		"includes none":      "include " + filepath.Join(dir, "absent") + "\n",
		"too long":           strings.Repeat("# a comment\n", maxConfig/12+1),
		"a panic of gokrb5":  "[realms]\n A = {}\n",
		"closed, not opened": "[realms]\n}\n",
		"no type is left":    "[libdefaults]\n default_tgs_enctypes = rc4-hmac des-cbc-md5\n",
	} {
		_, err := loadConfig(writeFile(t, dir, name, text))
		var e *Error
		if !errors.As(err, &e) || e.Op != "krb5.conf" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty":                    "",
		"of Kerberos 4, too":       "[libdefaults]\n default_realm = A\n[realms]\n A = {\n  v4_instance_convert = {\n   x = y\n  }\n }\n",
		"one of its types is good": "[libdefaults]\n default_tgs_enctypes = rc4-hmac aes128-cts-hmac-sha1-96\n",
	} {
		if c, err := loadConfig(writeFile(t, dir, name, text)); err != nil || len(c.etypes) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConfigPlaces: KRB5_CONFIG names it, and then it must be there.
func TestConfigPlaces(t *testing.T) {
	dir := t.TempDir()
	there := writeFile(t, dir, "krb5.conf", "[libdefaults]\n default_realm = THERE.TEST\n")
	t.Setenv("KRB5_CONFIG", there+string(os.PathListSeparator)+"/absent")
	if c, err := loadConfig(""); err != nil || c.defaultRealm != "THERE.TEST" {
		t.Errorf("%v", err)
	}
	t.Setenv("KRB5_CONFIG", filepath.Join(dir, "absent"))
	var e *Error
	if _, err := loadConfig(""); !errors.As(err, &e) || !strings.Contains(e.Hint(), "KRB5_CONFIG") {
		t.Errorf("%v", err)
	}
	for name, want := range map[string]string{"FILE:/tmp/x": "/tmp/x", "/tmp/x": "/tmp/x", "C:/x": "C:/x", "KEYRING:persistent:0": "", "DIR:/tmp": ""} {
		t.Setenv("KRB5CCNAME", name)
		if got, err := DefaultCache(); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestGuard: a decoder's panic and its words stay inside.
func TestGuard(t *testing.T) {
	for _, decode := range []func() error{
		func() error { var b []byte; _ = b[len(b)]; return nil },
		func() error { return errors.New("secret") },
	} {
		if err := guard("x", decode); err == nil || err.Error() != "x is malformed" {
			t.Errorf("%v", err)
		}
	}
	if err := guard("x", func() error { return nil }); err != nil {
		t.Error(err)
	}
}
