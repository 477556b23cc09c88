package cadb

import (
	"bytes"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/certkeep/certkeep/cadb/schema"
	"github.com/certkeep/certkeep/ese"
)

// Unread is a column of a row that could not be read, and why.
type Unread struct {
	Column, Message string

	// Explained says that it is no damage: logs that were not replayed may have what is
	// missing, or it is stored in a way that is not read.
	Explained bool
}

// eseRow reads the columns of one row. A column that the table lacks, or that cannot
// be read, has the zero value; the latter is noted.
type eseRow struct {
	x      *faults
	row    ese.Row
	unread []Unread
}

func (w *eseRow) failed(c *ese.Column, err error) {
	w.unread = append(w.unread, Unread{w.x.table + "." + c.Name, err.Error(), w.x.r.explained(err)})
	w.x.add(err)
}

func (w *eseRow) value(c *ese.Column) (v ese.Value, ok bool) {
	if c == nil {
		return v, false
	}
	v, err := w.row.ValueOf(c)
	if err != nil {
		w.failed(c, err)
		return v, false
	}
	return v, !v.IsNull()
}

func (w *eseRow) text(c *ese.Column) string {
	v, ok := w.value(c)
	if !ok {
		return ""
	}
	if v.Separated() {
		if lv, err := v.LongValue(); err == nil && lv.Size() > maxRowCell {
			w.failed(c, fmt.Errorf("column %q: a text of %d bytes, at most %d are read", c.Name, lv.Size(), maxRowCell))
			return ""
		}
	} else if b, err := v.Bytes(); err == nil && c.CodePage == utf16 && (c.Type == ese.Text || c.Type == ese.LongText) {
		if s, ok := w.x.plain(c, b); ok {
			return s
		}
	}
	s, err := v.Text()
	if err != nil {
		w.failed(c, err)
	}
	return s
}

// utf16 is the code page of a CA's texts.
const utf16 = 1200

// lastText is the text that a column had in the row before.
type lastText struct {
	b []byte
	s string
}

// plain is a text of ASCII characters alone, as most are. Columns that say the same in
// one row after the other, as names of templates do, share one string.
func (x *faults) plain(c *ese.Column, b []byte) (string, bool) {
	last := x.texts[c]
	if last != nil && bytes.Equal(last.b, b) {
		return last.s, true
	}
	if len(b)%2 != 0 {
		return "", false
	}
	for i := 0; i < len(b); i += 2 {
		if b[i] >= utf8.RuneSelf || b[i] == 0 || b[i+1] != 0 {
			return "", false
		}
	}
	x.buf = x.buf[:0]
	for i := 0; i < len(b); i += 2 {
		x.buf = append(x.buf, b[i])
	}
	if last == nil {
		if x.texts == nil {
			x.texts = make(map[*ese.Column]*lastText)
		}
		last = new(lastText)
		x.texts[c] = last
	}
	last.b, last.s = b, string(x.buf)
	return last.s, true
}

func (w *eseRow) number(c *ese.Column) (n uint64, ok bool) {
	v, ok := w.value(c)
	if !ok {
		return 0, false
	}
	n, err := v.Uint64()
	if err != nil {
		w.failed(c, err)
		return 0, false
	}
	return n, true
}

func (w *eseRow) uint32(c *ese.Column) uint32 {
	n, _ := w.number(c)
	return uint32(n)
}

// id is a number of a request or row, which AD CS keeps in 32 bits.
func (w *eseRow) id(c *ese.Column) int64 {
	n, _ := w.number(c)
	return int64(n & 0xffffffff)
}

// date reads a FILETIME, whatever the type of the column calls itself.
func (w *eseRow) date(c *ese.Column) time.Time {
	n, ok := w.number(c)
	if !ok || n > 1<<63-1 {
		return time.Time{}
	}
	return schema.Time(int64(n))
}

// blob reads bytes, nil if there are none.
func (w *eseRow) blob(c *ese.Column, most int64) []byte {
	v, ok := w.value(c)
	if !ok {
		return nil
	}
	b, err := blobOf(v, most)
	if err != nil {
		w.failed(c, err)
		return nil
	}
	if len(b) == 0 {
		return nil
	}
	return b[:len(b):len(b)] // it may be a part of a page
}

// blobOf refuses a long value that claims to be larger than any that AD CS writes.
func blobOf(v ese.Value, most int64) ([]byte, error) {
	if !v.Separated() {
		return v.Bytes()
	}
	lv, err := v.LongValue()
	if err != nil {
		return nil, err
	}
	if lv.Size() > most {
		return nil, fmt.Errorf("column %q: a long value of %d bytes, at most %d are read", v.Column().Name, lv.Size(), most)
	}
	return lv.Bytes()
}
