package account

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/internal/ntlm"
)

// ntHash is what NTLM uses in place of a password.
type ntHash [16]byte

// String keeps it out of messages.
func (ntHash) String() string { return "NT hash" }

func (h ntHash) text() string { return hex.EncodeToString(h[:]) }

// parseNTHash reads what text wrote, and nothing else. Its errors show nothing
// of what it was given.
func parseNTHash(s string) (h ntHash, err error) {
	if len(s) != 2*len(h) {
		return h, errors.New("the NT hash must have 32 hexadecimal digits")
	}
	b, err := hex.DecodeString(s)
	if err != nil || hex.EncodeToString(b) != s {
		return h, errors.New("the NT hash must have 32 hexadecimal digits, in lower case")
	}
	return ntHash(b), nil
}

// The secret of an account for NTLM is 28 characters of these 32 (no l, o, 0 and
// 1), in groups of four: 140 bits.
const (
	secretAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"
	secretGroups   = 7
	secretGroup    = 4
)

// newSecret makes one, such as "kw3h-9xmz-…".
func newSecret() (string, error) {
	var random [secretGroups * secretGroup]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	var secret []byte
	for i, b := range random {
		if i > 0 && i%secretGroup == 0 {
			secret = append(secret, '-')
		}
		secret = append(secret, secretAlphabet[b%32]) // 256 is a multiple: no bias
	}
	return string(secret), nil
}

// AddNTLM makes an account that can log on by NTLM as well, as [Store.Add] does.
// Its password is made here, with 140 random bits, and returned; it is kept
// nowhere, hyphens belong to it, and there is no way to choose one: see the
// package comment.
func (s *Store) AddNTLM(ctx context.Context, name string, roles Roles) (secret string, err error) {
	if secret, err = newSecret(); err != nil {
		return "", fmt.Errorf("account %.64q: %w", name, err)
	}
	if err := s.add(ctx, name, roles, []byte(secret), ntHash(ntlm.NTHash(secret)).text()); err != nil {
		return "", err
	}
	return secret, nil
}

// NTHash returns the NT hash of an account that was made for NTLM. For any other
// name, and if the file cannot be read, it returns false and a hash that nobody
// has a password for, by the same work: an NTLM server goes on with that one, so
// that its answer does not tell which names there are. Case does not distinguish
// names.
func (s *Store) NTHash(name string) (hash [16]byte, ok bool) {
	hash = s.decoy
	f, err := load(s.o.FS, s.path)
	if err != nil {
		return hash, false
	}
	wanted := Fold(name)
	for i := range f.Accounts { // all of them: where an account stands is no one's business
		e := &f.Accounts[i]
		if Fold(e.Name) == wanted && e.NTHash != "" {
			hash, ok = e.nt, true
		}
	}
	return hash, ok
}
