// Package pack joins sealed segments into packs, and finds them again.
//
// A pack is an object packs/XX/ID: a text header, and the segments one behind
// another. The header is the line "certkeep pack 1 COUNT", and a line for each
// segment with its SHA-256 and its length in bytes. ID is the SHA-256 of the header,
// XX its first two digits: so a pack proves itself without any key, and anyone
// may move segments from pack to pack.
package pack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/certkeep/certkeep/repo/blob"
)

// Bounds of packs.
const (
	// MaxSegment is the longest sealed segment.
	MaxSegment = 8 << 20
	maxCount   = 4096
	lineLen    = 64 + 1 + 9 + 1
	maxHeader  = 64 + maxCount*lineLen
)

// Target is the size at which a pack is full, in bytes. Tests make it smaller.
var Target = 16 << 20

// Dir is where packs are.
const Dir = "packs/"

// ErrDamaged: a pack or segment is not what was written.
var ErrDamaged = errors.New("damaged")

// ID is the SHA-256 of a segment, or of a pack's header.
type ID [sha256.Size]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Sum is the ID of a segment.
func Sum(b []byte) ID { return sha256.Sum256(b) }

// ParseID reads what String wrote.
func ParseID(s string) (id ID, err error) {
	if len(s) == 2*len(id) && strings.ToLower(s) == s {
		if _, err := hex.Decode(id[:], []byte(s)); err == nil {
			return id, nil
		}
	}
	return ID{}, fmt.Errorf("%w: %.80q is no SHA-256", ErrDamaged, s)
}

// Key is the name of a pack's object.
func Key(id ID) string {
	s := id.String()
	return Dir + s[:2] + "/" + s
}

// ParseKey is the pack of an object.
func ParseKey(key string) (ID, bool) {
	rest, ok := strings.CutPrefix(key, Dir)
	if !ok || len(rest) < 3 {
		return ID{}, false
	}
	id, err := ParseID(rest[3:])
	return id, err == nil && Key(id) == key
}

// Segment is where a segment is within a pack.
type Segment struct {
	ID     ID
	Offset int64 // in the pack's object
	Length int64
}

// Builder collects segments for a pack, in the memory that the pack will be in. Its zero
// value is ready for use.
type Builder struct {
	buf     []byte // room for the header, and the segments
	ids     []ID
	lengths []int
}

// NewBuilder is a Builder that uses the memory of a pack that is not needed any more, if it
// gets some: what Memory said before that pack was built.
func NewBuilder(memory []byte) Builder { return Builder{buf: memory[:0]} }

// Memory is what the pack is built in.
func (b *Builder) Memory() []byte { return b.buf }

// Add adds a sealed segment, and reports whether the pack is full.
func (b *Builder) Add(id ID, sealed []byte) (full bool) {
	if len(b.ids) == 0 {
		if cap(b.buf) < maxHeader {
			b.buf = make([]byte, 0, maxHeader+Target+Target/8)
		}
		b.buf = b.buf[:maxHeader]
	}
	b.buf = append(b.buf, sealed...)
	b.ids, b.lengths = append(b.ids, id), append(b.lengths, len(sealed))
	return b.Size() >= Target || len(b.ids) >= maxCount-MaxRepeats
}

// MaxRepeats is how often Repeat may be called for a pack.
const MaxRepeats = 16

// Repeat adds the shortest segment once more: the same segments, in a pack of another id.
func (b *Builder) Repeat() {
	n, at, off := 0, maxHeader, maxHeader
	for i, length := range b.lengths {
		if length < b.lengths[n] {
			n, at = i, off
		}
		off += length
	}
	// Clones: what b was copied from stays as it is.
	b.buf = append(slices.Clone(b.buf), b.buf[at:at+b.lengths[n]]...)
	b.ids, b.lengths = append(slices.Clone(b.ids), b.ids[n]), append(slices.Clone(b.lengths), b.lengths[n])
}

// Len is how many segments it has.
func (b *Builder) Len() int { return len(b.ids) }

// Size is how many bytes they have.
func (b *Builder) Size() int { return max(len(b.buf)-maxHeader, 0) }

