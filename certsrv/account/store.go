package account

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/gofrs/flock"

	"github.com/certkeep/certkeep/internal/durable"
)

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

// maxPassword bounds a password, in bytes.
const maxPassword = 1024

// Account is one entry of the file, without its secret.
type Account struct {
	Name    string
	Roles   Roles
	Created time.Time
	NTLM    bool // may log on by NTLM, see [Store.AddNTLM]
}

// Store is a file of accounts. Every call reads the file, so that a change made
// by another process counts at once; changes are made under a lock on a file
// beside it. A Store may be used by several goroutines.
type Store struct {
	path    string
	o       Options
	mu      sync.Mutex // serializes changes in this process
	slots   chan struct{}
	waiting atomic.Int64
	hashed  atomic.Int64 // hashes computed, for tests
	nobody  phc          // what unknown names are checked against
	decoy   ntHash       // likewise
	cache   *cache
}

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
// readable by its group or others (*[InsecureFileError]).
func Open(path string, o Options) (*Store, error) {
	if o.Cost == (Cost{}) {
		o.Cost = DefaultCost
	}
	o.MaxConcurrent = cmp.Or(o.MaxConcurrent, 2)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, 64)
	o.MinPassword = cmp.Or(o.MinPassword, 8)
	o.CacheFor = cmp.Or(o.CacheFor, 5*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FS == nil {
		o.FS = durable.OS
	}
	if err := o.Cost.check(); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	if o.MaxConcurrent < 0 || o.MaxWaiting < 0 {
		return nil, errors.New("accounts: negative limit")
	}
	if _, err := load(o.FS, path); err != nil {
		return nil, err
	}
	s := &Store{path: path, o: o, slots: make(chan struct{}, o.MaxConcurrent)}
	s.nobody = phc{cost: o.Cost, salt: make([]byte, saltSize), hash: make([]byte, hashSize)}
	if _, err := rand.Read(s.decoy[:]); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	var err error
	if s.cache, err = newCache(o.CacheFor); err != nil {
		return nil, err
	}
	return s, nil
}

// Add makes an account. Names have 1 to 64 letters, digits and . _ - @, and
// begin with a letter or digit; case does not distinguish them. At least one
// role is needed.
func (s *Store) Add(ctx context.Context, name string, roles Roles, password []byte) error {
	return s.add(ctx, name, roles, password, "")
}

func (s *Store) add(ctx context.Context, name string, roles Roles, password []byte, nt string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if roles == 0 || roles&^AllRoles != 0 {
		return fmt.Errorf("account %s: at least one role of %s is needed", name, AllRoles)
	}
	if n := utf8.RuneCount(password); n < s.o.MinPassword {
		return fmt.Errorf("account %s: %w: it has %d characters, and %d are the minimum", name, ErrPassword, n, s.o.MinPassword)
	}
	if len(password) > maxPassword {
		return fmt.Errorf("account %s: %w: more than %d bytes", name, ErrPassword, maxPassword)
	}
	done, err := s.slot(ctx)
	if err != nil {
		return err
	}
	h, err := newHash(password, s.o.Cost)
	done()
	if err != nil {
		return fmt.Errorf("account %s: %w", name, err)
	}
	return s.change(ctx, func(f *file) error {
		if _, e := f.find(name); e != nil {
			return fmt.Errorf("account %s: %w", name, ErrExists)
		}
		if len(f.Accounts) == maxAccounts {
			return fmt.Errorf("account %s: there are %d accounts, which is the limit", name, maxAccounts)
		}
		f.Accounts = append(f.Accounts, entry{
			Name: name, Roles: roles.Names(), Created: s.o.Now().UTC().Truncate(time.Second), Password: h.String(), NTHash: nt,
		})
		return nil
	})
}

// Remove deletes an account, or fails with ErrUnknown.
func (s *Store) Remove(ctx context.Context, name string) error {
	return s.change(ctx, func(f *file) error {
		i, e := f.find(name)
		if e == nil {
			return fmt.Errorf("account %.64q: %w", name, ErrUnknown)
		}
		f.Accounts = slices.Delete(f.Accounts, i, i+1)
		return nil
	})
}

// change reads, changes and writes the file while no other process does.
func (s *Store) change(ctx context.Context, fn func(*file) error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lock := flock.New(s.path+".lock", flock.SetPermissions(0o600))
	ok, err := lock.TryLockContext(ctx, 20*time.Millisecond)
	if err != nil || !ok {
		return fmt.Errorf("accounts: lock: %w", cmp.Or(err, errors.New("not taken")))
	}
	// Held through a file that stays: removing it would let two processes hold
	// a lock each.
	defer func() { err = errors.Join(err, lock.Close()) }()
	f, err := load(s.o.FS, s.path)
	if err != nil {
		return err
	}
	if err := fn(f); err != nil {
		return err
	}
	return f.save(s.o.FS, s.path)
}

// List returns the accounts by name.
func (s *Store) List(ctx context.Context) ([]Account, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := load(s.o.FS, s.path)
	if err != nil {
		return nil, err
	}
	out := make([]Account, 0, len(f.Accounts))
	for _, e := range f.Accounts {
		out = append(out, Account{Name: e.Name, Roles: e.roles, Created: e.Created, NTLM: e.NTHash != ""})
	}
	slices.SortFunc(out, func(a, b Account) int { return cmp.Compare(Fold(a.Name), Fold(b.Name)) })
	return out, nil
}

// Principal returns the principal of an account, for a caller whose identity
// was proven by other means (a Kerberos ticket); it has the rights that
// [Store.Authenticate] gives. It fails with [ErrUnknown].
func (s *Store) Principal(name string) (Principal, error) {
	f, err := load(s.o.FS, s.path)
	if err != nil {
		return Principal{}, err
	}
	_, e := f.find(name)
	if e == nil {
		return Principal{}, fmt.Errorf("account %.64q: %w", name, ErrUnknown)
	}
	return e.principal(), nil
}

// Authenticate checks a password. It takes as long for a name that does not
// exist. Operators hold the backup privilege; nobody from the file is local or
// holds the restore privilege. A wrong name or password is ErrBadCredentials.
func (s *Store) Authenticate(ctx context.Context, name string, password []byte) (Principal, error) {
	f, err := load(s.o.FS, s.path)
	if err != nil {
		return Principal{}, err
	}
	if len(password) > maxPassword {
		return Principal{}, ErrBadCredentials
	}
	_, e := f.find(name)
	if e != nil && s.cache.has(e.Name, e.Password, password, s.o.Now()) {
		return e.principal(), nil
	}
	done, err := s.slot(ctx)
	if err != nil {
		return Principal{}, err
	}
	defer done()
	if e == nil {
		s.matches(s.nobody, password)
		return Principal{}, ErrBadCredentials
	}
	if !s.matches(e.hash, password) {
		return Principal{}, ErrBadCredentials
	}
	s.cache.put(e.Name, e.Password, password, s.o.Now())
	return e.principal(), nil
}

func (s *Store) matches(h phc, password []byte) bool {
	s.hashed.Add(1)
	return h.matches(password)
}

func (e *entry) principal() Principal {
	return Principal{Name: e.Name, Roles: e.roles, BackupPrivilege: e.roles.Has(Operator)}
}

// slot waits for one of the MaxConcurrent places, and returns how to leave it.
func (s *Store) slot(ctx context.Context) (func(), error) {
	leave := func() { <-s.slots }
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.slots <- struct{}{}:
		return leave, nil
	default:
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > int64(s.o.MaxWaiting) {
		return nil, ErrBusy
	}
	select {
	case s.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
