package dcerpc

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/certkeep/certkeep/internal/gss"
	"github.com/certkeep/certkeep/internal/ndr"
)

func TestHeader(t *testing.T) {
	const good = "05000b07 10000000 4800 1000 04030201"
	h, err := parseHeader(unhex(good))
	if want := (header{ptype: 11, flags: 7, fragLen: 72, authLen: 16, callID: 0x01020304}); err != nil || h != want {
		t.Fatalf("%+v, %v, want %+v", h, err, want)
	}
	b := appendHeader(nil, ptypeBind, 7, 0x01020304)
	putLengths(b, 72, 16)
	equal(t, "header", b, unhex(good))
	for _, v := range []struct{ name, wire, reason string }{
		{"nothing", "", "header of 0 bytes"},
		{"cut short", good[:34], "header of 15 bytes"},
		{"version 4", "04000b07 10000000 4800 1000 04030201", "not version 5"},
		{"version 5.2", "05020b07 10000000 4800 1000 04030201", "not version 5"},
		{"big-endian", "05000b07 00000000 0048 0010 01020304", "data representation 0x00"},
		{"ebcdic", "05000b07 11000000 4800 1000 04030201", "data representation 0x11"},
		{"shorter than its header", "05000b07 10000000 0f00 0000 04030201", "fragment of 15 bytes"},
		{"empty", "05000b07 10000000 0000 0000 04030201", "fragment of 0 bytes"},
		{"verifier longer than the fragment", "05000b07 10000000 4800 ffff 04030201", "verifier of 65535 bytes"},
		{"verifier over the header", "05000b07 10000000 2700 1000 04030201", "verifier of 16 bytes in a fragment of 39"},
	} {
		_, err := parseHeader(unhex(v.wire))
		if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), v.reason) {
			t.Errorf("%s: %v, want %q", v.name, err, v.reason)
		}
	}
	// Both versions that are in use, and verifiers that just fit.
	for _, wire := range []string{"05010b03 10000000 1000 0000 01000000", "05000b03 10000000 2800 1000 01000000"} {
		if _, err := parseHeader(unhex(wire)); err != nil {
			t.Errorf("%s: %v", wire, err)
		}
	}
}

func TestCallHeader(t *testing.T) {
	object := ndr.MustGUID("01020304-0506-0708-090a-0b0c0d0e0f10")
	for _, v := range []struct {
		name, wire string
		want       callFields
	}{
		{"request", "05000003 10000000 1800 0000 02000000  00000000 0300 1500", callFields{contextID: 3, opnum: 21, size: 24}},
		{"request for an object", "05000083 10000000 2800 0000 02000000  00000000 0300 1500 04030201060508070 90a0b0c0d0e0f10",
			callFields{contextID: 3, opnum: 21, object: object, hasObject: true, size: 40}},
		{"response: the flag means nothing there", "05000283 10000000 1800 0000 02000000  00000000 0300 0000", callFields{contextID: 3, size: 24}},
		{"request cut short", "05000003 10000000 1700 0000 02000000  00000000 0300 15", callFields{}},
		{"object cut short", "05000083 10000000 2700 0000 02000000  00000000 0300 1500 04030201060508070 90a0b0c0d0e0f", callFields{}},
	} {
		pdu := unhex(v.wire)
		h, err := parseHeader(pdu)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parseCall(h, pdu)
		if v.want.size == 0 {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%s: %v", v.name, err)
			}
		} else if err != nil || f != v.want {
			t.Errorf("%s: %+v, %v", v.name, f, err)
		}
	}
}

// Faults never carry a status that clients would take for success or raise as
// an exception.
func TestFaultPDU(t *testing.T) {
	for _, v := range []struct{ status, sent uint32 }{
		{StatusAccessDenied, 0x00000005},
		{0x80070005, 0x80070005},
		{0, StatusFaultUnspecified},
		{0xc0000005, StatusFaultUnspecified}, // STATUS_ACCESS_VIOLATION
		{0xc000001d, StatusFaultUnspecified},
		{0x80000003, StatusFaultUnspecified}, // STATUS_BREAKPOINT
		{0x80000104, 0x80000104},
		{0xc0010001, 0xc0010001},
	} {
		pdu := appendFault([]byte("before"), 9, 2, v.status, flagDidNotExecute)[6:]
		want := unhex("05000323 10000000 2000 0000 09000000  00000000 0200 0000")
		equal(t, "fault", pdu[:callHeader], want)
		if got, err := faultStatus(pdu[callHeader:]); got != v.sent || err != nil || len(pdu) != 32 {
			t.Errorf("status 0x%x: sent 0x%x in %d bytes, %v", v.status, got, len(pdu), err)
		}
	}
	if _, err := faultStatus([]byte{1, 2, 3}); !errors.Is(err, ErrProtocol) {
		t.Errorf("fault without a status: %v", err)
	}
}

