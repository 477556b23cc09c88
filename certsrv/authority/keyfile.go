package authority

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/youmark/pkcs8"

	"github.com/certkeep/certkeep/internal/durable"
	"github.com/certkeep/certkeep/internal/secretfile"
)

// Errors of key files.
var (
	// ErrWrongPassphrase says that an encrypted key does not open. A damaged
	// file can look the same. The command line exits with 12.
	ErrWrongPassphrase = errors.New("wrong passphrase")
	// ErrPassphraseNeeded says that a key is encrypted and no passphrase was
	// given. The command line exits with 12.
	ErrPassphraseNeeded = errors.New("the key is encrypted: a passphrase is needed")
	// ErrKeyExists says that WriteKey would have replaced a key.
	ErrKeyExists = errors.New("there is a key already, which is not replaced")
)

// InsecureFileError says that others than its owner may read a secret file.
type InsecureFileError = secretfile.InsecureError

// KeyFileOptions say how to write a key.
type KeyFileOptions struct {
	// Passphrase encrypts the key; empty writes it in the clear.
	Passphrase []byte
	// Cost is scrypt's parallelization, which makes up the work of one guess
	// together with 16 MiB of memory; zero is DefaultKeyCost.
	Cost int
	// Replace allows an existing file to be replaced.
	Replace bool
	// FS is for tests; nil is durable.OS.
	FS durable.FS
}

// DefaultKeyCost is 8: with N=2^14 and r=8 it is among the settings that OWASP
// holds equivalent to N=2^17, and within the memory limit of openssl, which can
// read such files.
const DefaultKeyCost = 8

const (
	scryptN = 1 << 14
	scryptR = 8

	maxKeyFile = 64 << 10
	pemKey     = "PRIVATE KEY"
	pemSealed  = "ENCRYPTED PRIVATE KEY"
)

// WriteKey writes a private key as PKCS#8 PEM with mode 0600, durably.
func WriteKey(path string, key crypto.Signer, o KeyFileOptions) error {
	if o.FS == nil {
		o.FS = durable.OS
	}
	if !o.Replace {
		if _, err := o.FS.Stat(path); err == nil {
			return fmt.Errorf("write key %s: %w", path, ErrKeyExists)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write key: %w", err)
		}
	}
	text, err := encodeKey(key, o)
	if err != nil {
		return fmt.Errorf("write key %s: %w", path, err)
	}
	if err := durable.WriteFile(o.FS, path, text, 0o600); err != nil {
		return fmt.Errorf("write key %s: %w", path, err)
	}
	return nil
}

func encodeKey(key crypto.Signer, o KeyFileOptions) ([]byte, error) {
	if len(o.Passphrase) == 0 {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
	}
	if o.Cost == 0 {
		o.Cost = DefaultKeyCost
	}
	if o.Cost < 0 || o.Cost > maxScryptP {
		return nil, fmt.Errorf("cost %d is not possible (1 to %d)", o.Cost, maxScryptP)
	}
	der, err := pkcs8.MarshalPrivateKey(key, o.Passphrase, &pkcs8.Opts{
		Cipher:  pkcs8.AES256CBC,
		KDFOpts: pkcs8.ScryptOpts{SaltSize: 16, CostParameter: scryptN, BlockSize: scryptR, ParallelizationParameter: o.Cost},
	})
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemSealed, Bytes: der}), nil
}

// ReadKey reads what WriteKey wrote, or openssl genpkey: PKCS#8 in PEM, in the
// clear or encrypted with AES-CBC and scrypt or PBKDF2. On Unix a file that its
// group or others may read is refused with *[InsecureFileError]. An empty
// passphrase means none; one given for a key in the clear is not used.
func ReadKey(path string, passphrase []byte) (crypto.Signer, error) {
	text, err := secretfile.Read(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := decodeKey(text, passphrase)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	return key, nil
}

func decodeKey(text, passphrase []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it is not a single PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case pemKey:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("not a PKCS#8 key: %w", err)
		}
	case pemSealed:
		if len(passphrase) == 0 {
			return nil, ErrPassphraseNeeded
		}
		// The library below trusts the file's parameters.
		if err := checkSealed(block.Bytes); err != nil {
			return nil, err
		}
		key, err = pkcs8.ParsePKCS8PrivateKey(block.Bytes, passphrase)
		if err != nil {
			return nil, ErrWrongPassphrase
		}
	default:
		return nil, fmt.Errorf("PEM block %s: it must be PKCS#8 (%s or %s)", quote(block.Type), pemKey, pemSealed)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	if _, err := checkKey(signer.Public()); err != nil {
		var e *RequestError
		if errors.As(err, &e) {
			return nil, errors.New(e.Detail)
		}
		return nil, err
	}
	return signer, nil
}
