package csra

import (
	"context"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

// serverControl is section 3.1.4.1.15. What it returns is empty today.
func serverControl(ctx context.Context, c *inCall) (reply, error) {
	authority, control := c.in.UniqueString(maxAuthority), c.in.U32()
	if err := c.decoded(authority); err != nil {
		return nil, err
	}
	b, err := c.o.svc.ServerControl(ctx, certadm.Control(control))
	return func(e *ndr.Encoder) { encodeBlob(e, b) }, err
}

// serverState is section 3.1.4.1.17: 1 says that the server serves.
func serverState(ctx context.Context, c *inCall) (reply, error) {
	authority := c.in.UniqueString(maxAuthority)
	if err := c.decoded(authority); err != nil {
		return nil, err
	}
	online, err := c.o.svc.IsServerOnline(ctx)
	state := uint32(0)
	if online {
		state = 1
	}
	return func(e *ndr.Encoder) { e.U32(state) }, err
}

// inspect asks a Service that is an Inspector.
func inspect(c *inCall, ask func(certadm.Inspector) (reply, error)) (reply, error) {
	i, ok := c.o.svc.(certadm.Inspector)
	if !ok {
		return nil, certadm.ENotImpl
	}
	return ask(i)
}

// ping is Ping and Ping2 (sections 3.1.4.1.16 and 3.1.4.2.8).
func ping(ctx context.Context, c *inCall) (reply, error) {
	if err := c.decoded(c.in.UniqueString(maxAuthority)); err != nil {
		return nil, err
	}
	return inspect(c, func(i certadm.Inspector) (reply, error) { return nil, i.Ping(ctx) })
}

// myRoles is section 3.1.4.2.17.
func myRoles(ctx context.Context, c *inCall) (reply, error) {
	if err := c.decoded(c.in.UniqueString(maxAuthority)); err != nil {
		return nil, err
	}
	return inspect(c, func(i certadm.Inspector) (reply, error) {
		roles, err := i.MyRoles(ctx)
		return func(e *ndr.Encoder) { e.U32(uint32(roles)) }, err
	})
}

// getCRL is section 3.1.4.1.7.
func getCRL(ctx context.Context, c *inCall) (reply, error) {
	if err := c.decoded(c.in.UniqueString(maxAuthority)); err != nil {
		return nil, err
	}
	return inspect(c, func(i certadm.Inspector) (reply, error) {
		der, err := i.CRL(ctx)
		return func(e *ndr.Encoder) { encodeBlob(e, der) }, err
	})
}

// caProperty is section 3.1.4.2.2.
func caProperty(ctx context.Context, c *inCall) (reply, error) {
	authority := c.in.UniqueString(maxAuthority)
	id, index, t := c.in.I32(), c.in.I32(), certadm.PropertyType(c.in.I32())
	if err := c.decoded(authority); err != nil {
		return nil, err
	}
	return inspect(c, func(i certadm.Inspector) (reply, error) {
		v, err := i.CAProperty(ctx, certadm.CAPropertyID(id), int(index), t)
		if err != nil {
			return nil, err
		}
		b, err := encodeProperty(v, t)
		return func(e *ndr.Encoder) { encodeBlob(e, b) }, err
	})
}
