package authority

import (
	"bytes"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOpenSSL lets the real openssl make requests of every kind of key, and
// judge the certificates, the chain and the CRL.
func TestOpenSSL(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	a := newCA(t, CAOptions{Now: now}, Options{CRLDistributionPoints: []string{"http://127.0.0.1/x.crl"}})
	writeFile(t, dir, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}))
	var revoke []Revoked
	n := 0
	for name, args := range map[string][]string{
		"RSA 2048":  {"-newkey", "rsa:2048"},
		"RSA PSS":   {"-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"},
		"P-256":     {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"P-384":     {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384"},
		"P-521":     {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-sha512"},
		"Ed25519":   {"-newkey", "ed25519"},
		"usages":    {"-newkey", "ed25519", "-addext", "keyUsage=critical,digitalSignature", "-addext", "basicConstraints=critical,CA:FALSE"},
		"all names": {"-newkey", "ed25519", "-addext", "subjectAltName=DNS:a.example,IP:10.0.0.1,IP:fe80::1,email:a@b.example,URI:https://x.example/y"},
	} {
		n++
		file := "c" + big.NewInt(int64(n)).String()
		t.Run(name, func(t *testing.T) {
			common := []string{"req", "-new", "-nodes", "-keyout", file + ".key", "-out", file + ".csr", "-subj", "/C=DE/O=Example/CN=" + file + ".example"}
			if !strings.Contains(strings.Join(args, " "), "subjectAltName") {
				common = append(common, "-addext", "subjectAltName=DNS:"+file+".example")
			}
			mustOpenssl(t, dir, append(common, args...)...)
			text, err := os.ReadFile(filepath.Join(dir, file+".csr"))
			if err != nil {
				t.Fatal(err)
			}
			der, cert, err := a.Issue(Template{Now: now}, mustParse(t, text), mustSerial(t))
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, dir, file+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
			mustOpenssl(t, dir, "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.pem", file+".pem")
			if csr, crt := mustOpenssl(t, dir, "req", "-in", file+".csr", "-noout", "-pubkey"), mustOpenssl(t, dir, "x509", "-in", file+".pem", "-noout", "-pubkey"); csr != crt {
				t.Error("openssl sees another key")
			}
			if s := mustOpenssl(t, dir, "x509", "-in", file+".pem", "-noout", "-subject", "-nameopt", "RFC2253"); !strings.Contains(s, "CN="+file+".example,O=Example,C=DE") {
				t.Errorf("openssl sees %s", s)
			}
			revoke = append(revoke, Revoked{Serial: cert.SerialNumber, Time: now, Reason: 1})
			if name == "all names" {
				s := mustOpenssl(t, dir, "x509", "-in", file+".pem", "-noout", "-ext", "subjectAltName")
				for _, want := range []string{"DNS:a.example", "IP Address:10.0.0.1", "IP Address:FE80:0:0:0:0:0:0:1", "email:a@b.example", "URI:https://x.example/y"} {
					if !strings.Contains(s, want) {
						t.Errorf("%s is missing: %s", want, s)
					}
				}
			}
		})
	}
	if t.Failed() || len(revoke) < 2 {
		return
	}

	// All but the last are revoked, one is on hold.
	revoke[0].Reason = 6
	last := revoke[len(revoke)-1]
	crl, err := a.BuildCRL(revoke[:len(revoke)-1], big.NewInt(5), now.Add(-time.Minute), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "ca.crl", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: crl}))
	s := mustOpenssl(t, dir, "crl", "-in", "ca.crl", "-CAfile", "ca.pem", "-noout", "-crlnumber", "-text")
	for _, want := range []string{"verify OK", "crlNumber=0x05", "Certificate Hold", "Key Compromise", "X509v3 Authority Key Identifier"} {
		if !strings.Contains(s, want) {
			t.Errorf("%s is missing from: %s", want, s)
		}
	}
	for i := 1; i <= n; i++ {
		file := "c" + big.NewInt(int64(i)).String() + ".pem"
		out, err := openssl(t, dir, "verify", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "ca.crl", file)
		serial := mustOpenssl(t, dir, "x509", "-in", file, "-noout", "-serial")
		got, ok := new(big.Int).SetString(strings.TrimSpace(strings.TrimPrefix(serial, "serial=")), 16)
		if !ok {
			t.Fatalf("serial %q", serial)
		}
		if want := got.Cmp(last.Serial) == 0; (err == nil) != want || !want && !strings.Contains(out, "revoked") {
			t.Errorf("%s: verified %v, want %v: %s", file, err == nil, want, out)
		}
	}
}

// TestOpenSSLWeak makes requests that must be refused, with the real openssl.
func TestOpenSSLWeak(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		reason Reason
	}{
		"RSA 1024":  {[]string{"-newkey", "rsa:1024"}, ReasonKey},
		"e=3":       {[]string{"-newkey", "rsa:2048", "-pkeyopt", "rsa_keygen_pubexp:3"}, ReasonKey},
		"P-224":     {[]string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp224r1"}, ReasonKey},
		"secp256k1": {[]string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"}, ReasonKey},
		"Ed448":     {[]string{"-newkey", "ed448"}, ReasonKey},
		"RSA-PSS":   {[]string{"-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"}, ReasonKey},
		"SHA-1":     {[]string{"-newkey", "rsa:2048", "-sha1"}, ReasonAlgorithm},
		"CA":        {[]string{"-newkey", "ed25519", "-addext", "basicConstraints=critical,CA:TRUE"}, ReasonCA},
		"UPN":       {[]string{"-newkey", "ed25519", "-addext", "subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3;UTF8:a@b"}, ReasonAltName},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustOpenssl(t, dir, append([]string{"req", "-new", "-nodes", "-keyout", "k", "-out", "csr", "-subj", "/CN=x"}, c.args...)...)
			text, err := os.ReadFile(filepath.Join(dir, "csr"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseRequest(text)
			wantReason(t, err, c.reason, "")
		})
	}
}

// TestOpenSSLKeyFiles exchanges keys in both directions.
func TestOpenSSLKeyFiles(t *testing.T) {
	dir := t.TempDir()
	key := newKey(t)
	path := filepath.Join(dir, "ours.key")
	if err := WriteKey(path, key, KeyFileOptions{Passphrase: []byte("secret")}); err != nil {
		t.Fatal(err)
	}
	pub := mustOpenssl(t, dir, "pkey", "-in", "ours.key", "-passin", "pass:secret", "-pubout")
	block, _ := pem.Decode([]byte(pub))
	if block == nil || !bytes.Equal(block.Bytes, spkiOf(t, key.Public())) {
		t.Fatalf("openssl says %s", pub)
	}
	if _, err := openssl(t, dir, "pkey", "-in", "ours.key", "-passin", "pass:wrong", "-pubout"); err == nil {
		t.Error("openssl opens it with any passphrase")
	}
	clear := filepath.Join(dir, "clear.key")
	if err := WriteKey(clear, key, KeyFileOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"PBKDF2": {"-v2", "aes-256-cbc", "-iter", "20000"},
		"AES128": {"-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA256"},
		"scrypt": {"-scrypt", "-scrypt_N", "1024", "-scrypt_r", "8", "-scrypt_p", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			theirs := filepath.Join(dir, name)
			mustOpenssl(t, dir, append([]string{"pkcs8", "-topk8", "-in", clear, "-out", theirs, "-passout", "pass:other"}, args...)...)
			if err := os.Chmod(theirs, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := ReadKey(theirs, []byte("other"))
			if err != nil || !sameKey(got, key) {
				t.Errorf("read: %v", err)
			}
		})
	}
}
