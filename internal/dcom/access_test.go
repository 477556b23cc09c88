package dcom

import (
	"fmt"
	"testing"
	"time"

	"github.com/certkeep/certkeep/internal/dcerpc"
	"github.com/certkeep/certkeep/internal/ndr"
)

// TestBelowPrivacy: a client that does not encrypt gets an answer to
// ServerAlive and ServerAlive2, and to nothing else.
func TestBelowPrivacy(t *testing.T) {
	w := newWorld(t, arrange{twoPorts: true})
	ports := map[int][]dcerpc.Interface{w.port: w.server.ResolverInterfaces(), w.calls: w.server.ExporterInterfaces()}
	for _, level := range []dcerpc.Level{
		dcerpc.LevelNone, dcerpc.LevelConnect, dcerpc.LevelCall, dcerpc.LevelPacket, dcerpc.LevelIntegrity, dcerpc.LevelPrivacy,
	} {
		t.Run(level.String(), func(t *testing.T) {
			for port, faces := range ports {
				for _, face := range faces {
					var who *logons
					if level > dcerpc.LevelNone {
						who = as("alice")
						who.level = level
					}
					p := newPeer(t, w.host, port, who)
					if who != nil {
						// NTLM's last message goes unanswered; so that what
						// follows is no refused logon.
						p.confirm(face.Syntax.UUID, level)
					}
					for opnum := range uint16(8) {
						_, err := p.call(face.Syntax.UUID, opnum, nil, nil)
						denied := faultOf(err) == dcerpc.StatusAccessDenied
						anybody := face.Syntax.UUID == IIDObjectExporter && (opnum == opServerAlive || opnum == opServerAlive2)
						if want := level < dcerpc.LevelPrivacy && !anybody; denied != want {
							t.Errorf("%v, method %d: %v, want denied %v", face.Syntax.UUID, opnum, err, want)
						}
						if anybody && err != nil {
							t.Errorf("ServerAlive, method %d: %v", opnum, err)
						}
					}
				}
			}
		})
	}
}

// confirm makes sure that the logon was accepted.
func (p *peer) confirm(iid ndr.GUID, level dcerpc.Level) {
	p.t.Helper()
	p.call(iid, 99, nil, nil)
	if level < dcerpc.LevelPrivacy {
		return // denied either way
	}
	if _, err := p.call(iid, 99, nil, nil); faultOf(err) == dcerpc.StatusAccessDenied {
		p.t.Fatalf("logon refused: %v", err)
	}
}

// TestServerAlive: what the server tells strangers.
func TestServerAlive(t *testing.T) {
	w := newWorld(t, arrange{config: ServerConfig{
		Names: []string{"ca1.example.com", "127.0.0.1"}, Security: []SecurityBinding{{16, "RPCSS/ca1.example.com"}},
	}})
	stub, err := newPeer(t, w.host, w.port, nil).call(IIDObjectExporter, opServerAlive2, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeAlive(stub)
	if err != nil || r.version != Current {
		t.Errorf("version %v, %v", r.version, err)
	}
	// The address that the client came to is first, and named once.
	want := fmt.Sprint(Bindings{
		Strings:  []StringBinding{{TowerTCP, "127.0.0.1"}, {TowerTCP, "ca1.example.com"}},
		Security: []SecurityBinding{{16, "RPCSS/ca1.example.com"}},
	})
	if got := fmt.Sprint(r.bindings); got != want {
		t.Errorf("bindings %v, want %v", got, want)
	}
}

// TestResolveOxid: a client that knows the exporter's number learns where it is.
func TestResolveOxid(t *testing.T) {
	w := newWorld(t, arrange{twoPorts: true})
	alice := newPeer(t, w.host, w.port, as("alice"))
	reply, err := alice.create(testCLSID, iidBase)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		opnum    uint16
		oxid     uint64
		protseqs []uint16
		want     error
	}{
		{"ResolveOxid2", opResolveOxid2, reply.oxid, []uint16{31, TowerTCP}, nil},
		{"ResolveOxid", opResolveOxid, reply.oxid, []uint16{TowerTCP}, nil},
		{"unknown", opResolveOxid2, reply.oxid + 1, []uint16{TowerTCP}, HResult(statusInvalidOXD)},
		{"unknown, old", opResolveOxid, reply.oxid + 1, []uint16{TowerTCP}, HResult(statusInvalidOXD)},
		{"over another protocol", opResolveOxid2, reply.oxid, []uint16{31}, HResult(statusInvalidOXD)},
		{"over none", opResolveOxid2, reply.oxid, nil, HResult(statusInvalidOXD)},
	} {
		stub, err := alice.call(IIDObjectExporter, tt.opnum, nil, encoded(oxidRequest{tt.oxid, tt.protseqs}.encode))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		r, err := decodeOxidReply(stub, tt.opnum == opResolveOxid2)
		port, _ := r.exporter.Port(w.host)
		switch {
		case err != tt.want:
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		case err != nil && (port != 0 || !r.remUnknown.IsZero()):
			t.Errorf("%s: tells %+v", tt.name, r)
		case err == nil && (port != w.calls || r.remUnknown != reply.remUnknown || r.authnHint != 6):
			t.Errorf("%s: %+v", tt.name, r)
		}
	}
	if _, err := alice.call(IIDObjectExporter, 6, nil, nil); faultOf(err) != dcerpc.StatusOpRange {
		t.Errorf("a method that there is not: %v", err)
	}
	for _, opnum := range []uint16{opResolveOxid, opResolveOxid2, opSimplePing, opComplexPing} {
		if _, err := alice.call(IIDObjectExporter, opnum, nil, []byte{1, 2, 3}); faultOf(err) != dcerpc.StatusBadStubData {
			t.Errorf("method %d with a torn stub: %v", opnum, err)
		}
	}
}

