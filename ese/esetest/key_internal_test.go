package esetest

import (
	"bytes"
	"encoding/hex"
	"math"
	"testing"

	"github.com/certkeep/certkeep/ese"
	"pgregory.net/rapid"
)

// TestKeysOfWindows: keys that Windows made of these values, in the indexes of
// a database of another project's tests (dissect's index.edb).
func TestKeysOfWindows(t *testing.T) {
	for _, x := range []struct {
		c     Column
		value []byte
		key   string
	}{
		{Column{Type: ese.Bit}, []byte{0}, "7f00"},
		{Column{Type: ese.Bit}, []byte{0xff}, "7fff"},
		{Column{Type: ese.UnsignedByte}, []byte{213}, "7fd5"},
		{Column{Type: ese.Short}, []byte{0xc7, 0xfa}, "7f7ac7"},                // -1337
		{Column{Type: ese.Long}, []byte{0x37, 0xf8, 0x33, 0xff}, "7f7f33f837"}, // -13371337
		{Column{Type: ese.Currency}, le.AppendUint64(nil, 1337133713371337), "7f8004c01db400b0c9"},
		{Column{Type: ese.IEEESingle}, le.AppendUint32(nil, math.Float32bits(1)), "7fbf800000"},
		{Column{Type: ese.IEEEDouble}, unhex(t, "43614724f9806941"), "7fc16980f924476143"},
		{Column{Type: ese.DateTime}, []byte{0, 0, 0, 0, 0x80, 0xaf, 0xe1, 0x40}, "7fc0e1af8000000000"},
		{Column{Type: ese.UnsignedLong}, le.AppendUint32(nil, 13371337), "7f00cc07c9"},
		{Column{Type: ese.LongLong}, []byte{0x37, 0xf8, 0x33, 0xff, 0xff, 0xff, 0xff, 0xff}, "7f7fffffffff33f837"},
		{Column{Type: ese.GUIDType}, unhex(t, "f10a363f6667dc469af20dacf295c2a1"), "7f0dacf295c2a19af2dc466667f10a363f"},
		{Column{Type: ese.UnsignedShort}, []byte{0x39, 0x05}, "7f0539"},
		{Column{Type: ese.Binary}, []byte("test binary data"), "7f746573742062696e09617279206461746108"},
		{Column{Type: ese.Binary}, []byte("s\x00e\x00c\x00u\x00r\x00i\x00t\x00y\x00 \x00l\x00o\x00g\x00"), "7f73006500630075000972006900740079000920006c006f00670008"},
		{Column{Type: ese.Binary}, []byte("s\x00y\x00s\x00t\x00e\x00m\x00 \x00l\x00o\x00g\x00"), "7f73007900730074000965006d0020006c00096f0067000000000004"},
		{Column{Type: ese.Text, CodePage: 1252}, []byte("Simple ASCII text"), "7f53494d504c45204153434949205445585400"},
	} {
		if got := hex.EncodeToString(appendKey(nil, &column{Column: x.c}, x.value, false)); got != x.key {
			t.Errorf("%v %x: %s, want %s", x.c.Type, x.value, got, x.key)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestKeysOrder: keys compare as values do.
func TestKeysOrder(t *testing.T) {
	order := func(c ese.ColumnType, less bool, a, b []byte) bool {
		ka, kb := appendKey(nil, &column{Column: Column{Type: c}}, a, false), appendKey(nil, &column{Column: Column{Type: c}}, b, false)
		return bytes.Compare(ka, kb) < 0 == less
	}
	rapid.Check(t, func(t *rapid.T) {
		i, j := rapid.Int64().Draw(t, "i"), rapid.Int64().Draw(t, "j")
		if !order(ese.LongLong, i < j, le.AppendUint64(nil, uint64(i)), le.AppendUint64(nil, uint64(j))) {
			t.Fatal("LongLong")
		}
		if !order(ese.UnsignedLongLong, uint64(i) < uint64(j), le.AppendUint64(nil, uint64(i)), le.AppendUint64(nil, uint64(j))) {
			t.Fatal("UnsignedLongLong")
		}
		x, y := rapid.Float64().Draw(t, "x"), rapid.Float64().Draw(t, "y")
		if x != y && !order(ese.IEEEDouble, x < y, le.AppendUint64(nil, math.Float64bits(x)), le.AppendUint64(nil, math.Float64bits(y))) {
			t.Fatal("double")
		}
		a, b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "a"), rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "b")
		if !order(ese.Binary, bytes.Compare(a, b) < 0, a, b) {
			t.Fatal("Binary")
		}
	})
}
