package csra

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/dcom"
	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/kerberos"
	"github.com/certkeep/certkeep/internal/ntlm"
	"github.com/certkeep/certkeep/internal/spnego"
)

// Credentials are what a client logs on with: those of one of the functions that
// return them. They print as nothing. A client with credentials for Kerberos
// never uses NTLM.
type Credentials struct {
	open func(o *Options) (login, error)
}

// String shows no secret.
func (c Credentials) String() string { return "credentials" }

// GoString shows no secret.
func (c Credentials) GoString() string { return "csra.Credentials{}" }

// login makes security contexts.
type login struct {
	kerberos bool
	initiate func(service, host string) gss.Context
	close    func()

	last *atomic.Pointer[gss.Context] // the newest one
}

// serverClock is a security context whose server tells the time.
type serverClock interface {
	ServerTime() (server, local time.Time, ok bool)
}

// serverTime is [Client.ServerTime].
func (l login) serverTime() (server, local time.Time, ok bool) {
	if last := l.last.Load(); last != nil {
		if c, is := (*last).(serverClock); is {
			return c.ServerTime()
		}
	}
	return server, local, false
}

// NTLM logs on with a user's password, by NTLMv2. domain is empty for an account
// of the server's own. The password may be wiped afterwards.
//
// NTLM's ciphers are old, and a weak password can be guessed from what travels:
// prefer Kerberos, or a generated secret.
func NTLM(user, domain string, password []byte) Credentials {
	return NTLMHash(user, domain, ntlm.NTHash(string(password)))
}

// NTLMHash logs on as NTLM does, with the MD4 hash of the password's UTF-16.
func NTLMHash(user, domain string, hash [16]byte) Credentials {
	return Credentials{func(*Options) (login, error) {
		if user == "" {
			return login{}, errors.New("a user's name is needed for NTLM")
		}
		c := ntlm.Credentials{User: user, Domain: domain, Hash: hash}
		return login{
			initiate: func(service, host string) gss.Context { return ntlm.NewInitiator(c, service+"/"+host) },
			close:    func() {},
		}, nil
	}}
}

// KerberosCache logs on with the tickets in a cache, as kinit fills it. An empty
// path is the usual one: what KRB5CCNAME says, else /tmp/krb5cc_UID. Caches that
// are not files cannot be read.
func KerberosCache(path string) Credentials {
	return kerberosCredentials(kerberos.ClientConfig{Cache: path})
}

// KerberosKeytab logs on with a key from a keytab. The principal is USER@REALM,
// or USER in krb5.conf's default realm; it may be empty if the keytab has only
// one.
func KerberosKeytab(principal, path string) Credentials {
	return kerberosCredentials(kerberos.ClientConfig{Principal: principal, Keytab: path})
}

// KerberosPassword logs on with a principal's password, which may be wiped
// afterwards.
func KerberosPassword(principal string, password []byte) Credentials {
	return kerberosCredentials(kerberos.ClientConfig{Principal: principal, Password: slices.Clone(password)})
}

func kerberosCredentials(conf kerberos.ClientConfig) Credentials {
	return Credentials{func(o *Options) (login, error) {
		conf := conf
		conf.Krb5Conf, conf.KDCs, conf.Dial = o.Krb5Conf, o.KDCs, o.Dialer
		c, err := kerberos.NewClient(conf)
		if err != nil {
			return login{}, err
		}
		return login{
			kerberos: true,
			initiate: func(service, host string) gss.Context {
				return c.Initiator(principals(service, host)...)
			},
			close: func() { c.Close() },
		}, nil
	}}
}

// principals are the names that a server's key may be known by, best first.
func principals(service, host string) []string {
	names := []string{service + "/" + host}
	for _, s := range []string{"RPCSS", "host"} {
		if n := s + "/" + host; !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// authenticate makes the security context of one connection: SPNEGO with the one
// mechanism that there are credentials for, unless the mechanism is to be used
// alone.
func (l login) authenticate(raw bool) dcom.Authenticate {
	return func(service, host string) (*dcerpc.Security, error) {
		inner := l.initiate(service, host)
		l.last.Store(&inner)
		sec := &dcerpc.Security{Level: dcerpc.LevelPrivacy, Context: inner, RequireHeaderSigning: l.kerberos}
		switch {
		case !raw:
			sec.Type = dcerpc.AuthSPNEGO
			mech := spnego.Mech{OID: spnego.NTLM, New: func() (gss.Context, error) { return inner, nil }}
			if l.kerberos {
				mech.OID = spnego.KRB5
			}
			sec.Context = spnego.NewInitiator(mech)
		case l.kerberos:
			sec.Type = dcerpc.AuthKerberos
		default:
			sec.Type = dcerpc.AuthNTLM
		}
		return sec, nil
	}
}

func (c Credentials) login(o *Options) (login, error) {
	if c.open == nil {
		return login{}, errors.New("no credentials were given")
	}
	l, err := c.open(o)
	if err != nil {
		return login{}, fmt.Errorf("credentials: %w", err)
	}
	l.last = new(atomic.Pointer[gss.Context])
	return l, nil
}
