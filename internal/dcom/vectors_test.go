package dcom

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/certkeep/certkeep/internal/ndr"
)

var (
	adminCLSID = ndr.MustGUID("d99e6e73-fc88-11d0-b498-00a0c90312f3")
	adminIID   = ndr.MustGUID("d99e6e71-fc88-11d0-b498-00a0c90312f3")
	admin2IID  = ndr.MustGUID("7fe0d935-dda6-443f-85d0-1cfb58fe41dd")
)

// createRequestHex is a whole stub of RemoteCreateInstance as Impacket 0.10
// emits it.
const createRequestHex = "" +
	"05000700010000000000000000112233445566778899aabbccddeeff0000000000000000c5280000a0010000a00100004d45" +
	"4f5704000000a201000000000000c0000000000000463803000000000000c000000000000046000000007801000068010000" +
	"0000000001100800cccccccc88000000cccccccc680100009800000000000000020000000400000000000000000000000000" +
	"00000000000033a6000039a300000000000004000000ab01000000000000c000000000000046a501000000000000c0000000" +
	"00000046a401000000000000c000000000000046aa01000000000000c0000000000000460400000058000000280000002000" +
	"00003000000001100800cccccccc44000000cccccccc736e9ed988fcd011b49800a0c90312f3000000000000000000000000" +
	"0100000000000000d9f20000000000000500070001000000716e9ed988fcd011b49800a0c90312f3fafafafa01100800cccc" +
	"cccc18000000cccccccc00000000000000000000000000000000000000000000000001100800cccccccc10000000cccccccc" +
	"0000000000000000000000000000000001100800cccccccc1a000000cccccccc00000000eade0000000000000100aaaae5ce" +
	"0000010000000700fafafafafafa"

// createReplyHex is a whole stub of RemoteCreateInstance's response that
// Impacket 0.10 worked with, and that Wireshark 4.0.17 dissects without error.
const createReplyHex = "" +
	"00000000000000000000020038020000380200004d454f5704000000a301000000000000c000000000000046390300000000" +
	"0000c0000000000000460000000010020000000200000000000001100800cccccccc60000000000000000002000070000000" +
	"0000000002000000020000000000000000000000000000000000000000000200040002000000000002000000390300000000" +
	"0000c000000000000046b601000000000000c00000000000004602000000b8000000d800000001100800cccccccca8000000" +
	"000000000100000000000200040002000800020001000000716e9ed988fcd011b49800a0c90312f301000000000000000100" +
	"00000c0002006a0000006a0000004d454f5701000000716e9ed988fcd011b49800a0c90312f3000000000500000088776655" +
	"4433221111223344556677880100000002000300000400000000000513000c0007003100320037002e0030002e0030002e00" +
	"3100000000000a00ffff00000900ffff00000000000001100800ccccccccc800000000000000000000000000020088776655" +
	"44332211040002000a0000000b000c00000d00000000000e0600000005000700470000004700130007003100320037002e00" +
	"30002e0030002e0031005b00340039003600370030005d00000000000a00ffff00000900ffff520050004300530053002f00" +
	"630061002e006500780061006d0070006c0065002e00740065007300740000001000ffff520050004300530053002f006300" +
	"61002e006500780061006d0070006c0065002e0074006500730074000000000000000000000000000000"

// vector decodes a hexadecimal constant.
func vector(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// vectorReply is what createReplyHex says.
func vectorReply() activationReply {
	return activationReply{
		results: []ifaceResult{{iid: adminIID, ref: objRef{
			kind: refStandard, iid: adminIID,
			std: StdObjRef{
				PublicRefs: 5, OXID: 0x1122334455667788, OID: 0x8877665544332211,
				IPID: ndr.MustGUID("00000001-0002-0003-0004-000000000005"),
			},
			bindings: Bindings{
				Strings:  []StringBinding{{TowerTCP, "127.0.0.1"}},
				Security: []SecurityBinding{{10, ""}, {9, ""}},
			},
		}}},
		oxid: 0x1122334455667788,
		exporter: Bindings{
			Strings:  []StringBinding{{TowerTCP, "127.0.0.1[49670]"}},
			Security: []SecurityBinding{{10, ""}, {9, "RPCSS/ca.example.test"}, {16, "RPCSS/ca.example.test"}},
		},
		remUnknown: ndr.MustGUID("0000000a-000b-000c-000d-00000000000e"),
		authnHint:  6,
		version:    Current,
	}
}

func TestDecodeCreateRequestOfImpacket(t *testing.T) {
	d := ndr.NewDecoder(vector(t, createRequestHex))
	this, ref := decodeCreateRequest(d)
	if d.Err() != nil {
		t.Fatal(d.Err())
	}
	if this.version != Current || this.flags != 1 || this.cid.IsZero() {
		t.Errorf("orpcthis = %+v", this)
	}
	got, err := unpackRequest(ref)
	if err != nil {
		t.Fatal(err)
	}
	want := activationRequest{clsid: adminCLSID, iids: []ndr.GUID{adminIID}, version: Current, protseqs: []uint16{TowerTCP}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("request = %+v, want %+v", got, want)
	}
}

func TestDecodeCreateReply(t *testing.T) {
	got, err := decodeCreateReply(ndr.NewDecoder(vector(t, createReplyHex)[8:]))
	if err != nil {
		t.Fatal(err)
	}
	if want := vectorReply(); !reflect.DeepEqual(got, want) {
		t.Errorf("reply = %+v, want %+v", got, want)
	}
}

func TestEncodeCreateReply(t *testing.T) {
	var e ndr.Encoder
	encodeThat(&e)
	encodeCreateReply(&e, vectorReply().pack(), OK)
	if want := vector(t, createReplyHex); !bytes.Equal(e.Bytes(), want) {
		t.Errorf("reply =\n%x, want\n%x", e.Bytes(), want)
	}
}
