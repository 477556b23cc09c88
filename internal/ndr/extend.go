package ndr

import "slices"

// Extend appends n bytes and returns them, to be filled in place: what they hold
// until then is not defined. The result is good until the next call.
func (e *Encoder) Extend(n int) []byte {
	e.buf = slices.Grow(e.buf, n)[:len(e.buf)+n]
	return e.buf[len(e.buf)-n:]
}

// Truncate takes back all but the first n bytes of the stub.
func (e *Encoder) Truncate(n int) { e.buf = e.buf[:e.base+n] }
