package cakey

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// protection is how the key in a PFX is encrypted.
type protection struct {
	cipher, derivation string
	iterations         int
	weak               bool
}

func (p protection) String() string {
	return fmt.Sprintf("%s, %s, %d rounds", p.cipher, p.derivation, p.iterations)
}

var (
	errOpenKey = errors.New("the PFX holds the key without encryption")
	errPFX     = errors.New("not a PFX of a known form")
)

var (
	oidData        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidKeyBag      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}
	oidShroudedBag = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2}
	oidPBES2       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// The names of what Windows, openssl and this package write (RFC 7292, appendix
// C; RFC 8018).
var (
	oldSchemes = map[string]string{
		"1.2.840.113549.1.12.1.3": "three-key triple DES",
		"1.2.840.113549.1.12.1.4": "two-key triple DES",
		"1.2.840.113549.1.12.1.5": "RC2, 128 bits",
		"1.2.840.113549.1.12.1.6": "RC2, 40 bits",
	}
	ciphers = map[string]string{
		"2.16.840.1.101.3.4.1.2": "AES-128", "2.16.840.1.101.3.4.1.22": "AES-192", "2.16.840.1.101.3.4.1.42": "AES-256",
	}
	digests = map[string]string{
		"1.2.840.113549.2.7": "SHA-1", "1.2.840.113549.2.9": "SHA-256", "1.2.840.113549.2.10": "SHA-384", "1.2.840.113549.2.11": "SHA-512",
	}
)

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
}

// readProtection walks down to the key's bag, which needs no password.
func readProtection(pfx []byte) (protection, error) {
	var outer struct {
		Version int
		Safe    contentInfo
		Mac     asn1.RawValue `asn1:"optional"`
	}
	var safe []byte
	var contents []contentInfo
	if !parse(pfx, &outer) || !outer.Safe.Type.Equal(oidData) || !parse(outer.Safe.Content.Bytes, &safe) || !parse(safe, &contents) {
		return protection{}, errPFX
	}
	for _, c := range contents {
		if !c.Type.Equal(oidData) {
			continue // encrypted as a whole: certificates
		}
		var inner []byte
		var bags []struct {
			ID         asn1.ObjectIdentifier
			Value      asn1.RawValue   `asn1:"tag:0,explicit"`
			Attributes []asn1.RawValue `asn1:"set,optional"`
		}
		if !parse(c.Content.Bytes, &inner) || !parse(inner, &bags) {
			return protection{}, errPFX
		}
		for _, b := range bags {
			switch {
			case b.ID.Equal(oidKeyBag):
				return protection{}, errOpenKey
			case b.ID.Equal(oidShroudedBag):
				return readShrouded(b.Value.Bytes)
			}
		}
	}
	return protection{}, errPFX
}

// readShrouded reads the head of an EncryptedPrivateKeyInfo (RFC 5958, 3).
func readShrouded(der []byte) (p protection, err error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if !parse(der, &info) {
		return p, errPFX
	}
	if name, ok := oldSchemes[info.Algorithm.Algorithm.String()]; ok {
		var params struct {
			Salt       []byte
			Iterations int
		}
		if !parse(info.Algorithm.Parameters.FullBytes, &params) {
			return p, errPFX
		}
		return protection{name, "PKCS #12 with SHA-1", params.Iterations, true}, nil
	}
	var scheme struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	var kdf struct {
		Salt       asn1.RawValue
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) || !parse(info.Algorithm.Parameters.FullBytes, &scheme) ||
		!scheme.KDF.Algorithm.Equal(oidPBKDF2) || !parse(scheme.KDF.Parameters.FullBytes, &kdf) {
		return p, errPFX
	}
	cipher, digest := ciphers[scheme.Cipher.Algorithm.String()], "SHA-1" // RFC 8018, A.2: the default
	if kdf.PRF.Algorithm != nil {
		digest = digests[kdf.PRF.Algorithm.String()]
	}
	if cipher == "" || digest == "" {
		return p, errPFX
	}
	return protection{cipher, "PBKDF2 with " + digest, kdf.Iterations, digest == "SHA-1"}, nil
}

// parse reads one value that fills b.
func parse(b []byte, v any) bool {
	rest, err := asn1.Unmarshal(b, v)
	return err == nil && len(rest) == 0
}
