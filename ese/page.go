package ese

// PageFlags are the flags in a page's header.
type PageFlags uint32

// The flags.
const (
	PageRoot         PageFlags = 0x1
	PageLeaf         PageFlags = 0x2
	PageParentOfLeaf PageFlags = 0x4
	PageEmpty        PageFlags = 0x8
	PageRepaired     PageFlags = 0x10
	PageSpaceTree    PageFlags = 0x20
	PageIndex        PageFlags = 0x40
	PageLongValue    PageFlags = 0x80
	PageNonUnique    PageFlags = 0x400
	PageNewRecords   PageFlags = 0x800 // record format since Windows XP
	PageNewChecksum  PageFlags = flagNewChecksum
	PageScrubbed     PageFlags = 0x4000
	PagePreInit      PageFlags = 0x20000
	PageDeleted      PageFlags = 0x40000 // of a tree that was deleted
)

// PageHeader is the head of a page.
type PageHeader struct {
	DBTime          uint64 // count of changes of the database when it was last changed
	Prev, Next      uint32 // neighbours on the same level of the tree; 0: none
	ObjectID        uint32 // the tree that it belongs to
	Free            int    // bytes
	UncommittedFree int
	FirstFree       int // offset of free space, from the end of the header
	Tags            int
	ReservedTags    int // 1 in all but very new databases
	Flags           PageFlags
}

// headerLength is how long a page's header is.
func headerLength(pageSize int) int {
	if pageSize > 8192 {
		return 80
	}
	return 40
}

// ParsePageHeader decodes the header of a page of at least 2 KiB.
func ParsePageHeader(page []byte) (h PageHeader, err error) {
	if !validPageSize(len(page)) {
		return h, corrupt("page of %d bytes", len(page))
	}
	state := le.Uint16(page[34:])
	h = PageHeader{
		DBTime: le.Uint64(page[8:]), Prev: le.Uint32(page[16:]), Next: le.Uint32(page[20:]), ObjectID: le.Uint32(page[24:]),
		Free: int(le.Uint16(page[28:])), UncommittedFree: int(le.Uint16(page[30:])), FirstFree: int(le.Uint16(page[32:])),
		Tags: int(state & 0x0fff), ReservedTags: max(int(state>>12&7), 1), Flags: PageFlags(le.Uint32(page[36:])),
	}
	if room := (len(page) - headerLength(len(page))) / 4; h.Tags > room {
		return h, corrupt("%d tags, there is room for %d", h.Tags, room)
	}
	if h.Tags < h.ReservedTags {
		return h, corrupt("%d tags, %d are reserved", h.Tags, h.ReservedTags)
	}
	return h, nil
}

// page is one page in memory. It is not changed after it was made.
type page struct {
	PageHeader
	number uint32
	data   []byte
	prefix []byte // what compressed keys begin with
}

// large says that the page has the layout of those of more than 8 KiB.
func (p *page) large() bool { return len(p.data) > 8192 }

// leaf says that the page has no pages below.
func (p *page) leaf() bool { return p.Flags&PageLeaf != 0 }

func newPage(data []byte, number uint32) (*page, error) {
	h, err := ParsePageHeader(data)
	if err != nil {
		return nil, err
	}
	p := &page{PageHeader: h, number: number, data: data}
	external, _, err := p.tag(0)
	if err != nil {
		return nil, err
	}
	switch space := h.Flags&PageSpaceTree != 0; {
	case h.Flags&PageRoot == 0:
		p.prefix = external
	case space && len(external) >= splitBuffer:
		p.prefix = external[splitBuffer:]
	}
	return p, nil
}

// splitBuffer is the length of what stands before the prefix in the root of a tree
// of space.
const splitBuffer = 16

// Node flags.
const (
	nodeVersioned  = 1
	nodeDeleted    = 2
	nodeCompressed = 4
)

