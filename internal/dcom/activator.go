package dcom

import (
	"context"
	"errors"
	"slices"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// activator is IRemoteSCMActivator.
func (s *Server) activator(ctx context.Context, c *dcerpc.Call) ([]byte, error) {
	var properties []byte
	var hr HResult
	switch c.Opnum {
	case opRemoteCreateInstance:
		d := ndr.NewDecoder(c.Stub)
		this, ref := decodeCreateRequest(d)
		if d.Err() != nil {
			return nil, d.Err()
		}
		properties, hr = s.create(ctx, c, this, ref)
	case opRemoteGetClassObject:
		hr = ENotImpl
	default:
		return nil, &dcerpc.Fault{Status: dcerpc.StatusOpRange}
	}
	out := ndr.NewEncoder(c.Reply[:0])
	encodeThat(out)
	encodeCreateReply(out, properties, hr)
	return out.Bytes(), nil
}

// create carries out RemoteCreateInstance (MS-DCOM section 3.1.2.5.2.3.3).
func (s *Server) create(ctx context.Context, c *dcerpc.Call, this orpcThis, ref []byte) ([]byte, HResult) {
	if !Current.accepts(this.version) {
		return nil, VersionMismatch
	}
	if ref == nil {
		return nil, EInvalidArg // no properties, or aggregation across machines
	}
	r, err := unpackRequest(ref)
	if err != nil {
		s.cfg.Logger.Warn("malformed activation", "remote", c.Conn.RemoteAddr(), "peer", c.Peer.String(), "error", err)
		return nil, EInvalidArg
	}
	if !slices.Contains(r.protseqs, TowerTCP) {
		return nil, NoProtseq
	}
	class := s.classes[r.clsid]
	if class == nil {
		return nil, ClassNotReg
	}
	var iids []ndr.GUID // those that are asked for and to be had
	for _, iid := range r.iids {
		if class.has(iid) {
			iids = append(iids, iid)
		}
	}
	if len(iids) == 0 {
		return nil, ENoInterface
	}
	o, err := s.activate(ctx, c, class, iids)
	if err != nil {
		s.cfg.Logger.Info("activation refused", "remote", c.Conn.RemoteAddr(), "peer", c.Peer.String(), "error", err)
		var hr HResult
		if errors.As(err, &hr) && hr.failed() {
			return nil, hr
		}
		return nil, EFail
	}
	return s.reply(c, o, r.iids).pack(), OK
}

func (s *Server) activate(ctx context.Context, c *dcerpc.Call, class *Class, iids []ndr.GUID) (*object, error) {
	who := s.caller(c)
	if err := s.table.reserve(who.principal); err != nil {
		return nil, err
	}
	added := false
	defer func() {
		if !added {
			s.table.unreserve(who.principal)
		}
	}()
	servant, err := class.New(ctx, Activation{Conn: c.Conn, Peer: c.Peer, Level: c.Level})
	if err != nil {
		return nil, err
	}
	o, err := s.table.add(who, class, servant, iids)
	if err != nil {
		servant.Closed(ReasonServerClosed)
		return nil, err
	}
	added = true
	return o, nil
}

// reply describes a new object.
func (s *Server) reply(c *dcerpc.Call, o *object, iids []ndr.GUID) activationReply {
	r := activationReply{
		oxid:       s.oxid,
		exporter:   s.exporterBindings(c.Conn.LocalAddr()),
		remUnknown: s.remUnknown,
		authnHint:  uint32(dcerpc.LevelPrivacy),
		version:    Current,
	}
	resolver := s.resolverBindings(c.Conn.LocalAddr())
	for _, iid := range iids {
		f := s.table.iface(o, iid)
		if f == nil {
			r.results = append(r.results, ifaceResult{iid: iid, hr: ENoInterface})
			continue
		}
		r.results = append(r.results, ifaceResult{iid: iid, ref: s.standard(f, publicRefs, resolver)})
	}
	return r
}

// standard returns the OBJREF of an interface.
func (s *Server) standard(f *iface, refs uint32, resolver Bindings) objRef {
	return objRef{
		kind: refStandard, iid: f.iid, std: s.std(f, refs), bindings: resolver,
	}
}

func (s *Server) std(f *iface, refs uint32) StdObjRef {
	return StdObjRef{PublicRefs: refs, OXID: s.oxid, OID: f.object.oid, IPID: f.ipid}
}

// has reports whether the class's objects have this interface.
func (c *Class) has(iid ndr.GUID) bool { return iid == IIDUnknown || slices.Contains(c.IIDs, iid) }

// oldActivator is IActivation, which clients of DCOM before 5.6 use. It answers
// E_NOTIMPL as the method's result (MS-DCOM section 3.1.2.5.2.3.1).
func (s *Server) oldActivator(_ context.Context, c *dcerpc.Call) ([]byte, error) {
	if c.Opnum != opRemoteActivation {
		return nil, &dcerpc.Fault{Status: dcerpc.StatusOpRange}
	}
	d := ndr.NewDecoder(c.Stub)
	decodeThis(d)
	d.GUID()
	d.UniqueString(1 << 10)
	if d.Pointer() {
		decodePointer(d)
	}
	d.U32()
	d.U32()
	n := d.U32()
	if d.Err() == nil && n > maxIIDs {
		d.Fail("activation for %d interfaces", n)
	}
	if d.Err() != nil {
		return nil, d.Err()
	}
	out := ndr.NewEncoder(c.Reply[:0])
	encodeThat(out)
	out.U64(0)
	out.Null()
	out.GUID(ndr.GUID{})
	out.U32(0)
	encodeVersion(out, Current)
	out.U32(uint32(ENotImpl))
	out.U32(n)
	for range n {
		out.Null()
	}
	out.U32(n)
	for range n {
		out.U32(uint32(ENotImpl))
	}
	out.U32(0)
	return out.Bytes(), nil
}
