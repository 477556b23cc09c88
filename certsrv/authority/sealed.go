package authority

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// Bounds on what a key file may have us compute: 64 MiB and a few seconds.
const (
	maxScryptMemory = 64 << 20
	maxScryptP      = 64
	maxPBKDF2       = 10_000_000
)

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidHMACSHA1   = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES128     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}
	oidAES192     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}
	oidAES256     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// checkSealed reads the head of an EncryptedPrivateKeyInfo (RFC 5958, 3; PBES2
// of RFC 8018, scrypt of RFC 7914) and refuses parameters that would panic, or
// exhaust memory or time, when used.
func checkSealed(der []byte) error {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) != 0 {
		return errors.New("the encrypted key is malformed")
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return fmt.Errorf("the key's encryption %v is not supported: it must be PBES2", info.Algorithm.Algorithm)
	}
	var p struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	if rest, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &p); err != nil || len(rest) != 0 {
		return errors.New("the encrypted key's parameters are malformed")
	}
	c := p.Cipher.Algorithm
	if !c.Equal(oidAES128) && !c.Equal(oidAES192) && !c.Equal(oidAES256) {
		return fmt.Errorf("the key's cipher %v is not supported: it must be AES in CBC mode", c)
	}
	var iv []byte
	if rest, err := asn1.Unmarshal(p.Cipher.Parameters.FullBytes, &iv); err != nil || len(rest) != 0 || len(iv) != 16 {
		return errors.New("the encrypted key's initialization vector is malformed")
	}
	if len(info.Data) == 0 || len(info.Data)%16 != 0 {
		return errors.New("the encrypted key is cut short")
	}
	switch {
	case p.KDF.Algorithm.Equal(oidScrypt):
		return checkScrypt(p.KDF.Parameters.FullBytes)
	case p.KDF.Algorithm.Equal(oidPBKDF2):
		return checkPBKDF2(p.KDF.Parameters.FullBytes)
	}
	return fmt.Errorf("the key derivation %v is not supported: it must be scrypt or PBKDF2", p.KDF.Algorithm)
}

func checkScrypt(params []byte) error {
	var s struct {
		Salt    []byte
		N, R, P int
	}
	if _, err := asn1.Unmarshal(params, &s); err != nil {
		return errors.New("the encrypted key's scrypt parameters are malformed")
	}
	if s.N < 2 || s.N&(s.N-1) != 0 || s.R < 1 || s.P < 1 || s.P > maxScryptP ||
		s.N > maxScryptMemory/128 || s.R > maxScryptMemory/128/s.N {
		return fmt.Errorf("scrypt parameters N=%d r=%d p=%d are not acceptable: at most 64 MiB and p=%d", s.N, s.R, s.P, maxScryptP)
	}
	return nil
}

func checkPBKDF2(params []byte) error {
	var s struct {
		Salt       []byte
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	if rest, err := asn1.Unmarshal(params, &s); err != nil || len(rest) != 0 {
		return errors.New("the encrypted key's PBKDF2 parameters are malformed")
	}
	if prf := s.PRF.Algorithm; s.KeyLength != 0 || len(prf) > 0 && !prf.Equal(oidHMACSHA1) && !prf.Equal(oidHMACSHA256) {
		return errors.New("the encrypted key's PBKDF2 parameters are not supported: HMAC-SHA-256 and no key length are")
	}
	if s.Iterations < 1 || s.Iterations > maxPBKDF2 {
		return fmt.Errorf("%d PBKDF2 iterations are not acceptable (1 to %d)", s.Iterations, maxPBKDF2)
	}
	return nil
}
