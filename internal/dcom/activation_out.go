package dcom

import "github.com/certkeep/certkeep/internal/ndr"

// activationReply is what RemoteCreateInstance returns.
type activationReply struct {
	results []ifaceResult // one for each interface that was asked for, in order

	oxid       uint64
	exporter   Bindings // with endpoints
	remUnknown ndr.GUID
	authnHint  uint32
	version    Version // of the server
}

// ifaceResult is an interface, or why it is not to be had.
type ifaceResult struct {
	iid ndr.GUID
	hr  HResult
	ref objRef // when hr is OK
}

// pack returns IActivationPropertiesOut. PropsOutInfo comes before
// ScmReplyInfo: there are clients that find them by their position.
func (r activationReply) pack() []byte {
	return packProperties(iidPropertiesOut, clsidPropertiesOut, []property{
		{clsidPropertiesOut, r.propsOut()},
		{propScmReply, r.scmReply()},
	})
}

// propsOut encodes PropsOutInfo (MS-DCOM section 2.2.22.2.9).
func (r activationReply) propsOut() []byte {
	n := uint32(len(r.results))
	var e ndr.Encoder
	e.U32(n)
	e.Referent()
	e.Referent()
	e.Referent()
	e.U32(n)
	for _, i := range r.results {
		e.GUID(i.iid)
	}
	e.U32(n)
	for _, i := range r.results {
		e.U32(uint32(i.hr))
	}
	e.U32(n)
	for _, i := range r.results {
		if i.hr == OK {
			e.Referent()
		} else {
			e.Null()
		}
	}
	for _, i := range r.results {
		if i.hr == OK {
			e.Align(4)
			encodePointer(&e, i.ref.pack(nil))
		}
	}
	return e.Bytes()
}

// scmReply encodes ScmReplyInfoData (section 2.2.22.2.8).
func (r activationReply) scmReply() []byte {
	var e ndr.Encoder
	e.Null()
	e.Referent()
	e.U64(r.oxid)
	e.Referent()
	e.GUID(r.remUnknown)
	e.U32(r.authnHint)
	encodeVersion(&e, r.version)
	r.exporter.encode(&e)
	return e.Bytes()
}

// unpackReply reads IActivationPropertiesOut.
func unpackReply(ref []byte) (activationReply, error) {
	var r activationReply
	props, err := unpackProperties(iidPropertiesOut, clsidPropertiesOut, ref)
	if err != nil {
		return r, err
	}
	object, ok := props[clsidPropertiesOut]
	if !ok {
		return r, &ndr.Error{Reason: "activation reply without PropsOutInfo"}
	}
	if err := r.decodePropsOut(object); err != nil {
		return r, err
	}
	object, ok = props[propScmReply]
	if !ok {
		return r, &ndr.Error{Reason: "activation reply without ScmReplyInfo"}
	}
	return r, r.decodeScmReply(object)
}

func (r *activationReply) decodePropsOut(object []byte) error {
	d := ndr.NewDecoder(object)
	n := d.U32()
	hasIIDs, hasResults, hasData := d.Pointer(), d.Pointer(), d.Pointer()
	if d.Err() == nil && (n == 0 || n > maxIIDs || !hasIIDs || !hasResults || !hasData) {
		d.Fail("activation reply of %d interfaces without its tables", n)
	}
	count := func(size int) {
		if m := d.Count(size, maxIIDs); d.Err() == nil && uint32(m) != n {
			d.Fail("table of %d for %d interfaces", m, n)
		}
	}
	count(16)
	if d.Err() != nil {
		return d.Err()
	}
	r.results = make([]ifaceResult, n)
	for i := range r.results {
		r.results[i].iid = d.GUID()
	}
	count(4)
	for i := range r.results {
		r.results[i].hr = HResult(d.U32())
	}
	count(4)
	present := make([]bool, n)
	for i := range present {
		present[i] = d.Pointer()
	}
	for i := range r.results {
		if !present[i] {
			if d.Err() == nil && r.results[i].hr == OK {
				d.Fail("interface without a reference")
			}
			continue
		}
		b := decodePointer(d)
		if d.Err() != nil {
			return d.Err()
		}
		ref, err := unpackObjRef(b)
		if err != nil {
			return err
		}
		r.results[i].ref = ref
	}
	return d.Err()
}

func (r *activationReply) decodeScmReply(object []byte) error {
	d := ndr.NewDecoder(object)
	reserved := d.Pointer()
	if !d.Pointer() {
		d.Fail("activation reply without an exporter")
		return d.Err()
	}
	if reserved {
		d.U32()
	}
	r.oxid = d.U64()
	has := d.Pointer()
	r.remUnknown = d.GUID()
	r.authnHint = d.U32()
	r.version = decodeVersion(d)
	if has {
		r.exporter = decodeBindings(d)
	}
	return d.Err()
}
