package ese

import (
	"fmt"
	"math"
	"time"
)

// fixed returns the bytes of a value of a type of fixed size.
func (v Value) fixed(what string) ([]byte, error) {
	b, err := v.Bytes()
	if err != nil || v.column == nil {
		return nil, err
	}
	n := v.column.Type.Size()
	if n == 0 {
		return nil, v.failed(fmt.Errorf("%w: %v, not %s", ErrType, v.column.Type, what))
	}
	if len(b) != n {
		return nil, v.failed(corrupt("%v of %d bytes", v.column.Type, len(b)))
	}
	return b, nil
}

// Int64 returns an integer of any size, a Bit as 0 or 1, and a Currency or DateTime
// as it is stored. NULL is 0.
func (v Value) Int64() (int64, error) {
	if v.null {
		return 0, nil
	}
	b, err := v.fixed("an integer")
	if err != nil || b == nil {
		return 0, err
	}
	switch v.column.Type {
	case Bit:
		if b[0] != 0 {
			return 1, nil
		}
		return 0, nil
	case UnsignedByte:
		return int64(b[0]), nil
	case Short:
		return int64(int16(le.Uint16(b))), nil
	case UnsignedShort:
		return int64(le.Uint16(b)), nil
	case Long:
		return int64(int32(le.Uint32(b))), nil
	case UnsignedLong:
		return int64(le.Uint32(b)), nil
	case LongLong, Currency, DateTime:
		return int64(le.Uint64(b)), nil
	case UnsignedLongLong:
		if u := le.Uint64(b); u <= math.MaxInt64 {
			return int64(u), nil
		}
		return 0, v.failed(fmt.Errorf("%w: too large for a signed integer", ErrType))
	}
	return 0, v.failed(fmt.Errorf("%w: %v, not an integer", ErrType, v.column.Type))
}

// Uint64 returns an integer. A negative one is taken by its bits: -1 in a Long is
// 0xffffffff, as flags and HRESULTs are meant.
func (v Value) Uint64() (uint64, error) {
	if v.column != nil && v.column.Type == UnsignedLongLong && !v.null {
		b, err := v.fixed("an integer")
		if err != nil {
			return 0, err
		}
		return le.Uint64(b), nil
	}
	n, err := v.Int64()
	if n < 0 && v.column != nil {
		return uint64(n) & (1<<(8*v.column.Type.Size()) - 1), err
	}
	return uint64(n), err
}

// Int32 returns an integer that fits.
func (v Value) Int32() (int32, error) {
	n, err := v.Int64()
	if err == nil && int64(int32(n)) != n {
		err = v.failed(fmt.Errorf("%w: %d does not fit into 32 bits", ErrType, n))
	}
	return int32(n), err
}

// Uint32 is Uint64 for what fits.
func (v Value) Uint32() (uint32, error) {
	n, err := v.Uint64()
	if err == nil && n > math.MaxUint32 {
		err = v.failed(fmt.Errorf("%w: %d does not fit into 32 bits", ErrType, n))
	}
	return uint32(n), err
}

// Bool returns a Bit.
func (v Value) Bool() (bool, error) {
	if v.column != nil && v.column.Type != Bit {
		return false, v.failed(fmt.Errorf("%w: %v, not a bit", ErrType, v.column.Type))
	}
	n, err := v.Int64()
	return n != 0, err
}

// Float64 returns a floating point number, or a Currency as such.
func (v Value) Float64() (float64, error) {
	if v.null {
		return 0, nil
	}
	b, err := v.fixed("a number")
	if err != nil || b == nil {
		return 0, err
	}
	switch v.column.Type {
	case IEEESingle:
		return float64(math.Float32frombits(le.Uint32(b))), nil
	case IEEEDouble:
		return math.Float64frombits(le.Uint64(b)), nil
	case Currency:
		return float64(int64(le.Uint64(b))) / 10000, nil
	}
	return 0, v.failed(fmt.Errorf("%w: %v, not a floating point number", ErrType, v.column.Type))
}

// eight returns a value of eight bytes that may stand for a time.
func (v Value) eight() (uint64, error) {
	if v.null {
		return 0, nil
	}
	b, err := v.fixed("a time")
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, v.failed(fmt.Errorf("%w: %v, not a time", ErrType, v.column.Type))
	}
	return le.Uint64(b), nil
}

// FileTime returns a DateTime that is a FILETIME: 100 ns since 1601, UTC, as AD CS
// writes them. 0 is the zero time.
func (v Value) FileTime() (time.Time, error) {
	n, err := v.eight()
	if err != nil || n == 0 {
		return time.Time{}, err
	}
	if n > math.MaxInt64 {
		return time.Time{}, v.failed(fmt.Errorf("%w: %#x is no FILETIME", ErrType, n))
	}
	const epoch = 11644473600 // seconds from 1601 to 1970
	return time.Unix(int64(n/1e7)-epoch, int64(n%1e7)*100).UTC(), nil
}

// OLETime returns a DateTime that is an OLE Automation date: days since 1899-12-30,
// without a time zone. 0 is the zero time.
func (v Value) OLETime() (time.Time, error) {
	n, err := v.eight()
	if err != nil || n == 0 {
		return time.Time{}, err
	}
	f := math.Float64frombits(n)
	if !(math.Abs(f) < 3e6) { // NaN, too
		return time.Time{}, v.failed(fmt.Errorf("%w: %#x is no date", ErrType, n))
	}
	// Before the epoch the whole part counts down, and the fraction still up.
	days, part := math.Modf(f)
	ms := int64(math.Round(math.Abs(part) * 86400e3))
	return time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(days)).Add(time.Duration(ms) * time.Millisecond), nil
}

// GUID is a globally unique identifier, as it is stored.
type GUID [16]byte

// String is the usual form, in lower case without braces.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", le.Uint32(g[:]), le.Uint16(g[4:]), le.Uint16(g[6:]), g[8:10], g[10:])
}

// GUID returns a GUID.
func (v Value) GUID() (g GUID, err error) {
	if v.null {
		return g, nil
	}
	b, err := v.fixed("a GUID")
	if err != nil || b == nil {
		return g, err
	}
	if len(b) != len(g) {
		return g, v.failed(fmt.Errorf("%w: %v, not a GUID", ErrType, v.column.Type))
	}
	return GUID(b), nil
}

// Text returns a text, without NULs at its end.
func (v Value) Text() (string, error) {
	if v.column != nil && v.column.Type != Text && v.column.Type != LongText {
		return "", v.failed(fmt.Errorf("%w: %v, not a text", ErrType, v.column.Type))
	}
	b, err := v.Bytes()
	if err != nil || v.column == nil {
		return "", err
	}
	s, err := decodeText(b, v.column.CodePage)
	return s, v.failed(err)
}
