package esetest

// compress returns a value in the shortest of the forms that the engine would choose
// from: seven bits for each character, or XPRESS; nil if none is shorter.
func compress(v []byte, codePage int) []byte {
	const least, most = 8, 0xffff // XPRESS stores the length in two bytes
	if len(v) < least || len(v) > most {
		return nil
	}
	best := v
	if z, ok := sevenBit(v, codePage == codePageUTF16); ok && len(z) < len(best) {
		best = z
	}
	if z := xpress(v); len(z) < len(best) {
		best = z
	}
	if len(best) == len(v) {
		return nil
	}
	return best
}

// sevenBit packs characters below 128, lowest bit first; wide are UTF-16. The first
// byte has the method, and how many bits of the last byte count.
func sevenBit(v []byte, wide bool) ([]byte, bool) {
	const method, methodWide = 1 << 3, 2 << 3
	step, head := 1, byte(method)
	if wide {
		step, head = 2, methodWide
		if len(v)%2 != 0 {
			return nil, false
		}
	}
	z := []byte{0}
	var bits, have uint
	for i := 0; i < len(v); i += step {
		if v[i] > 0x7f || wide && v[i+1] != 0 {
			return nil, false
		}
		bits |= uint(v[i]) << have
		for have += 7; have >= 8; have -= 8 {
			z = append(z, byte(bits))
			bits >>= 8
		}
	}
	used := uint(8)
	if have > 0 {
		z = append(z, byte(bits))
		used = have
	}
	z[0] = head | byte(used-1)
	return z, true
}

// xpress is MS-XCA's Plain LZ77 (section 2.3) behind the engine's three bytes. It
// takes the last place with the same three bytes as a match, no better one.
func xpress(v []byte) []byte {
	const method = 3 << 3
	z := []byte{method, byte(len(v)), byte(len(v) >> 8)}
	last := make(map[[3]byte]int)
	var flags uint32
	count := 0
	flagsAt := len(z)
	z = append(z, 0, 0, 0, 0)
	nibble := -1
	flag := func(match uint32) {
		flags = flags<<1 | match
		if count++; count == 32 {
			le.PutUint32(z[flagsAt:], flags)
			flagsAt, count, flags = len(z), 0, 0
			z = append(z, 0, 0, 0, 0)
		}
	}
	for i := 0; i < len(v); {
		from, found := -1, false
		if i+3 <= len(v) {
			from, found = last[[3]byte(v[i:])]
			last[[3]byte(v[i:])] = i
		}
		if !found || i-from > 8192 {
			z = append(z, v[i])
			i++
			flag(0)
			continue
		}
		n := 3
		for i+n < len(v) && v[from+n] == v[i+n] {
			n++
		}
		z, nibble = appendMatch(z, i-from, n, nibble)
		i += n
		flag(1)
	}
	// What is left of the last flags counts as matches, which nobody reads.
	if count > 0 {
		flags = flags<<(32-count) | (1<<(32-count) - 1)
	} else {
		flags = 1<<32 - 1
	}
	le.PutUint32(z[flagsAt:], flags)
	return z
}

// appendMatch appends a match. Two long ones share a byte for the first part of
// their lengths; nibble is where that byte is, if the upper half is not used yet.
func appendMatch(z []byte, offset, length, nibble int) ([]byte, int) {
	n := length - 3
	z = le.AppendUint16(z, uint16((offset-1)<<3|min(n, 7)))
	if n < 7 {
		return z, nibble
	}
	rest := n - 7
	if nibble < 0 {
		nibble = len(z)
		z = append(z, byte(min(rest, 15)))
	} else {
		z[nibble] |= byte(min(rest, 15) << 4)
		nibble = -1
	}
	if rest < 15 {
		return z, nibble
	}
	if rest -= 15; rest < 255 {
		return append(z, byte(rest)), nibble
	}
	return le.AppendUint16(append(z, 255), uint16(n)), nibble
}
