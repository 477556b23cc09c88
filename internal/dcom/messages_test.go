package dcom

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/certkeep/certkeep/internal/ndr"
)

// equalBut reports whether a and b are the same, but for bytes of a mask that
// are not zero.
func equalBut(a, b, mask []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if (i >= len(mask) || mask[i] == 0) && a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestRequestLikeImpackets compares the properties of this client's request
// with those of Impacket's, where both have to send the same. The masks leave
// out referents, padding and what is a matter of taste.
func TestRequestLikeImpackets(t *testing.T) {
	d := ndr.NewDecoder(vector(t, createRequestHex))
	_, ref := decodeCreateRequest(d)
	theirs, err := unpackProperties(iidPropertiesIn, clsidPropertiesIn, ref)
	if err != nil {
		t.Fatal(err)
	}
	request := activationRequest{
		clsid: adminCLSID, iids: []ndr.GUID{adminIID}, version: Current,
		protseqs: []uint16{TowerTCP},
	}
	ours, err := unpackProperties(iidPropertiesIn, clsidPropertiesIn, request.pack())
	if err != nil {
		t.Fatal(err)
	}
	ff := func(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }
	masks := map[ndr.GUID][]byte{
		// The class context; the referent of the table, and the size, which
		// Impacket leaves at 0.
		propInstantiation: slices.Concat(make([]byte, 16), ff(4), make([]byte, 16), ff(8)),
		// The referent, and how the server may impersonate; padding and the
		// referent of the table.
		propScmRequest: slices.Concat(make([]byte, 4), ff(8), make([]byte, 2), ff(6)),
		propLocation:   nil,
	}
	for id, mask := range masks {
		// Impacket's objects end without the padding that follows them.
		n := len(theirs[id])
		if len(ours[id]) != (n+7)&^7 || !equalBut(ours[id][:n], theirs[id], mask) {
			t.Errorf("property %v:\n%x, Impacket has\n%x", id, ours[id], theirs[id])
		}
	}
	// thisSize counts the property with its headers (MS-DCOM section
	// 2.2.22.2.1): the table of Impacket's request says 0x58.
	if size := ours[propInstantiation][40:44]; !bytes.Equal(size, []byte{0x58, 0, 0, 0}) {
		t.Errorf("size in InstantiationInfo: %x", size)
	}
	// Windows refuses a request without a client context; Impacket sends none.
	context := ours[propActContext]
	ref = decodePointer(ndr.NewDecoder(context[24:]))
	r, err := unpackObjRef(ref)
	if err != nil || r.kind != refCustom || r.iid != iidContext || r.clsid != clsidContextMarshaler || len(r.data) != 48 {
		t.Errorf("client context %+v, %v", r, err)
	}
	want := vector(t, "01000100"+"00000000000000000000000000000000"+"02000000"+"0000000000000000000000000000000000000000"+"01000000")
	if !equalBut(r.data, want, append(make([]byte, 4), ff(16)...)) {
		t.Errorf("client context %x, want %x", r.data, want)
	}
	// The header tells how long the serialized properties are.
	if got, err := unpackRequest(request.pack()); err != nil || got.clsid != adminCLSID {
		t.Errorf("read back: %+v, %v", got, err)
	}
}

// TestCreateReplyFailures: a refusal has no properties.
func TestCreateReplyFailures(t *testing.T) {
	var e ndr.Encoder
	encodeThat(&e)
	encodeCreateReply(&e, nil, ClassNotReg)
	if want := vector(t, "0000000000000000"+"00000000"+"54010480"); !bytes.Equal(e.Bytes(), want) {
		t.Errorf("written %x, want %x", e.Bytes(), want)
	}
	if _, err := decodeCreateReply(ndr.NewDecoder(e.Bytes()[8:])); !errors.Is(err, ClassNotReg) {
		t.Errorf("read as %v", err)
	}
	// CO_S_NOTALLINTERFACES is a success: which are there, the properties say.
	e = ndr.Encoder{}
	encodeCreateReply(&e, vectorReply().pack(), 0x00080012)
	if r, err := decodeCreateReply(ndr.NewDecoder(e.Bytes())); err != nil || len(r.results) != 1 {
		t.Errorf("not all interfaces: %+v, %v", r, err)
	}
	if r, err := decodeCreateReply(ndr.NewDecoder(make([]byte, 8))); err == nil {
		t.Errorf("success without properties is read as %+v", r)
	}
}

// TestActivationReplyPartly: of interfaces that are not to be had there is the
// reason only.
func TestActivationReplyPartly(t *testing.T) {
	r := vectorReply()
	r.results = append([]ifaceResult{{iid: admin2IID, hr: ENoInterface}}, r.results...)
	got, err := unpackReply(r.pack())
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("read %+v, %v, want %+v", got, err, r)
	}
	// Success without a reference is a lie.
	e := ndr.NewEncoder(nil)
	e.U32(1)
	e.Referent()
	e.Referent()
	e.Referent()
	e.U32(1)
	e.GUID(admin2IID)
	e.U32(1)
	e.U32(0)
	e.U32(1)
	e.Null()
	if err := new(activationReply).decodePropsOut(e.Bytes()); err == nil {
		t.Error("an interface without its reference is accepted")
	}
}

