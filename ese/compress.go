package ese

// Methods of compression: the first byte's upper five bits.
const (
	compressSevenBit    = 1 // ASCII
	compressSevenBit16  = 2 // UTF-16 of ASCII characters
	compressXpress      = 3
	compressScrubbed    = 4 // the data was wiped
	compressXpress9     = 5
	compressXpress10    = 6
	compressLZ4         = 7
	xpressHeader        = 3
	maxSevenBitExpanded = 1 << 20
)

// decompress appends to dst what was compressed into b. The result is at most 64 KiB
// for XPRESS, and about twice as long as b for the others.
func decompress(dst, b []byte) ([]byte, error) {
	if len(b) == 0 {
		return dst, corrupt("compressed value of no bytes")
	}
	switch method := b[0] >> 3; method {
	case compressSevenBit, compressSevenBit16:
		return sevenBit(dst, b, method == compressSevenBit16)
	case compressXpress:
		if len(b) < xpressHeader {
			return dst, corrupt("compressed value of %d bytes", len(b))
		}
		return lz77(dst, b[xpressHeader:], int(le.Uint16(b[1:])))
	case compressScrubbed:
		return dst, unsupported("value that was scrubbed")
	case compressXpress9:
		return dst, unsupported("compressed with Xpress9")
	case compressXpress10:
		return dst, unsupported("compressed with Xpress10")
	case compressLZ4:
		return dst, unsupported("compressed with LZ4")
	default:
		return dst, unsupported("compressed with method %d", method)
	}
}

// sevenBit unpacks values of seven bits, lowest first. The first byte's lower three
// bits are the number of bits used in the last byte, less one.
func sevenBit(dst, b []byte, wide bool) ([]byte, error) {
	if len(b) < 2 {
		return dst, corrupt("compressed value of %d bytes", len(b))
	}
	count := ((len(b)-2)*8 + int(b[0]&7) + 1) / 7
	if count > maxSevenBitExpanded {
		return dst, corrupt("compressed value of %d bytes", len(b))
	}
	var have uint
	var bits uint32
	for b = b[1:]; count > 0; count-- {
		if have < 7 {
			bits |= uint32(b[0]) << have
			have += 8
			b = b[1:]
		}
		dst = append(dst, byte(bits&0x7f))
		if wide {
			dst = append(dst, 0)
		}
		bits >>= 7
		have -= 7
	}
	return dst, nil
}

// lz77 appends size bytes that MS-XCA's Plain LZ77 made b of (section 2.4). It is an
// error if b says more or less than that.
func lz77(dst, b []byte, size int) ([]byte, error) {
	start := len(dst)
	end := start + size
	var flags uint32
	var left int // flags still to be used
	nibble := -1 // place of a byte whose upper half is still to be used
	at := 0
	short := func() ([]byte, error) {
		return dst, corrupt("compressed value ends after %d of %d bytes", len(dst)-start, size)
	}
	for len(dst) < end {
		if left == 0 {
			if at+4 > len(b) {
				return short()
			}
			flags, left = le.Uint32(b[at:]), 32
			at += 4
		}
		left--
		if flags>>left&1 == 0 {
			if at >= len(b) {
				return short()
			}
			dst = append(dst, b[at])
			at++
			continue
		}
		if at+2 > len(b) {
			return short()
		}
		m := int(le.Uint16(b[at:]))
		at += 2
		offset, length := m>>3+1, m&7
		if length == 7 {
			if nibble < 0 {
				if at >= len(b) {
					return short()
				}
				nibble = at
				length = int(b[at] & 15)
				at++
			} else {
				length = int(b[nibble] >> 4)
				nibble = -1
			}
			if length == 15 {
				if at >= len(b) {
					return short()
				}
				length = int(b[at])
				at++
				if length == 255 {
					if at+2 > len(b) {
						return short()
					}
					length = int(le.Uint16(b[at:]))
					at += 2
					if length < 15+7 {
						return dst, corrupt("compressed value has a match of length %d", length)
					}
					length -= 15 + 7
				}
				length += 15
			}
			length += 7
		}
		length += 3
		from := len(dst) - offset
		if from < start || length > end-len(dst) {
			return dst, corrupt("compressed value has a match of %d bytes %d back, after %d of %d", length, offset, len(dst)-start, size)
		}
		for i := range length { // one by one: a match may reach into itself
			dst = append(dst, dst[from+i])
		}
	}
	return dst, nil
}
