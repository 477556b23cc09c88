package dcom

import (
	"context"
	"fmt"
	"sync"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// Object is an activated object on a server, as its client has it.
type Object struct {
	exporter   *dcerpc.Client
	version    Version
	remUnknown ndr.GUID
	proxies    map[ndr.GUID]*Proxy
	refs       []interfaceRef
	pinger     *pinger

	release sync.Once
	err     error
}

func newObject(a *activation, c *dcerpc.Client, i *dcerpc.Binding, r *resolverConn, reply activationReply) *Object {
	o := &Object{exporter: c, version: a.version, remUnknown: reply.remUnknown, proxies: map[ndr.GUID]*Proxy{}}
	for n, result := range reply.results {
		p := o.newProxy(result.iid, result.ref.std.IPID)
		if n == 0 {
			p.face = i
		}
		if o.proxies[p.iid] == nil {
			o.proxies[p.iid] = p
		}
		o.refs = append(o.refs, interfaceRef{ipid: p.ipid, publicRefs: result.ref.std.PublicRefs})
	}
	std := reply.results[0].ref.std
	if std.Flags&sorfNoPing != 0 {
		r.client.Close()
	} else {
		o.pinger = startPinger(a, r, std.OID)
	}
	return o
}

// Interface returns the object's interface, or nil if it was not asked for or
// is not to be had.
func (o *Object) Interface(iid ndr.GUID) *Proxy { return o.proxies[iid] }

// Release gives the object up: it ends the pings, releases all references and
// closes the connections, these also after an error. A call in progress is
// waited for until ctx ends, and fails then. Only the first Release does
// anything.
func (o *Object) Release(ctx context.Context) error {
	o.release.Do(func() {
		if o.pinger != nil {
			o.pinger.stop(ctx)
		}
		if err := o.remRelease(ctx); err != nil {
			o.err = fmt.Errorf("release object: %w", err)
		}
		o.exporter.Close()
	})
	return o.err
}

func (o *Object) remRelease(ctx context.Context) error {
	p := o.newProxy(IIDRemUnknown, o.remUnknown)
	d, err := p.Call(ctx, opRemRelease, nil, func(e *ndr.Encoder) { encodeRefs(e, o.refs) })
	if err != nil {
		return err
	}
	return status(d)
}

// Proxy is an interface of an object. Calls are made one after the other, also
// those on other interfaces of the object.
type Proxy struct {
	object    *Object
	iid, ipid ndr.GUID

	turn    chan struct{}   // holds a token while a call is running
	face    *dcerpc.Binding // once bound
	request []byte          // reused
}

func (o *Object) newProxy(iid, ipid ndr.GUID) *Proxy {
	return &Proxy{object: o, iid: iid, ipid: ipid, turn: make(chan struct{}, 1)}
}

// IID returns which interface this is.
func (p *Proxy) IID() ndr.GUID { return p.iid }

// Call calls a method. args, which may be nil, appends the parameters. The
// results are in the Decoder, up to the HRESULT, which is the caller's to
// read; they stand in buffer if it is large enough, and are valid until it is
// used again. Errors are those of dcerpc.Interface.Call: a *dcerpc.Fault has an
// HRESULT or a status of RPC; after others the object is of no more use.
func (p *Proxy) Call(ctx context.Context, opnum uint16, buffer []byte, args func(*ndr.Encoder)) (*ndr.Decoder, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.face == nil {
		face, err := p.object.exporter.Bind(ctx, dcerpc.Syntax{UUID: p.iid}, nil)
		if err != nil {
			return nil, err
		}
		p.face = face
	}
	e := ndr.NewEncoder(p.request[:0])
	orpcThis{version: p.object.version, cid: ndr.NewGUID()}.encode(e)
	if args != nil {
		args(e)
	}
	p.request = e.Bytes()
	stub, err := p.face.Call(ctx, dcerpc.Request{Opnum: opnum, Object: &p.ipid, Stub: p.request, Buffer: buffer})
	if err != nil {
		return nil, err
	}
	d := ndr.NewDecoder(stub)
	skipThat(d)
	return d, d.Err()
}