// TestPropertiesRefused: sizes that lie about a blob.
func TestPropertiesRefused(t *testing.T) {
	good := vectorReply().pack()
	if _, err := unpackReply(good); err != nil {
		t.Fatal(err)
	}
	// Offsets in the object reference: its data begin at 48 with the blob's
	// size; the CustomHeader's object at 72.
	for _, tt := range []struct {
		name   string
		offset int
		bytes  string
	}{
		{"another interface", 8, "a2"},
		{"another class", 24, "38"},
		{"no custom object reference", 4, "01"},
		{"blob longer than its reference", 48, "ffffff7f"},
		{"blob shorter than its header", 48, "10000000"},
		{"big-endian header", 57, "00"},
		{"another serialization", 56, "02"},
		{"header longer than the blob", 64, "ffff0000"},
		{"properties behind the blob", 76, "ffff0000"},
		{"no properties", 88, "00000000"},
		{"more properties than the tables have", 88, "03000000"},
		{"too many properties", 88, "0b000000"},
		{"no table of classes", 108, "00000000"},
		{"no table of sizes", 112, "00000000"},
		{"a table of three", 120, "03000000"},
		{"a huge table", 120, "ffffffff"},
		{"first property longer than the blob", 160, "ffff0000"},
		{"first property shorter than its header", 160, "08000000"},
		{"unknown first property", 124, "ff"},
		{"unknown second property", 140, "ff"},
	} {
		b := bytes.Clone(good)
		copy(b[tt.offset:], vector(t, tt.bytes))
		if r, err := unpackReply(b); err == nil {
			t.Errorf("%s: read as %+v", tt.name, r)
		}
	}
	for n := range len(good) - 8 {
		if r, err := unpackReply(good[:n]); err == nil {
			t.Errorf("cut after %d bytes: read as %+v", n, r)
		}
	}
}

// that encodes an answer behind ORPCTHAT, with the alignment that it has there.
func that(f func(*ndr.Encoder)) []byte {
	var e ndr.Encoder
	encodeThat(&e)
	f(&e)
	return e.Bytes()[8:]
}

const ipidHex = "01000000020003000004000000000005"

