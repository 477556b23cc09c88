package peertest

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"slices"
	"strconv"
	"testing"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// Interfaces of a domain controller, with which a client can be proven.
var (
	epmapper = dcerpc.Syntax{UUID: ndr.MustGUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa"), Major: 3}
	samr     = dcerpc.Syntax{UUID: ndr.MustGUID("12345778-1234-abcd-ef00-0123456789ac"), Major: 1}
	wkssvc   = dcerpc.Syntax{UUID: ndr.MustGUID("6bffd098-a112-3610-9833-46c3f87e345a"), Major: 1}
	nowhere  = dcerpc.Syntax{UUID: ndr.MustGUID("6bffd098-a112-3610-9833-46c3f87e345b"), Major: 1}
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

func status(stub []byte) uint32 {
	if len(stub) < 4 {
		return 0xffffffff
	}
	return binary.LittleEndian.Uint32(stub[len(stub)-4:])
}

// accounts is a domain controller's account database as one client has it open.
type accounts struct {
	*dcerpc.Binding
	domain []byte // a handle
}

func (a accounts) call(ctx context.Context, t *testing.T, opnum uint16, stub []byte) []byte {
	t.Helper()
	before := bytes.Clone(stub)
	out, err := a.Call(ctx, dcerpc.Request{Opnum: opnum, Stub: stub})
	if err != nil || status(out) != 0 {
		t.Fatalf("samr opnum %d with %d bytes: %v, %d bytes, status 0x%x", opnum, len(stub), err, len(out), status(out))
	}
	if !bytes.Equal(stub, before) {
		t.Error("a call changed its request's stub")
	}
	return out
}

// openAccounts calls SamrConnect5, SamrLookupDomainInSamServer and
// SamrOpenDomain (MS-SAMR 3.1.5.1.1, 3.1.5.11.1 and 3.1.5.1.5).
func openAccounts(ctx context.Context, t *testing.T, b *dcerpc.Binding) accounts {
	t.Helper()
	a := accounts{Binding: b}
	server := samrConnect(ctx, t, b)

	e := new(ndr.Encoder)
	e.Raw(server)
	unicodeStrings(e, dcDomain)
	out := a.call(ctx, t, 5, e.Bytes())
	if len(out) < 8+8+4 {
		t.Fatalf("SamrLookupDomainInSamServer: no SID in %x", out)
	}
	sid := out[4 : len(out)-4] // with its max_count

	e = new(ndr.Encoder)
	e.Raw(server)
	e.U32(maximumAllowed)
	e.Raw(sid)
	out = a.call(ctx, t, 7, e.Bytes())
	if len(out) != 24 {
		t.Fatalf("SamrOpenDomain: no handle in %x", out)
	}
	a.domain = out[:20]
	return a
}

const maximumAllowed = 0x02000000

// samrConnect is SamrConnect5.
func samrConnect(ctx context.Context, t *testing.T, b *dcerpc.Binding) (server []byte) {
	t.Helper()
	e := new(ndr.Encoder)
	e.Null()              // ServerName
	e.U32(maximumAllowed) // DesiredAccess
	e.U32(1)              // InVersion, and the union's tag
	e.U32(1)
	e.U32(3) // Revision
	e.U32(0) // SupportedFeatures
	out := accounts{Binding: b}.call(ctx, t, 64, e.Bytes())
	if len(out) != 40 {
		t.Fatalf("SamrConnect5: no handle in %x", out)
	}
	return out[16:36]
}

// unicodeStrings appends RPC_UNICODE_STRINGs.
func unicodeStrings(e *ndr.Encoder, names ...string) {
	for _, n := range names {
		e.U16(uint16(len(wide(n))))
		e.U16(uint16(len(wide(n))))
		e.Referent()
	}
	for _, n := range names {
		units := uint32(len(wide(n)) / 2)
		e.Align(4)
		e.U32(units) // max_count, offset, actual_count
		e.U32(0)
		e.U32(units)
		e.Raw(wide(n))
	}
}

// maxLookup is how many accounts one call may look up.
const maxLookup = 1000

// lookup looks one account up n times, by name and by number
// (SamrLookupNamesInDomain and SamrLookupIdsInDomain, MS-SAMR 3.1.5.11.2 and 3),
// so that requests and responses are of many fragments.
func (a accounts) lookup(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	const name, rid = "Administrator", 500
	array := func() *ndr.Encoder {
		e := new(ndr.Encoder)
		e.Raw(a.domain)
		e.U32(uint32(n))
		e.U32(maxLookup) // max_count, offset, actual_count
		e.U32(0)
		e.U32(uint32(n))
		return e
	}
	e := array()
	unicodeStrings(e, slices.Repeat([]string{name}, n)...)
	out := a.call(ctx, t, 17, e.Bytes())
	want := bytes.Repeat(binary.LittleEndian.AppendUint32(nil, rid), n)
	if len(out) < 12+len(want) || !bytes.Equal(out[12:12+len(want)], want) {
		t.Errorf("SamrLookupNamesInDomain of %d: %d bytes, and not these numbers", n, len(out))
	}

	e = array()
	for range n {
		e.U32(rid)
	}
	out = a.call(ctx, t, 18, e.Bytes())
	if got := bytes.Count(out, wide(name)); got != n {
		t.Errorf("SamrLookupIdsInDomain of %d: %d names in %d bytes", n, got, len(out))
	}
}

// workstation is NetrWkstaGetInfo of level 100 (MS-WKST 3.2.4.1).
func workstation(ctx context.Context, t *testing.T, b *dcerpc.Binding) {
	t.Helper()
	e := new(ndr.Encoder)
	e.Null() // ServerName
	e.U32(100)
	out, err := b.Call(ctx, dcerpc.Request{Opnum: 0, Stub: e.Bytes()})
	if err != nil || status(out) != 0 || !bytes.Contains(out, wide("DC1")) {
		t.Errorf("NetrWkstaGetInfo: %v, %q", err, out)
	}
}