// Build makes the pack and empties the builder. The object is in the memory of the segments, with
// the header right before them.
func (b *Builder) Build() (id ID, object []byte, segments []ID) {
	var h bytes.Buffer
	fmt.Fprintf(&h, "certkeep pack 1 %d\n", len(b.ids))
	for i, length := range b.lengths {
		fmt.Fprintf(&h, "%s %d\n", b.ids[i], length)
	}
	id = Sum(h.Bytes())
	object = b.buf[maxHeader-h.Len():]
	copy(object, h.Bytes())
	segments = b.ids
	*b = Builder{}
	return id, object, segments
}

// ReadHeader reads the header of a pack, and checks it against its id.
func ReadHeader(ctx context.Context, s blob.Store, id ID, size int64) ([]Segment, error) {
	n := min(size, 8192)
	for {
		b, err := s.Get(ctx, Key(id), 0, n)
		if err != nil {
			if errors.Is(err, blob.ErrShort) {
				return nil, fmt.Errorf("pack %s: %w: shorter than listed", id, ErrDamaged)
			}
			return nil, err
		}
		segments, need, err := ParseHeader(b, id, size)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", id, err)
		}
		if need == 0 {
			return segments, nil
		}
		n = need
	}
}

// ParseHeader reads a header that b begins with. If b is too short, need is how much
// of the object is needed.
func ParseHeader(b []byte, id ID, size int64) (segments []Segment, need int64, err error) {
	bad := func(why string) ([]Segment, int64, error) { return nil, 0, fmt.Errorf("%w: %s", ErrDamaged, why) }
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	num, ok2 := strings.CutPrefix(string(line), "certkeep pack 1 ")
	count, err := strconv.Atoi(num)
	if !ok || !ok2 || err != nil || count < 1 || count > maxCount || strconv.Itoa(count) != num {
		return bad("no header of a pack")
	}
	lengths := make([]Segment, 0, min(count, len(rest)/66+1))
	at := len(line) + 1
	for range count {
		line, tail, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			most := int64(at + (count-len(lengths))*lineLen)
			if int64(len(b)) >= min(most, size) {
				return bad("the header is cut short")
			}
			return nil, min(most, size), nil
		}
		sum, num, ok := strings.Cut(string(line), " ")
		if !ok {
			return bad("a line of the header is wrong")
		}
		sid, err := ParseID(sum)
		if err != nil {
			return nil, 0, err
		}
		length, err := strconv.ParseInt(num, 10, 64)
		if err != nil || length < 1 || length > MaxSegment || strconv.FormatInt(length, 10) != num {
			return bad("a segment's length is wrong")
		}
		lengths = append(lengths, Segment{ID: sid, Length: length})
		at += len(line) + 1
		rest = tail
	}
	if Sum(b[:at]) != id {
		return bad("the header is not the one that the name stands for")
	}
	off := int64(at)
	for i := range lengths {
		lengths[i].Offset = off
		off += lengths[i].Length
	}
	if off != size {
		return bad(fmt.Sprintf("%d bytes, and the header says %d", size, off))
	}
	return lengths, 0, nil
}

// Check reads a whole pack and compares every segment with its hash.
func Check(ctx context.Context, s blob.Store, id ID) ([]Segment, error) {
	b, err := s.Get(ctx, Key(id), 0, -1)
	if err != nil {
		return nil, err
	}
	segments, need, err := ParseHeader(b, id, int64(len(b)))
	if err == nil && need > 0 {
		err = fmt.Errorf("%w: the header is cut short", ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", id, err)
	}
	for _, seg := range segments {
		if Sum(b[seg.Offset:seg.Offset+seg.Length]) != seg.ID {
			return nil, fmt.Errorf("pack %s: segment %s: %w: it has another hash", id, seg.ID, ErrDamaged)
		}
	}
	return segments, nil
}

// Read reads a segment and checks its hash.
func Read(ctx context.Context, s blob.Store, in ID, seg Segment) ([]byte, error) {
	b, err := s.Get(ctx, Key(in), seg.Offset, seg.Length)
	if err != nil {
		if errors.Is(err, blob.ErrShort) {
			err = fmt.Errorf("%w: cut short", ErrDamaged)
		}
		return nil, fmt.Errorf("segment %s: %w", seg.ID, err)
	}
	if Sum(b) != seg.ID {
		return nil, fmt.Errorf("segment %s in pack %s: %w: it has another hash", seg.ID, in, ErrDamaged)
	}
	return b, nil
}
