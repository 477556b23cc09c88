// Package chunklist writes and reads chunk lists: which chunks a file is made of, and
// where each is.
//
// A list is text, a line for each chunk in the order of the file: the number of its
// segment in the set's table of segments, its offset and its length in the segment, and
// its id in hexadecimal. A number that is one more than expected is left out: where a
// chunk follows the one before in the same segment with the same length, its line is the
// id alone.
package chunklist

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// ErrDamaged: not a chunk list.
var ErrDamaged = errors.New("damaged chunk list")

// IDSize is the length of a chunk's id in bytes: the AES-256-GMAC of the chunk.
const IDSize = 16

// MaxChunks is how many chunks one list has at most.
const MaxChunks = 1 << 16

// MaxChunk is the longest chunk, and the most a segment holds, in bytes.
const MaxChunk = 1 << 20

// ID of a chunk.
type ID [IDSize]byte

// Chunk is a line of a list.
type Chunk struct {
	Segment uint32 // in the set's table
	Offset  uint32 // in the unfolded segment
	Length  uint32
	ID      ID
}

// follows reports whether c lies right behind p.
func (c Chunk) follows(p Chunk) bool {
	return c.Segment == p.Segment && c.Offset == p.Offset+p.Length && c.Length == p.Length
}

// Encode writes a list.
func Encode(chunks []Chunk) []byte {
	b := make([]byte, 0, len(chunks)*(2*IDSize+8))
	var prev Chunk
	for i, c := range chunks {
		if i == 0 || !c.follows(prev) {
			b = strconv.AppendUint(b, uint64(c.Segment), 10)
			b = append(b, ' ')
			b = strconv.AppendUint(b, uint64(c.Offset), 10)
			b = append(b, ' ')
			b = strconv.AppendUint(b, uint64(c.Length), 10)
			b = append(b, ' ')
		}
		b = hex.AppendEncode(b, c.ID[:])
		b = append(b, '\n')
		prev = c
	}
	return b
}

// Decode reads a list of at most MaxChunks chunks whose segments are below
// segments.
func Decode(b []byte, segments int) ([]Chunk, error) {
	out := make([]Chunk, 0, min(MaxChunks, len(b)/(2*IDSize+1)+1))
	var prev Chunk
	for len(b) > 0 {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok || len(out) == MaxChunks {
			return nil, ErrDamaged
		}
		b = rest
		c, err := decode(line, prev, len(out) == 0)
		if err != nil {
			return nil, err
		}
		if int64(c.Segment) >= int64(segments) || c.Length == 0 || int64(c.Offset)+int64(c.Length) > MaxChunk {
			return nil, fmt.Errorf("%w: line %d", ErrDamaged, len(out)+1)
		}
		out = append(out, c)
		prev = c
	}
	return out, nil
}

func decode(line []byte, prev Chunk, first bool) (c Chunk, err error) {
	if len(line) == 2*IDSize {
		if first {
			return c, ErrDamaged
		}
		c = Chunk{Segment: prev.Segment, Offset: prev.Offset + prev.Length, Length: prev.Length}
	} else {
		for _, into := range []*uint32{&c.Segment, &c.Offset, &c.Length} {
			num, rest, ok := bytes.Cut(line, []byte(" "))
			n, ok2 := parse(num)
			if !ok || !ok2 {
				return c, ErrDamaged
			}
			*into, line = n, rest
		}
	}
	if len(line) != 2*IDSize {
		return c, ErrDamaged
	}
	if _, err := hex.Decode(c.ID[:], line); err != nil {
		return c, ErrDamaged
	}
	return c, nil
}

// parse reads a decimal number in its one form.
func parse(b []byte) (uint32, bool) {
	if len(b) == 0 || len(b) > 10 || len(b) > 1 && b[0] == '0' {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n <= 1<<32-1
}
