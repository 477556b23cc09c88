package dcom

import (
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// TestOtherPrincipal: who knows all identifiers of another's object, and may
// log on, gets nothing out of it and changes nothing.
func TestOtherPrincipal(t *testing.T) {
	w := newWorld(t, arrange{})
	alice, bob := newPeer(t, w.host, w.port, as("alice")), newPeer(t, w.host, w.port, as("bob"))
	reply, err := alice.create(testCLSID, iidBase)
	if err != nil {
		t.Fatal(err)
	}
	servant, std := w.object(t), reply.results[0].ref.std
	ping := func(p *peer, r pingRequest) (uint64, error) {
		t.Helper()
		stub, err := p.call(IIDObjectExporter, opComplexPing, nil, encoded(r.encode))
		if err != nil {
			t.Fatal(err)
		}
		return decodePingReply(stub)
	}
	simple := func(p *peer, set uint64) error {
		t.Helper()
		stub, err := p.call(IIDObjectExporter, opSimplePing, nil, encoded(func(e *ndr.Encoder) { e.U64(set) }))
		if err != nil {
			t.Fatal(err)
		}
		return status(ndr.NewDecoder(stub))
	}
	set, err := ping(alice, pingRequest{sequence: 7, add: []uint64{std.OID}})
	if err != nil {
		t.Fatal(err)
	}

	// The object's interface.
	if _, err := bob.orpc(iidBase, opAdd, std.IPID, func(e *ndr.Encoder) { e.U32(100) }); faultOf(err) != uint32(EAccessDenied) {
		t.Errorf("call: %v", err)
	}
	// Its references.
	if _, err := bob.orpc(IIDRemUnknown, opRemQueryInterface, reply.remUnknown, nil); faultOf(err) != dcerpc.StatusBadStubData {
		t.Errorf("IRemUnknown is everybody's: %v", err)
	}
	unknown := func(opnum uint16, f func(*ndr.Encoder)) *ndr.Decoder {
		t.Helper()
		d, err := bob.orpc(IIDRemUnknown2, opnum, reply.remUnknown, f)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	query := queryRequest{std.IPID, 5, []ndr.GUID{iidMore}}
	if r, err := decodeQueryReply(unknown(opRemQueryInterface, func(e *ndr.Encoder) { query.encode(e, true) })); err != EAccessDenied || r != nil {
		t.Errorf("query: %+v, %v", r, err)
	}
	d := unknown(opRemQueryInterface2, func(e *ndr.Encoder) { query.encode(e, false) })
	if n, hr, m, ref, outcome := d.U32(), HResult(d.U32()), d.U32(), d.Pointer(), HResult(d.U32()); n != 1 || hr != EAccessDenied || m != 1 || ref || outcome != EAccessDenied {
		t.Errorf("RemQueryInterface2: %d results %v, %d references: %v; %v", n, hr, m, ref, outcome)
	}
	refs := func(e *ndr.Encoder) { encodeRefs(e, []interfaceRef{{std.IPID, 5, 0}}) }
	d = unknown(opRemAddRef, refs)
	if n, hr, outcome := d.U32(), HResult(d.U32()), HResult(d.U32()); n != 1 || hr != EAccessDenied || outcome != EAccessDenied {
		t.Errorf("RemAddRef: %d results %v; %v", n, hr, outcome)
	}
	if err := status(unknown(opRemRelease, refs)); err != EAccessDenied {
		t.Errorf("RemRelease: %v", err)
	}
	// Its pings.
	if id, err := ping(bob, pingRequest{add: []uint64{std.OID}}); id != 0 || err != HResult(statusInvalidOID) {
		t.Errorf("set with another's object: %x, %v", id, err)
	}
	own, err := ping(bob, pingRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ping(bob, pingRequest{set: own, sequence: 1, add: []uint64{std.OID}}); err != HResult(statusInvalidOID) {
		t.Errorf("another's object in a set of one's own: %v", err)
	}
	if _, err := ping(bob, pingRequest{set: set, sequence: 8, del: []uint64{std.OID}}); err != HResult(statusInvalidSet) {
		t.Errorf("another's set: %v", err)
	}
	for _, id := range []uint64{set, 0, set + 1, ^uint64(0)} {
		if err := simple(bob, id); err != HResult(statusInvalidSet) {
			t.Errorf("ping of set %x: %v", id, err)
		}
	}

	// Alice's session is what it was: bob's pings did not keep it alive, and
	// his release did not end it.
	if d, err := alice.orpc(iidBase, opAdd, std.IPID, func(e *ndr.Encoder) { e.U32(1) }); err != nil || d.U32() != 1 {
		t.Errorf("alice's call: %v", err)
	}
	if err := simple(alice, set); err != nil {
		t.Errorf("alice's ping: %v", err)
	}
	w.server.table.mu.Lock()
	f := w.server.table.ifaces[std.IPID]
	if f == nil || f.public != 5 || len(f.object.ifaces) != 1 || len(f.object.conns) != 1 || f.object.sets != 1 {
		t.Errorf("the object is now %+v", f)
	}
	w.server.table.mu.Unlock()
	w.clock.Advance(5 * time.Minute)
	simple(bob, set)
	simple(bob, own)
	w.clock.Advance(time.Minute)
	servant.gone(t, ReasonPingExpired)
}

// TestForgedIdentifiers: IPIDs that there are not, and IPIDs that are used for
// what they are not.
func TestForgedIdentifiers(t *testing.T) {
	w := newWorld(t, arrange{})
	alice := newPeer(t, w.host, w.port, as("alice"))
	reply, err := alice.create(testCLSID, iidBase)
	if err != nil {
		t.Fatal(err)
	}
	std := reply.results[0].ref.std
	next := std.IPID
	next[15]++
	for _, tt := range []struct {
		name string
		iid  ndr.GUID
		ipid ndr.GUID
		want HResult
	}{
		{"unknown", iidBase, ndr.NewGUID(), Disconnected},
		{"next to a known one", iidBase, next, Disconnected},
		{"zero", iidBase, ndr.GUID{}, Disconnected},
		{"that of the exporter", iidBase, reply.remUnknown, Disconnected},
		{"with another interface of the class", iidMore, std.IPID, InvalidIPID},
		{"with IUnknown", IIDUnknown, std.IPID, InvalidIPID},
		{"an object's, as the exporter's", IIDRemUnknown, std.IPID, Disconnected},
		{"unknown, as the exporter's", IIDRemUnknown2, ndr.NewGUID(), Disconnected},
	} {
		if _, err := alice.orpc(tt.iid, opAdd, tt.ipid, func(e *ndr.Encoder) { e.U32(1) }); faultOf(err) != uint32(tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if Disconnected != 0x80010108 || InvalidIPID != 0x80010113 {
		t.Error("the codes are those of MS-DCOM no more")
	}
	// Calls for no object, and with headers that are not in order.
	stub := func(this orpcThis) []byte {
		return encoded(func(e *ndr.Encoder) {
			this.encode(e)
			e.U32(1)
		})
	}
	for _, tt := range []struct {
		name   string
		iid    ndr.GUID
		object *ndr.GUID
		stub   []byte
		want   uint32
	}{
		{"no object", iidBase, nil, stub(orpcThis{version: Current}), uint32(InvalidIPID)},
		{"no object, exporter", IIDRemUnknown, nil, stub(orpcThis{version: Current}), uint32(Disconnected)},
		{"higher version", iidBase, &std.IPID, stub(orpcThis{version: Version{5, 8}}), uint32(VersionMismatch)},
		{"other version", IIDRemUnknown, &reply.remUnknown, stub(orpcThis{version: Version{6, 0}}), uint32(VersionMismatch)},
		{"flags", iidBase, &std.IPID, stub(orpcThis{version: Current, flags: 1}), uint32(InvalidHeader)},
		{"flags, exporter", IIDRemUnknown, &reply.remUnknown, stub(orpcThis{version: Current, flags: 2}), uint32(InvalidHeader)},
		{"cut short", iidBase, &std.IPID, stub(orpcThis{version: Current})[:20], dcerpc.StatusBadStubData},
	} {
		if _, err := alice.call(tt.iid, opAdd, tt.object, tt.stub); faultOf(err) != tt.want {
			t.Errorf("%s: %v, want %#x", tt.name, err, tt.want)
		}
	}
	// Extents, as Windows sends them, are skipped.
	extents := append(vector(t, thisHex), 41, 0, 0, 0)
	b, err := alice.call(iidBase, opAdd, &std.IPID, extents)
	if err != nil || len(b) < 12 || b[8] != 41 {
		t.Errorf("call with extents: %x, %v", b, err)
	}
}

// TestSetsAreBounded: one principal has as many ping sets as it may have
// objects; sets whose objects are gone make way for new ones.
func TestSetsAreBounded(t *testing.T) {
	w := newWorld(t, arrange{config: ServerConfig{Limits: Limits{ObjectsPerPrincipal: 2}}})
	// Three sessions within a ping set's life, as one user's clients have them.
	for range 3 {
		o := w.options()
		p := newPings(t, &o)
		obj := activate(t, o)
		w.clock.Advance(time.Minute)
		p.good()
		if err := obj.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Sets in use do not make way.
	alice := newPeer(t, w.host, w.port, as("alice"))
	reply, err := alice.create(testCLSID, iidBase)
	if err != nil {
		t.Fatal(err)
	}
	oid := reply.results[0].ref.std.OID
	ping := func() error {
		stub, err := alice.call(IIDObjectExporter, opComplexPing, nil, encoded(pingRequest{add: []uint64{oid}}.encode))
		if err != nil {
			t.Fatal(err)
		}
		_, err = decodePingReply(stub)
		return err
	}
	for range 2 {
		if err := ping(); err != nil {
			t.Fatal(err)
		}
	}
	if err := ping(); err != NotEnoughQuota {
		t.Errorf("third set with an object: %v", err)
	}
}
