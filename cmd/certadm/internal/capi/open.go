package capi

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/certsrv"
	"github.com/certkeep/certkeep/connect"
)

// open connects to the service that a name stands for. The service has to run:
// like Certadm.dll this library starts none, so that an authority in a directory
// that nobody serves is a stopped service. (A program that restores asks first
// whether the service is online, and that question must not start it.)
func (l *Library) open(fn, server string) (*connect.Connection, error) {
	a, err := l.resolve(fn, server)
	if err != nil {
		return nil, err
	}
	if a.Scheme != connect.CA {
		return a.Open(background(), l.options())
	}
	c, err := l.openStopped(fn, a)
	if err == nil {
		c.Close()
		return nil, notServed(fn, a)
	}
	var served *certsrv.ServedError
	if !errors.As(err, &served) {
		return nil, err
	}
	if c, err = a.Open(background(), l.options()); err != nil {
		return nil, err
	}
	if c.ServedAt() == "" { // it was stopped in that moment, and runs here now
		c.Close()
		return nil, notServed(fn, a)
	}
	return c, l.sameAuthority(fn, a, c)
}

// openStopped opens an authority in a directory that nobody serves.
func (l *Library) openStopped(fn string, a connect.Address) (*connect.Connection, error) {
	o := l.options()
	o.Stopped = true
	c, err := a.Open(background(), o)
	if err != nil {
		return nil, err
	}
	return c, l.sameAuthority(fn, a, c)
}

// sameAuthority closes c and fails if its authority is not the one that the name
// was for.
func (l *Library) sameAuthority(fn string, a connect.Address, c *connect.Connection) error {
	if a.Name == "" {
		return nil
	}
	id, err := c.Identity(background())
	if err == nil && !strings.EqualFold(a.Name, id.Name) && !strings.EqualFold(a.Name, id.SanitizedName) {
		err = invalid(fn, fmt.Sprintf("the authority in %s is %q, not %q", a.Dir, id.Name, a.Name))
	}
	if err != nil {
		c.Close()
	}
	return err
}

func notServed(fn string, a connect.Address) error {
	return &certadm.Error{Op: fn, Path: a.String(), Code: certadm.ErrorServiceNotActive, Err: certsrv.ErrStopped,
		Hint: "start it: certkeep ca serve DIR"}
}

// options are how to log on.
func (l *Library) options() connect.Options {
	return connect.Options{Login: connect.Login{
		User: l.getenv(EnvUser),
		Password: func(_ context.Context, user string) ([]byte, error) {
			name := l.getenv(EnvPasswordFile)
			if name == "" {
				return nil, fmt.Errorf("%w: the password of %s is missing: %s is not set", connect.ErrLogin, user, EnvPasswordFile)
			}
			b, err := connect.ReadPasswordFile(name)
			if err != nil {
				return nil, fmt.Errorf("%w: %s: %w", connect.ErrLogin, EnvPasswordFile, err)
			}
			return b, nil
		},
	}}
}
