package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// KeyAlgorithm is a kind of CA key.
type KeyAlgorithm string

// The kinds of CA key.
const (
	RSA3072   KeyAlgorithm = "rsa3072"
	RSA4096   KeyAlgorithm = "rsa4096"
	ECDSAP256 KeyAlgorithm = "ecdsa-p256"
	ECDSAP384 KeyAlgorithm = "ecdsa-p384"
)

// KeyAlgorithms lists the kinds in the order in which a help text shows them;
// the first is the default.
func KeyAlgorithms() []KeyAlgorithm {
	return []KeyAlgorithm{ECDSAP256, ECDSAP384, RSA3072, RSA4096}
}

// ParseKeyAlgorithm reads the name of a kind of key, in any case and with or
// without punctuation ("RSA-3072", "p256"); the empty string is the default.
func ParseKeyAlgorithm(s string) (KeyAlgorithm, error) {
	switch strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s)) {
	case "", "ecdsap256", "ecp256", "p256":
		return ECDSAP256, nil
	case "ecdsap384", "ecp384", "p384":
		return ECDSAP384, nil
	case "rsa3072":
		return RSA3072, nil
	case "rsa4096":
		return RSA4096, nil
	}
	return "", fmt.Errorf("unknown key algorithm %q: it is one of %v", s, KeyAlgorithms())
}

// GenerateKey makes a key; the empty algorithm is the default.
func GenerateKey(alg KeyAlgorithm) (crypto.Signer, error) {
	switch alg {
	case RSA3072:
		return rsaSigner(3072)
	case RSA4096:
		return rsaSigner(4096)
	case ECDSAP256, "":
		return ecdsaSigner(elliptic.P256())
	case ECDSAP384:
		return ecdsaSigner(elliptic.P384())
	}
	return nil, fmt.Errorf("unknown key algorithm %q", string(alg))
}

func rsaSigner(bits int) (crypto.Signer, error) {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("generate RSA key: %w", err)
	}
	return k, nil
}

func ecdsaSigner(c elliptic.Curve) (crypto.Signer, error) {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate ECDSA key: %w", err)
	}
	return k, nil
}

const (
	minRSABits = 2048
	maxRSABits = 8192
)

// smallPrimes is the product of the odd primes below 752, which no modulus may
// share a factor with (CA/Browser Forum Baseline Requirements, 6.1.6).
var smallPrimes = func() *big.Int {
	n := big.NewInt(1)
	for p := int64(3); p < 752; p += 2 {
		if b := big.NewInt(p); b.ProbablyPrime(0) {
			n.Mul(n, b)
		}
	}
	return n
}()

// checkKey applies the rules for keys and returns the size in bits. It comes
// before any signature is verified, so that a huge key costs nothing.
func checkKey(pub crypto.PublicKey) (bits int, err error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		bits = k.N.BitLen()
		switch {
		case bits < minRSABits:
			return bits, refuse(ReasonKey, "RSA key of %d bits: at least %d are needed", bits, minRSABits)
		case bits > maxRSABits:
			return bits, refuse(ReasonKey, "RSA key of %d bits: at most %d are accepted", bits, maxRSABits)
		case k.E < 65537 || k.E > 1<<31-1 || k.E&1 == 0:
			return bits, refuse(ReasonKey, "RSA exponent %d: it must be odd and from 65537 to 2147483647", k.E)
		case k.N.Bit(0) == 0:
			return bits, refuse(ReasonKey, "RSA modulus is even")
		case new(big.Int).GCD(nil, nil, k.N, smallPrimes).Cmp(big.NewInt(1)) != 0:
			return bits, refuse(ReasonKey, "RSA modulus has a small prime factor")
		}
		return bits, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return k.Curve.Params().BitSize, nil
		}
		return k.Curve.Params().BitSize, refuse(ReasonKey, "elliptic curve %s: P-256, P-384 or P-521 is needed", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return 256, nil
	}
	return 0, refuse(ReasonKey, "key type %T is not supported: use RSA, ECDSA or Ed25519", pub)
}

// ErrKeyMismatch says that a private key and a certificate do not belong
// together.
var ErrKeyMismatch = errors.New("the key does not belong to the certificate")
