package dcerpc

import (
	"errors"
	"io"
)

// Sizes of a reader's buffer. It starts small, because most connections never
// carry much, and doubles whenever the peer fills it.
const (
	readBufferMin = 8 << 10
	readBufferMax = 64 << 10
)

// reader cuts a stream into PDUs. A PDU that it returned is valid until the
// next call of next, and may be changed in place.
type reader struct {
	src        io.Reader
	buf        []byte
	start, end int // what was read and not returned yet
}

// errFull is what fill returns when there is no space behind what was read.
var errFull = errors.New("buffer is full")

// fill reads once, behind what is there already.
func (r *reader) fill() error {
	if r.end == len(r.buf) {
		return errFull
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress // no net.Conn does this
	}
	return err
}

// peek returns the header of the PDU that starts ahead bytes behind the PDUs
// that were returned, if all of that header was read already.
func (r *reader) peek(ahead int) (h header, ok bool) {
	if r.end-r.start < ahead+headerSize {
		return h, false
	}
	h, err := parseHeader(r.buf[r.start+ahead : r.end])
	return h, err == nil
}

// space returns how many bytes fill can read before the buffer is full.
func (r *reader) space() int { return len(r.buf) - r.end }

// compact moves what was read to the front of the buffer. The PDUs that were
// returned are not valid any more.
func (r *reader) compact() {
	r.end = copy(r.buf, r.buf[r.start:r.end])
	r.start = 0
}

// need makes n bytes available from start. The buffer grows only when it is
// full, so that a length costs its sender as many bytes.
func (r *reader) need(n int) error {
	for r.end-r.start < n {
		if r.start == r.end {
			r.start, r.end = 0, 0
		}
		if r.end == len(r.buf) {
			r.makeSpace()
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && r.end > r.start {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// makeSpace moves what was read to the front of the buffer, and enlarges the
// buffer if the peer had filled all of it.
func (r *reader) makeSpace() {
	buf := r.buf
	if len(buf) < readBufferMax {
		buf = make([]byte, max(2*len(buf), readBufferMin))
	}
	r.end = copy(buf, r.buf[r.start:r.end])
	r.start = 0
	r.buf = buf
}

// next returns the next PDU, whole, and its header. io.EOF means that the
// stream ended between two PDUs.
func (r *reader) next() (header, []byte, error) {
	if err := r.need(headerSize); err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(r.buf[r.start:r.end])
	if err != nil {
		return h, nil, err
	}
	if err := r.need(h.fragLen); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return h, nil, err
	}
	pdu := r.buf[r.start : r.start+h.fragLen : r.start+h.fragLen]
	r.start += h.fragLen
	return h, pdu, nil
}

// release gives the buffer back while nothing is in it.
func (r *reader) release() {
	if r.start == r.end && len(r.buf) > readBufferMin {
		r.buf, r.start, r.end = nil, 0, 0
	}
}