// TestActivationRequests: what the activator says to those it does not serve.
func TestActivationRequests(t *testing.T) {
	w := newWorld(t, arrange{})
	alice := newPeer(t, w.host, w.port, as("alice"))
	send := func(this orpcThis, f func(*ndr.Encoder)) error {
		stub, err := alice.call(IIDRemoteSCMActivator, opRemoteCreateInstance, nil, encoded(func(e *ndr.Encoder) {
			this.encode(e)
			f(e)
		}))
		if err != nil {
			return err
		}
		d := ndr.NewDecoder(stub)
		skipThat(d)
		_, err = decodeCreateReply(d)
		return err
	}
	good := activationRequest{clsid: testCLSID, iids: []ndr.GUID{iidBase}, version: Current, protseqs: []uint16{TowerTCP}}
	pipes := good
	pipes.protseqs = []uint16{31}
	whole := func(ref []byte) func(*ndr.Encoder) {
		return func(e *ndr.Encoder) { encodeCreateRequest(e, ref) }
	}
	this := orpcThis{version: Current, flags: 1}
	for _, tt := range []struct {
		name string
		err  error
		want HResult
	}{
		{"higher minor version", send(orpcThis{version: Version{5, 8}}, whole(good.pack())), VersionMismatch},
		{"other major version", send(orpcThis{version: Version{6, 0}}, whole(good.pack())), VersionMismatch},
		{"no properties", send(this, func(e *ndr.Encoder) { e.Null(); e.Null() }), EInvalidArg},
		{"aggregation", send(this, func(e *ndr.Encoder) {
			e.Referent()
			encodePointer(e, good.pack())
			e.Null()
		}), EInvalidArg},
		{"properties of an answer", send(this, whole(vectorReply().pack())), EInvalidArg},
		{"junk", send(this, whole([]byte("junk"))), EInvalidArg},
		{"no tcp", send(this, whole(pipes.pack())), NoProtseq},
	} {
		if tt.err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.err, tt.want)
		}
	}
	if err := send(this, func(*ndr.Encoder) {}); faultOf(err) != dcerpc.StatusBadStubData {
		t.Errorf("a stub cut short: %v", err)
	}
	if err := send(orpcThis{version: Version{5, 1}, flags: 0xff}, whole(good.pack())); err != nil {
		t.Errorf("an old client with flags: %v", err)
	}
	if n := w.server.Objects(); n != 1 {
		t.Errorf("%d objects", n)
	}

	stub, err := alice.call(IIDRemoteSCMActivator, opRemoteGetClassObject, nil, encoded(this.encode))
	d := ndr.NewDecoder(stub)
	skipThat(d)
	if _, create := decodeCreateReply(d); err != nil || create != error(ENotImpl) {
		t.Errorf("RemoteGetClassObject: %v, %v", create, err)
	}
	for _, opnum := range []uint16{0, 1, 2, 5} {
		if _, err := alice.call(IIDRemoteSCMActivator, opnum, nil, nil); faultOf(err) != dcerpc.StatusOpRange {
			t.Errorf("method %d of the activator: %v", opnum, err)
		}
	}
}

