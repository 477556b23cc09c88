package dcom

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/certkeep/certkeep/internal/ndr"
)

var (
	testStd = StdObjRef{
		PublicRefs: 5, OXID: 0x1122334455667788, OID: 0x8877665544332211,
		IPID: ndr.MustGUID("00000001-0002-0003-0004-000000000005"),
	}
	testBindings = Bindings{
		Strings:  []StringBinding{{TowerTCP, "ca1[135]"}},
		Security: []SecurityBinding{{10, "RPCSS/ca1"}},
	}
)

// The same parts as they travel, packed and little-endian.
const (
	stdHex = "0000000005000000" + "8877665544332211" + "1122334455667788" + "01000000020003000004000000000005"

	// 24 units, of which the 12th is the first security binding.
	unitsHex = "0700" + "6300610031005b003100330035005d000000" + "0000" +
		"0a00ffff" + "520050004300530053002f00630061003100" + "0000" + "0000"
	bindingsHex = "18000b00" + unitsHex

	adminIIDHex = "716e9ed988fcd011b49800a0c90312f3"
)

func TestObjRef(t *testing.T) {
	handlerCLSID := ndr.MustGUID("d99e6e73-fc88-11d0-b498-00a0c90312f3")
	for _, tt := range []struct {
		name, hex string
		want      objRef
		readOnly  bool
	}{
		{
			name: "standard",
			hex:  "4d454f5701000000" + adminIIDHex + stdHex + bindingsHex,
			want: objRef{kind: refStandard, iid: adminIID, std: testStd, bindings: testBindings},
		},
		{
			name: "handler",
			hex:  "4d454f5702000000" + adminIIDHex + stdHex + "736e9ed988fcd011b49800a0c90312f3" + bindingsHex,
			want: objRef{kind: refHandler, iid: adminIID, std: testStd, clsid: handlerCLSID, bindings: testBindings},
		},
		{
			name: "custom",
			hex:  "4d454f5704000000" + adminIIDHex + "736e9ed988fcd011b49800a0c90312f3" + "00000000" + "0b000000" + "010203",
			want: objRef{kind: refCustom, iid: adminIID, clsid: handlerCLSID, data: []byte{1, 2, 3}},
		},
		{
			name: "custom with extensions",
			hex:  "4d454f5704000000" + adminIIDHex + "736e9ed988fcd011b49800a0c90312f3" + "03000000" + "eeeeee" + "0b000000" + "010203",
			want: objRef{kind: refCustom, iid: adminIID, clsid: handlerCLSID, data: []byte{1, 2, 3}}, readOnly: true,
		},
		{
			name: "extended",
			hex: "4d454f5708000000" + adminIIDHex + stdHex + "5659534e" + bindingsHex +
				"01000000" + "5659534e" + "00000000000000000000000000000000" + "0400000004000000" + "abcdef00",
			want: objRef{kind: refExtended, iid: adminIID, std: testStd, bindings: testBindings}, readOnly: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wire := vector(t, tt.hex)
			got, err := unpackObjRef(wire)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("read %+v, want %+v", got, tt.want)
			}
			if b := tt.want.pack(nil); !tt.readOnly && !bytes.Equal(b, wire) {
				t.Errorf("written\n%x, want\n%x", b, wire)
			}
			// Cut anywhere but in a custom one's data, it is refused.
			for n := range len(wire) {
				if tt.want.kind == refCustom && n >= len(wire)-len(tt.want.data) ||
					tt.want.kind == refExtended && n >= len(wire)-36 {
					break
				}
				if r, err := unpackObjRef(wire[:n]); err == nil {
					t.Errorf("cut after %d bytes: read as %+v", n, r)
				}
			}
		})
	}
}

func TestObjRefRefused(t *testing.T) {
	standard := vector(t, "4d454f5701000000"+adminIIDHex+stdHex+bindingsHex)
	for _, tt := range []struct {
		name   string
		offset int
		bytes  string
	}{
		{"signature", 0, "4d454f58"},
		{"no kind", 4, "00000000"},
		{"two kinds", 4, "03000000"},
		{"unknown kind", 4, "10000000"},
		{"extended without its signature", 4, "08000000"},
		{"more units than there are", 64, "1900"},
		{"security bindings behind the end", 66, "1900"},
	} {
		b := bytes.Clone(standard)
		copy(b[tt.offset:], vector(t, tt.bytes))
		if r, err := unpackObjRef(b); err == nil {
			t.Errorf("%s: read as %+v", tt.name, r)
		}
	}
}

