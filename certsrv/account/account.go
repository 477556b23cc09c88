// Package account says who may do what with the embedded Certificate Services:
// the CA roles of MS-CSRA 3.1.1.7, the rule table of its 3.1.4.1, and a file of
// accounts with argon2id password hashes.
package account

import (
	"context"
	"errors"
	"time"

	"github.com/certkeep/certkeep/internal/durable"
)

// Principal is a caller whose identity is known. The zero Principal is nobody
// and is denied everything.
type Principal struct {
	Name  string
	Roles Roles

	// Local callers are on the CA's machine; LocalAdmin ones administer it.
	Local      bool
	LocalAdmin bool

	// The Windows privileges SeBackupPrivilege and SeRestorePrivilege.
	BackupPrivilege  bool
	RestorePrivilege bool
}

// LocalUser is the user of this process, who can read and write the authority's
// directory anyway: a local administrator with all roles and privileges, under
// the operating system's name.
func LocalUser() Principal { return Principal{} }

// Cost is the work of one argon2id hash (RFC 9106).
type Cost struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// DefaultCost is OWASP's first recommendation: 19 MiB, 2 passes, 1 thread.
var DefaultCost = Cost{Memory: 19 << 10, Time: 2, Threads: 1}

// Options of a Store; the zero value is usable.
type Options struct {
	Cost Cost // of new hashes; zero is DefaultCost

	// MaxConcurrent is how many hashes are computed at once, the others wait;
	// zero is 2. When MaxWaiting (zero: 64) wait already, Authenticate fails
	// with ErrBusy.
	MaxConcurrent int
	MaxWaiting    int

	// MinPassword is the least number of characters; zero is 8.
	MinPassword int

	// CacheFor is how long a password that was right is remembered, as a keyed
	// digest in memory, so that a client that authenticates each of its requests
	// costs one hash and not one each; zero is 5 minutes, negative never. A
	// change of the account ends it at once.
	CacheFor time.Duration

	Now func() time.Time // nil is time.Now
	FS  durable.FS       // nil is durable.OS
}

// Account is one entry of the file, without its secret.
type Account struct {
	Name    string    `json:"name"`
	Roles   Roles     `json:"-"`
	Created time.Time `json:"created"`
}

// Store is a file of accounts. Every call reads the file, so that a change made
// by another process counts at once; changes are made under a file lock. It may
// be used by several goroutines.
type Store struct{}

// Errors of a Store.
var (
	// ErrBadCredentials says that the name, or the password, is wrong; it does
	// not say which.
	ErrBadCredentials = errors.New("wrong user name or password")
	// ErrBusy says that too many passwords are being checked.
	ErrBusy = errors.New("too many logins at once: try again later")
	// ErrExists says that there is an account of that name, in any case.
	ErrExists = errors.New("the account exists already")
	// ErrUnknown says that there is no account of that name.
	ErrUnknown = errors.New("there is no such account")
	// ErrPassword says that a new password is too short or too long.
	ErrPassword = errors.New("unsuitable password")
)

// Open checks the file; a missing one is an empty one. On Unix it must not be
// readable by its group or others.
func Open(path string, o Options) (*Store, error) { return nil, errors.ErrUnsupported }

// Add makes an account. Names have 1 to 64 letters, digits and . _ - @, and
// begin with a letter or digit; case does not distinguish them. At least one
// role is needed.
func (s *Store) Add(ctx context.Context, name string, roles Roles, password []byte) error {
	return errors.ErrUnsupported
}

// Remove deletes an account.
func (s *Store) Remove(ctx context.Context, name string) error { return errors.ErrUnsupported }

// List returns the accounts by name.
func (s *Store) List(ctx context.Context) ([]Account, error) { return nil, errors.ErrUnsupported }

// Authenticate checks a password. It takes as long for a name that does not
// exist. Operators hold the backup privilege; nobody from the file is local or
// holds the restore privilege.
func (s *Store) Authenticate(ctx context.Context, name string, password []byte) (Principal, error) {
	return Principal{}, errors.ErrUnsupported
}
