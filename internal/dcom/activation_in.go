package dcom

import (
	"encoding/binary"

	"github.com/certkeep/certkeep/internal/ndr"
)

const (
	// maxIIDs bounds the interfaces of one activation or query. MS-DCOM allows
	// 0x8000; clients ask for a handful.
	maxIIDs = 128

	impersonate = 3 // RPC_C_IMP_LEVEL_IMPERSONATE
)

// activationRequest is what RemoteCreateInstance asks for (MS-DCOM section
// 3.1.2.5.2.3.3).
type activationRequest struct {
	clsid    ndr.GUID
	iids     []ndr.GUID
	version  Version // of the client
	protseqs []uint16
}

// pack returns IActivationPropertiesIn with the properties that are required, and
// an empty client context, which servers do not care for but the specification
// asks for. Windows sends two more that servers ignore.
func (r activationRequest) pack() []byte {
	return packProperties(iidPropertiesIn, clsidPropertiesIn, []property{
		{propInstantiation, r.instantiation()},
		{propActContext, r.context()},
		{propLocation, make([]byte, 16)}, // LocationInfoData: nothing is asked for
		{propScmRequest, r.scmRequest()},
	})
}

// instantiation encodes InstantiationInfoData (MS-DCOM section 2.2.22.2.1).
func (r activationRequest) instantiation() []byte {
	var e ndr.Encoder
	e.GUID(r.clsid)
	e.U32(0x14) // CLSCTX_LOCAL_SERVER | CLSCTX_REMOTE_SERVER
	e.U32(0)
	e.U32(0)
	e.U32(uint32(len(r.iids)))
	e.U32(0)
	e.Referent()
	e.U32(uint32(ndr.SerializedSize(48 + 4 + 16*len(r.iids))))
	encodeVersion(&e, r.version)
	e.U32(uint32(len(r.iids)))
	for _, iid := range r.iids {
		e.GUID(iid)
	}
	return e.Bytes()
}

// context encodes ActivationContextInfoData (section 2.2.22.2.5) with an empty
// client context (section 2.2.20).
func (r activationRequest) context() []byte {
	le := binary.LittleEndian
	id := ndr.NewGUID()
	c := le.AppendUint16(nil, 1)
	c = le.AppendUint16(c, 1)
	c = append(c, id[:]...)
	for _, v := range []uint32{2 /* by value */, 0, 0, 0, 0, 0, 1 /* frozen */} {
		c = le.AppendUint32(c, v)
	}
	var e ndr.Encoder
	for range 4 {
		e.U32(0)
	}
	e.Referent()
	e.Null()
	encodePointer(&e, objRef{kind: refCustom, iid: iidContext, clsid: clsidContextMarshaler, data: c}.pack(nil))
	return e.Bytes()
}

// scmRequest encodes ScmRequestInfoData (section 2.2.22.2.4).
func (r activationRequest) scmRequest() []byte {
	var e ndr.Encoder
	e.Null()
	e.Referent()
	e.U32(impersonate)
	e.U16(uint16(len(r.protseqs)))
	e.Align(4)
	e.Referent()
	e.U32(uint32(len(r.protseqs)))
	for _, p := range r.protseqs {
		e.U16(p)
	}
	return e.Bytes()
}

// unpackRequest reads IActivationPropertiesIn. Only what a server acts upon is
// looked at; of the rest it is enough that it is where the table says.
func unpackRequest(ref []byte) (activationRequest, error) {
	var r activationRequest
	props, err := unpackProperties(iidPropertiesIn, clsidPropertiesIn, ref)
	if err != nil {
		return r, err
	}
	object, ok := props[propInstantiation]
	if !ok {
		return r, &ndr.Error{Reason: "activation without InstantiationInfo"}
	}
	if err := r.decodeInstantiation(object); err != nil {
		return r, err
	}
	object, ok = props[propScmRequest]
	if !ok {
		return r, &ndr.Error{Reason: "activation without ScmRequestInfo"}
	}
	return r, r.decodeScmRequest(object)
}

func (r *activationRequest) decodeInstantiation(object []byte) error {
	d := ndr.NewDecoder(object)
	r.clsid = d.GUID()
	for range 3 {
		d.U32()
	}
	n := d.U32()
	d.U32()
	has := d.Pointer()
	d.U32()
	r.version = decodeVersion(d)
	m := 0
	if has {
		m = d.Count(16, maxIIDs)
	}
	if d.Err() == nil && (m == 0 || uint32(m) != n) {
		d.Fail("activation for %d interfaces with a table of %d", n, m)
	}
	for range m {
		r.iids = append(r.iids, d.GUID())
	}
	return d.Err()
}

func (r *activationRequest) decodeScmRequest(object []byte) error {
	d := ndr.NewDecoder(object)
	reserved := d.Pointer()
	if !d.Pointer() {
		d.Fail("activation without a remote request")
		return d.Err()
	}
	if reserved {
		d.U32()
	}
	d.U32()
	n := d.U16()
	if d.Pointer() {
		m := d.Count(2, 1<<8)
		if d.Err() == nil && m != int(n) {
			d.Fail("%d protocol sequences in a table of %d", n, m)
		}
		for range m {
			r.protseqs = append(r.protseqs, d.U16())
		}
	}
	return d.Err()
}
