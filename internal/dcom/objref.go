package dcom

import (
	"encoding/binary"

	"github.com/certkeep/certkeep/internal/ndr"
)

// Kinds of OBJREF (MS-DCOM section 2.2.18).
const (
	refStandard = 1
	refHandler  = 2
	refCustom   = 4
	refExtended = 8

	refSignature      = 0x574f454d // "MEOW"
	extendedSignature = 0x4e535956

	// sorfNoPing in StdObjRef.Flags says that the object need not be pinged.
	sorfNoPing = 0x1000

	// maxObjRef bounds an interface pointer. Activation properties are the
	// largest, a few KiB.
	maxObjRef = 1 << 20
)

// StdObjRef is a STDOBJREF: where an interface of an object is (MS-DCOM section
// 2.2.18.1).
type StdObjRef struct {
	Flags, PublicRefs uint32
	OXID, OID         uint64
	IPID              ndr.GUID
}

func (s StdObjRef) encode(e *ndr.Encoder) {
	e.Align(8)
	e.U32(s.Flags)
	e.U32(s.PublicRefs)
	e.U64(s.OXID)
	e.U64(s.OID)
	e.GUID(s.IPID)
}

func decodeStdObjRef(d *ndr.Decoder) StdObjRef {
	d.Align(8)
	return StdObjRef{d.U32(), d.U32(), d.U64(), d.U64(), d.GUID()}
}

// objRef is an OBJREF of one of four kinds. The members that a kind lacks are
// zero.
type objRef struct {
	kind     uint32
	iid      ndr.GUID
	std      StdObjRef // not custom
	bindings Bindings  // not custom
	clsid    ndr.GUID  // handler, custom
	data     []byte    // custom
}

// pack appends the OBJREF, which is no NDR: packed, little-endian. The extended
// kind is only ever read.
func (r objRef) pack(buf []byte) []byte {
	le := binary.LittleEndian
	buf = le.AppendUint32(buf, refSignature)
	buf = le.AppendUint32(buf, r.kind)
	buf = append(buf, r.iid[:]...)
	if r.kind == refCustom {
		buf = append(buf, r.clsid[:]...)
		buf = le.AppendUint32(buf, 0)
		buf = le.AppendUint32(buf, uint32(len(r.data)+8)) // ignored by all, as Windows sends it
		return append(buf, r.data...)
	}
	buf = le.AppendUint32(buf, r.std.Flags)
	buf = le.AppendUint32(buf, r.std.PublicRefs)
	buf = le.AppendUint64(buf, r.std.OXID)
	buf = le.AppendUint64(buf, r.std.OID)
	buf = append(buf, r.std.IPID[:]...)
	if r.kind == refHandler {
		buf = append(buf, r.clsid[:]...)
	}
	return r.bindings.pack(buf)
}

// unpackObjRef reads an OBJREF that fills b. What follows it is ignored.
func unpackObjRef(b []byte) (objRef, error) {
	// Every member of the packed form happens to be read without padding, for
	// all of them stand at multiples of their size, from 24 on at least of 4;
	// the 64-bit numbers are read as halves.
	d := ndr.NewDecoder(b)
	if d.U32() != refSignature {
		d.Fail("no object reference")
		return objRef{}, d.Err()
	}
	r := objRef{kind: d.U32(), iid: d.GUID()}
	switch r.kind {
	case refStandard:
		r.std = unpackStd(d)
		r.bindings = unpackBindings(d)
	case refHandler:
		r.std = unpackStd(d)
		r.clsid = d.GUID()
		r.bindings = unpackBindings(d)
	case refCustom:
		r.clsid = d.GUID()
		d.Bytes(int(min(d.U32(), maxObjRef))) // extensions, none in practice
		d.Bytes(4)
		r.data = d.Rest()
	case refExtended:
		r.std = unpackStd(d)
		if d.U32() != extendedSignature {
			d.Fail("extended object reference without its signature")
		}
		r.bindings = unpackBindings(d)
		// One element follows, the context that the object lives in: no
		// concern of another machine.
	default:
		d.Fail("object reference of kind %#x", r.kind)
	}
	if d.Err() != nil {
		return objRef{}, d.Err()
	}
	return r, nil
}

func unpackStd(d *ndr.Decoder) StdObjRef {
	half := func() uint64 { return uint64(d.U32()) }
	hyper := func() uint64 { return half() | half()<<32 }
	return StdObjRef{d.U32(), d.U32(), hyper(), hyper(), d.GUID()}
}

// encodePointer appends what a pointer to an MInterfacePointer (MS-DCOM section
// 2.2.14) points to.
func encodePointer(e *ndr.Encoder, ref []byte) {
	e.U32(uint32(len(ref)))
	e.U32(uint32(len(ref)))
	e.Raw(ref)
}

func decodePointer(d *ndr.Decoder) []byte {
	max := d.Count(1, maxObjRef)
	n := d.U32()
	b := d.Bytes(max)
	if d.Err() == nil && uint64(n) > uint64(len(b)) {
		d.Fail("interface pointer of %d bytes in an array of %d", n, len(b))
	}
	if d.Err() != nil {
		return nil
	}
	return b[:n:n]
}
