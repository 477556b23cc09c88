package csra

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

// malformed is an answer that is well-formed NDR and makes no sense.
type malformed struct{ reason string }

func (e *malformed) Error() string { return "malformed answer: " + e.reason }

// prepareArgs are the parameters of BackupPrepare (section 3.1.4.1.18).
type prepareArgs struct {
	authority              *string
	grbitJet, flags        uint32
	annotation, clientUnit uint32 // the stub's last eight bytes; zero
}

// encodePrepare appends the parameters. What is declared as a reference to one
// WCHAR and used as NULL is sent as eight zero bytes, client identifier
// included: well-formed either way.
func encodePrepare(e *ndr.Encoder, a prepareArgs) {
	e.UniqueString(a.authority)
	e.U32(a.grbitJet)
	e.U32(a.flags)
	e.U32(a.annotation)
	e.U32(a.clientUnit)
}

// decodePrepare takes whatever follows the flags.
func decodePrepare(d *ndr.Decoder) prepareArgs {
	a := prepareArgs{authority: d.UniqueString(maxAuthority), grbitJet: d.U32(), flags: d.U32()}
	if b := d.Rest(); d.Err() == nil && len(b) >= 8 {
		a.annotation = binary.LittleEndian.Uint32(b)
		if a.annotation == 0 { // else the identifier may be anywhere
			a.clientUnit = binary.LittleEndian.Uint32(b[4:])
		}
	}
	return a
}

// encodeList appends an [out, size_is(,*pcwc)] WCHAR** and its count. An empty
// list is a NULL pointer.
func encodeList(e *ndr.Encoder, units []uint16) {
	if len(units) == 0 {
		e.Null()
	} else {
		e.Referent()
		e.U32(uint32(len(units)))
		e.Units(units)
	}
	e.I32(int32(len(units)))
}

func decodeList(d *ndr.Decoder) ([]uint16, error) {
	var units []uint16
	if d.Pointer() {
		units = d.Units(d.Count(2, certadm.MaxListBytes/2))
	}
	n := d.I32()
	if d.Err() == nil && int64(n) != int64(len(units)) {
		return nil, &malformed{fmt.Sprintf("a list of %d characters, its count is %d", len(units), n)}
	}
	return units, d.Err()
}

// encodeReadBuffer appends BackupReadFile's array and returns it, to be filled
// in place. All of it travels, however much was read.
func encodeReadBuffer(e *ndr.Encoder, cb int32) []byte {
	cb = max(cb, 0)
	e.U32(uint32(cb))
	return e.Extend(int(cb))
}

// decodeRead reads BackupReadFile's parameters: a part of the stub, and cbRead.
func decodeRead(d *ndr.Decoder) (buf []byte, read int32) {
	buf = d.ConformantBytes(int(maxReadBytes))
	d.Align(4)
	return buf, d.I32()
}

// encodeBlob appends a CERTTRANSBLOB (MS-WCCE section 2.2.2.2).
func encodeBlob(e *ndr.Encoder, b []byte) {
	e.U32(uint32(len(b)))
	if len(b) == 0 {
		e.Null()
		return
	}
	e.Referent()
	e.ConformantBytes(b)
}

// decodeBlob returns a part of the stub.
func decodeBlob(d *ndr.Decoder) ([]byte, error) {
	n := d.U32()
	if !d.Pointer() {
		if n != 0 && d.Err() == nil {
			return nil, &malformed{fmt.Sprintf("a blob of %d bytes without any", n)}
		}
		return nil, d.Err()
	}
	b := d.ConformantBytes(maxBlob)
	if d.Err() == nil && uint64(n) != uint64(len(b)) {
		return nil, &malformed{fmt.Sprintf("a blob of %d bytes with %d", n, len(b))}
	}
	return b, d.Err()
}

// appendString appends the characters, each two bytes, and a NUL: a string in a
// blob.
func appendString(b []byte, s string) []byte {
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return append(b, 0, 0)
}

// parseString is the inverse; the NUL may be missing.
func parseString(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", &malformed{fmt.Sprintf("a string of %d bytes", len(b))}
	}
	u := make([]uint16, 0, len(b)/2)
	for ; len(b) > 0; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			if len(b) > 2 {
				return "", &malformed{"a string with a NUL in it"}
			}
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u)), nil
}

// filetimeEpoch is 1601-01-01 in seconds of Unix time.
const filetimeEpoch = -11644473600

// filetime returns a time in units of 100 ns since 1601; the zero time is 0.
func filetime(t time.Time) uint64 {
	if t.IsZero() || t.Unix() < filetimeEpoch {
		return 0
	}
	return uint64(t.Unix()-filetimeEpoch)*1e7 + uint64(t.Nanosecond())/100
}

func fromFiletime(ft uint64) time.Time {
	if ft == 0 {
		return time.Time{}
	}
	return time.Unix(int64(ft/1e7)+filetimeEpoch, int64(ft%1e7)*100).UTC()
}
