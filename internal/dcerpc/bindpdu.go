package dcerpc

import (
	"encoding/binary"
	"strconv"
)

// presContext is a presentation context that a client proposes: an interface,
// and the encodings in which it would speak it.
type presContext struct {
	id        uint16
	abstract  Syntax
	transfers []Syntax
}

// bindPDU is what a bind and an alter_context say.
type bindPDU struct {
	maxXmit, maxRecv uint16
	group            uint32
	contexts         []presContext
}

// parseBind reads a bind or an alter_context. body is what is between the
// common header and the verifier.
func parseBind(body []byte) (p bindPDU, err error) {
	if len(body) < 12 {
		return p, protocolError("bind of %d bytes", headerSize+len(body))
	}
	p.maxXmit = binary.LittleEndian.Uint16(body)
	p.maxRecv = binary.LittleEndian.Uint16(body[2:])
	p.group = binary.LittleEndian.Uint32(body[4:])
	n := int(body[8])
	body = body[12:]
	for i := range n {
		if len(body) < 4+syntaxSize {
			return p, protocolError("bind ends in presentation context %d of %d", i, n)
		}
		c := presContext{id: binary.LittleEndian.Uint16(body), abstract: syntaxAt(body[4:])}
		transfers := int(body[2])
		body = body[4+syntaxSize:]
		if len(body) < transfers*syntaxSize {
			return p, protocolError("bind ends in presentation context %d of %d", i, n)
		}
		c.transfers = make([]Syntax, transfers)
		for n := range c.transfers {
			c.transfers[n] = syntaxAt(body)
			body = body[syntaxSize:]
		}
		p.contexts = append(p.contexts, c)
	}
	return p, nil
}

// append appends the body of a bind or an alter_context.
func (p bindPDU) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, p.maxXmit)
	b = binary.LittleEndian.AppendUint16(b, p.maxRecv)
	b = binary.LittleEndian.AppendUint32(b, p.group)
	b = append(b, byte(len(p.contexts)), 0, 0, 0)
	for _, c := range p.contexts {
		b = binary.LittleEndian.AppendUint16(b, c.id)
		b = append(b, byte(len(c.transfers)), 0)
		b = c.abstract.append(b)
		for _, t := range c.transfers {
			b = t.append(b)
		}
	}
	return b
}

// presResult is the answer to one presentation context.
type presResult struct {
	result, reason uint16
	transfer       Syntax // zero unless accepted
}

// ackPDU is what a bind_ack and an alter_context_resp say.
type ackPDU struct {
	maxXmit, maxRecv uint16
	group            uint32
	port             int // 0 in an alter_context_resp
	results          []presResult
}

// parseAck reads a bind_ack or an alter_context_resp.
func parseAck(body []byte) (p ackPDU, err error) {
	short := protocolError("bind_ack of %d bytes", headerSize+len(body))
	if len(body) < 10 {
		return p, short
	}
	p.maxXmit = binary.LittleEndian.Uint16(body)
	p.maxRecv = binary.LittleEndian.Uint16(body[2:])
	p.group = binary.LittleEndian.Uint32(body[4:])
	// The secondary address is of no use: this package makes no second
	// connection. The PDU's start is aligned, and its header a multiple of 4.
	off := 10 + int(binary.LittleEndian.Uint16(body[8:]))
	off = (off + 3) &^ 3
	if len(body) < off+4 {
		return p, short
	}
	n := int(body[off])
	body = body[off+4:]
	if len(body) < n*(4+syntaxSize) {
		return p, short
	}
	for range n {
		p.results = append(p.results, presResult{
			result:   binary.LittleEndian.Uint16(body),
			reason:   binary.LittleEndian.Uint16(body[2:]),
			transfer: syntaxAt(body[4:]),
		})
		body = body[4+syntaxSize:]
	}
	return p, nil
}

// append appends the body of a bind_ack or an alter_context_resp. b starts
// with the PDU, for the alignment in it.
func (p ackPDU) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, p.maxXmit)
	b = binary.LittleEndian.AppendUint16(b, p.maxRecv)
	b = binary.LittleEndian.AppendUint32(b, p.group)
	if p.port == 0 {
		b = append(b, 0, 0)
	} else {
		address := strconv.Itoa(p.port)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(address)+1))
		b = append(b, address...)
		b = append(b, 0)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b = append(b, byte(len(p.results)), 0, 0, 0)
	for _, r := range p.results {
		b = binary.LittleEndian.AppendUint16(b, r.result)
		b = binary.LittleEndian.AppendUint16(b, r.reason)
		b = r.transfer.append(b)
	}
	return b
}

// appendNak appends a bind_nak PDU, with the one version that is spoken.
func appendNak(b []byte, callID uint32, reason uint16) []byte {
	start := len(b)
	b = appendHeader(b, ptypeBindNak, flagWhole, callID)
	b = binary.LittleEndian.AppendUint16(b, reason)
	b = append(b, 1, 5, 0, 0) // one version, 5.0, and padding
	putLengths(b[start:], len(b)-start, 0)
	return b
}

// parseNak reads a bind_nak's reason.
func parseNak(body []byte) (uint16, error) {
	if len(body) < 2 {
		return 0, protocolError("bind_nak without a reason")
	}
	return binary.LittleEndian.Uint16(body), nil
}
