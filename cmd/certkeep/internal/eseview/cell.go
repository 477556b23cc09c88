package eseview

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/certkeep/certkeep/ese"
)

// MostOfValue is how much of one value is printed, in bytes. A CA has none that is
// longer but large CRLs.
const MostOfValue = 1 << 20

// Cell is one value of a row. It has a Value, or is NULL, or says why not.
type Cell struct {
	Column string `json:"column"`

	// Value is a bool, a number, or a text: also of a time (RFC 3339), a GUID, an amount
	// of currency, and of bytes, which are hexadecimal.
	Value any `json:"value"`

	// Cut says how long a value is, in bytes, of which only the beginning is there, in
	// hexadecimal.
	Cut   int64  `json:"cut,omitempty"`
	Error string `json:"error,omitempty"`
}

// cellOf renders a value.
func cellOf(v ese.Value) Cell {
	c := v.Column()
	cell := Cell{Column: c.Name}
	if v.IsNull() {
		return cell
	}
	var err error
	switch c.Type {
	case ese.Bit:
		cell.Value, err = value(v.Bool())
	case ese.UnsignedByte, ese.UnsignedShort, ese.UnsignedLong, ese.UnsignedLongLong:
		cell.Value, err = value(v.Uint64())
	case ese.Short, ese.Long, ese.LongLong:
		cell.Value, err = value(v.Int64())
	case ese.Currency:
		var n int64
		if n, err = v.Int64(); err == nil {
			cell.Value = currency(n)
		}
	case ese.IEEESingle, ese.IEEEDouble:
		var f float64
		if f, err = v.Float64(); err == nil {
			cell.Value = float(f, c.Type)
		}
	case ese.DateTime:
		var n uint64
		if n, err = v.Uint64(); err == nil {
			cell.Value = dateTime(n)
		}
	case ese.GUIDType:
		var g ese.GUID
		if g, err = v.GUID(); err == nil {
			cell.Value = g.String()
		}
	default:
		cell.Value, cell.Cut, err = longValue(v)
	}
	if err != nil {
		cell.Value, cell.Cut, cell.Error = nil, 0, err.Error()
	}
	return cell
}

func value[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// currency is an amount in ten-thousandths.
func currency(n int64) string {
	sign, u := "", uint64(n)
	if n < 0 {
		sign, u = "-", -u
	}
	return fmt.Sprintf("%s%d.%04d", sign, u/10000, u%10000)
}

// float is a number, or a text for what JSON has no numbers for.
func float(f float64, t ese.ColumnType) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	if t == ese.IEEESingle {
		return float32(f)
	}
	return f
}

// Bounds of what is a date: years 1970 to 2199, as a FILETIME and as an OLE date.
// As bits, the second are far above the first, so no value is both.
var (
	filetimeLow, filetimeHigh = filetime(1970), filetime(2200)
	oleLow, oleHigh           = oleDate(1970), oleDate(2200)
	oleEpoch                  = time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
)

const filetimeUnix = 11644473600 // seconds from 1601 to 1970

func filetime(year int) uint64 {
	return uint64(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Unix()+filetimeUnix) * 1e7
}

func oleDate(year int) float64 {
	return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Sub(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)).Hours()/24 + 25569
}

// DateKind is what an application wrote into a DateTime, which the database does not
// know.
type DateKind int

// The kinds.
const (
	DateOther DateKind = iota
	DateZero
	DateFiletime // 100 ns since 1601, as AD CS
	DateOLE      // days since 1899-12-30
)

func dateKind(n uint64) DateKind {
	f := math.Float64frombits(n)
	switch {
	case n == 0:
		return DateZero
	case n >= filetimeLow && n < filetimeHigh:
		return DateFiletime
	case f >= oleLow && f < oleHigh:
		return DateOLE
	}
	return DateOther
}

// dateTime is a time, or the number as it stands in hexadecimal if it is none.
func dateTime(n uint64) any {
	switch dateKind(n) {
	case DateFiletime:
		return time.Unix(int64(n/1e7)-filetimeUnix, int64(n%1e7)*100).UTC().Format(time.RFC3339Nano)
	case DateOLE:
		ms := math.Round(math.Float64frombits(n) * 24 * 3600 * 1000)
		return oleEpoch.Add(time.Duration(ms) * time.Millisecond).Format(time.RFC3339Nano)
	case DateZero:
		return nil
	}
	return fmt.Sprintf("0x%016x", n)
}

// longValue is a text or bytes, of any length.
func longValue(v ese.Value) (value any, cut int64, err error) {
	r, err := v.Reader()
	if err != nil {
		return nil, 0, err
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, MostOfValue+1); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if b.Len() > MostOfValue {
		cut := int64(MostOfValue + 1)
		if lv, err := v.LongValue(); err == nil {
			cut = lv.Size()
		}
		return hex.EncodeToString(b.Bytes()[:MostOfValue]), cut, nil
	}
	if t := v.Column().Type; t == ese.Text || t == ese.LongText {
		s, err := v.Text()
		return s, 0, err
	}
	return hex.EncodeToString(b.Bytes()), 0, nil
}

// Text is the cell as it stands in CSV. Control characters, which could steer a
// terminal, become question marks, and what a spreadsheet would take for a formula
// gets an apostrophe before it; JSON has both as they are.
func (c Cell) Text() string {
	s := ""
	switch v := c.Value.(type) {
	case nil:
	case string:
		s = strings.Map(func(r rune) rune {
			if r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 {
				return '?'
			}
			return r
		}, v)
		if s != "" && strings.ContainsRune("=+-@", rune(s[0])) {
			s = "'" + s
		}
	default:
		s = fmt.Sprint(v)
	}
	if c.Cut > 0 {
		s += fmt.Sprintf("... (%d bytes)", c.Cut)
	}
	return s
}
