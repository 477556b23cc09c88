package esetest

import "bytes"

// Flags of pages.
const (
	flagRoot         = 0x1
	flagLeaf         = 0x2
	flagParentOfLeaf = 0x4
	flagSpace        = 0x20
	flagIndex        = 0x40
	flagLong         = 0x80
	flagNonUnique    = 0x400
	flagNewRecords   = 0x800
	flagNewChecksum  = 0x2000
	flagFlushType    = 0x8000 // one of three that the engine goes through to find lost writes
)

// nodePrefixed is the flag of a node whose key begins with a part of the page's
// prefix.
const nodePrefixed = 4

// page is a page that is being filled.
type page struct {
	buf    []byte
	number uint32 // 0 until it has its place
	tags   int
	free   int // first free byte, from the end of the header
	prefix []byte
}

func pageHeader(size int) int {
	if size > 8192 {
		return 80
	}
	return 40
}

func newPage(size int) *page { return &page{buf: make([]byte, size)} }

// begin empties the page. external is what the first tag points at.
func (p *page) begin(external []byte) {
	clear(p.buf)
	p.tags, p.free = 0, 0
	p.tag(0, external)
}

func (p *page) head() int { return pageHeader(len(p.buf)) }

func (p *page) large() bool { return len(p.buf) > 8192 }

// fits says whether n more bytes and their tag have room.
func (p *page) fits(n int) bool { return p.head()+p.free+n+4*(p.tags+1) <= len(p.buf) }

// tag appends the parts as what the next tag points at. In large pages the flags are
// in the upper bits of the first word; in others, in the tag.
func (p *page) tag(flags int, parts ...[]byte) {
	start, at := p.free, p.head()+p.free
	for _, b := range parts {
		at += copy(p.buf[at:], b)
	}
	p.free = at - p.head()
	p.tags++
	entry := p.buf[len(p.buf)-4*p.tags:]
	le.PutUint16(entry, uint16(p.free-start))
	if p.large() {
		le.PutUint16(entry[2:], uint16(start))
		if flags != 0 {
			p.buf[p.head()+start+1] |= byte(flags << 5)
		}
		return
	}
	le.PutUint16(entry[2:], uint16(start|flags<<13))
}

// shared is how many bytes of the page's prefix a key should use: none if the length
// of it, which has to be stored too, costs more.
func (p *page) shared(key []byte) int {
	n := 0
	for n < len(key) && n < len(p.prefix) && key[n] == p.prefix[n] {
		n++
	}
	if n <= 2 {
		return 0
	}
	return n
}

// add appends a node, if it fits and room bytes are left behind it.
func (p *page) add(key []byte, data []byte, room int) bool {
	shared := p.shared(key)
	n := 2 + len(key) - shared + len(data)
	if shared > 0 {
		n += 2
	}
	if !p.fits(n + room) {
		return false
	}
	var head [4]byte
	if shared > 0 {
		le.PutUint16(head[:], uint16(shared))
		le.PutUint16(head[2:], uint16(len(key)-shared))
		p.tag(nodePrefixed, head[:4], key[shared:], data)
		return true
	}
	le.PutUint16(head[:], uint16(len(key)))
	p.tag(0, head[:2], key, data)
	return true
}

// nodes calls f with the whole key and the data of each node.
func (p *page) nodes(f func(key, data []byte) bool) bool {
	for i := 1; i < p.tags; i++ {
		entry := p.buf[len(p.buf)-4*(i+1):]
		size, at := int(le.Uint16(entry)), int(le.Uint16(entry[2:]))
		flags := at >> 13
		if !p.large() {
			at &= 0x1fff
		}
		b := p.buf[p.head()+at:][:size]
		word := int(le.Uint16(b))
		if p.large() {
			flags = word >> 13
			word &= 0x1fff
		}
		b = b[2:]
		var key []byte
		if flags&nodePrefixed != 0 {
			key = append(key, p.prefix[:word]...)
			word = int(le.Uint16(b))
			b = b[2:]
		}
		if !f(append(key, b[:word]...), b[word:]) {
			return false
		}
	}
	return true
}

// pageInfo is what a page's header says of its place.
type pageInfo struct {
	dbtime     uint64
	prev, next uint32
	object     uint32
	flags      uint32
}

// seal writes the header and the checksums.
func (p *page) seal(h pageInfo, old bool) {
	b := p.buf
	le.PutUint64(b[8:], h.dbtime)
	le.PutUint32(b[16:], h.prev)
	le.PutUint32(b[20:], h.next)
	le.PutUint32(b[24:], h.object)
	le.PutUint16(b[28:], uint16(len(b)-p.head()-p.free-4*p.tags))
	le.PutUint16(b[32:], uint16(p.free))
	le.PutUint16(b[34:], uint16(p.tags))
	le.PutUint32(b[36:], h.flags|flagNewRecords|flagFlushType)
	SealPage(b, p.number, old)
}

// separator is the shortest key above all up to last and not above next.
func separator(last, next []byte) []byte {
	n := 0
	for n < len(last) && n < len(next) && last[n] == next[n] {
		n++
	}
	return bytes.Clone(next[:min(n+1, len(next))])
}
