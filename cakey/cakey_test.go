package cakey

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/certkeep/certkeep/internal/need"
)

// fixed is a source of a PFX that is already there.
type fixed struct{ PFX }

func (f *fixed) asSource() Source { return sourceFunc(func() (*PFX, error) { return &f.PFX, nil }) }

type sourceFunc func() (*PFX, error)

func (f sourceFunc) PFX(context.Context, []byte) (*PFX, error) { return f() }

func TestExport(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey(t), "ECDSA": ecKey(t), "Ed25519": edKey(t)} {
		t.Run(name, func(t *testing.T) {
			chain := chainOf(t, key)
			file := filepath.Join(tempDir(t), "ca.pfx")
			r, err := Export(t.Context(), InMemory(key, chain...), ExportOptions{File: file, Password: password})
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil || int64(len(b)) != r.Size || !bytes.Equal(r.Certificate, chain[0].Raw) {
				t.Fatalf("%+v; %d bytes, %v", r, len(b), err)
			}
			if r.Unchecked != nil || r.Weak || r.Protection != "AES-256, PBKDF2 with SHA-256, 100000 rounds" {
				t.Errorf("%+v", r)
			}
			got, cert, above, err := pkcs12.DecodeChain(b, string(password))
			if err != nil || !cert.Equal(chain[0]) || len(above) != 1 || !above[0].Equal(chain[1]) ||
				!got.(interface{ Equal(crypto.PrivateKey) bool }).Equal(key) {
				t.Errorf("read back: %v, %v, %v", cert, above, err)
			}
			fi, err := os.Stat(file)
			if err != nil || runtime.GOOS != "windows" && fi.Mode() != 0o600 {
				t.Errorf("mode %v, %v", fi.Mode(), err)
			}
			if es, err := os.ReadDir(filepath.Dir(file)); err != nil || len(es) != 1 {
				t.Errorf("left behind: %v, %v", es, err)
			}
		})
	}
}

// TestOpenSSL has another program open the file.
func TestOpenSSL(t *testing.T) {
	openssl := need.Program(t, "openssl")
	key := rsaKey(t)
	dir := tempDir(t)
	file, secret := filepath.Join(dir, "ca.pfx"), filepath.Join(dir, "secret")
	ascii := []byte("correct horse battery")
	if err := os.WriteFile(secret, ascii, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), InMemory(key, chainOf(t, key)...), ExportOptions{File: file, Password: ascii}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), openssl, "pkcs12", "-in", file, "-passin", "file:"+secret, "-info", "-nodes").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	if !strings.Contains(text, "AES-256-CBC") || !strings.Contains(text, "hmacWithSHA256") || strings.Count(text, "BEGIN CERTIFICATE") != 2 {
		t.Errorf("openssl says:\n%s", text)
	}
	if !strings.Contains(strings.ReplaceAll(text, "\n", ""), base64Of(der)) {
		t.Error("openssl finds another key")
	}
}

// TestRefusedContent: what is wrong in a PFX is an error, and leaves no file.
func TestRefusedContent(t *testing.T) {
	key, other := ecKey(t), ecKey(t)
	chain, otherChain := chainOf(t, key), chainOf(t, other)
	good, err := InMemory(key, chain...).PFX(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := InMemory(other, otherChain...).PFX(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	lacking, err := pkcs12.Modern2023.Encode(key, otherChain[0], nil, string(password))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pkcs12.Modern2023.EncodeTrustStore(chain, string(password))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := pkcs12.Passwordless.Encode(key, chain[0], nil, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"another password", mustPFX(t, InMemory(key, chain...), []byte("another password")), "does not open"},
		{"another key", foreign.Data, "another key"},
		{"without the certificate", lacking, "lacks the certificate"},
		{"without the key", trust, "cannot be read back"},
		{"cut short", good.Data[:len(good.Data)-9], "cannot be read back"},
		{"empty", nil, "cannot be read back"},
		{"unencrypted", plain, "without encryption"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tempDir(t)
			src := (&fixed{PFX{Data: c.data, Certificate: chain[0].Raw}}).asSource()
			_, err := Export(t.Context(), src, ExportOptions{File: filepath.Join(dir, "ca.pfx"), Password: password})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			empty(t, dir)
		})
	}
}

