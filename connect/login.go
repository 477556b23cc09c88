package connect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/certkeep/certkeep/csra"
)

// Auth is how to log on at an adcs:// server.
type Auth string

// The ways to log on. With AuthAuto the user's name decides: none is the ticket
// cache, USER@REALM is Kerberos, DOMAIN\USER and a bare USER are NTLM. What was
// decided on is what is used: a failure of Kerberos never leads to NTLM.
const (
	AuthAuto     Auth = "auto"
	AuthKerberos Auth = "kerberos"
	AuthNTLM     Auth = "ntlm"
)

// Auths are all of them, in the order to show them in.
var Auths = []Auth{AuthAuto, AuthKerberos, AuthNTLM}

// Login says who logs on at an adcs:// server, and by what.
type Login struct {
	// User is who, if the address does not say: USER, DOMAIN\USER or USER@REALM.
	User string

	// Auth is AuthAuto if empty.
	Auth Auth

	// Keytab is a file with the user's Kerberos keys; it takes the place of a
	// password.
	Keytab string

	// Password is called when one is needed; nil has none to give. The caller of
	// it may overwrite the result.
	Password func(ctx context.Context, user string) ([]byte, error)
}

// ErrLogin says that address and [Login] contradict each other, or that something
// is missing: nothing was sent.
var ErrLogin = errors.New("cannot log on like this")

// Means is how to log on at a certain address.
type Means struct {
	User string // "" for whom the ticket cache names
	from source
}

// Mechanism is AuthKerberos or AuthNTLM.
func (m Means) Mechanism() Auth {
	if m.from == fromNTLMPassword {
		return AuthNTLM
	}
	return AuthKerberos
}

// Choose decides how to log on at a. It reads no file and asks nobody; an error
// is [ErrLogin].
func (l Login) Choose(a Address) (Means, error) {
	user, from, err := l.choose(a)
	return Means{User: user, from: from}, err
}

// source is what proves who the user is.
type source string

const (
	fromCache          source = "ticket cache"
	fromKeytab         source = "keytab"
	fromTicketPassword source = "kerberos password"
	fromNTLMPassword   source = "ntlm password"
)

func (l Login) choose(a Address) (user string, from source, err error) {
	user = a.User
	if user == "" {
		user = l.User
	}
	auth := l.Auth
	if auth == "" {
		auth = AuthAuto
	}
	realm := strings.Contains(user, "@")
	switch {
	case auth == AuthAuto && (user == "" || realm):
		auth = AuthKerberos
	case auth == AuthAuto && l.Keytab != "":
		return "", "", fmt.Errorf("%w: a keytab is for Kerberos, and %q is a name for NTLM: write USER@REALM, or ask for kerberos", ErrLogin, user)
	case auth == AuthAuto:
		auth = AuthNTLM
	}
	switch auth {
	case AuthKerberos:
		switch {
		case strings.Contains(user, `\`):
			return "", "", fmt.Errorf(`%w: Kerberos takes USER@REALM, not %q`, ErrLogin, user)
		case user == "" && l.Keytab != "":
			return "", "", fmt.Errorf("%w: whose key of the keytab? Name the user: USER@REALM", ErrLogin)
		case user == "":
			return "", fromCache, nil
		case l.Keytab != "":
			return user, fromKeytab, nil
		}
		return user, fromTicketPassword, nil
	case AuthNTLM:
		switch {
		case user == "":
			return "", "", fmt.Errorf("%w: NTLM needs a user", ErrLogin)
		case l.Keytab != "":
			return "", "", fmt.Errorf("%w: a keytab is for Kerberos, not for NTLM", ErrLogin)
		}
		return user, fromNTLMPassword, nil
	}
	return "", "", fmt.Errorf("%w: there is no way %q; there are auto, kerberos, ntlm", ErrLogin, auth)
}

// credentials are what m stands for; a password is asked for if it needs one.
func (m Means) credentials(ctx context.Context, l Login) (csra.Credentials, error) {
	switch m.from {
	case fromCache:
		return csra.KerberosCache(""), nil
	case fromKeytab:
		return csra.KerberosKeytab(m.User, l.Keytab), nil
	}
	if l.Password == nil {
		return csra.Credentials{}, fmt.Errorf("%w: the password of %s is missing", ErrLogin, m.User)
	}
	password, err := l.Password(ctx, m.User)
	if err != nil {
		return csra.Credentials{}, err
	}
	defer clear(password)
	if m.from == fromTicketPassword {
		return csra.KerberosPassword(m.User, password), nil
	}
	domain, name := splitDomain(m.User)
	return csra.NTLM(name, domain, password), nil
}

// splitDomain separates DOMAIN\USER. A name with "@" stays whole: servers take it
// as the user's principal name, in no domain.
func splitDomain(user string) (domain, name string) {
	if domain, name, found := strings.Cut(user, `\`); found {
		return domain, name
	}
	return "", user
}
