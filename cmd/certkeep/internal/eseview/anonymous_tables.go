package eseview

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/certkeep/certkeep/ese"
)

// AnonymousTable is what a table is built like. Names that not every CA has are
// numbers: "table-12", "column-257".
type AnonymousTable struct {
	Name       string            `json:"name"`
	ID         uint32            `json:"id"`
	System     bool              `json:"system"`
	Template   bool              `json:"has_template"`
	LongValues bool              `json:"has_long_values"`
	Columns    []AnonymousColumn `json:"columns"`
	Indexes    []AnonymousIndex  `json:"indexes"`
	Rows       *uint64           `json:"rows,omitempty"` // if all were read
	Unread     uint64            `json:"unread,omitempty"`
}

// AnonymousColumn is a column, and how often it is used in which way.
type AnonymousColumn struct {
	ID         uint32         `json:"id"`
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Storage    string         `json:"storage"`
	Size       int            `json:"size"`
	CodePage   int            `json:"code_page,omitempty"`
	Flags      []string       `json:"flags"`
	Default    int            `json:"default_length,omitempty"` // of the default value, in bytes
	Values     uint64         `json:"values,omitempty"`         // that are not NULL
	Multiple   uint64         `json:"multiple,omitempty"`       // rows with more than one
	Separated  uint64         `json:"separated,omitempty"`
	Compressed uint64         `json:"compressed,omitempty"`
	Longest    int            `json:"longest_in_record,omitempty"` // in bytes, as stored
	Dates      map[string]int `json:"dates,omitempty"`             // filetime, ole, zero, other
	Shapes     []string       `json:"shapes,omitempty"`            // of texts that are known to be hexadecimal
	Errors     map[string]int `json:"errors,omitempty"`            // known words
}

// AnonymousIndex is an index.
type AnonymousIndex struct {
	Name    string   `json:"name"`
	Flags   []string `json:"flags"`
	Columns []string `json:"columns"`
}

// pageKinds counts the pages by their flags.
func pageKinds(ctx context.Context, f *Opened, pageSize int, pages uint32) ([]PageKind, error) {
	type kind struct {
		flags ese.PageFlags
		tags  int
	}
	const at = 64 // pages read at a time
	counts := make(map[kind]uint32)
	buf := make([]byte, at*pageSize)
	for first := uint32(1); first <= pages; first += at {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, _ := f.ReadAt(buf, (int64(first)+1)*int64(pageSize)) // what is missing was found by the check
		for i := range min(uint32(n/pageSize), pages-first+1) {
			page := buf[int(i)*pageSize:][:pageSize]
			check := ese.CheckPage(page, first+i)
			if check.Err() != nil || check.Verdict == ese.PageUnused {
				continue
			}
			if h, err := ese.ParsePageHeader(page); err == nil && len(counts) < mostKinds {
				counts[kind{h.Flags, h.ReservedTags}]++
			}
		}
		if pages-first < at {
			break // of the highest page numbers, first would overflow
		}
	}
	list := []PageKind{}
	for k, n := range counts {
		list = append(list, PageKind{hex32(uint32(k.flags)), k.tags, n})
	}
	slices.SortFunc(list, func(a, b PageKind) int {
		return cmp.Or(cmp.Compare(b.Pages, a.Pages), strings.Compare(a.Flags, b.Flags), cmp.Compare(a.ReservedTags, b.ReservedTags))
	})
	return list, nil
}

// mostKinds bounds what a hostile database can make the report remember.
const mostKinds = 256

// hexColumns hold texts that are hexadecimal in every CA's database; how exactly is
// not published.
var hexColumns = wordSet(`CertificateHash CertificateHash2 SerialNumber SubjectKeyIdentifier EndorsementKeyHash EndorsementCertificateHash`)

// anonymousTable describes a table; use says whether to read its rows.
func anonymousTable(ctx context.Context, t *ese.Table, use bool) (AnonymousTable, error) {
	n := namesOf(t.Name(), t.ID())
	long, _ := t.LongValues()
	a := AnonymousTable{Name: n.table, ID: t.ID(), System: t.System(), Template: t.Template() != "", LongValues: long != 0,
		Columns: []AnonymousColumn{}, Indexes: []AnonymousIndex{}}
	at := make(map[*ese.Column]int)
	told := make(map[string]string)
	for i, c := range t.Columns() {
		at[c] = i
		name := n.column(c.Name, c.ID)
		told[c.Name] = name
		a.Columns = append(a.Columns, AnonymousColumn{ID: c.ID, Name: name, Type: c.Type.String(), Storage: storage(c.ID), Size: c.Size,
			CodePage: codePage(c), Flags: names(uint32(c.Flags), columnFlags), Default: len(c.Default)})
	}
	for _, x := range t.Indexes() {
		columns := []string{}
		for _, c := range x.Columns {
			columns = append(columns, cmp.Or(told[c], "unknown"))
		}
		a.Indexes = append(a.Indexes, AnonymousIndex{n.index(x.Name, x.ObjectID), names(x.Flags, indexFlags), columns})
	}
	if !use {
		return a, nil
	}
	rows := uint64(0)
	for row, err := range t.Rows() {
		if err := ctx.Err(); err != nil {
			return a, err
		}
		if err != nil {
			a.Unread++
			continue
		}
		rows++
		for c, values := range row.All() {
			i, ok := at[c]
			if !ok {
				continue
			}
			if len(values) > 1 {
				a.Columns[i].Multiple++
			}
			for _, v := range values {
				a.Columns[i].use(v, n.known && hexColumns[plain(c.Name)])
			}
		}
	}
	a.Rows = &rows
	return a, ctx.Err()
}

// use counts a value.
func (a *AnonymousColumn) use(v ese.Value, hexText bool) {
	if v.IsNull() {
		return
	}
	a.Values++
	if v.Compressed() {
		a.Compressed++
	}
	if v.Separated() {
		a.Separated++
		if _, err := v.LongValue(); err != nil {
			a.fail(err)
		}
		return
	}
	a.Longest = max(a.Longest, len(v.Raw()))
	if _, err := v.Bytes(); err != nil {
		a.fail(err)
		return
	}
	switch {
	case v.Column().Type == ese.DateTime:
		if n, err := v.Uint64(); err == nil {
			a.date(dateKind(n))
		}
	case hexText:
		if s, err := v.Text(); err == nil {
			a.shape(s)
		}
	}
}

func (a *AnonymousColumn) fail(err error) {
	if a.Errors == nil {
		a.Errors = make(map[string]int)
	}
	a.Errors[failure(err)]++
}

func (a *AnonymousColumn) date(k DateKind) {
	if a.Dates == nil {
		a.Dates = make(map[string]int)
	}
	a.Dates[[]string{"other", "zero", "filetime", "ole"}[k]]++
}

// shape adds which kinds of characters a text has: nothing of which ones.
func (a *AnonymousColumn) shape(s string) {
	var has [5]bool
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9':
			has[0] = true
		case r >= 'a' && r <= 'f':
			has[1] = true
		case r >= 'A' && r <= 'F':
			has[2] = true
		case r == ' ':
			has[3] = true
		default:
			has[4] = true
		}
	}
	var words []string
	for i, w := range []string{"digits", "lower", "upper", "spaces", "other"} {
		if has[i] {
			words = append(words, w)
		}
	}
	text := strings.Join(words, "+")
	if i, found := slices.BinarySearch(a.Shapes, text); !found {
		a.Shapes = slices.Insert(a.Shapes, i, text)
	}
}
