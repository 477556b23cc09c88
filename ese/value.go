package ese

import (
	"fmt"
	"io"
)

// Value is one value of a column of a row.
type Value struct {
	column     *Column
	table      *Table
	raw        []byte // as it is stored; the number of a long value if that is set
	null       bool
	compressed bool
	separated  bool
	encrypted  bool
	err        error // what the value cannot be read for
}

// first is the first value of a column's field.
func (r Row) first(c *Column, f field) (Value, error) {
	if f.present && !f.null && f.head&headMulti != 0 {
		values, err := r.all(c, f)
		if err != nil || len(values) == 0 {
			return Value{column: c, null: true}, err
		}
		return values[0], nil
	}
	v := Value{column: c, table: r.table}
	switch {
	case f.null:
		v.null = true
	case !f.present:
		v.raw, v.null = c.Default, c.Default == nil
	default:
		v.raw = f.b
		v.compressed, v.separated, v.encrypted = f.head&headCompressed != 0, f.head&headSeparated != 0, f.head&headEncrypted != 0
	}
	return v, nil
}

// all are the values of a column's field.
func (r Row) all(c *Column, f field) ([]Value, error) {
	if !f.present || f.null || f.head&headMulti == 0 {
		v, err := r.first(c, f)
		if err != nil || v.null {
			return nil, err
		}
		return []Value{v}, nil
	}
	v := Value{column: c, table: r.table, encrypted: f.head&headEncrypted != 0}
	if f.head&headTwo != 0 {
		if len(f.b) == 0 || int(f.b[0]) > len(f.b)-1 {
			return nil, corrupt("column %q: two values in %d bytes", c.Name, len(f.b))
		}
		n := 1 + int(f.b[0])
		second := v
		v.raw, second.raw = f.b[1:n], f.b[n:]
		return []Value{v, second}, nil
	}
	if len(f.b) < 2 {
		return nil, corrupt("column %q: values in %d bytes", c.Name, len(f.b))
	}
	at := func(i int) (off int, separated bool) {
		u := le.Uint16(f.b[2*i:])
		return int(u & 0x7fff), u&0x8000 != 0
	}
	first, _ := at(0)
	if first < 2 || first%2 != 0 || first > len(f.b) {
		return nil, corrupt("column %q: values begin at %d of %d", c.Name, first, len(f.b))
	}
	values := make([]Value, first/2)
	for i := range values {
		start, separated := at(i)
		end := len(f.b)
		if i+1 < len(values) {
			end, _ = at(i + 1)
		}
		if start < first || end < start || end > len(f.b) {
			return nil, corrupt("column %q: value %d at %d to %d of %d", c.Name, i+1, start, end, len(f.b))
		}
		v.raw, v.separated = f.b[start:end], separated
		v.compressed = i == 0 && f.head&headCompressed != 0 // only the first one ever is
		values[i] = v
	}
	return values, nil
}

// Column returns the column of the value.
func (v Value) Column() *Column { return v.column }

// IsNull says that there is no value.
func (v Value) IsNull() bool { return v.null }

// Raw returns the bytes in the record, as they are stored: compressed, or the number
// of a long value.
func (v Value) Raw() []byte { return v.raw }

// Separated says that the value is kept outside of the record, as a long value.
func (v Value) Separated() bool { return v.separated }

// Compressed says that the bytes in the record are compressed. Those of long values
// can be without this.
func (v Value) Compressed() bool { return v.compressed }

// failed is an error with the column's name.
func (v Value) failed(err error) error {
	if err == nil || v.column == nil {
		return err
	}
	return fmt.Errorf("column %q: %w", v.column.Name, err)
}

// Bytes returns the value's bytes, decompressed; nil for NULL. They may be part of a
// page: not to be changed.
func (v Value) Bytes() ([]byte, error) {
	switch {
	case v.err != nil:
		return nil, v.err
	case v.null:
		return nil, nil
	case v.separated:
		lv, err := v.LongValue()
		if err != nil {
			return nil, err
		}
		b, err := lv.Bytes()
		return b, v.failed(err)
	case v.encrypted:
		return nil, v.failed(unsupported("encrypted"))
	case v.compressed:
		b, err := decompress(nil, v.raw)
		return b, v.failed(err)
	}
	return v.raw, nil
}

// Reader returns the value's bytes piece by piece, which for a long value takes no
// more memory than a page.
func (v Value) Reader() (io.Reader, error) {
	if v.separated && v.err == nil {
		lv, err := v.LongValue()
		if err != nil {
			return nil, err
		}
		return lv.Reader(), nil
	}
	b, err := v.Bytes()
	if err != nil {
		return nil, err
	}
	return &sliceReader{b}, nil
}

type sliceReader struct{ b []byte }

func (r *sliceReader) Read(b []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.b)
	r.b = r.b[n:]
	return n, nil
}
