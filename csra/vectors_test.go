package csra

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/ndr"
)

// Stubs that were parsed by an independent implementation of NDR. Every request
// begins with the same ORPCTHIS.
const vectorThis = "05000700000000000000000000112233445566778899aabbccddeeff00000000"

func stub(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ptr[T any](v T) *T { return &v }

const vectorDB = `\\ca1\c$\CertLog\RootCA.edb`

var requestVectors = []struct {
	name string
	args func(e *ndr.Encoder)
	want string
}{
	{"Ping", func(e *ndr.Encoder) { e.UniqueString(ptr("RootCA")) },
		"0000020007000000000000000700000052006f006f007400430041000000"},
	{"BackupPrepare", func(e *ndr.Encoder) { encodePrepare(e, prepareArgs{authority: ptr("RootCA")}) },
		"0000020007000000000000000700000052006f006f007400430041000000000000000000000000000000000000000000"},
	{"BackupEnd", func(*ndr.Encoder) {}, ""},
	{"BackupOpenFile", func(e *ndr.Encoder) { e.UniqueString(ptr(vectorDB)) },
		"000002001c000000000000001c0000005c005c006300610031005c00630024005c0043006500720074004c006f0067005c0052006f006f007400430041002e006500640062000000"},
	{"BackupReadFile", func(e *ndr.Encoder) { e.I32(64 << 10) }, "00000100"},
}

func TestRequestVectors(t *testing.T) {
	for _, v := range requestVectors {
		e := ndr.NewEncoder(stub(t, "0102030405")) // something before it: alignment counts from the stub
		e.Raw(stub(t, vectorThis))
		v.args(e)
		if got, want := e.Bytes()[5:], stub(t, vectorThis+v.want); !bytes.Equal(got, want) {
			t.Errorf("%s:\n got %x\nwant %x", v.name, got, want)
		}
	}
}

func decoder(t testing.TB, s string, skip int) *ndr.Decoder {
	t.Helper()
	d := ndr.NewDecoder(stub(t, s))
	d.Bytes(skip)
	return d
}

func TestRequestVectorsDecode(t *testing.T) {
	a := decodePrepare(decoder(t, vectorThis+requestVectors[1].want, 32))
	if a.authority == nil || *a.authority != "RootCA" || a.grbitJet != 0 || a.flags != 0 || a.annotation != 0 || a.clientUnit != 0 {
		t.Errorf("BackupPrepare = %+v", a)
	}
	if d := decoder(t, vectorThis+requestVectors[3].want, 32); *d.UniqueString(certadm.MaxNameUnits) != vectorDB || d.Err() != nil {
		t.Errorf("BackupOpenFile: %v", d.Err())
	}
}

// The bytes after the flags may be there or not, and be whatever they are.
func TestPrepareTail(t *testing.T) {
	head := requestVectors[1].want[:len(requestVectors[1].want)-16]
	for _, tail := range []string{"", "00", "0000000000000000", "41000000", "0000020001000000000000000100000000000000efbeadde", "ffffffffffffffff"} {
		d := decoder(t, vectorThis+head+tail, 32)
		if a := decodePrepare(d); a.authority == nil || *a.authority != "RootCA" || d.Err() != nil {
			t.Errorf("tail %s: %+v, %v", tail, a, d.Err())
		}
	}
	d := decoder(t, vectorThis+head+"00000000efbeadde", 32)
	if a := decodePrepare(d); a.clientUnit != 0xdeadbeef {
		t.Errorf("client identifier %#x", a.clientUnit)
	}
}

const (
	vectorOpened  = "0000000000000000002010000000000000000000"
	vectorRead    = "00000000000000000800000048454c4c4f0000000500000000000000"
	vectorList    = "0000000000000000000002001e00000044005c005c006300610031005c00630024005c0043006500720074004c006f0067005c0052006f006f007400430041002e00650064006200000000001e00000000000000"
	vectorNone    = "0000000000000000000000000000000000000000"
	vectorDenied  = "0000000000000000000000000000000005000780"
	vectorState   = "00000000000000000100000000000000"
	thatSize      = 8
	vectorOneName = "D" + vectorDB
)

func TestAnswerVectors(t *testing.T) {
	units, err := certadm.EncodeListUnits(certadm.FileList{{Type: certadm.FileDatabase, Path: vectorDB}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name, want string
		fill       func(e *ndr.Encoder)
	}{
		{"BackupOpenFile", vectorOpened, func(e *ndr.Encoder) { e.U64(0x102000); e.U32(0) }},
		{"BackupReadFile", vectorRead, func(e *ndr.Encoder) {
			b := encodeReadBuffer(e, 8)
			clear(b[copy(b, "HELLO"):])
			e.I32(5)
			e.U32(0)
		}},
		{"BackupGetAttachmentInformation", vectorList, func(e *ndr.Encoder) { encodeList(e, units); e.U32(0) }},
		{"empty list", vectorNone, func(e *ndr.Encoder) { encodeList(e, nil); e.U32(0) }},
		{"failed list", vectorDenied, func(e *ndr.Encoder) { encodeEmpty(e, "l", 0); e.U32(uint32(certadm.EAccessDenied)) }},
		{"GetServerState", vectorState, func(e *ndr.Encoder) { e.U32(1); e.U32(0) }},
	} {
		e := ndr.NewEncoder(nil)
		e.U64(0)
		v.fill(e)
		if want := stub(t, v.want); !bytes.Equal(e.Bytes(), want) {
			t.Errorf("%s:\n got %x\nwant %x", v.name, e.Bytes(), want)
		}
	}
}

func TestAnswerVectorsDecode(t *testing.T) {
	d := decoder(t, vectorOpened, thatSize)
	if size := d.U64(); size != 0x102000 || result(d, nil) != nil {
		t.Errorf("BackupOpenFile: %#x, %v", size, d.Err())
	}
	d = decoder(t, vectorRead, thatSize)
	if b, n := decodeRead(d); string(b) != "HELLO\x00\x00\x00" || n != 5 || result(d, nil) != nil {
		t.Errorf("BackupReadFile: %q, %d, %v", b, n, d.Err())
	}
	d = decoder(t, vectorList, thatSize)
	units, err := decodeList(d)
	if err := result(d, err); err != nil || len(units) != 30 {
		t.Fatalf("BackupGetAttachmentInformation: %d characters, %v", len(units), err)
	}
	l, err := certadm.DecodeListUnits(units)
	if want := (certadm.FileList{{Type: certadm.FileDatabase, Path: vectorDB}}); err != nil || !slices.Equal(l, want) {
		t.Errorf("BackupGetAttachmentInformation: %v, %v", l, err)
	}
	for want, s := range map[certadm.HRESULT]string{certadm.SOK: vectorNone, certadm.EAccessDenied: vectorDenied} {
		d = decoder(t, s, thatSize)
		units, err := decodeList(d)
		if len(units) != 0 || certadm.CodeOf(result(d, err)) != want {
			t.Errorf("empty list: %v, %v, want %v", units, result(d, err), want)
		}
	}
	d = decoder(t, vectorState, thatSize)
	if state := d.U32(); state != 1 || result(d, nil) != nil {
		t.Errorf("GetServerState: %d, %v", state, d.Err())
	}
}
