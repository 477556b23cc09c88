package adcs

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/smallstep/pkcs7"

	"github.com/certkeep/certkeep/adcs/regfile"
	"github.com/certkeep/certkeep/backup"
	"github.com/certkeep/certkeep/backupset"
)

func companion(c backup.Collected, name string) []byte {
	for _, x := range c.Companions {
		if x.Name == name {
			return x.Data
		}
	}
	return nil
}

func TestCollect(t *testing.T) {
	root := (*issuer)(nil).issue(t, "Example Root CA")
	policy := root.issue(t, "Example Policy CA")
	old, newest := policy.issue(t, "Example CA"), policy.issue(t, "Example CA")
	stranger := (*issuer)(nil).issue(t, "Example Root CA") // of the same name

	f := newFake(t)
	key := configurationKey + `\` + testName
	f.put(key, regfile.NewMulti("CACertHash", []string{spaced(old.cert.Raw), "-", spaced(newest.cert.Raw)}))
	f.put(key+`\PolicyModules`, regfile.NewString("Active", regfile.String, "CertificateAuthority_MicrosoftDefault.Policy"))
	f.put(configurationKey+`\`+pendingRestore, regfile.NewNumber("RestoreStatus", 1))
	f.put(key+`\RestoreInProgress`, regfile.NewNumber("not that one", 1))
	f.stores["MY"] = [][]byte{newest.cert.Raw, old.cert.Raw, []byte("no certificate")}
	f.stores["CA"] = [][]byte{stranger.cert.Raw, policy.cert.Raw}
	f.stores["ROOT"] = [][]byte{stranger.cert.Raw, root.cert.Raw}
	f.write(t, map[string]string{`C:\Windows\CAPolicy.inf`: "[Version]\r\n"})

	c, err := f.open(t, Options{}).Collect(t.Context())
	if err != nil || len(c.Skipped) > 0 {
		t.Fatalf("%v, skipped %q", err, c.Skipped)
	}
	if c.Configuration != backupset.Present || c.CAPolicy != backupset.Present || c.PrivateKey != backupset.NotAttempted || c.Templates != "" {
		t.Errorf("%q %q %q %q", c.Configuration, c.CAPolicy, c.PrivateKey, c.Templates)
	}
	var names []string
	for _, x := range c.Companions {
		names = append(names, x.Name)
	}
	if diff := cmp.Diff([]string{ConfigurationFile, "CAPolicy.inf", "Example CA.crt", "Example CA(2).crt", "Example CA.p7b"}, names); diff != "" {
		t.Error(diff)
	}
	if string(companion(c, "CAPolicy.inf")) != "[Version]\r\n" || !bytes.Equal(companion(c, "Example CA.crt"), old.cert.Raw) || !bytes.Equal(companion(c, "Example CA(2).crt"), newest.cert.Raw) {
		t.Error("the files are not what was there")
	}
	p, err := pkcs7.Parse(companion(c, "Example CA.p7b"))
	if err != nil {
		t.Fatal(err)
	}
	var chain []string
	for _, x := range p.Certificates {
		chain = append(chain, spaced(x.Raw))
	}
	if diff := cmp.Diff([]string{spaced(newest.cert.Raw), spaced(policy.cert.Raw), spaced(root.cert.Raw), spaced(old.cert.Raw)}, chain); diff != "" {
		t.Errorf("chain: %s", diff)
	}

	keys, err := regfile.Decode(companion(c, ConfigurationFile))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]regfile.Value)
	for _, k := range keys {
		got[strings.ToLower(strings.TrimPrefix(k.Path, `HKEY_LOCAL_MACHINE\`))] = k.Values
	}
	want := make(map[string][]regfile.Value)
	for k, v := range f.keys {
		if strings.HasPrefix(k, strings.ToLower(configurationKey)) && k != strings.ToLower(configurationKey+`\`+pendingRestore) {
			want[k] = v
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestCollectMissing(t *testing.T) {
	ca := (*issuer)(nil).issue(t, "Example CA")
	f := newFake(t)
	key := configurationKey + `\` + testName
	f.put(key, regfile.NewMulti("CACertHash", []string{spaced(ca.cert.Raw)}))
	f.put(key, regfile.NewNumber("line\nbreak", 1))
	f.put(key+`\locked`, regfile.NewNumber("x", 1))
	f.failed["values "+strings.ToLower(key+`\locked`)] = fs.ErrPermission
	// The fake gives subkeys in lower case.
	f.failed["values "+configurationKey+`\`+strings.ToLower(testName)+`\locked`] = fs.ErrPermission
	f.put(key+`\CSP`, regfile.NewString("Provider", regfile.String, "nCipher Security World Key Storage Provider"))
	h := f.open(t, Options{Templates: func(context.Context) ([]byte, error) { return nil, errors.New("no directory") }})
	c, err := h.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	skipped := strings.Join(c.Skipped, "\n")
	for _, want := range []string{`locked: permission`, `line\nbreak`, spaced(ca.cert.Raw)[:2], "templates.txt: no directory"} {
		if !strings.Contains(skipped, want) {
			t.Errorf("%q is not in\n%s", want, skipped)
		}
	}
	if c.Configuration != "" || companion(c, ConfigurationFile) == nil || c.CAPolicy != backupset.Absent || c.PrivateKey != backupset.InHSM || c.Templates != "" {
		t.Errorf("%q %q %q %q", c.Configuration, c.CAPolicy, c.PrivateKey, c.Templates)
	}

	for text, want := range map[string]backupset.Presence{"WebServer 1.3.6.1\n": backupset.Present, " \n": backupset.Absent} {
		h := newFake(t).open(t, Options{Templates: func(context.Context) ([]byte, error) { return []byte(text), nil }})
		if c, err := h.Collect(t.Context()); err != nil || c.Templates != want || (companion(c, "templates.txt") != nil) != (want == backupset.Present) {
			t.Errorf("templates %q: %q, %v", text, c.Templates, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Collect(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestCollectBounds(t *testing.T) {
	f := newFake(t)
	key := configurationKey
	for range maxDepth + 3 {
		key += `\k`
	}
	f.put(key, regfile.NewNumber("deep", 1))
	c, err := f.open(t, Options{}).Collect(t.Context())
	if err != nil || c.Configuration != "" || !strings.Contains(strings.Join(c.Skipped, "\n"), "too many keys") {
		t.Errorf("too deep: %q, %v", c.Skipped, err)
	}
	f = newFake(t)
	for _, name := range []string{"a", "b", "c"} {
		f.put(configurationKey, regfile.Value{Name: name, Type: regfile.Binary, Data: make([]byte, maxConfigure/3+1)})
	}
	f.write(t, map[string]string{`C:\Windows\CAPolicy.inf`: strings.Repeat("x", maxPolicy+1)})
	c, err = f.open(t, Options{}).Collect(t.Context())
	if err != nil || c.Configuration != "" || c.CAPolicy != "" || len(c.Skipped) != 2 {
		t.Errorf("too large: %q, %q, %v", c.Skipped, c.CAPolicy, err)
	}
}

func TestKeyPresence(t *testing.T) {
	for provider, want := range map[string]backupset.Presence{
		"Microsoft Software Key Storage Provider":        backupset.NotAttempted,
		"microsoft strong cryptographic provider":        backupset.NotAttempted,
		"Microsoft RSA Signature Cryptographic Provider": backupset.NotAttempted,
		"Microsoft Enhanced Cryptographic Provider v1.0": backupset.NotAttempted,
		"":                                   backupset.NotAttempted,
		"Microsoft Platform Crypto Provider": backupset.InHSM,
		"Microsoft Smart Card Key Storage Provider":         backupset.InHSM,
		"Microsoft Base Smart Card Crypto Provider":         backupset.InHSM,
		"SafeNet Key Storage Provider":                      backupset.InHSM,
		"Luna Cryptographic Services for Microsoft Windows": backupset.InHSM,
		"YubiHSM Key Storage Provider":                      backupset.InHSM,
		"nCipher Security World Key Storage Provider":       backupset.InHSM,
	} {
		f := newFake(t)
		if provider == "" {
			f.put(configurationKey+`\`+testName+`\CSP`, regfile.Value{Name: "Provider", Delete: true})
		} else {
			f.put(configurationKey+`\`+testName+`\CSP`, regfile.NewString("Provider", regfile.String, provider))
		}
		if c, err := f.open(t, Options{}).Collect(t.Context()); err != nil || c.PrivateKey != want {
			t.Errorf("%q: %q, %v", provider, c.PrivateKey, err)
		}
	}
}

// Signatures that nobody checks any more are believed where the names fit.
func TestIsIssuer(t *testing.T) {
	root, other := (*issuer)(nil).issue(t, "Root"), (*issuer)(nil).issue(t, "Root")
	leaf := root.issue(t, "Leaf").cert
	old := func(name []byte) *x509.Certificate {
		return &x509.Certificate{RawIssuer: name, SignatureAlgorithm: x509.MD5WithRSA, RawTBSCertificate: []byte("x"), Signature: []byte("y")}
	}
	anonymous := *other.cert // that says nothing of its key
	anonymous.SubjectKeyId = nil
	for name, c := range map[string]struct {
		issuer, cert *x509.Certificate
		want         bool
	}{
		"its issuer":        {root.cert, leaf, true},
		"of the same name":  {other.cert, leaf, false},
		"of another key":    {&anonymous, leaf, false},
		"itself":            {root.cert, root.cert, true},
		"a leaf":            {leaf, leaf, false},
		"old":               {root.cert, old(root.cert.RawSubject), true},
		"old, another name": {root.cert, old(leaf.RawSubject), false},
	} {
		if got := isIssuer(c.issuer, c.cert); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestCollectWithheld: a backup that is taken while the authority is withheld has
// the configuration to go back to, and not the one of the meantime.
func TestCollectWithheld(t *testing.T) {
	exported := func(t *testing.T, f *fake) (map[string]regfile.Value, string, backup.Collected) {
		t.Helper()
		c, err := f.open(t, Options{}).Collect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys, err := regfile.Decode(companion(c, ConfigurationFile))
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]regfile.Value)
		for _, k := range keys {
			for _, v := range k.Values {
				if strings.EqualFold(k.Path, `HKEY_LOCAL_MACHINE\`+configurationKey+`\`+testName) {
					got[v.Name] = v
				}
			}
		}
		return got, c.Companions[0].Source, c
	}
	f := newFake(t)
	f.failed["private"] = fs.ErrPermission // who takes backups need not be let in
	before := f.withholdable()
	if got, source, c := exported(t, f); source != `HKLM\`+configurationKey || c.Configuration != backupset.Present || !cmp.Equal(*before[crlURLs], got[crlURLs]) {
		t.Errorf("not withheld: %q, %q", source, c.Configuration)
	}
	clear(f.failed)
	h := f.open(t, Options{})
	if _, err := h.Withhold(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, source, c := exported(t, f)
	if !cmp.Equal(*before[interfaceFlags], got[interfaceFlags]) || !cmp.Equal(*before[crlURLs], got[crlURLs]) {
		t.Errorf("withheld: %v", got)
	}
	if !strings.Contains(source, interfaceFlags+", "+crlURLs+" from before") || c.Configuration != backupset.Present || len(got) != 4 {
		t.Errorf("withheld: %q, %q, %d values", source, c.Configuration, len(got))
	}

	// What somebody has set since is his.
	f.put(h.key(), regfile.NewNumber(interfaceFlags, 0x60e))
	if got, source, _ = exported(t, f); number32(t, new(got[interfaceFlags])) != 0x60e || strings.Contains(source, interfaceFlags) || !strings.Contains(source, crlURLs) {
		t.Errorf("changed: %v, %q", got[interfaceFlags], source)
	}

	// If it cannot be known, it is not called the configuration.
	f.failed["private"] = fs.ErrPermission
	if _, _, c = exported(t, f); c.Configuration != "" || !strings.Contains(strings.Join(c.Skipped, "\n"), "withheld") {
		t.Errorf("unknown: %q, %q", c.Configuration, c.Skipped)
	}

	// But nobody asks once it publishes again.
	importUndo(t, f)
	if _, _, c = exported(t, f); c.Configuration != backupset.Present {
		t.Errorf("published again: %q", c.Skipped)
	}

	// An authority that is closed as it stands has nothing to look for.
	f = newFake(t)
	f.failed["private"] = fs.ErrPermission
	f.put(h.key(), regfile.NewNumber(interfaceFlags, 0xe))
	if got, source, c := exported(t, f); number32(t, new(got[interfaceFlags])) != 0xe || source != `HKLM\`+configurationKey || c.Configuration != backupset.Present {
		t.Errorf("closed: %q, %q", source, c.Skipped)
	}

	// There was no such value, and importing it makes it so.
	f = newFake(t)
	f.put(h.key(), regfile.Value{Name: interfaceFlags, Delete: true})
	if _, err := f.open(t, Options{}).Withhold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := exported(t, f); !got[interfaceFlags].Delete {
		t.Errorf("none before: %v", got[interfaceFlags])
	}
}
