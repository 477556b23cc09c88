package ese

// recordHeader is the length of what stands before the first fixed column.
const recordHeader = 4

// record is a row's bytes, with the places of its three parts.
type record struct {
	b        []byte
	large    bool // page of more than 8 KiB: another form of tagged columns
	fixed    int  // number of the last fixed column in it
	variable int  // how many variable columns are in it
	end      int  // of the fixed part
	data     int  // where the variable columns' bytes begin
	tagged   []byte
	entries  int // in the array that tagged begins with
}

// parseRecord finds the parts of a record, and checks that they are inside of it.
func parseRecord(b []byte, large bool) (r record, err error) {
	if len(b) < recordHeader {
		return r, corrupt("record of %d bytes", len(b))
	}
	r = record{b: b, large: large, fixed: int(b[0]), variable: max(int(b[1])-(firstVariable-1), 0), end: int(le.Uint16(b[2:]))}
	if r.fixed >= firstVariable {
		return r, corrupt("last fixed column is %d", r.fixed)
	}
	if r.end > len(b) || r.end < recordHeader+(r.fixed+7)/8 {
		return r, corrupt("fixed columns end at %d, the record at %d", r.end, len(b))
	}
	r.data = r.end + 2*r.variable
	if r.data > len(b) {
		return r, corrupt("%d variable columns in a record of %d bytes", r.variable, len(b))
	}
	tagged := r.data
	if r.variable > 0 {
		tagged += int(le.Uint16(b[r.data-2:]) & 0x7fff)
	}
	if tagged > len(b) {
		return r, corrupt("variable columns end at %d, the record at %d", tagged, len(b))
	}
	r.tagged = b[tagged:]
	if len(r.tagged) == 0 {
		return r, nil
	}
	if len(r.tagged) < 4 {
		return r, corrupt("%d bytes of tagged columns", len(r.tagged))
	}
	first := r.taggedOffset(0)
	if first < 4 || first%4 != 0 || first > len(r.tagged) {
		return r, corrupt("tagged columns begin at %d of %d", first, len(r.tagged))
	}
	r.entries = first / 4
	return r, nil
}

// field is one column's part of a record.
type field struct {
	b       []byte
	head    byte // flags of a tagged column
	present bool
	null    bool
}

// fixedField returns a fixed column.
func (r record) fixedField(c *Column) (f field, err error) {
	id := int(c.ID)
	if id > r.fixed {
		return f, nil
	}
	bitmap := r.end - (r.fixed+7)/8
	if f.present = true; r.b[bitmap+(id-1)/8]&(1<<((id-1)%8)) != 0 {
		f.null = true
		return f, nil
	}
	n := c.width()
	if c.offset < recordHeader || n < 0 || n > bitmap || c.offset > bitmap-n {
		return f, corrupt("column %q at %d to %d, the fixed columns end at %d", c.Name, c.offset, c.offset+n, bitmap)
	}
	f.b = r.b[c.offset : c.offset+n]
	return f, nil
}

// variableField returns a variable column.
func (r record) variableField(c *Column) (f field, err error) {
	i := int(c.ID) - firstVariable
	if i >= r.variable {
		return f, nil
	}
	end, start := le.Uint16(r.b[r.end+2*i:]), uint16(0)
	if i > 0 {
		start = le.Uint16(r.b[r.end+2*i-2:]) & 0x7fff
	}
	if f.present = true; end&0x8000 != 0 {
		f.null = true
		return f, nil
	}
	if end < start || r.data+int(end) > len(r.b)-len(r.tagged) {
		return f, corrupt("column %q at %d to %d of the variable columns", c.Name, start, end)
	}
	f.b = r.b[r.data+int(start) : r.data+int(end)]
	return f, nil
}

// Flags in a tagged column's entry, and in the byte that its value begins with.
const (
	taggedNull    = 0x2000 // pages up to 8 KiB
	taggedHead    = 0x4000 // pages up to 8 KiB: a byte of flags comes first
	taggedDerived = 0x8000

	headCompressed = 0x02
	headSeparated  = 0x04
	headMulti      = 0x08
	headTwo        = 0x10
	headNull       = 0x20
	headEncrypted  = 0x40
)

// taggedEntry returns an entry of the array: the column's number, whether it is the
// template's, and its flags.
func (r record) taggedEntry(i int) (id uint32, derived bool, flags uint16) {
	flags = le.Uint16(r.tagged[4*i+2:])
	return uint32(le.Uint16(r.tagged[4*i:])), flags&taggedDerived != 0, flags
}

// taggedOffset is where the i-th value begins.
func (r record) taggedOffset(i int) int {
	off := int(le.Uint16(r.tagged[4*i+2:]))
	if r.large {
		return off & 0x7fff
	}
	return off & 0x1fff
}

// taggedField returns the value of the i-th entry.
func (r record) taggedField(i int) (f field, err error) {
	id, _, flags := r.taggedEntry(i)
	start, end := r.taggedOffset(i), len(r.tagged)
	if i+1 < r.entries {
		end = r.taggedOffset(i + 1)
	}
	if start < 4*r.entries || end < start || end > len(r.tagged) {
		return f, corrupt("column %d at %d to %d of the tagged columns", id, start, end)
	}
	f = field{b: r.tagged[start:end], present: true}
	if r.large {
		if len(f.b) > 0 {
			f.head, f.b = f.b[0], f.b[1:]
			f.null = f.head&headNull != 0
		}
		return f, nil
	}
	if f.null = flags&taggedNull != 0; f.null {
		return f, nil
	}
	if flags&taggedHead != 0 {
		if len(f.b) == 0 {
			return f, corrupt("column %d without its flags", id)
		}
		f.head, f.b = f.b[0], f.b[1:]
		f.null = f.head&headNull != 0
	}
	return f, nil
}

// find returns the entry of a tagged column. The engine keeps them in order, but a
// record that is not in order must not hide a column: there are seldom more than a
// few dozen.
func (r record) find(id uint32, derived bool) (i int, ok bool) {
	for i := range r.entries {
		if eid, ed, _ := r.taggedEntry(i); eid == id && ed == derived {
			return i, true
		}
	}
	return 0, false
}

// field returns a column's part of the record.
func (r record) field(c *Column) (field, error) {
	switch {
	case c.ID < firstVariable:
		return r.fixedField(c)
	case c.ID < firstTagged:
		return r.variableField(c)
	}
	if i, ok := r.find(c.ID, c.Derived); ok {
		return r.taggedField(i)
	}
	return field{}, nil
}
