package kerberos

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/jcmturner/gofork/encoding/asn1"
	"github.com/jcmturner/gokrb5/v8/types"

	"github.com/certkeep/certkeep/internal/ndr"
)

// logonInfo is KERB_VALIDATION_INFO of an account, with another name behind it as
// KDCs have it.
func logonInfo(account string) []byte {
	var e ndr.Encoder
	text := func(s string) { e.U16(uint16(2 * len(s))); e.U16(uint16(2 * len(s))); e.Referent() }
	e.Referent()
	e.Raw(make([]byte, 48))
	text(account)
	text("Full Name")
	e.Raw(make([]byte, 152))
	for _, s := range []string{account, "Full Name"} {
		e.U32(uint32(len(s)))
		e.U32(0)
		e.U32(uint32(len(s)))
		e.Units(utf16.Encode([]rune(s)))
		e.Align(4)
	}
	return ndr.AppendSerialized(nil, e.Bytes())
}

// pac is a PAC with two buffers, the second being what is asked for.
func pac(kind uint32, info []byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 2)
	b = le.AppendUint32(b, 0)
	for _, p := range []struct {
		kind uint32
		size int
		at   uint64
	}{{10, 8, 40}, {kind, len(info), 48}} {
		b = le.AppendUint32(b, p.kind)
		b = le.AppendUint32(b, uint32(p.size))
		b = le.AppendUint64(b, p.at)
	}
	return append(append(b, make([]byte, 8)...), info...)
}

// relevant wraps it as tickets have it.
func relevant(t testing.TB, pac []byte) types.AuthorizationData {
	t.Helper()
	inner, err := asn1.Marshal(types.AuthorizationData{{ADType: adWin2kPAC, ADData: pac}})
	if err != nil {
		t.Fatal(err)
	}
	return types.AuthorizationData{{ADType: 99, ADData: []byte("something else")}, {ADType: adIfRelevant, ADData: inner}}
}

// The owner of a machine account gets tickets in a name that no user has. Only
// what the KDC says of the account tells.
func TestTicketOfAnotherAccount(t *testing.T) {
	long := logonInfo("backup")
	binary.LittleEndian.PutUint32(long[16+4+48+8+160+8:], 1<<30) // actual count
	for _, v := range []struct {
		name string
		data types.AuthorizationData
		want string // of the refusal; "" accepts
	}{
		{"the user's own", relevant(t, pac(pacLogonInfo, logonInfo("backup"))), ""},
		{"in another case", relevant(t, pac(pacLogonInfo, logonInfo("BackUp"))), ""},
		{"no PAC", types.AuthorizationData{{ADType: 99, ADData: []byte("x")}}, ""},
		{"a machine's", relevant(t, pac(pacLogonInfo, logonInfo("BACKUP$"))), `issued for the account "BACKUP$"`},
		{"another's", relevant(t, pac(pacLogonInfo, logonInfo("mallory"))), `"mallory"`},
		{"nobody's", relevant(t, pac(pacLogonInfo, logonInfo(""))), "names no account"},
		{"no logon information, as MIT's KDC since 1.20", relevant(t, pac(3, logonInfo("backup"))), ""},
		{"empty logon information", relevant(t, pac(pacLogonInfo, nil)), "shorter than"},
		{"count beyond it", relevant(t, pac(pacLogonInfo, long)), "malformed"},
		{"cut off", relevant(t, pac(pacLogonInfo, logonInfo("backup"))[:60]), "not in it"},
		{"empty", relevant(t, nil), "too short"},
		{"no authorization data", types.AuthorizationData{{ADType: adIfRelevant, ADData: []byte{0x30, 0x84, 0xff}}}, "malformed"},
	} {
		f := newForge(t, etypeAES256SHA1)
		f.part.AuthorizationData = v.data
		_, _, err := NewAcceptor(f.acceptor()).Step(t.Context(), f.request())
		if v.want == "" && err != nil || v.want != "" && (err == nil || !strings.Contains(err.Error(), v.want)) {
			t.Errorf("%s: %v, want %q", v.name, err, v.want)
		}
	}
	f := newForge(t, etypeAES256SHA1)
	f.part.AuthorizationData = relevant(t, pac(pacLogonInfo, logonInfo("backup")))
	f.part.CName.NameString = []string{"backup", "admin"}
	f.auth.CName.NameString = f.part.CName.NameString
	if _, _, err := NewAcceptor(f.acceptor()).Step(t.Context(), f.request()); err == nil {
		t.Error("a name of two parts is not the account's")
	}
}

func FuzzPAC(f *testing.F) {
	f.Add(pac(pacLogonInfo, logonInfo("backup")))
	f.Add(pac(pacLogonInfo, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if info, err := pacPart(b, pacLogonInfo); err == nil && info != nil {
			if name, err := effectiveName(info); err == nil && (name == "" || len(name) > len(b)*2) {
				t.Errorf("name %q of %d bytes", name, len(b))
			}
		}
		pacAccount(types.AuthorizationData{{ADType: adIfRelevant, ADData: b}})
	})
}
