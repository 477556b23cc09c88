package dcerpc

import (
	"encoding/binary"

	"github.com/certkeep/certkeep/internal/ndr"
)

// Types of protocol data units (C706 section 12.6.4).
const (
	ptypeRequest   uint8 = 0
	ptypeResponse  uint8 = 2
	ptypeFault     uint8 = 3
	ptypeBind      uint8 = 11
	ptypeBindAck   uint8 = 12
	ptypeBindNak   uint8 = 13
	ptypeAlter     uint8 = 14
	ptypeAlterResp uint8 = 15
	ptypeAuth3     uint8 = 16
	ptypeShutdown  uint8 = 17
	ptypeCancel    uint8 = 18
	ptypeOrphaned  uint8 = 19
)

// Flags of the common header. flagHeaderSign means what it says only in PDUs
// that bind; elsewhere the bit tells of a pending cancel.
const (
	flagFirst         uint8 = 0x01
	flagLast          uint8 = 0x02
	flagHeaderSign    uint8 = 0x04
	flagDidNotExecute uint8 = 0x20
	flagObject        uint8 = 0x80

	flagWhole = flagFirst | flagLast
)

const (
	headerSize  = 16    // of every PDU
	callHeader  = 24    // of requests, responses and faults
	trailerSize = 8     // of sec_trailer
	maxPDU      = 65535 // what a frag_length can say

	// minFragment is what every implementation must be able to receive (C706
	// section 12.6.3.1, MustRecvFragSize).
	minFragment = 1432

	// defaultFragment is what Windows proposes: four Ethernet frames' worth.
	defaultFragment = 5840
)

// header is the common header of a PDU.
type header struct {
	ptype, flags uint8
	fragLen      int
	authLen      int
	callID       uint32
}

func (h header) whole() bool { return h.flags&flagWhole == flagWhole }

// errVersion is what parseHeader returns for another protocol, or another
// version of this one.
var errVersion = protocolError("not version 5 of the protocol")

// parseHeader reads a PDU's first headerSize bytes. Afterwards fragLen is at
// least headerSize, and an authentication verifier of authLen bytes fits in
// behind the header.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerSize {
		return h, protocolError("header of %d bytes", len(b))
	}
	if b[0] != 5 || b[1] > 1 {
		// The refusal names the call as far as its number can be known.
		return header{callID: binary.LittleEndian.Uint32(b[12:])}, errVersion
	}
	// Data representation: only little-endian integers and ASCII. Checked
	// before any number is read.
	if b[4] != 0x10 {
		return h, protocolError("data representation 0x%02x", b[4])
	}
	h = header{
		ptype:   b[2],
		flags:   b[3],
		fragLen: int(binary.LittleEndian.Uint16(b[8:])),
		authLen: int(binary.LittleEndian.Uint16(b[10:])),
		callID:  binary.LittleEndian.Uint32(b[12:]),
	}
	if h.fragLen < headerSize {
		return h, protocolError("fragment of %d bytes", h.fragLen)
	}
	if h.authLen != 0 && headerSize+trailerSize+h.authLen > h.fragLen {
		return h, protocolError("verifier of %d bytes in a fragment of %d", h.authLen, h.fragLen)
	}
	return h, nil
}

// appendHeader appends a common header. The lengths are set by putLengths.
func appendHeader(b []byte, ptype, flags uint8, callID uint32) []byte {
	b = append(b, 5, 0, ptype, flags, 0x10, 0, 0, 0, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, callID)
}

func putLengths(pdu []byte, fragLen, authLen int) {
	binary.LittleEndian.PutUint16(pdu[8:], uint16(fragLen))
	binary.LittleEndian.PutUint16(pdu[10:], uint16(authLen))
}

// callFields are what requests, responses and faults have behind the common
// header.
type callFields struct {
	contextID uint16
	opnum     uint16 // of requests
	object    ndr.GUID
	hasObject bool
	size      int // of the whole header
}

// parseCall reads the header of a request, a response or a fault.
func parseCall(h header, pdu []byte) (f callFields, err error) {
	f.size = callHeader
	if h.ptype == ptypeRequest && h.flags&flagObject != 0 {
		f.hasObject = true
		f.size += len(f.object)
	}
	if len(pdu) < f.size {
		return f, protocolError("pdu type %d of %d bytes", h.ptype, len(pdu))
	}
	f.contextID = binary.LittleEndian.Uint16(pdu[20:])
	f.opnum = binary.LittleEndian.Uint16(pdu[22:])
	if f.hasObject {
		copy(f.object[:], pdu[callHeader:])
	}
	return f, nil
}

// appendFault appends a fault PDU. Faults go unprotected, as those of Windows
// do: they must be possible when there is no security context to use.
func appendFault(b []byte, callID uint32, contextID uint16, status uint32, flags uint8) []byte {
	start := len(b)
	b = appendHeader(b, ptypeFault, flagWhole|flags, callID)
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, contextID)
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, sendable(status))
	b = append(b, 0, 0, 0, 0)
	putLengths(b[start:], len(b)-start, 0)
	return b
}

// faultStatus reads the status of a fault PDU's stub.
func faultStatus(stub []byte) (uint32, error) {
	if len(stub) < 4 {
		return 0, protocolError("fault without a status")
	}
	return binary.LittleEndian.Uint32(stub), nil
}