// TestOldActivation: IActivation is answered, with results that say that it is
// not implemented.
func TestOldActivation(t *testing.T) {
	w := newWorld(t, arrange{})
	alice := newPeer(t, w.host, w.port, as("alice"))
	request := func(n uint32) []byte {
		return encoded(func(e *ndr.Encoder) {
			orpcThis{version: Current}.encode(e)
			e.GUID(testCLSID)
			e.UniqueString(nil)
			e.Null()
			e.U32(2)
			e.U32(0)
			e.U32(n)
		})
	}
	stub, err := alice.call(IIDActivation, opRemoteActivation, nil, request(2))
	if err != nil {
		t.Fatal(err)
	}
	const notImpl = "01400080"
	want := "0000000000000000" + "0000000000000000" + "00000000" + "00000000000000000000000000000000" + "00000000" + "05000700" + notImpl +
		"02000000" + "00000000" + "00000000" + "02000000" + notImpl + notImpl + "00000000"
	if got := fmt.Sprintf("%x", stub); got != want {
		t.Errorf("answer\n%s, want\n%s", got, want)
	}
	if _, err := alice.call(IIDActivation, opRemoteActivation, nil, request(1<<31)); faultOf(err) != dcerpc.StatusBadStubData {
		t.Errorf("for very many interfaces: %v", err)
	}
	if _, err := alice.call(IIDActivation, 1, nil, nil); faultOf(err) != dcerpc.StatusOpRange {
		t.Errorf("method 1: %v", err)
	}
}

