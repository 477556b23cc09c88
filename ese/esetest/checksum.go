package esetest

import (
	"encoding/binary"
	"math/bits"
)

var (
	le = binary.LittleEndian
	be = binary.BigEndian
)

// headerSum is the checksum of headers, checkpoints, trailers and pages of the old
// format: the exclusive or of all 32-bit words but the first.
func headerSum(b []byte) uint32 {
	sum := uint32(0x89abcdef)
	for b = b[4:]; len(b) >= 4; b = b[4:] {
		sum ^= le.Uint32(b)
	}
	return sum
}

// blockSum is the checksum with error correction of one block, row by row as the
// format's description has it. A block that begins a page holds its own checksum in
// the first eight bytes, which count as zero.
func blockSum(b []byte, page uint32, begins bool) uint64 {
	var left, right uint64 // columns 0 and 1, 2 and 3
	var rows uint32        // indexes of the odd rows, and their complements above
	factor := uint32(0xff800000)
	for i := 0; i+16 <= len(b); i += 16 {
		l, r := le.Uint64(b[i:]), le.Uint64(b[i+8:])
		if begins && i == 0 {
			l = 0
		}
		left ^= l
		right ^= r
		rows ^= factor & -uint32(bits.OnesCount64(l^r)&1)
		factor += 0xff800080
	}
	c0, c1, c2, c3 := uint32(left), uint32(left>>32), uint32(right), uint32(right>>32)
	odd := func(v uint32) uint32 { return uint32(bits.OnesCount32(v) & 1) }
	rows ^= odd(c0^c1)<<22 | odd(c2^c3)<<6 | odd(c0^c2)<<21 | odd(c1^c3)<<5
	sum := c0 ^ c1 ^ c2 ^ c3
	var word uint32 // of the odd bits in a word
	for k := range uint32(32) {
		if sum>>k&1 != 0 {
			word ^= k | (^k&0xffff)<<16
		}
	}
	mask := uint32(len(b))<<19 - 1
	ecc := rows&0xffe0ffe0&mask | word&0x001f001f
	return uint64(ecc)<<32 | uint64(sum^page)
}

// SealPage sets the checksums of a page, whose length is the page size: one in pages
// of up to 8 KiB, four in larger ones. old is the format of Windows Vista and before,
// for small pages only.
func SealPage(page []byte, number uint32, old bool) {
	flags := le.Uint32(page[36:])
	if old {
		le.PutUint32(page[36:], flags&^flagNewChecksum)
		le.PutUint32(page[4:], number)
		le.PutUint32(page, headerSum(page))
		return
	}
	le.PutUint32(page[36:], flags|flagNewChecksum)
	if len(page) <= 8192 {
		le.PutUint64(page, blockSum(page, number, true))
		return
	}
	le.PutUint32(page[64:], number)
	n := len(page) / 4
	for i := 1; i < 4; i++ {
		le.PutUint64(page[32+8*i:], blockSum(page[i*n:][:n], number, false))
	}
	le.PutUint64(page, blockSum(page[:n], number, true))
}

// SealHeader sets the checksum of a header, checkpoint or trailer.
func SealHeader(b []byte) { le.PutUint32(b, headerSum(b)) }

// SealSegment sets the checksum of a log's segment in place number.
func SealSegment(b []byte, number uint32) {
	le.PutUint32(b[36:], le.Uint32(b[36:])|flagNewChecksum)
	le.PutUint64(b, blockSum(b, number, true))
}