const (
	syntaxHex  = "11111111222233334444555555555501 0100 0200"
	ndrHex     = "045d888aeb1cc9119fe808002b104860 02000000"
	ndr64Hex   = "33057171babe37498319b5dbef9ccc36 01000000"
	featureHex = "2c1cb76c12984045 0300000000000000 01000000"
)

// TestBindPDU reads the bind that Windows clients send, with its three
// contexts.
func TestBindPDU(t *testing.T) {
	wire := "d016 d016 00000000 03000000" +
		"0000 01 00" + syntaxHex + ndrHex +
		"0100 01 00" + syntaxHex + ndr64Hex +
		"0200 01 00" + syntaxHex + featureHex
	offer := Syntax{UUID: features, Major: 1}
	offer.UUID[8] = featureMultiplexing | featureKeepOnOrphan
	want := bindPDU{maxXmit: 5840, maxRecv: 5840, contexts: []presContext{
		{0, echoSyntax, []Syntax{NDR}}, {1, echoSyntax, []Syntax{ndr64}}, {2, echoSyntax, []Syntax{offer}},
	}}
	got, err := parseBind(unhex(wire))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(bindPDU{}, presContext{})); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	equal(t, "bind", want.append(nil), unhex(wire))
	if mask, ok := featureMask(offer); !ok || mask != 3 {
		t.Errorf("features: %d, %v", mask, ok)
	}
	// Cut anywhere, it is refused.
	b := unhex(wire)
	for n := range b {
		if _, err := parseBind(b[:n]); !errors.Is(err, ErrProtocol) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	for _, v := range []struct {
		name, wire string
		contexts   int
	}{
		{"no context at all", "d016 d016 00000000 00000000", 0},
		{"context without a transfer syntax", "d016 d016 00000000 01000000 0500 00 00" + syntaxHex, 1},
		{"bytes behind the contexts", "d016 d016 00000000 01000000 0500 00 00" + syntaxHex + "00000000", 1},
	} {
		if p, err := parseBind(unhex(v.wire)); err != nil || len(p.contexts) != v.contexts {
			t.Errorf("%s: %d contexts, %v", v.name, len(p.contexts), err)
		}
	}
}

func TestAckPDU(t *testing.T) {
	results := []presResult{
		{resultAccept, 0, NDR},
		{resultReject, reasonTransfer, Syntax{}},
		{resultNegotiate, 3, Syntax{}},
	}
	none := strings.Repeat("00", 20)
	list := "03000000 0000 0000" + ndrHex + "0200 0200" + none + "0300 0300" + none
	for _, v := range []struct {
		name, wire string
		port       int
	}{
		// The address is followed by padding up to a multiple of 4.
		{"bind_ack", "d016 d016 15cd5b07 0400 31333500 0000" + list, 135},
		{"bind_ack of a long port", "d016 d016 15cd5b07 0600 343931353200" + list, 49152},
		{"alter_context_resp", "d016 d016 15cd5b07 0000 0000" + list, 0},
	} {
		want := ackPDU{maxXmit: 5840, maxRecv: 5840, group: 123456789, port: v.port, results: results}
		equal(t, v.name, want.append(make([]byte, headerSize))[headerSize:], unhex(v.wire))
		got, err := parseAck(unhex(v.wire))
		want.port = 0 // is of no use
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(ackPDU{}, presResult{})); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", v.name, err, diff)
		}
		b := unhex(v.wire)
		for n := range b {
			if _, err := parseAck(b[:n]); !errors.Is(err, ErrProtocol) {
				t.Fatalf("%s cut to %d bytes: %v", v.name, n, err)
			}
		}
	}
	for _, wire := range []string{
		"d016 d016 00000000 ffff 3133 3500",                 // an address that is not there
		"d016 d016 00000000 0000 0000 ff000000" + none + "", // 255 results
	} {
		if _, err := parseAck(unhex(wire)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", wire, err)
		}
	}
}

