package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var testNow = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newCA makes an authority with a P-256 key, valid for ten years from testNow.
func newCA(t testing.TB, o CAOptions, ao Options) *Authority {
	t.Helper()
	if o.Name == "" {
		o.Name = "Test CA"
	}
	if o.Now.IsZero() {
		o.Now = testNow
	}
	key := newKey(t)
	cert, err := NewCACertificate(key, o)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(cert, key, ao)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newRequest(t testing.TB, dn string, names ...string) []byte {
	t.Helper()
	var subject []byte
	if dn != "" {
		var err error
		if subject, err = ParseDN(dn); err != nil {
			t.Fatal(err)
		}
	}
	der, err := NewRequest(newKey(t), subject, names)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func mustParse(t testing.TB, der []byte) *Request {
	t.Helper()
	r, err := ParseRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustSerial(t testing.TB) *big.Int {
	t.Helper()
	n, err := NewSerial()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wantReason checks that err is a RequestError of that reason whose text
// contains part.
func wantReason(t testing.TB, err error, want Reason, part string) {
	t.Helper()
	var e *RequestError
	if !errors.As(err, &e) || !errors.Is(err, ErrRequest) {
		t.Fatalf("error %v, want a RequestError (%s)", err, want)
	}
	if e.Reason != want || !strings.Contains(e.Detail, part) {
		t.Fatalf("refused with %q: %q, want %q: …%s…", e.Reason, e.Detail, want, part)
	}
}

// forged is a request put together by hand, to say what no library would.
type forged struct {
	version  int64
	subject  []byte // DER; nil is CN=forged
	spki     []byte // DER; nil is the signing key's
	attrs    func(b *cryptobyte.Builder)
	alg      []byte // DER of the signature algorithm; nil is ECDSA with SHA-256
	breakSig bool
	key      *ecdsa.PrivateKey
}

var forgeKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

func (f forged) build(t testing.TB) []byte {
	t.Helper()
	if f.key == nil {
		f.key = forgeKey()
	}
	if f.subject == nil {
		f.subject = rdn(asn1.ObjectIdentifier{2, 5, 4, 3}, cbasn1.UTF8String, "forged")
	}
	if f.spki == nil {
		var err error
		if f.spki, err = x509.MarshalPKIXPublicKey(f.key.Public()); err != nil {
			t.Fatal(err)
		}
	}
	if f.alg == nil {
		f.alg = der(t, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2})
			})
		})
	}
	tbs := der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(f.version)
			b.AddBytes(f.subject)
			b.AddBytes(f.spki)
			b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				if f.attrs != nil {
					f.attrs(b)
				}
			})
		})
	})
	h := sha256.Sum256(tbs)
	sig, err := f.key.Sign(rand.Reader, h[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	if f.breakSig {
		sig[len(sig)-1] ^= 1
	}
	return der(t, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			b.AddBytes(f.alg)
			b.AddASN1BitString(sig)
		})
	})
}

func der(t testing.TB, f func(b *cryptobyte.Builder)) []byte {
	t.Helper()
	var b cryptobyte.Builder
	f(&b)
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// rdn is a Name with one attribute.
func rdn(id asn1.ObjectIdentifier, tag cbasn1.Tag, value string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { rdnInto(b, id, tag, value) })
	return b.BytesOrPanic()
}

func rdnInto(b *cryptobyte.Builder, id asn1.ObjectIdentifier, tag cbasn1.Tag, value string) {
	b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
		})
	})
}

type ext struct {
	id    asn1.ObjectIdentifier
	value []byte
}

// extensionRequest adds an attribute with these extensions.
func extensionRequest(id asn1.ObjectIdentifier, exts ...ext) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { addExtensions(b, exts) })
		})
	}
}

func addExtensions(b *cryptobyte.Builder, exts []ext) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range exts {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(e.id)
				b.AddASN1OctetString(e.value)
			})
		}
	})
}

// generalNames encodes names by their tag numbers.
func generalNames(names ...generalName) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, n := range names {
			b.AddASN1(cbasn1.Tag(n.tag).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(n.value)) })
		}
	})
	return b.BytesOrPanic()
}

type generalName struct {
	tag   byte
	value string
}

// openssl runs the real one in dir, and skips the test where there is none.
func openssl(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustOpenssl(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := openssl(t, dir, args...)
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func writeFile(t testing.TB, dir, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}