func TestBindings(t *testing.T) {
	const least = "00000000" + "00000000" // four zeros
	for _, tt := range []struct {
		name, units string // with the two counts
		want        Bindings
		readOnly    bool
	}{
		{"none", "04000200" + least, Bindings{}, false},
		{"both", bindingsHex, testBindings, false},
		{"strings only", "06000400" + "070061000000" + "0000" + "00000000",
			Bindings{Strings: []StringBinding{{7, "a"}}}, false},
		{"security only", "06000200" + "00000000" + "0900ffff" + "0000" + "0000",
			Bindings{Security: []SecurityBinding{{9, ""}}}, false},
		{"another tower, and one of no address", "09000700" + "0f0062000000" + "07000000" + "0000" + "0000" + "00000000",
			Bindings{Strings: []StringBinding{{15, "b"}, {7, ""}}}, true},
		{"no ends", "03000300" + "070061000000", Bindings{Strings: []StringBinding{{7, "a"}}}, true},
		{"nothing", "00000000", Bindings{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packed := vector(t, tt.units)
			d := ndr.NewDecoder(packed)
			if got := unpackBindings(d); d.Err() != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("packed: read %+v, %v, want %+v", got, d.Err(), tt.want)
			}
			// In NDR, the number of units comes once more in front.
			wire := append([]byte{packed[0], packed[1], 0, 0}, packed...)
			d = ndr.NewDecoder(wire)
			if got := decodeBindings(d); d.Err() != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("ndr: read %+v, %v, want %+v", got, d.Err(), tt.want)
			}
			if tt.readOnly {
				return
			}
			if b := tt.want.pack(nil); !bytes.Equal(b, packed) {
				t.Errorf("packed: written\n%x, want\n%x", b, packed)
			}
			var e ndr.Encoder
			if tt.want.encode(&e); !bytes.Equal(e.Bytes(), wire) {
				t.Errorf("ndr: written\n%x, want\n%x", e.Bytes(), wire)
			}
		})
	}
}

func TestBindingsRefused(t *testing.T) {
	for name, s := range map[string]string{
		"string without its end":          "02000200" + "07006100",
		"security binding cut short":      "03000200" + "00000000" + "0a00",
		"security binding without an end": "05000200" + "00000000" + "0a00ffff" + "6100",
		"security behind the end":         "04000500" + "0000000000000000",
		"fewer units than promised":       "05000200" + "0000000000000000",
	} {
		packed := vector(t, s)
		d := ndr.NewDecoder(packed)
		if b := unpackBindings(d); d.Err() == nil {
			t.Errorf("%s: packed: read as %+v", name, b)
		}
		d = ndr.NewDecoder(append([]byte{packed[0], packed[1], 0, 0}, packed...))
		if b := decodeBindings(d); d.Err() == nil {
			t.Errorf("%s: ndr: read as %+v", name, b)
		}
	}
	// In NDR there are two counts to disagree.
	d := ndr.NewDecoder(vector(t, "04000000"+"05000200"+"0000000000000000"+"0000"))
	if b := decodeBindings(d); d.Err() == nil {
		t.Errorf("more units than the array has: read as %+v", b)
	}
}

// TestBindingsPort: of an exporter's bindings a client takes a port, that of
// the host it dialled if there is one.
func TestBindingsPort(t *testing.T) {
	tcp := func(addresses ...string) (b Bindings) {
		for _, a := range addresses {
			b.Strings = append(b.Strings, StringBinding{TowerTCP, a})
		}
		return b
	}
	for _, tt := range []struct {
		b    Bindings
		host string
		want int // 0: none
	}{
		{tcp("ca1[49670]"), "ca1", 49670},
		{tcp("other[1]", "CA1[49670]"), "ca1", 49670},
		{tcp("other[1]", "ca1.example.com.[49670]"), "ca1.example.com", 49670},
		{tcp("other[1]", "ca1[2]"), "ca2", 1},
		{tcp("fe80::1[1]", "::1[2]"), "0:0::1", 2},
		{tcp("10.0.0.1[1]", "127.0.0.1[2]"), "127.0.0.1", 2},
		{tcp("10.0.0.1[1]"), "ten", 1},
		{Bindings{Strings: []StringBinding{{8, "ca1[1]"}, {TowerTCP, "ca1[2]"}}}, "ca1", 2},
		{tcp(), "ca1", 0},
		{Bindings{Strings: []StringBinding{{31, "ca1[593]"}}}, "ca1", 0},
		{tcp("ca1", "ca1[]", "ca1[0]", "ca1[65536]", "ca1[-1]", "ca1[+1]", "ca1[1", "ca1 1]", "ca1[x]", "ca1[1]x", "", "["), "ca1", 0},
		{tcp("ca1[0]", "ca1[65535]"), "ca1", 65535},
	} {
		port, ok := tt.b.Port(tt.host)
		if port != tt.want || ok != (tt.want != 0) {
			t.Errorf("%v for %q: port %d, %v, want %d", tt.b.Strings, tt.host, port, ok, tt.want)
		}
	}
}

