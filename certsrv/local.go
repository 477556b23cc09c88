package certsrv

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv/account"
	"github.com/certkeep/certkeep/internal/ntlm"
	"github.com/certkeep/certkeep/internal/secretfile"
)

// LocalAccount is how a process on the same machine logs on to a directory that
// another process serves: by NTLM, as [account.LocalUser]. Each start of a
// service that has an address makes a new one and writes it to
// private/local.json, so that whoever may read the authority's private files may
// use the authority, too, as without a server. It is gone when the service stops.
type LocalAccount struct {
	Name   string // no account of accounts.json can have it
	Secret string // 256 random bits as text
}

// Format implements [fmt.Formatter], so that no verb shows the secret.
func (a LocalAccount) Format(f fmt.State, _ rune) { io.WriteString(f, a.Name) }

// MarshalText implements encoding.TextMarshaler, so that neither JSON nor a log
// shows the secret.
func (a LocalAccount) MarshalText() ([]byte, error) { return []byte(a.Name), nil }

const (
	localAccountName  = "local$"
	localSecretBytes  = 32
	localAccountLimit = 4 << 10
)

// localFile is private/local.json.
type localFile struct {
	Schema int    `json:"schema"` // 1
	Name   string `json:"name"`
	Secret string `json:"secret"`
}

func newLocalAccount() (LocalAccount, error) {
	var b [localSecretBytes]byte
	if _, err := rand.Read(b[:]); err != nil {
		return LocalAccount{}, fmt.Errorf("local account: %w", err)
	}
	return LocalAccount{Name: localAccountName, Secret: base64.RawURLEncoding.EncodeToString(b[:])}, nil
}

// publishLocal makes the local account and its file, if the service has an
// address at all. What a crash left is removed in any case: it opens nothing.
// The lock is held.
func (r *run) publishLocal() error {
	s := r.s
	if err := r.withdrawLocal(); err != nil {
		return err
	}
	if s.opts.Address == "" {
		return nil
	}
	a, err := newLocalAccount()
	if err != nil {
		return err
	}
	if err := writeJSON(s.fsys, s.at.path(localName), localFile{Schema: 1, Name: a.Name, Secret: a.Secret}, fileMode); err != nil {
		return fmt.Errorf("local account: %w", err)
	}
	r.local = &a
	return nil
}

// withdrawLocal removes the file. That need not be durable: what a power loss
// brings back is the secret of a service that has stopped.
func (r *run) withdrawLocal() error {
	if err := r.s.fsys.Remove(r.s.at.path(localName)); err != nil && !isNotExist(err) {
		return fmt.Errorf("local account: %w", err)
	}
	return nil
}

// LocalAccount returns the local account; false if the service does not run, or
// has no address.
func (s *Server) LocalAccount() (LocalAccount, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.state != running && s.state != suspended || s.run.local == nil {
		return LocalAccount{}, false
	}
	return *s.run.local, true
}

// ReadLocalSecret reads the local account of the service that serves dir. That
// it is there does not mean that the service runs: a crash leaves the file, and
// the next start changes it. Without one the error is [os.ErrNotExist]; on Unix
// a file that others may read is refused with *[account.InsecureFileError].
func ReadLocalSecret(dir string) (LocalAccount, error) {
	name := filepath.Join(dir, filepath.FromSlash(localName))
	b, err := secretfile.Read(name, localAccountLimit)
	if err != nil {
		return LocalAccount{}, fmt.Errorf("local account: %w", err)
	}
	a, err := decodeLocalAccount(b)
	if err != nil {
		return LocalAccount{}, fmt.Errorf("local account: %s: %w", name, err)
	}
	return a, nil
}

// decodeLocalAccount reads the file. Its errors show nothing of it.
func decodeLocalAccount(b []byte) (LocalAccount, error) {
	var f localFile
	if json.Unmarshal(b, &f) != nil {
		return LocalAccount{}, errors.New("it is not what a service writes there")
	}
	if f.Schema != 1 {
		return LocalAccount{}, fmt.Errorf("schema %d: this version of certkeep knows schema 1", f.Schema)
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(f.Secret)
	if err != nil || len(secret) != localSecretBytes || f.Name != localAccountName {
		return LocalAccount{}, errors.New("it is not what a service writes there")
	}
	return LocalAccount{Name: f.Name, Secret: f.Secret}, nil
}

// Mechanisms by which a network server knows who a caller is.
const (
	MechanismNTLM     = "ntlm"
	MechanismKerberos = "kerberos"
)

// NTHash returns the NT hash of the local account or of one of the accounts, as
// an NTLM server looks it up; see [account.Store.NTHash] for what it returns with
// false.
func (s *Server) NTHash(accounts *account.Store, user string) (hash [16]byte, ok bool) {
	hash, ok = accounts.NTHash(user)
	if a, served := s.LocalAccount(); served && user == a.Name {
		return ntlm.NTHash(a.Secret), true
	}
	return hash, ok
}

// AccountOf names the account that a caller who has logged on is: neither the
// domain nor the case of a name makes another one, nor the way to log on. The
// local account is no other's, whatever a realm calls its users.
func (s *Server) AccountOf(mechanism, user, _ string) string {
	if mechanism == MechanismNTLM && user == localAccountName {
		return "local\x00" + user
	}
	return account.Fold(user)
}

// Principal says who a caller is that has proven by the mechanism to be user.
// The local account is good for NTLM from the machine itself, whichever address
// of it the two ends of the connection have in common. Any other name is that of
// an account, remote wherever it comes from; for NTLM it must be one that has an
// NT hash. The error is [account.ErrDenied] when there is none.
//
// The names of a Kerberos realm are those of the accounts: a caller from a realm
// that the authority's machine is not in must have been refused before.
func (s *Server) Principal(accounts *account.Store, mechanism, user string, sameMachine bool) (account.Principal, error) {
	if mechanism == MechanismNTLM && user == localAccountName {
		if _, served := s.LocalAccount(); !served || !sameMachine {
			return account.Principal{}, noAccount("%s is for processes on the authority's own machine", localAccountName)
		}
		return account.LocalUser(), nil
	}
	switch mechanism {
	case MechanismKerberos:
	case MechanismNTLM:
		if _, ok := accounts.NTHash(user); !ok {
			return account.Principal{}, noAccount("%.64q is no account for NTLM", user)
		}
	default:
		return account.Principal{}, noAccount("%.16q is no mechanism", mechanism)
	}
	p, err := accounts.Principal(user)
	if errors.Is(err, account.ErrUnknown) {
		return account.Principal{}, noAccount("%.64q is no account", user)
	}
	return p, err
}

func noAccount(format string, args ...any) error {
	return fmt.Errorf("%w: %s", account.ErrDenied, fmt.Sprintf(format, args...))
}

// InterfaceFlags are the configuration's.
func (s *Server) InterfaceFlags() certadm.InterfaceFlags { return s.config().InterfaceFlags }