func TestNakPDU(t *testing.T) {
	pdu := appendNak([]byte("before"), 3, NakChecksum)[6:]
	equal(t, "bind_nak", pdu, unhex("05000d03 10000000 1600 0000 03000000  0900 01 0500 00"))
	if reason, err := parseNak(pdu[headerSize:]); reason != NakChecksum || err != nil {
		t.Errorf("%d, %v", reason, err)
	}
	if _, err := parseNak([]byte{1}); !errors.Is(err, ErrProtocol) {
		t.Errorf("bind_nak without a reason: %v", err)
	}
}

// TestNakError: what refuses credentials is a gss.ErrLogon, other refusals are
// not.
func TestNakError(t *testing.T) {
	for reason := range uint16(12) {
		err := error(&NakError{reason})
		if got, want := errors.Is(err, gss.ErrLogon), reason == NakChecksum; got != want {
			t.Errorf("reason %d is a refused logon: %v", reason, got)
		}
		if !strings.HasPrefix(err.Error(), "server refuses to bind: ") {
			t.Error(err)
		}
	}
}

// TestVerifier divides PDUs into body and verifier.
func TestVerifier(t *testing.T) {
	const head = "05000003 10000000 3400 1000 02000000  00000000 0000 0000"
	const token = "000102030405060708090a0b0c0d0e0f"
	for _, v := range []struct {
		name, wire string
		body       string
		pad        int
		bad        bool
	}{
		{name: "padding to 4", wire: head + "41424300" + "0a060100 07000000" + token, body: "41424300", pad: 1},
		{name: "nothing but padding", wire: head + "00000000" + "0a060400 07000000" + token, body: "00000000", pad: 4},
		{name: "more padding than body", wire: head + "00000000" + "0a060500 07000000" + token, bad: true},
		{name: "no body", wire: "05000003 10000000 3000 1000 02000000  00000000 0000 0000" + "0a060000 07000000" + token},
		{name: "verifier over the call's header", wire: "05000003 10000000 2f00 1000 02000000  00000000 0000 00" + "0a060000 07000000" + token, bad: true},
		{name: "no header", wire: "05000003 10000000 1400 0000 02000000  00000000", bad: true},
	} {
		pdu := unhex(v.wire)
		h, err := parseHeader(pdu)
		if err != nil || h.fragLen != len(pdu) {
			t.Fatalf("%s: %+v of %d bytes, %v", v.name, h, len(pdu), err)
		}
		body, ver, err := splitVerifier(h, pdu, callHeader)
		if v.bad {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%s: %v", v.name, err)
			}
			continue
		}
		if err != nil || ver.pad != v.pad || ver.id != 7 || ver.typ != AuthNTLM || ver.level != LevelPrivacy {
			t.Errorf("%s: %+v, %v", v.name, ver, err)
		}
		equal(t, v.name+": body", body, unhex(v.body))
		equal(t, v.name+": token", ver.token, unhex(token))
		if len(ver.trailer) != trailerSize || cap(body) != len(body) || cap(ver.trailer) != trailerSize {
			t.Errorf("%s: parts of the pdu can grow into each other", v.name)
		}
	}
}

// TestHandshakePDU: verifiers of a handshake have no padding, and a token that
// does not fit is refused before it is sent.
func TestHandshakePDU(t *testing.T) {
	sec := &security{id: 7, typ: AuthSPNEGO, level: LevelPrivacy}
	start := bindTo(ptypeBind, 1, pres(0, echoSyntax))
	for _, n := range []int{0, 1, 16, maxToken, maxToken + 1, maxPDU} {
		pdu, err := appendHandshake(append([]byte{}, start...), sec, make([]byte, n))
		if n > maxToken {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("token of %d bytes: %v", n, err)
			}
			continue
		}
		h, err2 := parseHeader(pdu)
		if err != nil || err2 != nil || h.fragLen != len(pdu) || h.authLen != n {
			t.Fatalf("token of %d bytes: %+v, %v, %v", n, h, err, err2)
		}
		_, v, err := splitVerifier(h, pdu, headerSize)
		if err != nil || v.pad != 0 || len(v.token) != n || n > 0 && !sec.matches(v) {
			t.Errorf("token of %d bytes: %+v, %v", n, v, err)
		}
	}
}