// tag returns what the i-th tag points at, and the flags that stand in the tag: none
// in large pages, which have them in the node.
func (p *page) tag(i int) (b []byte, flags int, err error) {
	at := len(p.data) - 4*(i+1)
	size, off := int(le.Uint16(p.data[at:])), int(le.Uint16(p.data[at+2:]))
	if p.large() {
		size, off = size&0x7fff, off&0x7fff
	} else {
		flags = off >> 13
		size, off = size&0x1fff, off&0x1fff
	}
	off += headerLength(len(p.data))
	if end := len(p.data) - 4*p.Tags; off+size > end {
		return nil, 0, corrupt("tag %d: %d bytes at %d, the page has %d", i, size, off, end)
	}
	return p.data[off : off+size : off+size], flags, nil
}

// node is one entry of a page.
type node struct {
	flags  int
	prefix int // how much of the page's prefix the key begins with
	suffix []byte
	data   []byte
}

// first is the tag of the first node.
func (p *page) first() int { return p.ReservedTags }

// nodes is how many nodes there are, deleted ones included.
func (p *page) nodes() int { return p.Tags - p.ReservedTags }

// node returns the i-th node, from 0.
func (p *page) node(i int) (n node, err error) {
	i += p.first()
	b, flags, err := p.tag(i)
	if err != nil {
		return n, err
	}
	if len(b) < 2 {
		return n, corrupt("tag %d: a node of %d bytes", i, len(b))
	}
	head := le.Uint16(b)
	if p.large() {
		flags = int(head >> 13)
	}
	n.flags = flags
	b = b[2:]
	if flags&nodeCompressed != 0 {
		n.prefix = int(head & 0x1fff)
		if n.prefix > len(p.prefix) || len(b) < 2 {
			return n, corrupt("tag %d: key with %d bytes of a prefix of %d", i, n.prefix, len(p.prefix))
		}
		head = le.Uint16(b)
		b = b[2:]
	}
	suffix := int(head & 0x1fff)
	if suffix > len(b) {
		return n, corrupt("tag %d: key of %d bytes, the node has %d", i, suffix, len(b))
	}
	n.suffix, n.data = b[:suffix], b[suffix:]
	return n, nil
}

// deleted looks no further into a node than needed.
func (n node) deleted() bool { return n.flags&nodeDeleted != 0 }

// key appends the whole key of a node of p to b.
func (p *page) key(b []byte, n node) []byte {
	b = append(b, p.prefix[:n.prefix]...)
	return append(b, n.suffix...)
}

// compareKey compares a node's key with another one, as bytes.Compare does.
func (p *page) compareKey(n node, key []byte) int {
	prefix := p.prefix[:n.prefix]
	if len(key) < len(prefix) {
		if c := compare(prefix[:len(key)], key); c != 0 {
			return c
		}
		return 1
	}
	if c := compare(prefix, key[:len(prefix)]); c != 0 {
		return c
	}
	return compare(n.suffix, key[len(prefix):])
}

// child is the page that a node of a branch points at.
func (n node) child() (uint32, error) {
	if len(n.data) != 4 {
		return 0, corrupt("branch node with %d bytes of data", len(n.data))
	}
	return le.Uint32(n.data), nil
}

// space is the external header of a tree's root.
type space struct {
	pages    uint32 // of the first extent
	parent   uint32 // root of the tree that the space came from
	flags    uint8
	owned    uint32 // root of the tree of owned extents; 0 if there is but one extent
	hasSpace bool
	autoInc  uint64 // highest automatic number given; 0 if none
}

// Space header flags.
const (
	spaceMultiple  = 1
	spaceNonUnique = 2
)

// space decodes the external header of a root that is no space tree's. The long form
// begins with a byte that says what follows.
func (p *page) space() (s space, err error) {
	b, _, err := p.tag(0)
	if err != nil {
		return s, err
	}
	has := byte(1)
	if len(b) != 16 {
		if len(b) == 0 {
			return s, nil
		}
		has, b = b[0], b[1:]
	}
	if has&1 != 0 {
		if len(b) < 16 {
			return s, corrupt("space header of %d bytes", len(b))
		}
		s = space{pages: le.Uint32(b), parent: le.Uint32(b[4:]), flags: b[8], hasSpace: true}
		if s.flags&spaceMultiple != 0 {
			s.owned = le.Uint32(b[12:])
		}
		b = b[16:]
	}
	if has&2 != 0 && len(b) >= 8 {
		s.autoInc = le.Uint64(b)
	}
	return s, nil
}
