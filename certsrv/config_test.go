package certsrv

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

func TestConfigRoundTrip(t *testing.T) {
	dir := t.TempDir()
	c := testConfig()
	c.KeepTruncated, c.CRLURLs = Duration(36*time.Hour), []string{"http://x/y.crl"}
	if err := writeConfig(durable.OS, dir, c); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.KeepTruncated != c.KeepTruncated || got.Database != c.Database || len(got.CRLURLs) != 1 {
		t.Errorf("read %+v", got)
	}
	b, _ := os.ReadFile(filepath.Join(dir, configName))
	if !strings.Contains(string(b), `"36h0m0s"`) {
		t.Errorf("durations are not readable: %s", b)
	}
}

func TestBadConfigs(t *testing.T) {
	for what, change := range map[string]func(*Config){
		"schema":      func(c *Config) { c.Schema = 2 },
		"no name":     func(c *Config) { c.Name = "" },
		"sanitized":   func(c *Config) { c.SanitizedName = "a/b" },
		"dots":        func(c *Config) { c.SanitizedName = "" },
		"host":        func(c *Config) { c.Host = `a\b` },
		"no host":     func(c *Config) { c.Host = "" },
		"validity":    func(c *Config) { c.CertificateValidity = 0 },
		"overlap":     func(c *Config) { c.CRLOverlap = c.CRLValidity },
		"keep":        func(c *Config) { c.KeepTruncated = -1 },
		"generations": func(c *Config) { c.GenerationSize = -1 },
		"database":    func(c *Config) { c.Database = "../x.db" },
		"key":         func(c *Config) { c.Database = "private/ca.key" },
	} {
		c := testConfig()
		change(&c)
		if err := c.check(); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	dir := t.TempDir()
	for what, text := range map[string]string{"no JSON": "{", "wrong type": `{"schema":"1"}`, "bad duration": `{"crl_validity":"soon"}`} {
		if err := os.WriteFile(filepath.Join(dir, configName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(dir, Options{}); err == nil || !strings.Contains(err.Error(), configName) {
			t.Errorf("%s: %v does not name the file", what, err)
		}
	}
	empty := t.TempDir()
	if _, err := New(empty, Options{}); !errors.Is(err, ErrNoAuthority) || err.Error() != empty+": no authority here (config.json is missing)" {
		t.Errorf("an empty directory: %v", err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"schema":1,"name":"a","sanitized_name":"a","host":"h","database":"d/a.db","certificate_validity":"1h","crl_validity":"2h","crl_overlap":"1h","keep_truncated":"1h"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, configName), b, 0o600); err != nil {
			t.Skip()
		}
		c, err := ReadConfig(d)
		if err != nil {
			return
		}
		if err := writeConfig(durable.OS, d, c); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}
