package esetest

import (
	"fmt"

	"github.com/certkeep/certkeep/ese"
)

// Placement is where a record has a column.
type Placement uint8

// The placements. Auto is tagged for long columns and those that have several values,
// variable for texts and binaries, fixed for everything else.
const (
	Auto Placement = iota
	Fixed
	Variable
	Tagged
)

// Column describes a column.
type Column struct {
	Name      string
	Type      ese.ColumnType
	Placement Placement
	Size      int // most bytes; of a fixed text or binary, all bytes
	CodePage  int // of texts; 0 is 1200, UTF-16
	Flags     ese.ColumnFlags
	Default   []byte // as it is stored; sets the flag
}

// Index describes an index.
type Index struct {
	Name       string
	Columns    []string
	Primary    bool
	Unique     bool // primary indexes always are
	IgnoreNull bool // rows with a NULL in the key are not in it
}

// TableSpec describes a table. It needs a primary index.
type TableSpec struct {
	Name    string
	Columns []Column
	Indexes []Index
}

// column is a column with its place.
type column struct {
	Column
	id     uint32
	offset int // of fixed ones, in the record
	long   bool
}

// Numbers of columns.
const (
	firstVariable = 128
	firstTagged   = 256
	recordHeader  = 4
)

// Index flags as the catalog has them.
const (
	indexUnique   = 0x1
	indexNulls    = 0x2 | 0x4 | 0x8 // rows with all, the first or some columns of the key NULL are in it
	indexNoNulls  = 0x10            // no column of the key can be NULL
	indexPrimary  = 0x20
	indexLocale   = 0x10000
	densityNormal = 80 // per cent to which the engine fills pages
)

// place numbers the columns.
func place(spec TableSpec) (columns []*column, err error) {
	next := map[Placement]uint32{Fixed: 1, Variable: firstVariable, Tagged: firstTagged}
	offset := recordHeader
	for _, c := range spec.Columns {
		p := &column{Column: c, long: c.Type == ese.LongBinary || c.Type == ese.LongText}
		text := c.Type == ese.Text || c.Type == ese.LongText
		if p.Placement == Auto {
			switch {
			case p.long || c.Flags&ese.ColumnMultiValued != 0:
				p.Placement = Tagged
			case text || c.Type == ese.Binary:
				p.Placement = Variable
			default:
				p.Placement = Fixed
			}
		}
		if n := c.Type.Size(); n > 0 {
			p.Size = n
		} else if p.Size == 0 && !p.long {
			p.Size = 255
		}
		if text && p.CodePage == 0 {
			p.CodePage = codePageUTF16
		}
		if c.Default != nil {
			p.Flags |= ese.ColumnDefault
		}
		p.id = next[p.Placement]
		next[p.Placement]++
		switch {
		case p.Placement == Fixed && (p.long || p.id >= firstVariable):
			return nil, fmt.Errorf("table %q: column %q cannot be fixed", spec.Name, c.Name)
		case p.Placement == Variable && (c.Type.Size() > 0 || p.long || p.id >= firstTagged):
			return nil, fmt.Errorf("table %q: column %q cannot be variable", spec.Name, c.Name)
		case p.Placement == Fixed:
			p.offset = offset
			offset += p.Size
		}
		columns = append(columns, p)
	}
	return columns, nil
}

const (
	codePageUTF16 = 1200
	codePageANSI  = 1252
)
