package chunklist

import (
	"bytes"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/certkeep/certkeep/repo/internal/pack"
)

// MaxSegments is how many segments a set may refer to: 4 TiB of new data, or a
// database of which every chunk lies in another segment.
const MaxSegments = 1 << 22

// Entry is a line of a set's table of segments: the segment, the pack it was put
// into, and which parts of it the set uses, a bit for each 64th of [MaxChunk].
//
// Tables are not encrypted, so that who prunes needs no key.
type Entry struct {
	Segment pack.ID
	Pack    pack.ID // where it was put; a prune may have moved it
	Used    uint64
}

// Mark adds the parts that a chunk lies in.
func (e *Entry) Mark(off, length uint32) { e.Used |= Bits(off, length) }

// Bits are the parts of a segment that a chunk lies in.
func Bits(off, length uint32) uint64 {
	const part = MaxChunk / 64
	if length == 0 {
		return 0
	}
	first, last := off/part, (off+length-1)/part
	if last > 63 {
		last = 63
	}
	return (^uint64(0) >> (63 - (last - first))) << first
}

// Parts is how many 64ths are used.
func Parts(used uint64) int { return bits.OnesCount64(used) }

// EncodeTable writes a table: a line for each segment, of the hash of the segment,
// the id of the pack ("-" if it is that of the line before), and the bits in
// hexadecimal.
func EncodeTable(entries []Entry) []byte {
	b := make([]byte, 0, len(entries)*86)
	var prev pack.ID
	for i, e := range entries {
		b = append(b, e.Segment.String()...)
		b = append(b, ' ')
		if i > 0 && e.Pack == prev {
			b = append(b, '-')
		} else {
			b = append(b, e.Pack.String()...)
		}
		b = append(b, ' ')
		b = strconv.AppendUint(b, e.Used, 16)
		b = append(b, '\n')
		prev = e.Pack
	}
	return b
}

// DecodeTable reads a table.
func DecodeTable(b []byte) ([]Entry, error) {
	out := make([]Entry, 0, len(b)/70+1)
	var prev pack.ID
	for len(b) > 0 {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok || len(out) >= MaxSegments {
			return nil, fmt.Errorf("table of segments: %w", ErrDamaged)
		}
		b = rest
		fields := bytes.Split(line, []byte(" "))
		if len(fields) != 3 {
			return nil, fmt.Errorf("table of segments: line %d: %w", len(out)+1, ErrDamaged)
		}
		var e Entry
		var err, err2, err3 error
		e.Segment, err = pack.ParseID(string(fields[0]))
		if string(fields[1]) == "-" && len(out) > 0 {
			e.Pack = prev
		} else {
			e.Pack, err2 = pack.ParseID(string(fields[1]))
		}
		e.Used, err3 = strconv.ParseUint(string(fields[2]), 16, 64)
		if err != nil || err2 != nil || err3 != nil {
			return nil, fmt.Errorf("table of segments: line %d: %w", len(out)+1, ErrDamaged)
		}
		prev = e.Pack
		out = append(out, e)
	}
	return out, nil
}
