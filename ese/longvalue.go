package ese

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// LongValue is a value that is kept outside of its record, in pieces.
type LongValue struct {
	table      *Table
	key        []byte // of its root node; pieces have an offset behind it
	size       int64
	references uint32
	encrypted  bool
	head       cursor // behind the root node, where the first piece should be
}

// LongValue returns the long value that a separated value refers to.
func (v Value) LongValue() (*LongValue, error) {
	if v.err != nil {
		return nil, v.err
	}
	if !v.separated || v.table == nil {
		return nil, v.failed(fmt.Errorf("%w: the value stands in its record", ErrNoLongValue))
	}
	lv, err := v.table.longValue(v.raw)
	return lv, v.failed(err)
}

// longValue finds the long value with that number, four bytes or eight, as a record
// has it.
func (t *Table) longValue(number []byte) (*LongValue, error) {
	if t.long.root == 0 {
		return nil, fmt.Errorf("%w: the table has none", ErrNoLongValue)
	}
	var keys [][]byte
	switch len(number) {
	case 4:
		key := binary.BigEndian.AppendUint32(nil, le.Uint32(number))
		keys = append(keys, key)
		// Old engines drop zeros at the beginning.
		if short := bytes.TrimLeft(key, "\x00"); len(short) < 4 && len(short) > 0 {
			keys = append(keys, short)
		}
	case 8:
		keys = append(keys, binary.BigEndian.AppendUint64(nil, le.Uint64(number)))
	default:
		return nil, corrupt("number of a long value of %d bytes", len(number))
	}
	for _, key := range keys {
		c := cursor{walk: walk{db: t.db, object: t.long.object}}
		if err := c.seek(t.long.root, key); err != nil {
			return nil, err
		}
		n, ok, err := c.node()
		if err != nil {
			return nil, err
		}
		if !ok || c.p.compareKey(n, key) != 0 {
			continue
		}
		if len(n.data) < 8 {
			return nil, t.db.at(c.p.number, corrupt("head of a long value of %d bytes", len(n.data)))
		}
		c.i++
		return &LongValue{table: t, key: key, references: le.Uint32(n.data), size: int64(le.Uint32(n.data[4:])),
			encrypted: len(n.data) > 8 && n.data[8]&1 != 0, head: c}, nil
	}
	return nil, fmt.Errorf("%w: %x", ErrNoLongValue, keys[0])
}

// Size is the value's length in bytes, as its head has it.
func (lv *LongValue) Size() int64 { return lv.size }

// References is how many rows refer to it.
func (lv *LongValue) References() uint32 { return lv.references }

// Bytes returns the whole value. Memory is used as pieces are found, whatever size
// the head claims.
func (lv *LongValue) Bytes() ([]byte, error) {
	b := make([]byte, 0, min(lv.size, 64<<10))
	r := lv.reader()
	for {
		piece, err := r.piece()
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		b = append(b, piece...)
	}
}

// Reader returns the value piece by piece; it takes the memory of a piece.
func (lv *LongValue) Reader() io.Reader { return lv.reader() }

func (lv *LongValue) reader() *longReader {
	r := &longReader{lv: lv, cursor: lv.head}
	r.cursor.walk.stack = slices.Clone(lv.head.walk.stack) // a value can be read more than once
	return r
}

// longReader reads a long value.
type longReader struct {
	lv     *LongValue
	cursor cursor
	off    int64  // of the next piece
	step   int64  // length of all pieces but the last; 0 until it is known
	buf    []byte // memory for decompressing
	rest   []byte // of the piece that is being read
	err    error
}

func (r *longReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.rest, r.err = r.piece()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// piece returns the next piece, at least one byte of it, or io.EOF. How long a piece
// is once it is decompressed follows from the offset of the next one, or the value's
// size; it is compressed if it is shorter, there is no other mark.
func (r *longReader) piece() ([]byte, error) {
	lv := r.lv
	db := lv.table.db
	if r.off >= lv.size {
		return nil, io.EOF
	}
	if lv.encrypted {
		return nil, unsupported("encrypted long value")
	}
	n, ok, err := r.cursor.node()
	if err != nil {
		return nil, err
	}
	off, mine := r.offset(n)
	if !ok || !mine || off != r.off {
		return nil, fmt.Errorf("%w: %x lacks the piece at %d of %d", ErrNoLongValue, lv.key, r.off, lv.size)
	}
	data, at := n.data, r.cursor.p.number
	r.cursor.i++
	next := lv.size
	n, ok, err = r.cursor.node()
	if err != nil {
		return nil, err
	}
	if off, mine := r.offset(n); ok && mine {
		next = off
	}
	length := next - r.off
	if r.step == 0 {
		r.step = length
	}
	switch {
	case length <= 0 || length > lv.table.maxPiece() || next > lv.size,
		length > r.step, length != r.step && next != lv.size:
		return nil, db.at(at, corrupt("long value %x: piece of %d bytes at %d of %d", lv.key, length, r.off, lv.size))
	case int64(len(data)) > length:
		return nil, db.at(at, corrupt("long value %x: piece at %d has %d bytes, not %d", lv.key, r.off, len(data), length))
	case int64(len(data)) < length:
		if r.buf, err = decompress(r.buf[:0], data); err != nil {
			return nil, db.at(at, fmt.Errorf("long value %x: piece at %d: %w", lv.key, r.off, err))
		}
		if int64(len(r.buf)) != length {
			return nil, db.at(at, corrupt("long value %x: piece at %d has %d bytes, not %d", lv.key, r.off, len(r.buf), length))
		}
		data = r.buf
	}
	r.off = next
	return data, nil
}

// maxPiece is how long a piece can be at most: what the catalog says, or else what the
// oldest engines used, who used most.
func (t *Table) maxPiece() int64 {
	if t.chunkMax > 0 && t.chunkMax < t.db.header.PageSize {
		return int64(t.chunkMax)
	}
	return int64(t.db.header.PageSize) - 61
}

// offset returns the offset in the key of a piece, if it is one of this value.
func (r *longReader) offset(n node) (off int64, mine bool) {
	if r.cursor.p == nil {
		return 0, false
	}
	var buf [16]byte
	if n.prefix+len(n.suffix) != len(r.lv.key)+4 {
		return 0, false
	}
	key := r.cursor.p.key(buf[:0], n)
	if !bytes.HasPrefix(key, r.lv.key) {
		return 0, false
	}
	return int64(binary.BigEndian.Uint32(key[len(r.lv.key):])), true
}

// cursor is a place in a tree.
type cursor struct {
	walk walk
	p    *page // nil behind the last leaf
	i    int
}

// seek goes to the first node whose key is not less than key.
func (c *cursor) seek(root uint32, key []byte) (err error) {
	c.p, c.i, err = c.walk.seek(root, key)
	return err
}

// node returns the node at the cursor, or the next one behind it that is not
// deleted, maybe on a later leaf.
func (c *cursor) node() (n node, ok bool, err error) {
	for c.p != nil {
		for ; c.i < c.p.nodes(); c.i++ {
			if n, err = c.p.node(c.i); err != nil {
				return n, false, c.walk.db.at(c.p.number, err)
			}
			if !n.deleted() {
				return n, true, nil
			}
		}
		if c.walk.seen == nil {
			c.walk.seen = pageSet{} // from here on, no page twice
		}
		if c.p, err = c.walk.descend(); err != nil {
			return n, false, err
		}
		c.i = 0
	}
	return node{}, false, nil
}
