package esetest

import (
	"errors"
	"fmt"

	"github.com/certkeep/certkeep/ese"
)

// Flags in a tagged column's entry, and in the byte before its value.
const (
	entryNull = 0x2000 // pages of up to 8 KiB
	entryHead = 0x4000 // pages of up to 8 KiB: a byte of flags comes before the value

	headLong       = 0x01
	headCompressed = 0x02
	headSeparated  = 0x04
	headMulti      = 0x08
	headTwo        = 0x10
	headNull       = 0x20

	instanceSeparated = 0x8000
)

// piece is a value of a tagged column: how it stands in the record.
type piece struct {
	raw        []byte // the value
	b          []byte // as the record has it
	separated  bool
	compressed bool
}

// records makes records of a table.
type records struct {
	t      *Table
	buf    []byte
	tagged []byte
	pieces [][]piece // by column
}

// nullFill is what stands in a fixed column that is NULL, as in the engine's own
// records: a reader that does not look at the bits would see it.
const nullFill = 0x2a

// make returns the record of a row with that primary key. It is valid until the next
// call. Values that are too long for the record are kept outside of it.
func (m *records) make(r *Row, key []byte) ([]byte, error) {
	t := m.t
	if err := m.cut(r); err != nil {
		return nil, err
	}
	limit := t.w.o.PageSize - pageHeader(t.w.o.PageSize) - 4 - 4 - 2 - len(key)
	for {
		b, err := m.assemble(r)
		if err == nil && len(b) > limit {
			err = errTooLong
		}
		if !errors.Is(err, errTooLong) {
			return b, err
		}
		ok, failed := m.separateLongest()
		if failed != nil {
			return nil, failed
		}
		if !ok {
			return nil, fmt.Errorf("table %q: %w, %d bytes are the most", t.spec.Name, err, limit)
		}
	}
}

// cut takes the tagged columns' values, compressed or put outside as their columns
// want it.
func (m *records) cut(r *Row) error {
	t := m.t
	for i, c := range t.columns {
		m.pieces[i] = m.pieces[i][:0]
		if c.Placement != Tagged {
			continue
		}
		for n, s := range r.cells[i].values {
			p := piece{raw: r.value(s), b: r.value(s)}
			if c.long && len(p.b) > t.w.o.Intrinsic && t.object >= firstObject {
				if err := m.separate(&p, c); err != nil {
					return err
				}
			} else if c.long && c.Flags&ese.ColumnCompressed != 0 && n == 0 {
				// Of several values only the first can be compressed.
				if z := compress(p.b, c.CodePage); z != nil {
					p.b, p.compressed = z, true
				}
			}
			m.pieces[i] = append(m.pieces[i], p)
		}
	}
	return nil
}

// errTooLong says that a record does not fit on a page.
var errTooLong = errors.New("the record is too long")

// separate writes a value outside.
func (m *records) separate(p *piece, c *column) error {
	id, err := m.t.putLong(p.raw, c.Flags&ese.ColumnCompressed != 0)
	p.b, p.separated, p.compressed = id, true, false
	return err
}

// separateLongest makes the record shorter.
func (m *records) separateLongest() (ok bool, err error) {
	var longest *piece
	var column *column
	for i := range m.pieces {
		for j := range m.pieces[i] {
			p := &m.pieces[i][j]
			if m.t.columns[i].long && !p.separated && len(p.b) > 8 && (longest == nil || len(p.b) > len(longest.b)) {
				longest, column = p, m.t.columns[i]
			}
		}
	}
	if longest == nil {
		return false, nil
	}
	return true, m.separate(longest, column)
}

// stored is a fixed or variable column's value as the record has it: a default is
// written down if a column behind it is.
func (m *records) stored(r *Row, i int) (b []byte, null, said bool) {
	c := r.cells[i]
	switch {
	case len(c.values) > 0:
		return r.value(c.values[0]), false, true
	case c.null:
		return nil, true, true
	case m.t.columns[i].Default != nil:
		return m.t.columns[i].Default, false, false
	}
	return nil, true, false
}

