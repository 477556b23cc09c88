package dcom

import "github.com/certkeep/certkeep/internal/ndr"

// IObjectExporter's messages (MS-DCOM section 3.1.2.5.1). Methods named request
// encode what a client sends and methods named response what a server answers;
// the decode functions are the other ends.

// maxOIDs bounds one ComplexPing, whose counts have 16 bits.
const maxOIDs = 1<<16 - 1

// aliveReply is what ServerAlive2 returns.
type aliveReply struct {
	version  Version
	bindings Bindings // without endpoints
}

func (r aliveReply) encode(e *ndr.Encoder) {
	encodeVersion(e, r.version)
	e.Referent()
	r.bindings.encode(e)
	e.U32(0)
	e.U32(0)
}

func decodeAlive(stub []byte) (aliveReply, error) {
	d := ndr.NewDecoder(stub)
	r := aliveReply{version: decodeVersion(d)}
	if d.Pointer() {
		r.bindings = decodeBindings(d)
	}
	d.U32()
	return r, status(d)
}

// status reads the error_status_t or HRESULT that a response ends with.
func status(d *ndr.Decoder) error {
	s := d.U32()
	if d.Err() != nil {
		return d.Err()
	}
	if s != 0 {
		return HResult(s)
	}
	return nil
}

// oxidRequest is what ResolveOxid and ResolveOxid2 ask for.
type oxidRequest struct {
	oxid     uint64
	protseqs []uint16
}

func (r oxidRequest) encode(e *ndr.Encoder) {
	e.U64(r.oxid)
	e.U16(uint16(len(r.protseqs)))
	e.U32(uint32(len(r.protseqs)))
	for _, p := range r.protseqs {
		e.U16(p)
	}
}

func decodeOxidRequest(stub []byte) (oxidRequest, error) {
	d := ndr.NewDecoder(stub)
	r := oxidRequest{oxid: d.U64()}
	d.U16()
	for range d.Count(2, 1<<8) {
		r.protseqs = append(r.protseqs, d.U16())
	}
	return r, d.Err()
}

// oxidReply is what ResolveOxid and ResolveOxid2 return.
type oxidReply struct {
	exporter   Bindings // with endpoints
	remUnknown ndr.GUID
	authnHint  uint32
	version    Version // ResolveOxid2 only
}

func (r oxidReply) encode(e *ndr.Encoder, withVersion bool, status uint32) {
	if status != 0 {
		r = oxidReply{version: r.version}
		e.Null()
	} else {
		e.Referent()
		r.exporter.encode(e)
	}
	e.GUID(r.remUnknown)
	e.U32(r.authnHint)
	if withVersion {
		encodeVersion(e, r.version)
	}
	e.U32(status)
}

func decodeOxidReply(stub []byte, withVersion bool) (oxidReply, error) {
	d := ndr.NewDecoder(stub)
	var r oxidReply
	if d.Pointer() {
		r.exporter = decodeBindings(d)
	}
	r.remUnknown = d.GUID()
	r.authnHint = d.U32()
	if withVersion {
		r.version = decodeVersion(d)
	}
	return r, status(d)
}

// pingRequest is ComplexPing's. Set 0 asks for a new set.
type pingRequest struct {
	set      uint64
	sequence uint16
	add, del []uint64
}

func (r pingRequest) encode(e *ndr.Encoder) {
	e.U64(r.set)
	e.U16(r.sequence)
	e.U16(uint16(len(r.add)))
	e.U16(uint16(len(r.del)))
	for _, oids := range [][]uint64{r.add, r.del} {
		if len(oids) == 0 {
			e.Null()
			continue
		}
		e.Referent()
		e.U32(uint32(len(oids)))
		for _, oid := range oids {
			e.U64(oid)
		}
	}
}

func decodePing(stub []byte) (pingRequest, error) {
	d := ndr.NewDecoder(stub)
	r := pingRequest{set: d.U64(), sequence: d.U16()}
	add, del := d.U16(), d.U16()
	r.add = decodeOIDs(d, int(add))
	r.del = decodeOIDs(d, int(del))
	return r, d.Err()
}

func decodeOIDs(d *ndr.Decoder, want int) []uint64 {
	n := 0
	if d.Pointer() {
		n = d.Count(8, maxOIDs)
	}
	if d.Err() == nil && n != want {
		d.Fail("%d objects in an array of %d", want, n)
	}
	if d.Err() != nil || n == 0 {
		return nil
	}
	d.Align(8)
	oids := make([]uint64, n)
	for i := range oids {
		oids[i] = d.U64()
	}
	return oids
}

func encodePingReply(e *ndr.Encoder, set uint64, status uint32) {
	e.U64(set)
	e.U16(0) // no backoff
	e.U32(status)
}

func decodePingReply(stub []byte) (set uint64, err error) {
	d := ndr.NewDecoder(stub)
	set = d.U64()
	d.U16()
	return set, status(d)
}