// TestRemUnknown goes through queries and references of an object of one's own.
func TestRemUnknown(t *testing.T) {
	w := newWorld(t, arrange{})
	alice := newPeer(t, w.host, w.port, as("alice"))
	reply, err := alice.create(testCLSID, iidBase)
	if err != nil {
		t.Fatal(err)
	}
	servant, base := w.object(t), reply.results[0].ref.std.IPID
	call := func(iid ndr.GUID, opnum uint16, f func(*ndr.Encoder)) *ndr.Decoder {
		t.Helper()
		d, err := alice.orpc(iid, opnum, reply.remUnknown, f)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	query := func(refs uint32, iids ...ndr.GUID) ([]queryResult, error) {
		t.Helper()
		return decodeQueryReply(call(IIDRemUnknown, opRemQueryInterface, func(e *ndr.Encoder) {
			queryRequest{base, refs, iids}.encode(e, true)
		}))
	}
	got, err := query(2, iidBase, IIDUnknown, iidMore)
	if err != nil || len(got) != 3 {
		t.Fatalf("query: %+v, %v", got, err)
	}
	ipids := []ndr.GUID{got[0].std.IPID, got[1].std.IPID, got[2].std.IPID}
	for i, r := range got {
		want := StdObjRef{PublicRefs: 2, OXID: reply.oxid, OID: reply.results[0].ref.std.OID, IPID: ipids[i]}
		if r.hr != OK || r.std != want {
			t.Errorf("query: %+v, want %+v", r, want)
		}
	}
	if ipids[0] != base || ipids[1] == base || ipids[2] == base || ipids[1] == ipids[2] {
		t.Errorf("IPIDs %v, with %v known", ipids, base)
	}
	got, err = query(1, iidOther, iidMore)
	if err != HResult(1) || got[0].hr != ENoInterface || got[0].std != (StdObjRef{}) || got[1].hr != OK {
		t.Errorf("query of which half is not to be had: %+v, %v, want S_FALSE", got, err)
	}
	if got, err = query(1, iidOther); err != ENoInterface || got[0].hr != ENoInterface {
		t.Errorf("query of nothing to be had: %+v, %v", got, err)
	}
	if _, err = query(0, iidMore); err != EInvalidArg {
		t.Errorf("query for no references: %v", err)
	}

	// IRemUnknown2 answers with whole object references.
	second := func(e *ndr.Encoder) { queryRequest{ipid: base, iids: []ndr.GUID{iidMore, iidOther}}.encode(e, false) }
	d := call(IIDRemUnknown2, opRemQueryInterface2, second)
	if n, a, b := d.U32(), HResult(d.U32()), HResult(d.U32()); n != 2 || a != OK || b != ENoInterface {
		t.Errorf("RemQueryInterface2: %d results %v, %v", n, a, b)
	}
	if n, a, b := d.U32(), d.Pointer(), d.Pointer(); n != 2 || !a || b {
		t.Errorf("RemQueryInterface2: %d references: %v, %v", n, a, b)
	}
	ref, err := unpackObjRef(decodePointer(d))
	if err != nil || ref.iid != iidMore || ref.std.IPID != ipids[2] || ref.std.PublicRefs != publicRefs || len(ref.bindings.Strings) == 0 {
		t.Errorf("RemQueryInterface2: %+v, %v", ref, err)
	}
	if hr := HResult(d.U32()); hr != 1 {
		t.Errorf("RemQueryInterface2: %v, want S_FALSE", hr)
	}
	if _, err := alice.orpc(IIDRemUnknown, opRemQueryInterface2, reply.remUnknown, second); faultOf(err) != dcerpc.StatusOpRange {
		t.Errorf("RemQueryInterface2 of IRemUnknown: %v", err)
	}

	// One reference more, and then Impacket's way to give up one of five.
	d = call(IIDRemUnknown, opRemAddRef, func(e *ndr.Encoder) { encodeRefs(e, []interfaceRef{{base, 1, 0}, {iidOther, 1, 0}}) })
	if n, a, b, hr := d.U32(), HResult(d.U32()), HResult(d.U32()), HResult(d.U32()); n != 2 || a != OK || b != ObjectNotReg || hr != ObjectNotReg {
		t.Errorf("RemAddRef: %d results %v, %v; %v", n, a, b, hr)
	}
	release := func(refs ...interfaceRef) {
		t.Helper()
		if err := status(call(IIDRemUnknown, opRemRelease, func(e *ndr.Encoder) { encodeRefs(e, refs) })); err != nil {
			t.Errorf("release: %v", err)
		}
	}
	release(interfaceRef{base, 1, 0})
	servant.open(t)
	release(interfaceRef{base, 7, 0}, interfaceRef{ipids[1], 2, 0}, interfaceRef{iidOther, 1, 0})
	servant.open(t)                          // iidMore has 2 + 1 + 5
	release(interfaceRef{ipids[2], 1000, 0}) // more than there are
	servant.gone(t, ReasonReleased)
	release(interfaceRef{ipids[2], 1, 0}) // is no error
	if _, err = query(1, iidMore); err != InvalidObject {
		t.Errorf("query of what is gone: %v", err)
	}
	for _, opnum := range []uint16{opRemQueryInterface, opRemAddRef, opRemRelease} {
		if _, err := alice.orpc(IIDRemUnknown, opnum, reply.remUnknown, nil); faultOf(err) != dcerpc.StatusBadStubData {
			t.Errorf("method %d without parameters: %v", opnum, err)
		}
	}
	for _, opnum := range []uint16{0, 1, 2, 7} {
		if _, err := alice.orpc(IIDRemUnknown2, opnum, reply.remUnknown, nil); faultOf(err) != dcerpc.StatusOpRange {
			t.Errorf("method %d: %v", opnum, err)
		}
	}
}

// TestImpacketLeaves: one of five references is released and the connections
// are closed; the object is freed after the grace.
func TestImpacketLeaves(t *testing.T) {
	w := newWorld(t, arrange{})
	alice := newPeer(t, w.host, w.port, as("alice"))
	reply, err := alice.create(testCLSID, iidBase)
	if err != nil {
		t.Fatal(err)
	}
	servant := w.object(t)
	ref := interfaceRef{ipid: reply.results[0].ref.std.IPID, publicRefs: 1}
	d, err := alice.orpc(IIDRemUnknown, opRemRelease, reply.remUnknown, func(e *ndr.Encoder) { encodeRefs(e, []interfaceRef{ref}) })
	if err != nil || status(d) != nil {
		t.Fatal(err)
	}
	servant.open(t)
	alice.client.Close()
	w.clock.waitSet(t, time.Minute)
	w.clock.Advance(time.Minute)
	servant.gone(t, ReasonDisconnected)
}
