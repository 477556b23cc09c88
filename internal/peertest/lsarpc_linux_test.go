package peertest

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strconv"
	"testing"
	"unicode/utf16"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// Interfaces of a domain controller, with which a client can be proven.
var (
	epmapper = dcerpc.Syntax{UUID: ndr.MustGUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), Major: 3}
	lsarpc   = dcerpc.Syntax{UUID: ndr.MustGUID("12345778-1234-abcd-ef00-0123456789ab")}
	samr     = dcerpc.Syntax{UUID: ndr.MustGUID("12345778-1234-abcd-ef00-0123456789ac"), Major: 1}
	netlogon = dcerpc.Syntax{UUID: ndr.MustGUID("12345678-1234-abcd-ef00-01234567cffb"), Major: 1}
)

// endpoint asks the endpoint mapper of host where an interface is (ept_map,
// C706 appendix O), on a connection of its own and without security.
func endpoint(ctx context.Context, t *testing.T, host string, s dcerpc.Syntax) (address string) {
	t.Helper()
	c, err := dcerpc.Dial(ctx, net.JoinHostPort(host, "135"), dcerpc.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := c.Bind(ctx, epmapper, nil)
	if err != nil {
		t.Fatalf("bind to the endpoint mapper: %v", err)
	}

	// The tower: interface, transfer syntax, connection-oriented RPC, TCP, IP.
	floor := func(tower, left, right []byte) []byte {
		tower = binary.LittleEndian.AppendUint16(tower, uint16(len(left)))
		tower = append(tower, left...)
		tower = binary.LittleEndian.AppendUint16(tower, uint16(len(right)))
		return append(tower, right...)
	}
	syntax := func(s dcerpc.Syntax) []byte {
		left := append([]byte{0x0d}, s.UUID[:]...)
		return binary.LittleEndian.AppendUint16(left, s.Major)
	}
	tower := []byte{5, 0}
	tower = floor(tower, syntax(s), []byte{0, 0})
	tower = floor(tower, syntax(dcerpc.NDR), []byte{0, 0})
	tower = floor(tower, []byte{0x0b}, []byte{0, 0})
	tower = floor(tower, []byte{0x07}, []byte{0, 135})
	tower = floor(tower, []byte{0x09}, make([]byte, 4))

	e := new(ndr.Encoder)
	e.Null() // object
	e.Referent()
	e.U32(uint32(len(tower))) // max_count
	e.U32(uint32(len(tower))) // tower_length
	e.Raw(tower)
	e.Align(4)
	e.Raw(make([]byte, 20)) // entry_handle
	e.U32(4)                // max_towers
	out, err := b.Call(ctx, dcerpc.Request{Opnum: 3, Stub: e.Bytes()})
	if err != nil {
		t.Fatalf("ept_map: %v", err)
	}
	d := ndr.NewDecoder(out)
	d.Bytes(20)
	n := d.U32()
	d.U32() // max_count, offset, actual_count
	d.U32()
	d.U32()
	for range n {
		d.Pointer()
	}
	d.U32()
	length := int(d.U32())
	got := d.Bytes(length)
	if d.Err() != nil || n == 0 || length < 2 {
		t.Fatalf("ept_map answers %x", out)
	}
	port := uint16(0)
	for rest := got[2:]; len(rest) >= 2; {
		l := int(binary.LittleEndian.Uint16(rest))
		r := int(binary.LittleEndian.Uint16(rest[2+l:]))
		if rest[2] == 0x07 {
			port = binary.BigEndian.Uint16(rest[4+l:])
		}
		rest = rest[4+l+r:]
	}
	if port == 0 {
		t.Fatalf("ept_map: no port in tower %x", got)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func wide(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// getUserName is LsarGetUserName (MS-LSAT 3.1.4.2): who the server takes the
// caller for.
func getUserName(ctx context.Context, t *testing.T, b *dcerpc.Binding, user, domain string) {
	t.Helper()
	e := new(ndr.Encoder)
	e.Null()     // SystemName
	e.Null()     // *UserName
	e.Referent() // DomainName
	e.Null()     // *DomainName
	out, err := b.Call(ctx, dcerpc.Request{Opnum: 45, Stub: e.Bytes()})
	if err != nil {
		t.Errorf("LsarGetUserName: %v", err)
		return
	}
	if !bytes.Contains(out, wide(user)) || !bytes.Contains(out, wide(domain)) || status(out) != 0 {
		t.Errorf("LsarGetUserName does not name %s\\%s: %q", domain, user, out)
	}
}

func status(stub []byte) uint32 {
	if len(stub) < 4 {
		return 0xffffffff
	}
	return binary.LittleEndian.Uint32(stub[len(stub)-4:])
}

// openPolicy is LsarOpenPolicy2 (MS-LSAD 3.1.4.4.1).
func openPolicy(ctx context.Context, t *testing.T, b *dcerpc.Binding) (handle []byte) {
	t.Helper()
	e := new(ndr.Encoder)
	e.Null() // SystemName
	e.U32(24)
	for range 5 {
		e.U32(0) // RootDirectory … SecurityQualityOfService
	}
	e.U32(0x02000000) // MAXIMUM_ALLOWED
	out, err := b.Call(ctx, dcerpc.Request{Opnum: 44, Stub: e.Bytes()})
	if err != nil || status(out) != 0 || len(out) != 24 {
		t.Fatalf("LsarOpenPolicy2: %v, %x", err, out)
	}
	return out[:20]
}

// lookupSids is LsarLookupSids (MS-LSAT 3.1.4.11) of one SID many times, so
// that request and response are of many fragments.
func lookupSids(ctx context.Context, t *testing.T, b *dcerpc.Binding, policy []byte, n int) {
	t.Helper()
	e := new(ndr.Encoder)
	e.Raw(policy)
	e.U32(uint32(n))
	e.Referent()
	e.U32(uint32(n))
	for range n {
		e.Referent()
	}
	for range n { // S-1-5-32-544
		e.U32(2) // max_count
		e.Raw([]byte{1, 2, 0, 0, 0, 0, 0, 5})
		e.U32(32)
		e.U32(544)
	}
	e.U32(0) // TranslatedNames
	e.Null()
	e.U16(1) // LookupLevel
	e.U32(0) // MappedCount
	request := e.Bytes()
	before := bytes.Clone(request)
	out, err := b.Call(ctx, dcerpc.Request{Opnum: 15, Stub: request})
	if err != nil {
		t.Errorf("LsarLookupSids of %d: %v", n, err)
		return
	}
	if got := bytes.Count(out, wide("Administrators")); got != n || status(out) != 0 {
		t.Errorf("LsarLookupSids of %d: %d names in %d bytes, status 0x%x", n, got, len(out), status(out))
	}
	if !bytes.Equal(request, before) {
		t.Error("a call changed its request's stub")
	}
}

// samrConnect is SamrConnect5 (MS-SAMR 3.1.5.1.1).
func samrConnect(ctx context.Context, t *testing.T, b *dcerpc.Binding) {
	t.Helper()
	e := new(ndr.Encoder)
	e.Null()          // ServerName
	e.U32(0x02000000) // DesiredAccess
	e.U32(1)          // InVersion, and the union's tag
	e.U32(1)
	e.U32(3) // Revision
	e.U32(0) // SupportedFeatures
	out, err := b.Call(ctx, dcerpc.Request{Opnum: 64, Stub: e.Bytes()})
	if err != nil || status(out) != 0 {
		t.Errorf("SamrConnect5: %v, %x", err, out)
	}
}
