package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func sameKey(a, b crypto.Signer) bool {
	return a.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(b.Public())
}

func TestKeyFile(t *testing.T) {
	key := newKey(t)
	for name, pass := range map[string]string{"clear": "", "sealed": "correct horse"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ca.key")
			o := KeyFileOptions{Passphrase: []byte(pass), Cost: 1}
			if err := WriteKey(path, key, o); err != nil {
				t.Fatal(err)
			}
			fi, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
				t.Errorf("mode %v", fi.Mode())
			}
			got, err := ReadKey(path, []byte(pass))
			if err != nil || !sameKey(got, key) {
				t.Fatalf("read back: %v", err)
			}
			if err := WriteKey(path, newKey(t), o); !errors.Is(err, ErrKeyExists) {
				t.Errorf("replacing: %v", err)
			}
			if got, err := ReadKey(path, []byte(pass)); err != nil || !sameKey(got, key) {
				t.Errorf("the key was replaced: %v", err)
			}
			o.Replace = true
			other := newKey(t)
			if err := WriteKey(path, other, o); err != nil {
				t.Fatal(err)
			}
			if got, err := ReadKey(path, []byte(pass)); err != nil || !sameKey(got, other) {
				t.Errorf("the key was not replaced: %v", err)
			}
		})
	}
}

func TestKeyFilePassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.key")
	key := newKey(t)
	if err := WriteKey(path, key, KeyFileOptions{Passphrase: []byte("right"), Cost: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKey(path, []byte("wrong")); !errors.Is(err, ErrWrongPassphrase) || !strings.Contains(err.Error(), path) {
		t.Errorf("wrong: %v", err)
	}
	if _, err := ReadKey(path, nil); !errors.Is(err, ErrPassphraseNeeded) {
		t.Errorf("none: %v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	if clear, err := x509.MarshalPKCS8PrivateKey(key); err != nil || bytes.Contains(block.Bytes, clear[len(clear)-32:]) {
		t.Errorf("the key is readable in the file: %v", err)
	}
	if err := WriteKey(path+"2", key, KeyFileOptions{Passphrase: []byte("x"), Cost: -1}); err == nil {
		t.Error("negative cost accepted")
	}
}

func TestReadKeyRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ca.key")
	if err := WriteKey(path, newKey(t), KeyFileOptions{}); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		for _, mode := range []fs.FileMode{0o640, 0o604, 0o620} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			var e *InsecureFileError
			if _, err := ReadKey(path, nil); !errors.As(err, &e) || e.Mode != mode || !strings.Contains(e.Hint(), "chmod 600") {
				t.Errorf("mode %04o: %v", mode, err)
			}
		}
	}
	if _, err := ReadKey(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := ReadKey(dir, nil); err == nil {
		t.Error("a directory is no key")
	}
	if _, err := ReadKey(writeFile(t, dir, "big", make([]byte, maxKeyFile+1)), nil); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("big: %v", err)
	}

	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	xder, err := x509.MarshalPKCS8PrivateKey(x)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"empty":       nil,
		"no PEM":      []byte("hello"),
		"PKCS#1":      pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte{1}}),
		"garbage":     pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: []byte{1}}),
		"cannot sign": pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: xder}),
		"two blocks":  bytes.Repeat(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: xder}), 2),
	} {
		if _, err := decodeKey(text, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// sealedHead makes an EncryptedPrivateKeyInfo with these parameters.
func sealedHead(t testing.TB, kdf asn1.ObjectIdentifier, params any, cipher asn1.ObjectIdentifier, iv, data []byte) []byte {
	t.Helper()
	m := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	raw := func(v any) asn1.RawValue { return asn1.RawValue{FullBytes: m(v)} }
	alg := func(id asn1.ObjectIdentifier, p asn1.RawValue) pkix.AlgorithmIdentifier {
		return pkix.AlgorithmIdentifier{Algorithm: id, Parameters: p}
	}
	type pbes2 struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	type info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	return m(info{alg(oidPBES2, raw(pbes2{alg(kdf, raw(params)), alg(cipher, raw(iv))})), data})
}

type scryptParams struct {
	Salt    []byte
	N, R, P int
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

func TestSealedParametersAreBounded(t *testing.T) {
	salt, iv, data := make([]byte, 16), make([]byte, 16), make([]byte, 160)
	ok := scryptParams{salt, 16, 1, 1}
	if err := checkSealed(sealedHead(t, oidScrypt, ok, oidAES256, iv, data)); err != nil {
		t.Fatalf("the harmless one: %v", err)
	}
	sha512 := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}}
	for name, der := range map[string][]byte{
		"N huge":         sealedHead(t, oidScrypt, scryptParams{salt, 1 << 40, 8, 1}, oidAES256, iv, data),
		"N r too much":   sealedHead(t, oidScrypt, scryptParams{salt, 1 << 17, 8, 1}, oidAES256, iv, data),
		"r huge":         sealedHead(t, oidScrypt, scryptParams{salt, 16, 1 << 50, 1}, oidAES256, iv, data),
		"p huge":         sealedHead(t, oidScrypt, scryptParams{salt, 16, 1, 65}, oidAES256, iv, data),
		"N odd":          sealedHead(t, oidScrypt, scryptParams{salt, 15, 1, 1}, oidAES256, iv, data),
		"negative":       sealedHead(t, oidScrypt, scryptParams{salt, -16, -1, -1}, oidAES256, iv, data),
		"iterations":     sealedHead(t, oidPBKDF2, pbkdf2Params{Salt: salt, Iterations: 1 << 40}, oidAES256, iv, data),
		"no iteration":   sealedHead(t, oidPBKDF2, pbkdf2Params{Salt: salt}, oidAES256, iv, data),
		"key length":     sealedHead(t, oidPBKDF2, pbkdf2Params{Salt: salt, Iterations: 1, KeyLength: 32}, oidAES256, iv, data),
		"PRF":            sealedHead(t, oidPBKDF2, pbkdf2Params{Salt: salt, Iterations: 1, PRF: sha512}, oidAES256, iv, data),
		"KDF":            sealedHead(t, oidPBES2, ok, oidAES256, iv, data),
		"cipher":         sealedHead(t, oidScrypt, ok, asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}, iv, data),
		"short IV":       sealedHead(t, oidScrypt, ok, oidAES256, iv[:15], data),
		"cut data":       sealedHead(t, oidScrypt, ok, oidAES256, iv, data[:17]),
		"no data":        sealedHead(t, oidScrypt, ok, oidAES256, iv, nil),
		"no scrypt":      sealedHead(t, oidScrypt, 7, oidAES256, iv, data),
		"no PBKDF2":      sealedHead(t, oidPBKDF2, 7, oidAES256, iv, data),
		"trailing":       append(sealedHead(t, oidScrypt, ok, oidAES256, iv, data), 0),
		"not even ASN.1": []byte("x"),
	} {
		if err := checkSealed(der); err == nil {
			t.Errorf("%s: accepted", name)
		}
		_, err := decodeKey(pem.EncodeToMemory(&pem.Block{Type: pemSealed, Bytes: der}), []byte("x"))
		if err == nil || errors.Is(err, ErrWrongPassphrase) {
			t.Errorf("%s: decodeKey: %v", name, err)
		}
	}
	_, err := decodeKey(pem.EncodeToMemory(&pem.Block{Type: pemSealed, Bytes: sealedHead(t, oidScrypt, ok, oidAES256, iv, data)}), []byte("x"))
	if !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("the harmless one: %v", err)
	}
}

// FuzzKeyFile looks for panics and for work without bound.
func FuzzKeyFile(f *testing.F) {
	key := newKey(f)
	for _, pass := range []string{"", "x"} {
		text, err := encodeKey(key, KeyFileOptions{Passphrase: []byte(pass), Cost: 1})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: pemSealed, Bytes: sealedHead(f, oidScrypt, scryptParams{nil, 16, 1, 1}, oidAES128, make([]byte, 16), make([]byte, 16))}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: pemSealed, Bytes: sealedHead(f, oidPBKDF2, pbkdf2Params{Iterations: 1}, oidAES192, make([]byte, 16), make([]byte, 16))}))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := decodeKey(text, []byte("x"))
		if (k == nil) == (err == nil) {
			t.Errorf("%v, %v", k, err)
		}
	})
}