func mustPFX(t *testing.T, src Source, password []byte) []byte {
	t.Helper()
	p, err := src.PFX(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	return p.Data
}

// TestWeak: an old method is told, and what cannot be checked too.
func TestWeak(t *testing.T) {
	key := rsaKey(t)
	chain := chainOf(t, key)
	old, err := pkcs12.LegacyDES.Encode(key, chain[0], nil, string(password))
	if err != nil {
		t.Fatal(err)
	}
	src := (&fixed{PFX{Data: old, Certificate: chain[0].Raw}}).asSource()
	r, err := Export(t.Context(), src, ExportOptions{File: filepath.Join(tempDir(t), "ca.pfx"), Password: password})
	if err != nil || !r.Weak || r.Unchecked != nil || r.Protection != "three-key triple DES, PKCS #12 with SHA-1, 2048 rounds" {
		t.Errorf("%+v, %v", r, err)
	}
	src = (&fixed{PFX{Data: old, Certificate: []byte("no certificate that Go can read")}}).asSource()
	r, err = Export(t.Context(), src, ExportOptions{File: filepath.Join(tempDir(t), "ca.pfx"), Password: password})
	if err != nil || r.Unchecked == nil {
		t.Errorf("%+v, %v; want unchecked", r, err)
	}
}

func TestRefusedSource(t *testing.T) {
	key := ecKey(t)
	for name, src := range map[string]Source{
		"no certificate":       InMemory(key),
		"another's":            InMemory(key, chainOf(t, ecKey(t))...),
		"one that fails":       sourceFunc(func() (*PFX, error) { return nil, errors.New("broken") }),
		"of another algorithm": InMemory(key, chainOf(t, rsaKey(t))...),
	} {
		dir := tempDir(t)
		if r, err := Export(t.Context(), src, ExportOptions{File: filepath.Join(dir, "ca.pfx"), Password: password}); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
		empty(t, dir)
	}
}

func TestInterrupted(t *testing.T) {
	key := ecKey(t)
	chain := chainOf(t, key)
	good := mustPFX(t, InMemory(key, chain...), password)
	ctx, cancel := context.WithCancel(t.Context())
	src := sourceFunc(func() (*PFX, error) { cancel(); return &PFX{good, chain[0].Raw}, nil })
	dir := tempDir(t)
	if _, err := Export(ctx, src, ExportOptions{File: filepath.Join(dir, "ca.pfx"), Password: password}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	empty(t, dir)
	asked := false
	src = func() (*PFX, error) { asked = true; return nil, errors.New("asked") }
	if _, err := Export(ctx, src, ExportOptions{File: filepath.Join(dir, "ca.pfx"), Password: password}); !errors.Is(err, context.Canceled) || asked {
		t.Errorf("%v, asked: %v", err, asked)
	}
}

func TestPassword(t *testing.T) {
	for _, c := range []struct {
		password string
		want     string // "" for a good one
	}{
		{"", "0 characters"},
		{"elevenchars", "11 characters"},
		{"twelve chars", ""},
		{"zwölf Zeichn", ""},
		{"öäüöäüöäüö", "10 characters"}, // 20 bytes
		{"with a \x00 in it", "control"},
		{"with a\nline end", "control"},
		{"aaaaaaaaaaaaaa", "repeated"},
		{"not utf-8 \xff\xfe", "UTF-8"},
		{"with a face 😀", "65,536"},
	} {
		err := CheckPassword([]byte(c.password))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%q: %v", c.password, err)
		case c.want != "" && (!errors.Is(err, ErrPassword) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%q: %v; want %q", c.password, err, c.want)
		case err != nil && c.password != "" && strings.Contains(err.Error(), c.password):
			t.Errorf("the error shows the password: %v", err)
		}
	}
	dir := tempDir(t)
	asked := sourceFunc(func() (*PFX, error) { t.Error("asked for the key"); return nil, fs.ErrInvalid })
	if _, err := Export(t.Context(), asked, ExportOptions{File: filepath.Join(dir, "ca.pfx"), Password: []byte("short")}); !errors.Is(err, ErrPassword) {
		t.Errorf("%v", err)
	}
	u := utf16z(password)
	if want := []uint16{'Z', 'e', 'b', 'r', 'a', 'f', 'i', 'n', 'k', '-', 0xe4, 0xf6, 0xfc, '-', '4', '2', 0}; string16(u) != string16(want) {
		t.Errorf("%v; want %v", u, want)
	}
}

func string16(u []uint16) string {
	var r []rune
	for _, c := range u {
		r = append(r, rune(c))
	}
	return string(r)
}
