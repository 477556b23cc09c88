package dcom

import (
	"context"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// header reads ORPCTHIS and checks it (MS-DCOM section 3.1.1.5.4).
func header(in *ndr.Decoder) error {
	this := decodeThis(in)
	switch {
	case in.Err() != nil:
		return in.Err()
	case !Current.accepts(this.version):
		return VersionMismatch
	case this.flags != 0:
		return InvalidHeader
	}
	return nil
}

// call carries out a call on an object. The interface that the client bound to
// must be that of the IPID that it calls.
func (s *Server) call(ctx context.Context, c *dcerpc.Call) ([]byte, error) {
	in := ndr.NewDecoder(c.Stub)
	if err := header(in); err != nil {
		return nil, fault(err)
	}
	if !c.HasObject {
		return nil, fault(InvalidIPID)
	}
	f, err := s.table.enter(c.Object, s.caller(c))
	if err != nil {
		s.cfg.Logger.Warn("call refused", "remote", c.Conn.RemoteAddr(), "peer", c.Peer.String(), "error", err)
		return nil, fault(err)
	}
	o := f.object
	defer s.table.leave(o)
	switch {
	case f.iid != c.Syntax.UUID:
		return nil, fault(InvalidIPID)
	case c.Opnum < 3 || f.iid == IIDUnknown: // IUnknown's own never travel
		return nil, &dcerpc.Fault{Status: dcerpc.StatusOpRange}
	}
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !s.table.alive(o) {
		return nil, fault(Disconnected)
	}
	out := ndr.NewEncoder(c.Reply[:0])
	encodeThat(out)
	err = o.servant.Call(ctx, &Call{Conn: c.Conn, Peer: c.Peer, IID: f.iid, Opnum: c.Opnum}, in, out)
	if in.Err() != nil {
		return nil, in.Err()
	}
	if err != nil {
		return nil, fault(err)
	}
	return out.Bytes(), nil
}

// remoteUnknown is IRemUnknown and IRemUnknown2.
func (s *Server) remoteUnknown(_ context.Context, c *dcerpc.Call) ([]byte, error) {
	in := ndr.NewDecoder(c.Stub)
	if err := header(in); err != nil {
		return nil, fault(err)
	}
	if !c.HasObject || c.Object != s.remUnknown {
		return nil, fault(Disconnected)
	}
	who := s.caller(c)
	out := ndr.NewEncoder(c.Reply[:0])
	encodeThat(out)
	switch {
	case c.Opnum == opRemQueryInterface:
		r := decodeQuery(in, true)
		if in.Err() == nil {
			s.query(who, r, out)
		}
	case c.Opnum == opRemAddRef:
		refs := decodeRefs(in)
		if in.Err() == nil {
			hrs, hr := s.table.addRefs(who, refs)
			encodeAddRefReply(out, hrs, hr)
		}
	case c.Opnum == opRemRelease:
		refs := decodeRefs(in)
		if in.Err() == nil {
			out.U32(uint32(s.table.releaseRefs(who, refs)))
		}
	case c.Opnum == opRemQueryInterface2 && c.Syntax.UUID == IIDRemUnknown2:
		r := decodeQuery(in, false)
		if in.Err() == nil {
			s.query2(c, who, r, out)
		}
	default:
		return nil, &dcerpc.Fault{Status: dcerpc.StatusOpRange}
	}
	if in.Err() != nil {
		return nil, in.Err()
	}
	return out.Bytes(), nil
}

// query is RemQueryInterface (MS-DCOM section 3.1.1.5.6.1.1).
func (s *Server) query(who caller, r queryRequest, out *ndr.Encoder) {
	faces, err := s.table.query(who, r)
	if err != OK {
		encodeQueryReply(out, nil, err)
		return
	}
	results := make([]queryResult, len(faces))
	for i, f := range faces {
		if f == nil {
			results[i].hr = ENoInterface
		} else {
			results[i].std = s.std(f, r.refs)
		}
	}
	encodeQueryReply(out, results, queryOutcome(faces))
}

// query2 is RemQueryInterface2 (MS-DCOM section 3.1.1.5.7.1.1).
func (s *Server) query2(c *dcerpc.Call, who caller, r queryRequest, out *ndr.Encoder) {
	hrs, refs := make([]HResult, len(r.iids)), make([][]byte, len(r.iids))
	faces, err := s.table.query(who, r)
	if err != OK {
		for i := range hrs {
			hrs[i] = err
		}
		encodeQuery2Reply(out, hrs, refs, err)
		return
	}
	resolver := s.resolverBindings(c.Conn.LocalAddr())
	for i, f := range faces {
		if f == nil {
			hrs[i] = ENoInterface
		} else {
			refs[i] = s.standard(f, r.refs, resolver).pack(nil)
		}
	}
	encodeQuery2Reply(out, hrs, refs, queryOutcome(faces))
}

// queryOutcome is S_OK, S_FALSE when some of the interfaces are not to be had,
// and E_NOINTERFACE when none is.
func queryOutcome(faces []*iface) HResult {
	had := 0
	for _, f := range faces {
		if f != nil {
			had++
		}
	}
	switch had {
	case len(faces):
		return OK
	case 0:
		return ENoInterface
	}
	return 1
}
