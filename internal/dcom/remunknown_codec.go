package dcom

import "github.com/certkeep/certkeep/internal/ndr"

// IRemUnknown's messages (MS-DCOM section 3.1.1.5.6), after ORPCTHIS or
// ORPCTHAT.

// maxRefs bounds the references of one RemAddRef or RemRelease.
const maxRefs = 1024

// publicRefs is how many references an interface comes with, as MS-DCOM section
// 3.1.2.5.2.3.3 advises.
const publicRefs = 5

// queryRequest is RemQueryInterface's; refs is missing in RemQueryInterface2,
// whose answer says how many the server chose to give.
type queryRequest struct {
	ipid ndr.GUID
	refs uint32
	iids []ndr.GUID
}

func (r queryRequest) encode(e *ndr.Encoder, withRefs bool) {
	e.GUID(r.ipid)
	if withRefs {
		e.U32(r.refs)
	}
	e.U16(uint16(len(r.iids)))
	e.U32(uint32(len(r.iids)))
	for _, iid := range r.iids {
		e.GUID(iid)
	}
}

func decodeQuery(d *ndr.Decoder, withRefs bool) queryRequest {
	r := queryRequest{ipid: d.GUID(), refs: publicRefs}
	if withRefs {
		r.refs = d.U32()
	}
	n := d.U16()
	m := d.Count(16, maxIIDs)
	if d.Err() == nil && m != int(n) {
		d.Fail("%d interfaces in an array of %d", n, m)
	}
	for range m {
		r.iids = append(r.iids, d.GUID())
	}
	return r
}

// queryResult is a REMQIRESULT (MS-DCOM section 2.2.24).
type queryResult struct {
	hr  HResult
	std StdObjRef
}

// encodeQueryReply appends RemQueryInterface's answer.
func encodeQueryReply(e *ndr.Encoder, results []queryResult, hr HResult) {
	if len(results) == 0 {
		e.Null()
	} else {
		e.Referent()
		e.U32(uint32(len(results)))
		for _, r := range results {
			e.Align(8)
			e.U32(uint32(r.hr))
			r.std.encode(e)
		}
	}
	e.U32(uint32(hr))
}

func decodeQueryReply(d *ndr.Decoder) ([]queryResult, error) {
	n := 0
	if d.Pointer() {
		n = d.Count(48, maxIIDs)
	}
	var results []queryResult
	for range n {
		d.Align(8)
		results = append(results, queryResult{HResult(d.U32()), decodeStdObjRef(d)})
	}
	return results, status(d)
}

// encodeQuery2Reply appends RemQueryInterface2's answer: one HRESULT and one
// OBJREF (nil where the HRESULT is a failure) for each interface.
func encodeQuery2Reply(e *ndr.Encoder, hrs []HResult, refs [][]byte, hr HResult) {
	e.U32(uint32(len(hrs)))
	for _, h := range hrs {
		e.U32(uint32(h))
	}
	e.U32(uint32(len(refs)))
	for _, ref := range refs {
		if ref == nil {
			e.Null()
		} else {
			e.Referent()
		}
	}
	for _, ref := range refs {
		if ref != nil {
			e.Align(4)
			encodePointer(e, ref)
		}
	}
	e.U32(uint32(hr))
}

// interfaceRef is a REMINTERFACEREF (MS-DCOM section 2.2.23).
type interfaceRef struct {
	ipid                    ndr.GUID
	publicRefs, privateRefs uint32
}

func encodeRefs(e *ndr.Encoder, refs []interfaceRef) {
	e.U16(uint16(len(refs)))
	e.U32(uint32(len(refs)))
	for _, r := range refs {
		e.GUID(r.ipid)
		e.U32(r.publicRefs)
		e.U32(r.privateRefs)
	}
}

func decodeRefs(d *ndr.Decoder) []interfaceRef {
	n := d.U16()
	m := d.Count(24, maxRefs)
	if d.Err() == nil && m != int(n) {
		d.Fail("%d references in an array of %d", n, m)
	}
	var refs []interfaceRef
	for range m {
		refs = append(refs, interfaceRef{d.GUID(), d.U32(), d.U32()})
	}
	return refs
}

// encodeAddRefReply appends RemAddRef's answer.
func encodeAddRefReply(e *ndr.Encoder, hrs []HResult, hr HResult) {
	e.U32(uint32(len(hrs)))
	for _, h := range hrs {
		e.U32(uint32(h))
	}
	e.U32(uint32(hr))
}
