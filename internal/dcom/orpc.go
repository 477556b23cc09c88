package dcom

import "github.com/certkeep/certkeep/internal/ndr"

// Extents are few in practice (context and error information); a peer that
// sends more than this is not one to talk to.
const maxExtents = 64

// orpcThis is ORPCTHIS (MS-DCOM section 2.2.13.3), which every request begins
// with. Its extensions are skipped.
type orpcThis struct {
	version Version
	flags   uint32
	cid     ndr.GUID
}

func (t orpcThis) encode(e *ndr.Encoder) {
	e.U16(t.version.Major)
	e.U16(t.version.Minor)
	e.U32(t.flags)
	e.U32(0)
	e.GUID(t.cid)
	e.Null()
}

func decodeThis(d *ndr.Decoder) (t orpcThis) {
	t.version = decodeVersion(d)
	t.flags = d.U32()
	d.U32()
	t.cid = d.GUID()
	skipExtents(d)
	return t
}

// encodeThat appends ORPCTHAT (MS-DCOM section 2.2.13.4), which every response
// begins with.
func encodeThat(e *ndr.Encoder) {
	e.U32(0)
	e.Null()
}

func skipThat(d *ndr.Decoder) {
	d.U32()
	skipExtents(d)
}

// skipExtents reads a unique pointer to an ORPC_EXTENT_ARRAY (MS-DCOM section
// 2.2.13.2) and what it points to.
func skipExtents(d *ndr.Decoder) {
	if !d.Pointer() {
		return
	}
	d.U32() // size: the array's max_count below is what counts
	d.U32()
	if !d.Pointer() {
		return
	}
	n := d.Count(4, maxExtents)
	present := 0
	for range n {
		if d.Pointer() {
			present++
		}
	}
	for range present {
		if d.Err() != nil {
			return
		}
		size := d.Count(1, 1<<20) // of the conformant member, before the structure
		d.GUID()
		d.U32()
		d.Bytes(size)
	}
}

func decodeVersion(d *ndr.Decoder) Version { return Version{d.U16(), d.U16()} }

func encodeVersion(e *ndr.Encoder, v Version) {
	e.U16(v.Major)
	e.U16(v.Minor)
}
