package csra

import (
	"context"
	"errors"

	"github.com/certkeep/certkeep/certadm"
)

// Names of the calls of Inspector and Identifier, for errors.
const (
	fnPing     = "ICertAdminD::Ping"
	fnRoles    = "ICertAdminD2::GetMyRoles"
	fnCRL      = "ICertAdminD::GetCRL"
	fnProperty = "ICertAdminD2::GetCAProperty"
	fnIdentity = "Identity"
)

// Ping is refused to backup operators who are not administrators of the CA.
func (c *Client) Ping(ctx context.Context) error {
	return c.simple(ctx, fnPing, "", func(ctx context.Context) error { return c.calls.ping(ctx, opPing, c.authority) })
}

// MyRoles needs ICertAdminD2.
func (c *Client) MyRoles(ctx context.Context) (certadm.Roles, error) {
	return do(ctx, c, fnRoles, "", func(ctx context.Context) (certadm.Roles, error) {
		v, err := c.calls.number(ctx, opGetMyRoles, c.authority)
		return certadm.Roles(v), err
	})
}

// CRL returns the newest base CRL.
func (c *Client) CRL(ctx context.Context) ([]byte, error) {
	return do(ctx, c, fnCRL, "", func(ctx context.Context) ([]byte, error) { return c.calls.blob(ctx, opGetCRL, c.authority) })
}

// CAProperty needs ICertAdminD2.
func (c *Client) CAProperty(ctx context.Context, id certadm.CAPropertyID, index int, t certadm.PropertyType) (certadm.CAProperty, error) {
	if t < certadm.PropertyLong || t > certadm.PropertyString || int(int32(index)) != index {
		return certadm.CAProperty{}, local(fnProperty, id.String(), certadm.EInvalidArg, "there is no such type or index")
	}
	return do(ctx, c, fnProperty, id.String(), func(ctx context.Context) (certadm.CAProperty, error) { return c.property(ctx, id, index, t) })
}

func (c *Client) property(ctx context.Context, id certadm.CAPropertyID, index int, t certadm.PropertyType) (certadm.CAProperty, error) {
	b, err := c.calls.blob(ctx, opGetCAProperty, c.authority, uint32(id), uint32(index), uint32(t))
	if err != nil {
		return certadm.CAProperty{}, err
	}
	return decodeProperty(b, t)
}

// Identity asks for the authority's names and its newest certificate. What a
// server cannot say, or will not to this caller, stays empty or is what the
// client was told to connect to.
func (c *Client) Identity(ctx context.Context) (certadm.Identity, error) {
	return do(ctx, c, fnIdentity, "", c.identity)
}

func (c *Client) identity(ctx context.Context) (id certadm.Identity, err error) {
	id.Host = c.host
	if c.authority != nil {
		id.Name = *c.authority
	}
	for _, p := range []struct {
		to *string
		id certadm.CAPropertyID
	}{{&id.Name, certadm.PropCAName}, {&id.SanitizedName, certadm.PropSanitizedCAName}, {&id.Host, certadm.PropDNSName}} {
		v, err := c.property(ctx, p.id, 0, certadm.PropertyString)
		if err = optional(err); err != nil {
			return id, err
		}
		if v.Text != "" {
			*p.to = v.Text
		}
	}
	if id.SanitizedName == "" {
		id.SanitizedName = certadm.SanitizeName(id.Name)
	}
	v, err := c.property(ctx, certadm.PropCASigCert, certadm.PropertyNewest, certadm.PropertyBinary)
	if err = optional(err); err != nil {
		return id, err
	}
	id.Certificate = v.Binary
	l, err := c.locations(ctx)
	if err = optional(err); err != nil {
		return id, err
	}
	id.Engine = certadm.EngineOf(l)
	return id, nil
}

// optional passes over what the server said of a question: only an error of the
// connection stays.
func optional(err error) error {
	if code := certadm.HRESULT(0); errors.As(err, &code) {
		return nil
	}
	return err
}
