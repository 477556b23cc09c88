package cakey

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// golden are files of openssl 3.0.19, of a key of no use.
var golden = map[string]string{
	"openssl.pfx":        "AES-256, PBKDF2 with SHA-256, 2048 rounds",
	"openssl-aes128.pfx": "AES-128, PBKDF2 with SHA-256, 5000 rounds",
	"openssl-3des.pfx":   "three-key triple DES, PKCS #12 with SHA-1, 2048 rounds",
	"openssl-open.pfx":   "", // not encrypted
}

func TestProtection(t *testing.T) {
	for name, want := range golden {
		p, err := readProtection(readGolden(t, name))
		switch {
		case want == "":
			if !errors.Is(err, errOpenKey) {
				t.Errorf("%s: %v, %v", name, p, err)
			}
		case err != nil || p.String() != want || p.weak != (name == "openssl-3des.pfx"):
			t.Errorf("%s: %v, weak: %v, %v; want %s", name, p, p.weak, err, want)
		}
	}
}

func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzProtection reads PFX files of any content.
func FuzzProtection(f *testing.F) {
	for name := range golden {
		f.Add(readGolden(f, name))
	}
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := readProtection(b); err == nil && (p.cipher == "" || p.derivation == "") {
			t.Errorf("%+v", p)
		}
	})
}
