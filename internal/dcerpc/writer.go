package dcerpc

import (
	"encoding/binary"
	"io"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

// batch is how many bytes of fragments go out in one write. While the kernel
// and the peer have the one, the next is sealed: larger ones save system
// calls, smaller ones let the peer start, and end, earlier.
const batch = 64 << 10

// bodyAlign is what the stubs of fragments are padded to when they are
// protected (MS-RPCE section 2.2.2.11), and a multiple of what NDR wants a
// stub divided at.
const bodyAlign = 16

// writer sends calls' stubs in fragments.
type writer struct {
	dst io.Writer
	buf []byte // kept; what is in it is written before send returns
}

// message describes the fragments of one request or response.
type message struct {
	ptype     uint8
	callID    uint32
	contextID uint16
	opnum     uint16    // of requests
	object    *ndr.GUID // of requests; may be nil
	stub      []byte    // is not changed
}

// send sends m in fragments of at most maxFrag bytes, protected by sec, which
// may be nil.
func (w *writer) send(m message, maxFrag int, sec *security) error {
	head := callHeader
	flags := flagFirst
	if m.object != nil {
		head += len(m.object)
		flags |= flagObject
	}
	full := fullBody(maxFrag-head, sec)
	stub := m.stub
	size := maxFrag
	if len(stub) > full {
		size = max(batch, maxFrag)
	}
	if cap(w.buf) < size {
		w.release() // before there is another
		w.buf = make([]byte, 0, size)
	}
	b := w.buf[:0]
	for {
		part := stub
		if len(part) > full {
			part = part[:full]
		} else {
			flags |= flagLast
		}
		if len(b)+maxFrag > cap(b) {
			if _, err := w.dst.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
		start := len(b)
		b = appendHeader(b, m.ptype, flags, m.callID)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(stub))) // alloc_hint: what is left
		b = binary.LittleEndian.AppendUint16(b, m.contextID)
		b = binary.LittleEndian.AppendUint16(b, m.opnum)
		if m.object != nil {
			b = append(b, m.object[:]...)
		}
		b = append(b, part...)
		var err error
		if b, err = finish(b, start, head, sec); err != nil {
			return err
		}
		if flags&flagLast != 0 {
			break
		}
		stub = stub[len(part):]
		flags &^= flagFirst
	}
	_, err := w.dst.Write(b)
	return err
}

// finish protects the fragment at b[start:] and sets its lengths. The header
// is signed with them.
func finish(b []byte, start, head int, sec *security) ([]byte, error) {
	if !sec.protects() {
		putLengths(b[start:], len(b)-start, 0)
		return b, nil
	}
	pad := -(len(b) - start - head) & (bodyAlign - 1)
	for range pad {
		b = append(b, 0)
	}
	end := len(b) - start // of the body
	b = appendTrailer(b, sec, pad)
	n := sec.ctx.TokenSize(sec.seal(), end-head)
	for range n {
		b = append(b, 0)
	}
	pdu := b[start:]
	putLengths(pdu, len(pdu), n)
	return b, sec.ctx.Wrap(pdu[end+trailerSize:], gss.Message{
		Header:     pdu[:head:head],
		Body:       pdu[head:end:end],
		Trailer:    pdu[end : end+trailerSize : end+trailerSize],
		SignHeader: sec.signHeader,
	}, sec.seal())
}

// fullBody returns how many bytes of stub fit into a fragment that has space
// for this many bytes of body and verifier.
func fullBody(space int, sec *security) int {
	if !sec.protects() {
		return space &^ (bodyAlign - 1)
	}
	body := (space - trailerSize) &^ (bodyAlign - 1)
	for body > bodyAlign && body+trailerSize+sec.ctx.TokenSize(sec.seal(), body) > space {
		body -= bodyAlign
	}
	return body
}

// release gives the buffer back.
func (w *writer) release() { w.buf = nil }