func TestRemUnknownMessages(t *testing.T) {
	query := queryRequest{ipid: testStd.IPID, refs: 5, iids: []ndr.GUID{adminIID, admin2IID}}
	const admin2Hex = "35d9e07fa6dd3f4485d01cfb58fe41dd"
	refs := []interfaceRef{{ipid: testStd.IPID, publicRefs: 5}, {ipid: adminIID, publicRefs: 1, privateRefs: 2}}
	const refsHex = "02000000" + "02000000" + ipidHex + "05000000" + "00000000" + adminIIDHex + "01000000" + "02000000"

	// behind reads something as if ORPCTHAT stood before it.
	behind := func(b []byte) *ndr.Decoder {
		d := ndr.NewDecoder(append(make([]byte, 8), b...))
		skipThat(d)
		return d
	}
	for _, tt := range []struct {
		name, hex string
		encode    func(*ndr.Encoder)
		decode    func(*ndr.Decoder) any
		want      any
	}{
		{
			"RemQueryInterface", ipidHex + "05000000" + "02000000" + "02000000" + adminIIDHex + admin2Hex,
			func(e *ndr.Encoder) { query.encode(e, true) },
			func(d *ndr.Decoder) any { return decodeQuery(d, true) }, query,
		},
		{
			"RemQueryInterface2", ipidHex + "02000000" + "02000000" + adminIIDHex + admin2Hex,
			func(e *ndr.Encoder) { query.encode(e, false) },
			func(d *ndr.Decoder) any { return decodeQuery(d, false) }, query,
		},
		{
			"RemQueryInterface's answer",
			"00000200" + "02000000" + "00000000" + "00000000" + stdHex +
				"02400080" + "00000000" + "0000000000000000" + "0000000000000000" + "0000000000000000" + "00000000000000000000000000000000" +
				"00000000",
			func(e *ndr.Encoder) {
				encodeQueryReply(e, []queryResult{{std: testStd}, {hr: ENoInterface}}, OK)
			},
			func(d *ndr.Decoder) any {
				r, err := decodeQueryReply(d)
				if err != nil {
					return err
				}
				return r
			},
			[]queryResult{{std: testStd}, {hr: ENoInterface}},
		},
		{
			"RemQueryInterface's refusal", "00000000" + "14010180",
			func(e *ndr.Encoder) { encodeQueryReply(e, nil, InvalidObject) },
			func(d *ndr.Decoder) any { _, err := decodeQueryReply(d); return err }, InvalidObject,
		},
		{
			"RemAddRef and RemRelease", refsHex,
			func(e *ndr.Encoder) { encodeRefs(e, refs) },
			func(d *ndr.Decoder) any { return decodeRefs(d) }, refs,
		},
		{
			"RemAddRef's answer", "02000000" + "00000000" + "fc010480" + "fc010480",
			func(e *ndr.Encoder) { encodeAddRefReply(e, []HResult{OK, ObjectNotReg}, ObjectNotReg) }, nil, nil,
		},
		{
			"RemQueryInterface2's answer",
			"02000000" + "00000000" + "02400080" + "02000000" + "00000200" + "00000000" +
				"03000000" + "03000000" + "010203" + "00" + "01000000",
			func(e *ndr.Encoder) {
				encodeQuery2Reply(e, []HResult{OK, ENoInterface}, [][]byte{{1, 2, 3}, nil}, 1)
			}, nil, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wire := vector(t, tt.hex)
			if b := that(tt.encode); !bytes.Equal(b, wire) {
				t.Errorf("written\n%x, want\n%x", b, wire)
			}
			if tt.decode == nil {
				return
			}
			if got := tt.decode(behind(wire)); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("read %+v, want %+v", got, tt.want)
			}
			if _, refusal := tt.want.(HResult); refusal {
				return
			}
			for n := range len(wire) {
				d := behind(wire[:n])
				if tt.decode(d); d.Err() == nil {
					t.Errorf("cut after %d bytes, it is accepted", n)
				}
			}
		})
	}
	for name, s := range map[string]string{
		"query with another count": ipidHex + "05000000" + "03000000" + "02000000" + adminIIDHex + admin2Hex,
		"query of a huge count":    ipidHex + "05000000" + "ffff0000" + "ffff0000" + adminIIDHex + admin2Hex,
	} {
		d := ndr.NewDecoder(vector(t, s))
		if r := decodeQuery(d, true); d.Err() == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
	d := ndr.NewDecoder(vector(t, "03"+refsHex[2:]))
	if r := decodeRefs(d); d.Err() == nil {
		t.Errorf("references with another count: read as %+v", r)
	}
}

