package csra

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

func TestBlob(t *testing.T) {
	for _, b := range [][]byte{nil, {}, {1}, bytes.Repeat([]byte{7}, 1001)} {
		e := ndr.NewEncoder(nil)
		encodeBlob(e, b)
		e.U32(0x80004001)
		d := ndr.NewDecoder(e.Bytes())
		got, err := decodeBlob(d)
		if err != nil || !bytes.Equal(got, b) || d.U32() != 0x80004001 {
			t.Errorf("%d bytes became %d, %v", len(b), len(got), err)
		}
	}
}

func words(w ...uint32) (b []byte) {
	for _, v := range w {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// Numbers that contradict each other, or what is there.
func TestLyingAnswers(t *testing.T) {
	for name, b := range map[string][]byte{
		"list whose count is wrong":         words(0x20000, 2, 0, 3),
		"list whose count is negative":      words(0x20000, 2, 0, math.MaxUint32),
		"list of a gigabyte":                words(0x20000, 1<<29, 0, 1<<29),
		"list without characters":           words(0, 5),
		"list that is cut off":              words(0x20000, 2),
		"list with characters and count -2": words(0x20000, 1, 0, math.MaxUint32-1),
	} {
		if units, err := decodeList(ndr.NewDecoder(b)); err == nil {
			t.Errorf("%s: %d characters", name, len(units))
		}
	}
	for name, b := range map[string][]byte{
		"blob of another size":    words(5, 0x20000, 4, 0),
		"blob of a gigabyte":      words(1<<30, 0x20000, 1<<30),
		"blob without bytes":      words(5, 0),
		"blob that is cut off":    words(4, 0x20000, 4),
		"blob larger than it may": append(words(uint32(maxBlob+4), 0x20000, uint32(maxBlob+4)), make([]byte, maxBlob+4)...),
	} {
		if got, err := decodeBlob(ndr.NewDecoder(b)); err == nil {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
}

func TestProperties(t *testing.T) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	for _, v := range []certadm.CAProperty{
		{Type: certadm.PropertyLong, Long: -7},
		{Type: certadm.PropertyDate, Time: when},
		{Type: certadm.PropertyDate},
		{Type: certadm.PropertyBinary, Binary: []byte{0x30, 0}},
		{Type: certadm.PropertyString, Text: "Żółw 🐢"},
		{Type: certadm.PropertyString},
	} {
		b, err := encodeProperty(v, v.Type)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeProperty(b, v.Type)
		if err != nil || got.Long != v.Long || !got.Time.Equal(v.Time) || got.Text != v.Text || !bytes.Equal(got.Binary, v.Binary) || got.Type != v.Type {
			t.Errorf("%+v became %+v, %v", v, got, err)
		}
	}
	for bad, typ := range map[string]certadm.PropertyType{"abc": certadm.PropertyLong, "abcdefg": certadm.PropertyDate, "a": certadm.PropertyString, "\x00\x00a\x00": certadm.PropertyString, "": certadm.PropertyLong} {
		if v, err := decodeProperty([]byte(bad), typ); err == nil {
			t.Errorf("%q as %v is %+v", bad, typ, v)
		}
	}
	if _, err := encodeProperty(certadm.CAProperty{}, 5); certadm.CodeOf(err) != certadm.EInvalidArg {
		t.Errorf("property of type 5: %v", err)
	}
}

func TestUntag(t *testing.T) {
	for in, want := range map[string]string{
		`\\S\a.crl`: `\\S\a.crl`, `D\\S\a.crl`: `\\S\a.crl`, "\u0082\\\\S\\x": `\\S\x`, `C:\x`: `C:\x`, "": "", "D": "D", `DD\\S\a`: `DD\\S\a`,
	} {
		if got := untag(in); got != want {
			t.Errorf("untag(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFaultCode(t *testing.T) {
	for status, want := range map[uint32]certadm.HRESULT{
		5: certadm.EAccessDenied, 0x6f7: certadm.RPCBadStubData, 0x721: certadm.RPCSecurityPackage, 0x1c010002: certadm.RPCNoSuchMethod, 0x1c010014: certadm.RPCServerTooBusy,
		0x80010108: 0x80010108, 0xC8000209: certadm.HrInvalidBackupSequence, 0x1c00001b: certadm.RPCCallFailed, 0: certadm.RPCProtocolError,
	} {
		if got := faultCode(status); got != want {
			t.Errorf("status %#x is %v, want %v", status, got, want)
		}
	}
}

// Whatever a server answers, the client says what is wrong and allocates no more
// than it was sent.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{vectorOpened, vectorRead, vectorList, vectorNone, vectorDenied, vectorState} {
		f.Add(stub(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		at := func() *ndr.Decoder { d := ndr.NewDecoder(b); d.Bytes(min(thatSize, len(b))); return d }
		if units, err := decodeList(at()); err == nil {
			e := ndr.NewEncoder(nil)
			encodeList(e, units)
			again, err := decodeList(ndr.NewDecoder(e.Bytes()))
			if err != nil || !slices.Equal(again, units) {
				t.Errorf("%x: a list changes when it is encoded again: %v", b, err)
			}
		}
		if blob, err := decodeBlob(at()); err == nil && len(blob) > len(b) {
			t.Errorf("a blob of %d bytes in %d", len(blob), len(b))
		}
		if buf, _ := decodeRead(at()); len(buf) > len(b) {
			t.Errorf("%d bytes read from %d", len(buf), len(b))
		}
		for _, typ := range []certadm.PropertyType{1, 2, 3, 4} {
			decodeProperty(b, typ)
		}
	})
}

// Whatever a client sends, an object answers it well-formed or with a fault.
func FuzzRequest(f *testing.F) {
	for i, v := range requestVectors {
		f.Add(uint16([]uint16{18, 20, 21, 24, 25}[i]), stub(f, v.want))
	}
	f.Add(opGetCAProperty, append(stub(f, requestVectors[0].want), words(6, 0, 4)...))
	f.Fuzz(func(t *testing.T, op uint16, args []byte) {
		o := newObject(&settings{name: "RootCA", log: discard}, Caller{}, newFake())
		defer o.close("test")
		for range 2 { // without a session, and with a file open in one
			in, out := ndr.NewDecoder(args), ndr.NewEncoder(nil)
			err := o.serve(t.Context(), arrivalOf(t.Context(), iidICertAdminD2, op), in, out)
			if m, ok := methodOf(iidICertAdminD2, op); ok && err == nil {
				wellFormed(t, m, out.Bytes())
			} else if err == nil {
				t.Errorf("method %d is answered", op)
			}
			if len(out.Bytes()) > 17<<20 {
				t.Errorf("an answer of %d bytes", len(out.Bytes()))
			}
			openAll(t, o)
		}
	})
}