// TestBindingsService: a server's principal name counts if it is the dialled
// host's, and DCOM's.
func TestBindingsService(t *testing.T) {
	for principal, want := range map[string]string{
		"":                                  "def",
		"RPCSS/ca1.example.com":             "RPCSS",
		"rpcss/CA1.EXAMPLE.COM.":            "RPCSS",
		"HOST/ca1.example.com":              "host",
		"restrictedkrbhost/ca1.example.com": "RestrictedKrbHost",
		"RPCSS/evil.example.com":            "def",
		"RPCSS":                             "def",
		"ca1.example.com":                   "def",
		"cifs/ca1.example.com":              "def",
		"RPCSS/ca1.example.com/more":        "def",
		"ca1$@EXAMPLE.COM":                  "def",
	} {
		b := Bindings{Security: []SecurityBinding{{9, "x/y"}, {16, principal}}}
		if got := b.Service("ca1.example.com", "def"); got != want {
			t.Errorf("principal %q: service %q, want %q", principal, got, want)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		client Version
		want   bool
	}{
		{Version{5, 1}, true}, {Version{5, 6}, true}, {Version{5, 7}, true},
		{Version{5, 8}, false}, {Version{4, 7}, false}, {Version{6, 0}, false}, {Version{6, 7}, false}, {Version{}, false},
	} {
		if got := Current.accepts(tt.client); got != tt.want {
			t.Errorf("client of version %v is accepted: %v, want %v", tt.client, got, tt.want)
		}
	}
}

// thisHex is ORPCTHIS as Windows sends it with two extents, of which one is of
// no multiple of 8, and one is missing.
const thisHex = "05000700" + "00000000" + "00000000" + "00112233445566778899aabbccddeeff" + "00000200" +
	"03000000" + "00000000" + "04000200" +
	"04000000" + "08000200" + "00000000" + "0c000200" + "00000000" +
	"08000000" + "0daa1cf4" + "0000000000000000000000ab" + "05000000" + "0102030405000000" +
	"10000000" + "0daa1cf4" + "0000000000000000000000ac" + "10000000" + "000102030405060708090a0b0c0d0e0f"

func TestORPCThis(t *testing.T) {
	cid := ndr.GUID(vector(t, "00112233445566778899aabbccddeeff"))
	plain := "0500070001000000000000" + "0000112233445566778899aabbccddeeff00000000"
	none := "05000600" + "00000000" + "00000000" + "00112233445566778899aabbccddeeff" + "00000200" + "00000000" + "00000000" + "00000000"
	for _, tt := range []struct {
		name, hex string
		want      orpcThis
		written   bool
	}{
		{"without extents", plain, orpcThis{version: Version{5, 7}, flags: 1, cid: cid}, true},
		{"with extents", thisHex, orpcThis{version: Version{5, 7}, cid: cid}, false},
		{"with an empty array", none, orpcThis{version: Version{5, 6}, cid: cid}, false},
	} {
		wire := vector(t, tt.hex)
		d := ndr.NewDecoder(append(bytes.Clone(wire), 0xaa))
		got := decodeThis(d)
		if d.Err() != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, d.Err(), tt.want)
		}
		if rest := d.Rest(); !bytes.Equal(rest, []byte{0xaa}) {
			t.Errorf("%s: the parameters would begin at %x", tt.name, rest)
		}
		if tt.written {
			var e ndr.Encoder
			if got.encode(&e); !bytes.Equal(e.Bytes(), wire) {
				t.Errorf("%s: written %x, want %x", tt.name, e.Bytes(), wire)
			}
		}
		for n := range len(wire) {
			d := ndr.NewDecoder(wire[:n])
			if decodeThis(d); d.Err() == nil {
				t.Errorf("%s: cut after %d bytes, it is accepted", tt.name, n)
			}
		}
	}
	// ORPCTHAT has the same extents behind its flags.
	that := vector(t, "00000000"+thisHex[56:]+"aa")
	d := ndr.NewDecoder(that)
	if skipThat(d); d.Err() != nil || !bytes.Equal(d.Rest(), []byte{0xaa}) {
		t.Errorf("orpcthat: %v, the results would begin at %x", d.Err(), d.Rest())
	}
}

func TestORPCHeaderRules(t *testing.T) {
	for _, tt := range []struct {
		this orpcThis
		want error
	}{
		{orpcThis{version: Version{5, 7}}, nil},
		{orpcThis{version: Version{5, 1}}, nil},
		{orpcThis{version: Version{5, 8}}, VersionMismatch},
		{orpcThis{version: Version{6, 0}}, VersionMismatch},
		{orpcThis{version: Version{4, 0}}, VersionMismatch},
		{orpcThis{version: Version{5, 7}, flags: 1}, InvalidHeader},
		{orpcThis{version: Version{5, 8}, flags: 1}, VersionMismatch},
	} {
		var e ndr.Encoder
		tt.this.encode(&e)
		if err := header(ndr.NewDecoder(e.Bytes())); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.this, err, tt.want)
		}
	}
	if VersionMismatch != 0x80010110 || InvalidHeader != 0x80010111 {
		t.Error("the codes are those of MS-DCOM no more")
	}
}
