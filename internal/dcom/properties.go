package dcom

import (
	"encoding/binary"

	"github.com/certkeep/certkeep/internal/ndr"
)

// maxProperties is the bound of MS-DCOM section 2.2.22.1.
const maxProperties = 10

// property is one of the activation properties: an object of NDR, without its
// type serialization headers.
type property struct {
	clsid  ndr.GUID
	object []byte
}

// packProperties returns an activation properties blob (MS-DCOM section 2.2.22)
// in its OBJREF_CUSTOM.
func packProperties(iid, clsid ndr.GUID, props []property) []byte {
	// Sizes and positions come first, and are known before anything is
	// written: 48 bytes, and two arrays with their counts.
	headerSize := ndr.SerializedSize(48 + 4 + 16*len(props) + 4 + 4*len(props))
	total := headerSize
	for _, p := range props {
		total += ndr.SerializedSize(len(p.object))
	}
	var h ndr.Encoder
	h.U32(uint32(total))
	h.U32(uint32(headerSize))
	h.U32(0)
	h.U32(2) // MSHCTX_DIFFERENTMACHINE
	h.U32(uint32(len(props)))
	h.GUID(ndr.GUID{})
	h.Referent()
	h.Referent()
	h.Null()
	h.U32(uint32(len(props)))
	for _, p := range props {
		h.GUID(p.clsid)
	}
	h.U32(uint32(len(props)))
	for _, p := range props {
		h.U32(uint32(ndr.SerializedSize(len(p.object))))
	}

	data := make([]byte, 0, 8+total)
	data = binary.LittleEndian.AppendUint32(data, uint32(total))
	data = binary.LittleEndian.AppendUint32(data, 0)
	data = ndr.AppendSerialized(data, h.Bytes())
	for _, p := range props {
		data = ndr.AppendSerialized(data, p.object)
	}
	return objRef{kind: refCustom, iid: iid, clsid: clsid, data: data}.pack(nil)
}

// unpackProperties reads a blob in its OBJREF_CUSTOM, which must be of this
// kind. Of a property that is there twice, the first counts.
func unpackProperties(iid, clsid ndr.GUID, ref []byte) (map[ndr.GUID][]byte, error) {
	r, err := unpackObjRef(ref)
	if err != nil {
		return nil, err
	}
	d := ndr.NewDecoder(r.data)
	size := d.U32()
	d.U32()
	switch {
	case d.Err() != nil:
		return nil, d.Err()
	case r.kind != refCustom || r.iid != iid || r.clsid != clsid:
		d.Fail("object reference holds no activation properties")
		return nil, d.Err()
	case uint64(size) > uint64(len(d.Rest())):
		d.Fail("activation properties of %d bytes in %d", size, len(d.Rest()))
		return nil, d.Err()
	}
	blob := d.Rest()[:size]
	clsids, sizes, headerSize, err := decodeCustomHeader(blob)
	if err != nil {
		return nil, err
	}
	props := make(map[ndr.GUID][]byte, len(clsids))
	rest := blob[headerSize:]
	for i, id := range clsids {
		n := sizes[i]
		if uint64(n) > uint64(len(rest)) {
			return nil, &ndr.Error{Offset: len(ref) - len(rest), Reason: "activation property is longer than its blob"}
		}
		object, _, err := ndr.Serialized(rest[:n])
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
		if _, twice := props[id]; !twice {
			props[id] = object
		}
	}
	return props, nil
}

// decodeCustomHeader reads the CustomHeader (MS-DCOM section 2.2.22.1) that a
// blob begins with. headerSize is at most len(blob).
func decodeCustomHeader(blob []byte) (clsids []ndr.GUID, sizes []uint32, headerSize int, err error) {
	object, _, err := ndr.Serialized(blob)
	if err != nil {
		return nil, nil, 0, err
	}
	d := ndr.NewDecoder(object)
	d.U32() // totalSize, which the blob said already
	header := d.U32()
	d.U32()
	d.U32()
	n := d.U32()
	d.GUID()
	hasIDs, hasSizes, hasReserved := d.Pointer(), d.Pointer(), d.Pointer()
	switch {
	case d.Err() != nil:
	case n == 0 || n > maxProperties:
		d.Fail("%d activation properties", n)
	case !hasIDs || !hasSizes:
		d.Fail("activation properties without a table")
	case uint64(header) > uint64(len(blob)):
		d.Fail("header of %d bytes in %d", header, len(blob))
	}
	count := func(size int) {
		if m := d.Count(size, maxProperties); d.Err() == nil && m != int(n) {
			d.Fail("table of %d for %d activation properties", m, n)
		}
	}
	count(16)
	for i := uint32(0); d.Err() == nil && i < n; i++ {
		clsids = append(clsids, d.GUID())
	}
	count(4)
	for i := uint32(0); d.Err() == nil && i < n; i++ {
		sizes = append(sizes, d.U32())
	}
	_ = hasReserved // a third table would follow, and is of no use
	if d.Err() != nil {
		return nil, nil, 0, d.Err()
	}
	return clsids, sizes, int(header), nil
}
