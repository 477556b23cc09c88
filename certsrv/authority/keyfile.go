package authority

import (
	"crypto"
	"errors"

	"github.com/certkeep/certkeep/internal/durable"
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
	ErrKeyExists = errors.New("there is a key already")
)

// InsecureFileError says that others than its owner may read a secret file.
type InsecureFileError struct {
	Path string
	Mode uint32 // permission bits
}

// KeyFileOptions say how to write a key.
type KeyFileOptions struct {
	// Passphrase encrypts the key; empty writes it in the clear.
	Passphrase []byte
	// Cost is scrypt's parallelization, which with 16 MiB each time makes up
	// the work of one guess; zero is DefaultKeyCost.
	Cost int
	// Replace allows an existing file to be replaced.
	Replace bool
	// FS is for tests; nil is durable.OS.
	FS durable.FS
}

// DefaultKeyCost is 8: with N=2^14 and r=8 among the settings that OWASP calls
// equivalent to N=2^17, and within the memory limit of openssl, which can read
// such files.
const DefaultKeyCost = 8

// WriteKey writes a private key as PKCS#8 PEM with mode 0600, durably.
func WriteKey(path string, key crypto.Signer, o KeyFileOptions) error { return errors.ErrUnsupported }

// ReadKey reads what WriteKey wrote, or openssl genpkey with AES-CBC and scrypt
// or PBKDF2. On Unix a file that its group or others may read is refused with
// *[InsecureFileError]. An empty passphrase means none; one given for a key in
// the clear is not used.
func ReadKey(path string, passphrase []byte) (crypto.Signer, error) {
	return nil, errors.ErrUnsupported
}

func (e *InsecureFileError) Error() string { return e.Path }
