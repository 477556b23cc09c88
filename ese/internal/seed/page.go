// Package seed puts together small ESE databases, logs and checkpoints byte by byte,
// for tests. It shares no code with the reader: checksums are computed row by row and
// bit by bit, as the format's description has it, so that the reader's fast ones are
// held against something.
package seed

import (
	"encoding/binary"
	"math/bits"
)

var le = binary.LittleEndian

// XOR is the checksum of headers.
func XOR(b []byte) uint32 {
	sum := uint32(0x89abcdef)
	for i := 4; i+4 <= len(b); i += 4 {
		sum ^= le.Uint32(b[i:])
	}
	return sum
}

// Block is the checksum of a block of a page, straight from the description.
func Block(b []byte, page uint32, first bool) uint64 {
	var c [4]uint32
	var p uint32
	factor := uint32(0xff800000)
	for i := 0; i < len(b); i += 16 {
		var row uint32
		for j := range c {
			w := le.Uint32(b[i+4*j:])
			if first && i == 0 && j < 2 {
				w = 0
			}
			c[j] ^= w
			row ^= w
		}
		if bits.OnesCount32(row)%2 == 1 {
			p ^= factor
		}
		factor += 0xff800080
	}
	for _, x := range []struct{ v, mask uint32 }{{c[0] ^ c[1], 0x400000}, {c[2] ^ c[3], 0x40}, {c[0] ^ c[2], 0x200000}, {c[1] ^ c[3], 0x20}} {
		if bits.OnesCount32(x.v)%2 == 1 {
			p ^= x.mask
		}
	}
	r := c[0] ^ c[1] ^ c[2] ^ c[3]
	var q uint32
	for k := range uint32(32) {
		if r>>k&1 == 1 {
			q ^= k | (^k&0xffff)<<16
		}
	}
	m := uint32(uint64(len(b))<<19 - 1)
	return uint64(p&0xffe0ffe0&m|q&0x001f001f)<<32 | uint64(r^page)
}

// Seal sets the checksums of a page; those of the old format if old is set.
func Seal(page []byte, number uint32, old bool) []byte {
	if old {
		le.PutUint32(page[36:], le.Uint32(page[36:])&^0x2000)
		le.PutUint32(page[4:], number)
		le.PutUint32(page, XOR(page))
		return page
	}
	le.PutUint32(page[36:], le.Uint32(page[36:])|0x2000)
	if len(page) <= 8192 {
		le.PutUint64(page, Block(page, number, true))
		return page
	}
	n := len(page) / 4
	le.PutUint32(page[64:], number)
	for i := 1; i < 4; i++ {
		le.PutUint64(page[32+8*i:], Block(page[i*n:][:n], number, false))
	}
	le.PutUint64(page, Block(page[:n], number, true))
	return page
}

// Flags of pages.
const (
	Root         = 0x1
	Leaf         = 0x2
	ParentOfLeaf = 0x4
	Index        = 0x40
	LongValue    = 0x80
	NewRecords   = 0x800
)

// Flags of nodes.
const (
	Versioned  = 1
	Deleted    = 2
	Compressed = 4
)

// Node is a node of a page. With a prefix, the key is only what comes behind it.
type Node struct {
	Flags  int
	Prefix int
	Key    []byte
	Data   []byte
}

// Page is what a page is made of.
type Page struct {
	Object     uint32
	Prev, Next uint32
	Flags      uint32
	External   []byte // the first tag: prefix, or header of a root
	Nodes      []Node
	Reserved   int // tags, 0 is 1
	Old        bool
}

// Bytes is the page.
func (p Page) Bytes(size int, number uint32) []byte {
	b := make([]byte, size)
	head := 40
	if size > 8192 {
		head = 80
	}
	le.PutUint64(b[8:], 7)
	le.PutUint32(b[16:], p.Prev)
	le.PutUint32(b[20:], p.Next)
	le.PutUint32(b[24:], p.Object)
	le.PutUint32(b[36:], p.Flags)
	at, tags := head, 0
	add := func(data []byte, flags int) {
		off := at - head
		if size <= 8192 {
			off |= flags << 13
		}
		if at+len(data) > size-4*(tags+1) {
			panic("seed: the page is full")
		}
		copy(b[at:], data)
		le.PutUint16(b[size-4*(tags+1):], uint16(len(data)))
		le.PutUint16(b[size-4*(tags+1)+2:], uint16(off))
		at += len(data)
		tags++
	}
	add(p.External, 0)
	for tags < p.Reserved {
		add(nil, 0)
	}
	for _, n := range p.Nodes {
		var data []byte
		if n.Flags&Compressed != 0 {
			data = le.AppendUint16(data, uint16(n.Prefix))
		}
		data = le.AppendUint16(data, uint16(len(n.Key)))
		data = append(append(data, n.Key...), n.Data...)
		if size > 8192 {
			le.PutUint16(data, le.Uint16(data)|uint16(n.Flags)<<13)
		}
		add(data, n.Flags)
	}
	le.PutUint16(b[28:], uint16(size-4*tags-at))
	le.PutUint16(b[32:], uint16(at-head))
	state := uint16(tags)
	if p.Reserved > 1 {
		state |= uint16(p.Reserved) << 12
	}
	le.PutUint16(b[34:], state)
	return Seal(b, number, p.Old)
}

// Space is the external header of a tree's root, the long form if autoInc is set.
func Space(pages, parent uint32, autoInc uint64) []byte {
	b := make([]byte, 16)
	le.PutUint32(b, pages)
	le.PutUint32(b[4:], parent)
	if autoInc != 0 {
		b = append([]byte{3}, b...)
		b = le.AppendUint64(b, autoInc)
	}
	return b
}

// Child is the data of a branch's node.
func Child(number uint32) []byte { return le.AppendUint32(nil, number) }

// Key is a key of a number.
func Key(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
