package ese

import "math/bits"

// xorChecksum is the checksum of headers: the exclusive or of all words but the
// first, which holds it.
func xorChecksum(b []byte) uint32 {
	sum := uint64(0x89abcdef)
	b = b[:len(b)&^7]
	if len(b) == 0 {
		return uint32(sum)
	}
	sum ^= le.Uint64(b) >> 32
	for b = b[8:]; len(b) >= 32; b = b[32:] {
		sum ^= le.Uint64(b) ^ le.Uint64(b[8:]) ^ le.Uint64(b[16:]) ^ le.Uint64(b[24:])
	}
	for ; len(b) >= 8; b = b[8:] {
		sum ^= le.Uint64(b)
	}
	return uint32(sum) ^ uint32(sum>>32)
}

// blockChecksum is the checksum with error correction of one block of 1 to 8 KiB:
// the exclusive or of its words and of the page number in the low half, the error
// correcting code in the high half. A block that begins a page holds its own
// checksum in the first eight bytes, which count as zero (first).
//
// The code says of every bit of a bit's index in the block whether the bits with it
// set, and those with it clear, are odd in number. The block is seen as rows of 16
// bytes. Going over it bit by bit, or row by row with a parity each, is slow; but the
// parity of "all rows whose index has bit k" is the parity of the exclusive or of
// those rows. So sixteen rows at a time are folded as a tree, and only the sixteen as
// a whole need a parity of their own: about one operation for four bytes.
func blockChecksum(b []byte, page uint32, first bool) uint64 {
	all, odd, row0, row1, row2, row3, groups := foldRows(b)
	even := all ^ odd
	if first { // row 0 is in none of the row sums
		own := le.Uint64(b)
		even ^= own
		all ^= own
	}
	rows := uint32(groups)>>4 | parity(row3)<<3 | parity(row2)<<2 | parity(row1)<<1 | parity(row0)

	c0, c1, c2, c3 := uint32(even), uint32(even>>32), uint32(odd), uint32(odd>>32) // columns
	r := c0 ^ c1 ^ c2 ^ c3
	total := parity(uint64(r))

	// Bits 7 to 15 are the row, 5 and 6 the word in it, 0 to 4 the bit in the
	// word. The upper half has the same for the bits that are clear.
	var low uint32
	for v := r; v != 0; v &= v - 1 {
		low ^= uint32(bits.TrailingZeros32(v))
	}
	low |= rows << 7
	low |= parity(uint64(c2^c3))<<6 | parity(uint64(c1^c3))<<5
	high := low
	if total != 0 {
		high = ^low
	}
	// The reference puts the parity of the other pair here, which is the same thing.
	ecc := (low & 0xffff) | (high&0xffff)<<16
	ecc &= uint32(len(b))<<19 - 1
	return uint64(ecc)<<32 | uint64(r^page)
}

// foldRows goes over all rows of a block. It returns the exclusive or of the halves
// of all rows, of the second halves, of the rows whose index has bit 0, 1, 2 or 3, and of
// the offsets of those groups of sixteen rows that are odd.
func foldRows(b []byte) (all, odd, row0, row1, row2, row3, groups uint64) {
	for i := 0; i <= len(b)-256; i += 256 {
		p := (*[256]byte)(b[i:])
		// Depth first, so that few values are alive at a time.
		var w, x, y, z, s, t uint64
		w = le.Uint64(p[8:])
		odd ^= w
		x = le.Uint64(p[0:]) ^ w
		w = le.Uint64(p[24:])
		odd ^= w
		y = le.Uint64(p[16:]) ^ w
		row0 ^= y
		s = x ^ y
		w = le.Uint64(p[40:])
		odd ^= w
		x = le.Uint64(p[32:]) ^ w
		w = le.Uint64(p[56:])
		odd ^= w
		y = le.Uint64(p[48:]) ^ w
		row0 ^= y
		x ^= y
		row1 ^= x
		s ^= x

		w = le.Uint64(p[72:])
		odd ^= w
		x = le.Uint64(p[64:]) ^ w
		w = le.Uint64(p[88:])
		odd ^= w
		y = le.Uint64(p[80:]) ^ w
		row0 ^= y
		z = x ^ y
		w = le.Uint64(p[104:])
		odd ^= w
		x = le.Uint64(p[96:]) ^ w
		w = le.Uint64(p[120:])
		odd ^= w
		y = le.Uint64(p[112:]) ^ w
		row0 ^= y
		x ^= y
		row1 ^= x
		z ^= x
		row2 ^= z
		s ^= z

		w = le.Uint64(p[136:])
		odd ^= w
		x = le.Uint64(p[128:]) ^ w
		w = le.Uint64(p[152:])
		odd ^= w
		y = le.Uint64(p[144:]) ^ w
		row0 ^= y
		t = x ^ y
		w = le.Uint64(p[168:])
		odd ^= w
		x = le.Uint64(p[160:]) ^ w
		w = le.Uint64(p[184:])
		odd ^= w
		y = le.Uint64(p[176:]) ^ w
		row0 ^= y
		x ^= y
		row1 ^= x
		t ^= x

		w = le.Uint64(p[200:])
		odd ^= w
		x = le.Uint64(p[192:]) ^ w
		w = le.Uint64(p[216:])
		odd ^= w
		y = le.Uint64(p[208:]) ^ w
		row0 ^= y
		z = x ^ y
		w = le.Uint64(p[232:])
		odd ^= w
		x = le.Uint64(p[224:]) ^ w
		w = le.Uint64(p[248:])
		odd ^= w
		y = le.Uint64(p[240:]) ^ w
		row0 ^= y
		x ^= y
		row1 ^= x
		z ^= x
		row2 ^= z
		t ^= z

		row3 ^= t
		s ^= t
		all ^= s
		// Without a branch: random data would mispredict half of them.
		groups ^= uint64(i) & -uint64(bits.OnesCount64(s)&1)
	}
	return all, odd, row0, row1, row2, row3, groups
}

func parity(v uint64) uint32 { return uint32(bits.OnesCount64(v) & 1) }

// locate compares a stored checksum with the computed one of a block of n bytes. If
// they differ as they do after one bit of the block flipped, it returns the bit.
func locate(stored, computed uint64, n int) (bit int, ok bool) {
	d := uint32(stored>>32) ^ uint32(computed>>32)
	mask := uint32(8*n - 1)
	// Small blocks leave bits of the stored code unused; one that is set is another
	// wrong bit.
	if d&^(mask|mask<<16) != 0 || (d>>16^d)&mask != mask || bits.OnesCount32(uint32(stored)^uint32(computed)) != 1 {
		return 0, false
	}
	bit = int(d & mask)
	// The bit's place in its word must be the one that the plain sum shows.
	if bits.TrailingZeros32(uint32(stored)^uint32(computed)) != bit&31 {
		return 0, false
	}
	return bit, true
}