func (m *records) assemble(r *Row) ([]byte, error) {
	t := m.t
	lastFixed, lastVariable := 0, firstVariable-1
	for i, c := range t.columns {
		if _, _, said := m.stored(r, i); said {
			switch c.Placement {
			case Fixed:
				lastFixed = max(lastFixed, int(c.id))
			case Variable:
				lastVariable = max(lastVariable, int(c.id))
			}
		}
	}
	b := append(m.buf[:0], byte(lastFixed), byte(lastVariable), 0, 0)
	var nulls [16]byte
	for i := range nulls {
		nulls[i] = 0xff // bits of columns that are not there are set
	}
	for i, c := range t.columns {
		if c.Placement != Fixed || int(c.id) > lastFixed {
			continue
		}
		v, null, _ := m.stored(r, i)
		if !null {
			nulls[(c.id-1)/8] &^= 1 << ((c.id - 1) % 8)
			if len(v) != c.Size {
				return nil, fmt.Errorf("table %q: column %q: %d bytes, not %d", t.spec.Name, c.Name, len(v), c.Size)
			}
			b = append(b, v...)
			continue
		}
		for range c.Size {
			b = append(b, nullFill)
		}
	}
	b = append(b, nulls[:(lastFixed+7)/8]...)
	le.PutUint16(b[2:], uint16(len(b)))
	end := 0
	for i, c := range t.columns {
		if c.Placement != Variable || int(c.id) > lastVariable {
			continue
		}
		v, null, _ := m.stored(r, i)
		if len(v) > c.Size {
			return nil, fmt.Errorf("table %q: column %q: %d bytes, %d is the most", t.spec.Name, c.Name, len(v), c.Size)
		}
		end += len(v)
		mark := uint16(end)
		if null {
			mark |= 0x8000
		}
		b = le.AppendUint16(b, mark)
	}
	for i, c := range t.columns {
		if c.Placement == Variable && int(c.id) <= lastVariable {
			v, _, _ := m.stored(r, i)
			b = append(b, v...)
		}
	}
	b, err := m.appendTagged(b, r)
	m.buf = b
	return b, err
}

// appendTagged appends the array of tagged columns and their values.
func (m *records) appendTagged(b []byte, r *Row) ([]byte, error) {
	large := m.t.w.o.PageSize > 8192
	n := 0
	for i, c := range m.t.columns {
		if c.Placement == Tagged && (len(m.pieces[i]) > 0 || r.cells[i].null) {
			n++
		}
	}
	values := m.tagged[:0]
	for i, c := range m.t.columns { // columns are in the order of their numbers
		null := r.cells[i].null
		if c.Placement != Tagged || len(m.pieces[i]) == 0 && !null {
			continue
		}
		at := 4*n + len(values)
		entry := uint16(at)
		if !large && at > 0x1fff || at > 0x7fff {
			return nil, errTooLong
		}
		var head byte
		switch {
		case null && large:
			values = append(values, headNull)
		case null:
			entry |= entryNull
		default:
			var err error
			from := len(values)
			if head, values, err = m.pack(append(values, 0), c, m.pieces[i]); err != nil {
				return nil, err
			}
			values[from] = head
			switch {
			case head != 0 && !large:
				entry |= entryHead
			case head == 0 && !large: // no byte of flags
				values = append(values[:from], values[from+1:]...)
			}
		}
		b = le.AppendUint16(b, uint16(c.id))
		b = le.AppendUint16(b, entry)
	}
	m.tagged = values
	return append(b, values...), nil
}

// pack appends a column's values to b.
func (m *records) pack(b []byte, c *column, list []piece) (head byte, _ []byte, err error) {
	if c.long {
		head = headLong
	} else {
		for _, p := range list {
			if len(p.b) > c.Size || c.Type.Size() > 0 && len(p.b) != c.Size {
				return 0, b, fmt.Errorf("table %q: column %q: %d bytes, its size is %d", m.t.spec.Name, c.Name, len(p.b), c.Size)
			}
		}
	}
	if list[0].compressed {
		head |= headCompressed
	}
	if len(list) == 1 {
		if list[0].separated {
			head |= headSeparated
		}
		return head, append(b, list[0].b...), nil
	}
	if c.Flags&ese.ColumnMultiValued == 0 {
		return 0, b, fmt.Errorf("table %q: column %q: %d values", m.t.spec.Name, c.Name, len(list))
	}
	head |= headMulti
	if len(list) == 2 && c.Type.Size() > 0 {
		b = append(append(b, byte(len(list[0].b))), list[0].b...)
		return head | headTwo, append(b, list[1].b...), nil
	}
	at := 2 * len(list)
	for _, p := range list {
		if at >= instanceSeparated {
			return 0, b, errTooLong
		}
		mark := uint16(at)
		if p.separated {
			mark |= instanceSeparated
		}
		b = le.AppendUint16(b, mark)
		at += len(p.b)
	}
	for _, p := range list {
		b = append(b, p.b...)
	}
	return head, b, nil
}