func TestResolverMessages(t *testing.T) {
	const dsaHex = "18000000" + bindingsHex
	const oxidHex, oidHex, setHex = "8877665544332211", "1122334455667788", "efcdab8967452301"
	oxid := oxidReply{exporter: testBindings, remUnknown: testStd.IPID, authnHint: 6, version: Current}
	before := oxid
	before.version = Version{}
	or := func(v any, err error) any {
		if err != nil {
			return err
		}
		return v
	}
	for _, tt := range []struct {
		name, hex string
		encode    func(*ndr.Encoder)
		decode    func([]byte) any
		want      any
	}{
		{
			"ServerAlive2's answer", "05000700" + "00000200" + dsaHex + "00000000" + "00000000",
			aliveReply{version: Current, bindings: testBindings}.encode,
			func(b []byte) any { return or(decodeAlive(b)) }, aliveReply{version: Current, bindings: testBindings},
		},
		{
			"ResolveOxid2", oxidHex + "02000000" + "02000000" + "07001f00",
			oxidRequest{oxid: testStd.OXID, protseqs: []uint16{7, 31}}.encode,
			func(b []byte) any { return or(decodeOxidRequest(b)) }, oxidRequest{oxid: testStd.OXID, protseqs: []uint16{7, 31}},
		},
		{
			"ResolveOxid2's answer", "00000200" + dsaHex + ipidHex + "06000000" + "05000700" + "00000000",
			func(e *ndr.Encoder) { oxid.encode(e, true, 0) },
			func(b []byte) any { return or(decodeOxidReply(b, true)) }, oxid,
		},
		{
			"ResolveOxid's answer", "00000200" + dsaHex + ipidHex + "06000000" + "00000000",
			func(e *ndr.Encoder) { before.encode(e, false, 0) },
			func(b []byte) any { return or(decodeOxidReply(b, false)) }, before,
		},
		{
			"ResolveOxid2's refusal", "00000000" + "00000000000000000000000000000000" + "00000000" + "05000700" + "76070000",
			func(e *ndr.Encoder) { oxid.encode(e, true, statusInvalidOXD) },
			func(b []byte) any { return or(decodeOxidReply(b, true)) }, HResult(1910),
		},
		{
			"ComplexPing", setHex + "0200" + "0200" + "0100" + "0000" +
				"00000200" + "02000000" + oidHex + oxidHex + "04000200" + "01000000" + oxidHex,
			pingRequest{set: 0x0123456789abcdef, sequence: 2, add: []uint64{testStd.OID, testStd.OXID}, del: []uint64{testStd.OXID}}.encode,
			func(b []byte) any { return or(decodePing(b)) },
			pingRequest{set: 0x0123456789abcdef, sequence: 2, add: []uint64{testStd.OID, testStd.OXID}, del: []uint64{testStd.OXID}},
		},
		{
			"ComplexPing that takes away", setHex + "0300" + "0000" + "0100" + "0000" +
				"00000000" + "00000200" + "01000000" + "00000000" + oxidHex,
			pingRequest{set: 0x0123456789abcdef, sequence: 3, del: []uint64{testStd.OXID}}.encode,
			func(b []byte) any { return or(decodePing(b)) },
			pingRequest{set: 0x0123456789abcdef, sequence: 3, del: []uint64{testStd.OXID}},
		},
		{
			"ComplexPing's answer", setHex + "0000" + "0000" + "00000000",
			func(e *ndr.Encoder) { encodePingReply(e, 0x0123456789abcdef, 0) },
			func(b []byte) any { return or(decodePingReply(b)) }, uint64(0x0123456789abcdef),
		},
		{
			"ComplexPing's refusal", setHex + "0000" + "0000" + "78070000",
			func(e *ndr.Encoder) { encodePingReply(e, 0x0123456789abcdef, 1912) },
			func(b []byte) any { return or(decodePingReply(b)) }, HResult(statusInvalidSet),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wire := vector(t, tt.hex)
			var e ndr.Encoder
			if tt.encode(&e); !bytes.Equal(e.Bytes(), wire) {
				t.Errorf("written\n%x, want\n%x", e.Bytes(), wire)
			}
			if got := tt.decode(wire); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("read %+v, want %+v", got, tt.want)
			}
			for n := range len(wire) {
				var malformed *ndr.Error
				if got := tt.decode(wire[:n]); !reflect.TypeOf(got).AssignableTo(reflect.TypeOf(malformed)) {
					t.Errorf("cut after %d bytes: read as %+v", n, got)
				}
			}
		})
	}
	for name, s := range map[string]string{
		"objects without their array": setHex + "0100" + "0100" + "0000" + "0000" + "00000000" + "00000000",
		"an array without objects":    setHex + "0100" + "0000" + "0000" + "0000" + "00000200" + "01000000" + oidHex + "00000000",
	} {
		if r, err := decodePing(vector(t, s)); err == nil {
			t.Errorf("%s: read as %+v", name, r)
		}
	}
}

func TestHResultText(t *testing.T) {
	for h, want := range map[HResult]string{
		EAccessDenied: "E_ACCESSDENIED (0x80070005)", statusInvalidSet: "OR_INVALID_SET (0x00000778)", 0x8badf00d: "hresult 0x8BADF00D",
	} {
		if h.Error() != want {
			t.Errorf("%q, want %q", h.Error(), want)
		}
	}
}
